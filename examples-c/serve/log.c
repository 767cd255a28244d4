#define _POSIX_C_SOURCE 200809L

#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "settings.h"

static void on_log(void *user_data, const np_log_record *record) {
    static const char *const levels[] = {"", "error", "warning", "info", "debug"};
    const char *level = record->level > 0 && record->level < 5 ? levels[record->level] : "";
    const char *text = record->text;
    (void)user_data;
    /* A text that names a place in a file has the word already. */
    if (strstr(text, ": error: ") != NULL || strstr(text, ": warning: ") != NULL)
        fprintf(stderr, "%s\n", text);
    else
        fprintf(stderr, "serve: %s: %s: %s\n", level, record->stage, text);
}

/* The level of logLevel = debug is everything; otherwise what somebody should look at, as a
 * line for every connection would drown it. */
np_status log_to_stderr(np_runtime *runtime, const np_config *config, np_error *error) {
    char *level = settings_value(config, "Runtime", "logLevel");
    int is_debug = level != NULL && strcasecmp(level, "debug") == 0;
    free(level);
    return np_runtime_set_log(runtime, is_debug ? NP_LOG_DEBUG : NP_LOG_WARN, on_log, NULL, NULL,
                              error);
}
