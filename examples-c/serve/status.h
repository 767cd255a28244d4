/* The server's state: one look at all counters. */
#ifndef SERVE_STATUS_H
#define SERVE_STATUS_H

#include <nativeport.h>
#include <time.h>

#include "ports.h"
#include "series.h"

struct status {
    const struct ports *ports;
    struct series series;
    struct timespec started;
};

/* What the page and the JSON show. */
struct snapshot {
    uint64_t uptime_seconds;
    np_stats all;
    struct series_view series;
};

/* The protocols in the order in which they are shown. */
struct protocol_name {
    int32_t protocol;
    const char *key;    /* in JSON */
    const char *title;  /* on the page */
};

#define PROTOCOLS 4
extern const struct protocol_name protocol_names[PROTOCOLS];

/* 0, or -1 after one line on stderr. The ports need not be open yet. */
int status_init(struct status *status, const struct ports *ports);

/* Once a second. */
void status_sample(struct status *status);

void status_look(struct status *status, struct snapshot *snapshot);

/* Connections open at this moment. */
uint64_t status_open(const np_stats *stats);

/* NULL if no close reason has this number. */
const char *status_reason(int32_t reason);

void status_free(struct status *status);

#endif
