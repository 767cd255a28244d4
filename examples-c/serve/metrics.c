#define _POSIX_C_SOURCE 200809L

#include "metrics.h"

#include <stdlib.h>

#include "text.h"

void metrics_write(struct text *metrics, np_runtime *runtime) {
    size_t size = 16384;
    size_t needed = 0;
    for (;;) {
        char *buffer = malloc(size);
        np_status answer = NP_ERR_MEMORY_LIMIT;
        if (buffer != NULL)
            answer = np_stats_prometheus(runtime, buffer, size, &needed);
        if (answer == NP_OK)
            text_add(metrics, buffer);
        free(buffer);
        if (answer == NP_OK)
            return;
        if (answer != NP_ERR_BUFFER_TOO_SMALL) {
            metrics->failed = 1;
            return;
        }
        /* Numbers may get longer until the next call. */
        size = needed + 1024;
    }
}
