#define _POSIX_C_SOURCE 200809L

#include "page.h"

#include <inttypes.h>
#include <stdio.h>

#include "page_assets.h"
#include "page_numbers.h"
#include "status.h"
#include "text.h"

/* The picture's height in its own units; the highest rate stays a little below the rim. */
#define PICTURE_HEIGHT 60
#define HIGHEST 58

/* An element that the script keeps up to date. */
static void add_live_count(struct text *html, const char *path, uint64_t number) {
    text_format(html, "<span data-count=\"%s\">", path);
    page_count(html, number);
    text_add(html, "</span>");
}

static void add_live_size(struct text *html, const char *path, uint64_t bytes) {
    text_format(html, "<span data-size=\"%s\">", path);
    page_size(html, bytes);
    text_add(html, "</span>");
}

/* Nothing without TLS. */
static void add_live_days(struct text *html, const char *path, int64_t days) {
    if (days == NP_NO_CERTIFICATE)
        return;
    text_format(html, "<br><small data-days=\"%s\">", path);
    if (days < 0)
        text_add(html, "certificate expired");
    else
        text_format(html, "certificate: %" PRId64 " days left", days);
    text_add(html, "</small>");
}

/* ---- the page from top to bottom ---- */

static void add_head(struct text *html, const struct snapshot *now) {
    text_add(html,
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n"
             "<title>nativeport</title>\n"
             /* Without it browsers ask for /favicon.ico. */
             "<link rel=\"icon\" href=\"data:,\">\n<style>\n");
    text_add(html, page_style);
    text_format(html,
                "</style>\n</head>\n<body>\n<header>\n<h1>nativeport</h1>\n"
                "<p>Version %s, up for <span data-duration=\"uptime_seconds\">",
                np_version_string());
    page_duration(html, now->uptime_seconds);
    text_add(html, "</span></p>\n<p id=\"lost\">The server does not answer.</p>\n</header>\n");
}

static void add_ports(struct text *html, const struct status *status) {
    text_add(html,
             "<section>\n<h2>Ports</h2>\n<table>\n<thead><tr><th>Section, address</th>"
             "<th>TLS</th><th>Open</th></tr></thead>\n");
    for (uint32_t i = 0; i < status->ports->count; i++) {
        const struct port *port = &status->ports->list[i];
        np_stats stats = NP_STATS_INIT;
        np_address address;
        char path[64];
        (void)np_listener_get_stats(port->listener, &stats);
        text_add(html, "<tr><td>");
        text_html(html, port->section);
        for (uint32_t n = 0; np_listener_get_address(port->listener, n, &address) == NP_OK; n++) {
            text_add(html, "<br><small>");
            ports_address(html, &address);
            text_add(html, "</small>");
        }
        text_format(html, "</td><td>%s", port->tls);
        (void)snprintf(path, sizeof path, "ports.%" PRIu32 ".certificate_days_left", i);
        add_live_days(html, path, stats.certificate_days_left);
        text_add(html, "</td><td>");
        (void)snprintf(path, sizeof path, "ports.%" PRIu32 ".open", i);
        add_live_count(html, path, status_open(&stats));
        text_add(html, "</td></tr>\n");
    }
    text_add(html, "</table>\n</section>\n");
}

static void add_connections(struct text *html, const struct snapshot *now) {
    char path[64];
    text_add(html,
             "<section>\n<h2>Connections</h2>\n<table>\n<thead><tr><th>Protocol</th>"
             "<th>Open</th><th>Ever</th></tr></thead>\n");
    for (int i = 0; i < PROTOCOLS; i++) {
        const struct protocol_name *name = &protocol_names[i];
        text_format(html, "<tr><td>%s</td><td>", name->title);
        (void)snprintf(path, sizeof path, "open.%s", name->key);
        add_live_count(html, path, now->all.open[name->protocol]);
        text_add(html, "</td><td>");
        (void)snprintf(path, sizeof path, "opened.%s", name->key);
        add_live_count(html, path, now->all.opened[name->protocol]);
        text_add(html, "</td></tr>\n");
    }
    text_add(html, "<tr><td class=\"soft\">Not identified yet</td><td>");
    add_live_count(html, "unidentified", now->all.unidentified);
    text_add(html, "</td><td></td></tr>\n</table>\n</section>\n");
}

static void add_line(struct text *html, const char *look, enum series_line line,
                     const uint64_t *rates, uint64_t most) {
    text_format(html, "<polyline class=\"%s\" data-line=\"%s\" points=\"", look,
                series_names[line]);
    for (int second = 0; second < SERIES_SECONDS; second++)
        text_format(html, "%s%d,%.1f", second > 0 ? " " : "", second,
                    PICTURE_HEIGHT - HIGHEST * (double)rates[second] / (double)most);
    text_add(html, "\"/>\n");
}

/* Received and sent on one scale. */
static void add_picture(struct text *html, const struct series_view *series,
                        enum series_line received, enum series_line sent) {
    uint64_t most = 1;
    for (int second = 0; second < SERIES_SECONDS; second++) {
        if (series->rates[received][second] > most)
            most = series->rates[received][second];
        if (series->rates[sent][second] > most)
            most = series->rates[sent][second];
    }
    text_format(html,
                "<svg data-picture viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" "
                "role=\"img\" aria-label=\"the last %d minutes\">\n",
                SERIES_SECONDS - 1, PICTURE_HEIGHT, SERIES_SECONDS / 60);
    add_line(html, "out", sent, series->rates[sent], most);
    add_line(html, "in", received, series->rates[received], most);
    text_format(html, "</svg>\n<small>the last %d minutes</small>\n</section>\n",
                SERIES_SECONDS / 60);
}

static void add_rate(struct text *html, const char *look, enum series_line line,
                     const char *words, const struct series_view *series,
                     void (*add)(struct text *, const char *, uint64_t)) {
    char path[64];
    (void)snprintf(path, sizeof path, "per_second.%s", series_names[line]);
    text_format(html, "<span><b class=\"%s\">", look);
    add(html, path, series->rates[line][SERIES_SECONDS - 1]);
    text_format(html, "</b> %s</span>\n", words);
}

static void add_frames(struct text *html, const struct snapshot *now) {
    text_add(html, "<section>\n<h2>Frames per second</h2>\n<p class=\"rates\">\n");
    add_rate(html, "in", FRAMES_RECEIVED, "received", &now->series, add_live_count);
    add_rate(html, "out", FRAMES_SENT, "sent", &now->series, add_live_count);
    text_add(html, "</p>\n");
    add_picture(html, &now->series, FRAMES_RECEIVED, FRAMES_SENT);
}

static void add_bytes(struct text *html, const struct snapshot *now) {
    text_add(html, "<section>\n<h2>Bytes per second</h2>\n<p class=\"rates\">\n");
    add_rate(html, "in", BYTES_RECEIVED, "received", &now->series, add_live_size);
    add_rate(html, "out", BYTES_SENT, "sent", &now->series, add_live_size);
    text_add(html, "</p>\n");
    add_picture(html, &now->series, BYTES_RECEIVED, BYTES_SENT);
}

/* All reasons, those that did not occur hidden: the script shows them when they do. */
static void add_closes(struct text *html, const struct snapshot *now) {
    text_add(html,
             "<section>\n<h2>Closed connections</h2>\n<table>\n<thead><tr><th>Reason</th>"
             "<th>Count</th></tr></thead>\n");
    for (int32_t reason = 0; reason < NP_STATS_REASONS; reason++) {
        const char *name = status_reason(reason);
        uint64_t count = now->all.closes[reason];
        char path[64];
        if (name == NULL)
            continue;
        (void)snprintf(path, sizeof path, "closes.%s", name);
        text_format(html, "<tr data-reason=\"%s\"%s><td>%s</td><td>", name,
                    count == 0 ? " hidden" : "", name);
        add_live_count(html, path, count);
        text_add(html, "</td></tr>\n");
    }
    text_add(html, "<tr><td class=\"soft\">Bytes they left unsent</td><td>");
    add_live_size(html, "total.bytes_unsent", now->all.bytes_unsent);
    text_add(html, "</td></tr>\n</table>\n</section>\n");
}

void page_write(struct text *html, struct status *status) {
    struct snapshot now;
    status_look(status, &now);
    add_head(html, &now);
    add_ports(html, status);
    add_connections(html, &now);
    add_frames(html, &now);
    add_bytes(html, &now);
    add_closes(html, &now);
    text_add(html,
             "<footer>The same as <a href=\"/status.json\">JSON</a> and for "
             "<a href=\"/metrics\">Prometheus</a></footer>\n<script>\n");
    text_add(html, page_script);
    text_add(html, "</script>\n</body>\n</html>\n");
}
