#define _POSIX_C_SOURCE 200809L

#include "json.h"

#include <inttypes.h>

#include "status.h"
#include "text.h"

static void add_number(struct text *json, const char *key, uint64_t number, const char *behind) {
    text_format(json, "\"%s\":%" PRIu64 "%s", key, number, behind);
}

/* null without TLS. */
static void add_days_left(struct text *json, int64_t days, const char *behind) {
    text_add(json, "\"certificate_days_left\":");
    if (days == NP_NO_CERTIFICATE)
        text_add(json, "null");
    else
        text_format(json, "%" PRId64, days);
    text_add(json, behind);
}

static void add_protocols(struct text *json, const char *key, const uint64_t *numbers) {
    text_format(json, "\"%s\":{", key);
    for (int i = 0; i < PROTOCOLS; i++)
        add_number(json, protocol_names[i].key, numbers[protocol_names[i].protocol],
                   i + 1 < PROTOCOLS ? "," : "}");
}

static void add_port(struct text *json, const struct port *port) {
    np_stats stats = NP_STATS_INIT;
    np_address address;
    struct text shown = {0};
    (void)np_listener_get_stats(port->listener, &stats);
    text_add(json, "{\"section\":");
    text_json(json, port->section);
    text_format(json, ",\"tls\":\"%s\",\"addresses\":[", port->tls);
    for (uint32_t i = 0; np_listener_get_address(port->listener, i, &address) == NP_OK; i++) {
        shown.len = 0;
        ports_address(&shown, &address);
        text_format(json, "%s\"%.*s\"", i > 0 ? "," : "", (int)shown.len, shown.bytes);
    }
    text_free(&shown);
    text_add(json, "],");
    add_number(json, "accepted", stats.accepted, ",");
    add_number(json, "unidentified", stats.unidentified, ",");
    add_days_left(json, stats.certificate_days_left, ",");
    add_number(json, "open", status_open(&stats), "}");
}

static void add_closes(struct text *json, const np_stats *stats) {
    const char *between = "";
    text_add(json, "\"closes\":{");
    for (int32_t reason = 0; reason < NP_STATS_REASONS; reason++) {
        const char *name = status_reason(reason);
        if (name == NULL)
            continue;
        text_add(json, between);
        add_number(json, name, stats->closes[reason], "");
        between = ",";
    }
    text_add(json, "}");
}

static void add_rates(struct text *json, const struct series_view *series) {
    text_add(json, "\"per_second\":{");
    for (int line = 0; line < SERIES_LINES; line++)
        add_number(json, series_names[line], series->rates[line][SERIES_SECONDS - 1],
                   line + 1 < SERIES_LINES ? "," : "},");
    text_add(json, "\"history\":{");
    for (int line = 0; line < SERIES_LINES; line++) {
        text_format(json, "\"%s\":[", series_names[line]);
        for (int second = 0; second < SERIES_SECONDS; second++)
            text_format(json, "%s%" PRIu64, second > 0 ? "," : "",
                        series->rates[line][second]);
        text_add(json, line + 1 < SERIES_LINES ? "]," : "]}");
    }
}

void json_write(struct text *json, struct status *status) {
    struct snapshot now;
    status_look(status, &now);
    text_format(json, "{\"version\":\"%s\",", np_version_string());
    add_number(json, "uptime_seconds", now.uptime_seconds, ",\"ports\":[");
    for (uint32_t i = 0; i < status->ports->count; i++) {
        text_add(json, i > 0 ? "," : "");
        add_port(json, &status->ports->list[i]);
    }
    text_add(json, "],");
    add_number(json, "accepted", now.all.accepted, ",");
    add_number(json, "unidentified", now.all.unidentified, ",");
    add_protocols(json, "open", now.all.open);
    text_add(json, ",");
    add_protocols(json, "opened", now.all.opened);
    text_add(json, ",\"total\":{");
    add_number(json, series_names[FRAMES_RECEIVED], now.all.frames_in, ",");
    add_number(json, series_names[FRAMES_SENT], now.all.frames_out, ",");
    add_number(json, series_names[BYTES_RECEIVED], now.all.bytes_in, ",");
    add_number(json, series_names[BYTES_SENT], now.all.bytes_out, ",");
    add_number(json, "bytes_unsent", now.all.bytes_unsent, "},");
    add_number(json, "memory_bytes", now.all.memory_bytes, ",");
    add_days_left(json, now.all.certificate_days_left, ",");
    add_closes(json, &now.all);
    text_add(json, ",");
    add_rates(json, &now.series);
    text_add(json, "}\n");
}
