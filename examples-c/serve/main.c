/*
 * serve: one port for framed clients, remote applications and the web, plain or TLS. Each file
 * uses only files below it:
 *
 *     main      starts the server, and ends it in order
 *     site      the paths of the web: page for people, json for programs, metrics for Prometheus
 *     status    the counters at one moment; series is what happened in each of the last minutes
 *     ports     runtime and listeners; log is what they log
 *     http      handler of connections from the web
 *     echo      handler of framed clients and remote applications
 *     settings  the configuration, checked
 *     options   the command line
 *     signals   SIGTERM and SIGINT
 *     text      text that grows
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>

#include "echo.h"
#include "log.h"
#include "options.h"
#include "ports.h"
#include "settings.h"
#include "signals.h"
#include "site.h"
#include "status.h"

/* Usage, configuration, or an address that cannot be listened on. */
#define EXIT_WRONG 2

/* First everything is made, then everything started: from the first start on callbacks read
 * the list of ports. */
static np_status start(struct ports *ports, const np_config *config, struct http_site *site,
                       np_error *error) {
    np_status status = ports_open(ports, config, error);
    for (uint32_t i = 0; i < ports->count && status == NP_OK; i++) {
        status = echo_serve(ports->list[i].listener, error);
        if (status == NP_OK)
            status = http_serve(ports->list[i].listener, site, error);
    }
    /* Not before: what certificates are warned of, the check has told already. */
    if (status == NP_OK)
        status = log_to_stderr(ports->runtime, config, error);
    return status == NP_OK ? ports_listen(ports, error) : status;
}

/* Lets connections end, and tells how that went. */
static int drain(np_runtime *runtime, uint64_t drain_ms) {
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
    np_error error = NP_ERROR_INIT;
    struct ports ports = {0};
    struct status status;
    struct http_site site = site_of(&status);
    np_status started;
    int code = EXIT_WRONG;
    if (status_init(&status, &ports) != 0)
        return EXIT_WRONG;
    started = start(&ports, config, &site, &error);
    if (started != NP_OK) {
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(started));
    } else if (ports_announce(&ports) != 0) {
        code = 1;
    } else {
        while (!signals_wait_a_second())
            status_sample(&status);
        code = drain(ports.runtime, drain_ms);
    }
    ports_free(&ports);
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
