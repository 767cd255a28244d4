/*
 * serve: one port for framed clients, remote applications and the web, plain or TLS.
 *
 *     options   the command line
 *     settings  the configuration, checked
 *     ports     runtime and listeners; echo and http are their handlers
 *     status    the counters as page, JSON and metrics; series is their last minutes
 *     signals   SIGTERM and SIGINT
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>

#include "options.h"
#include "ports.h"
#include "settings.h"
#include "signals.h"
#include "status.h"

/* Usage, configuration, or an address that cannot be listened on. */
#define EXIT_WRONG 2

/* Lets connections end, and tells how that went. */
static int drain(struct status *status, uint64_t drain_ms) {
    np_runtime *runtime = status->ports.runtime;
    np_stats before = NP_STATS_INIT;
    np_stats after = NP_STATS_INIT;
    uint64_t cut;
    (void)np_runtime_get_stats(runtime, &before);
    (void)np_runtime_stop(runtime, drain_ms);
    signals_let_through();
    (void)np_runtime_wait(runtime, NP_FOREVER);
    (void)np_runtime_get_stats(runtime, &after);
    cut = after.closes[NP_CLOSE_DRAIN_DEADLINE];
    printf("drained %" PRIu64, status_open(&before));
    if (cut > 0)
        printf(" cut %" PRIu64, cut);
    putchar('\n');
    return fflush(stdout) == 0 ? 0 : 1;
}

static int serve(const np_config *config, uint64_t drain_ms) {
    struct status status;
    int code = EXIT_WRONG;
    if (status_init(&status) != 0)
        return EXIT_WRONG;
    if (ports_start(&status.ports, config, &status) == 0) {
        code = 1;
        if (ports_announce(&status.ports) == 0) {
            while (!signals_wait_a_second())
                status_sample(&status);
            code = drain(&status, drain_ms);
        }
    }
    ports_free(&status.ports);
    status_free(&status);
    return code;
}

int main(int argc, char **argv) {
    struct options options;
    np_config *config;
    int code;

    if (options_read(&options, argc, argv) != 0)
        return EXIT_WRONG;
    if (options.mode == MODE_HELP)
        return options_help() == 0 ? 0 : 1;
    config = settings_load(&options);
    if (config == NULL)
        return EXIT_WRONG;
    if (options.check)
        code = puts("ok") != EOF && fflush(stdout) == 0 ? 0 : 1;
    else
        code = signals_block() == 0 ? serve(config, options.drain_ms) : 1;
    np_config_free(config);
    return code;
}
