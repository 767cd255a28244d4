#define _POSIX_C_SOURCE 200809L

#include "status.h"

#include <stdio.h>
#include <string.h>

const struct protocol_name protocol_names[PROTOCOLS] = {
    {NP_PROTOCOL_CLIENT, "client", "Framed clients"},
    {NP_PROTOCOL_REMOTE_APPLICATION, "remote_application", "Remote applications"},
    {NP_PROTOCOL_RELAY, "relay", "Relays"},
    {NP_PROTOCOL_UNKNOWN, "unknown", "Web and others"},
};

int status_init(struct status *status, const struct ports *ports) {
    memset(status, 0, sizeof *status);
    status->ports = ports;
    if (clock_gettime(CLOCK_MONOTONIC, &status->started) == 0 && series_init(&status->series) == 0)
        return 0;
    fprintf(stderr, "serve: the system has no clock or lock to offer\n");
    return -1;
}

void status_sample(struct status *status) {
    np_stats stats = NP_STATS_INIT;
    if (np_runtime_get_stats(status->ports->runtime, &stats) == NP_OK)
        series_sample(&status->series, &stats);
}

void status_look(struct status *status, struct snapshot *snapshot) {
    struct timespec now = status->started;
    memset(snapshot, 0, sizeof *snapshot);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    snapshot->uptime_seconds = (uint64_t)(now.tv_sec - status->started.tv_sec);
    snapshot->all.struct_size = sizeof snapshot->all;
    /* It can only fail without its arguments; the page then shows zeros. */
    (void)np_runtime_get_stats(status->ports->runtime, &snapshot->all);
    series_view(&status->series, &snapshot->series);
}

uint64_t status_open(const np_stats *stats) {
    uint64_t sum = 0;
    for (int i = 0; i < PROTOCOLS; i++)
        sum += stats->open[protocol_names[i].protocol];
    return sum;
}

const char *status_reason(int32_t reason) {
    const char *name = np_close_reason_name(reason);
    return strcmp(name, "unknown") == 0 ? NULL : name;
}

void status_free(struct status *status) {
    series_free(&status->series);
}
