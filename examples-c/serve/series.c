#define _POSIX_C_SOURCE 200809L

#include "series.h"

#include <string.h>

const char *const series_names[SERIES_LINES] = {
    [FRAMES_RECEIVED] = "frames_received",
    [FRAMES_SENT] = "frames_sent",
    [BYTES_RECEIVED] = "bytes_received",
    [BYTES_SENT] = "bytes_sent",
};

static double seconds_between(const struct timespec *from, const struct timespec *to) {
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

int series_init(struct series *series) {
    memset(series, 0, sizeof *series);
    if (clock_gettime(CLOCK_MONOTONIC, &series->sampled) != 0)
        return -1;
    return pthread_mutex_init(&series->lock, NULL) == 0 ? 0 : -1;
}

void series_sample(struct series *series, const np_stats *stats) {
    const uint64_t totals[SERIES_LINES] = {
        [FRAMES_RECEIVED] = stats->frames_in,
        [FRAMES_SENT] = stats->frames_out,
        [BYTES_RECEIVED] = stats->bytes_in,
        [BYTES_SENT] = stats->bytes_out,
    };
    struct timespec now;
    double seconds;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return;
    /* On a busy machine the second may have been a longer one. */
    seconds = seconds_between(&series->sampled, &now);
    if (seconds <= 0)
        return;
    pthread_mutex_lock(&series->lock);
    for (int line = 0; line < SERIES_LINES; line++) {
        uint64_t *rates = series->view.rates[line];
        double grown = (double)(totals[line] - series->totals[line]);
        memmove(rates, rates + 1, (SERIES_SECONDS - 1) * sizeof *rates);
        rates[SERIES_SECONDS - 1] = (uint64_t)(grown / seconds + 0.5);
        series->totals[line] = totals[line];
    }
    pthread_mutex_unlock(&series->lock);
    series->sampled = now;
}

void series_view(struct series *series, struct series_view *view) {
    pthread_mutex_lock(&series->lock);
    *view = series->view;
    pthread_mutex_unlock(&series->lock);
}

void series_free(struct series *series) {
    pthread_mutex_destroy(&series->lock);
}
