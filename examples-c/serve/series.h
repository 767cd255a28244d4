/* What happened in each of the last seconds. */
#ifndef SERVE_SERIES_H
#define SERVE_SERIES_H

#include <nativeport.h>
#include <pthread.h>
#include <time.h>

/* Five minutes. */
#define SERIES_SECONDS 300

/* The four lines; SERIES_LINES is their number. */
enum series_line {
    FRAMES_RECEIVED,
    FRAMES_SENT,
    BYTES_RECEIVED,
    BYTES_SENT,
    SERIES_LINES
};

/* As JSON names them. */
extern const char *const series_names[SERIES_LINES];

/* Rates per second, the newest last. */
struct series_view {
    uint64_t rates[SERIES_LINES][SERIES_SECONDS];
};

/* Written by the main thread once a second, read by callbacks. */
struct series {
    pthread_mutex_t lock;
    struct series_view view;
    uint64_t totals[SERIES_LINES];
    struct timespec sampled;
};

/* 0, or -1 if the system has no lock left. */
int series_init(struct series *series);

/* Adds the second that ends now. */
void series_sample(struct series *series, const np_stats *stats);

void series_view(struct series *series, struct series_view *view);

void series_free(struct series *series);

#endif
