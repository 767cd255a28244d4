/* What the library logs, as lines on stderr. */
#ifndef SERVE_LOG_H
#define SERVE_LOG_H

#include <nativeport.h>

np_status log_to_stderr(np_runtime *runtime, const np_config *config, np_error *error);

#endif
