/* The counters in Prometheus' text format. */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include <nativeport.h>

struct text;

void metrics_write(struct text *metrics, np_runtime *runtime);

#endif
