#define _POSIX_C_SOURCE 200809L

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_SECONDS 5
#define MOST_DRAIN_SECONDS 86400
#define MOST_THREADS 1024

static const char help[] =
    "usage: serve --config FILE [--check] [--drain SECONDS]\n"
    "       serve --port N [--tls-cert FILE --tls-key FILE] [--threads N] [--drain SECONDS]\n"
    "       serve --demo [--drain SECONDS]\n"
    "\n"
    "Echoes the frames of clients and remote applications and shows its state to browsers,\n"
    "on the same ports: / is a page, /status.json the same as JSON, /metrics for Prometheus.\n"
    "\n"
    "  --config FILE   serve the ports of an INI file\n"
    "  --check         only check the file: every finding is a line on stderr\n"
    "  --port N        serve one port on 127.0.0.1 without compression, for benchmarks;\n"
    "                  0 is any free port\n"
    "  --tls-cert FILE, --tls-key FILE\n"
    "                  serve it with TLS; PEM files\n"
    "  --threads N     I/O threads, otherwise one per core\n"
    "  --demo          serve two free ports on 127.0.0.1, one of them with TLS and plain\n"
    "  --drain SECONDS time that connections have to end after SIGTERM or SIGINT (5);\n"
    "                  a second signal ends at once\n"
    "\n"
    "Each listening socket is a line on stdout, then comes \"ready\". Warnings and errors are\n"
    "lines on stderr, with logLevel = debug every connection too. Exit code 2: wrong usage,\n"
    "a configuration with errors, or an address that cannot be listened on.\n";

static int wrong(const char *what, const char *name) {
    fprintf(stderr, "serve: %s %s; serve --help shows the usage\n", what, name);
    return -1;
}

/* A decimal number from least to most; both the text and its meaning are needed. */
static int number(const char *name, const char *text, unsigned long least, unsigned long most,
                  unsigned long *value) {
    size_t digits = strspn(text, "0123456789");
    *value = strtoul(text, NULL, 10);
    if (digits > 0 && digits < 10 && text[digits] == '\0' && *value >= least && *value <= most)
        return 0;
    fprintf(stderr, "serve: %s '%s' is no number from %lu to %lu; serve --help shows the usage\n",
            name, text, least, most);
    return -1;
}

static int set_mode(struct options *options, enum mode mode, const char *name) {
    if (options->mode != MODE_NONE)
        return wrong("only one of --config, --port and --demo can be given, not also", name);
    options->mode = mode;
    return 0;
}

/* Options with a value; value is NULL at the end of the line. 1: it is none of them. */
static int with_value(struct options *options, const char *name, const char *value) {
    const char **text = NULL;
    unsigned long least = 0;
    unsigned long most = 0;
    unsigned long meaning = 0;
    int is_drain = strcmp(name, "--drain") == 0;

    if (strcmp(name, "--config") == 0)
        text = &options->config;
    else if (strcmp(name, "--tls-cert") == 0)
        text = &options->tls_cert;
    else if (strcmp(name, "--tls-key") == 0)
        text = &options->tls_key;
    else if (strcmp(name, "--port") == 0)
        text = &options->port, most = 65535;
    else if (strcmp(name, "--threads") == 0)
        text = &options->threads, least = 1, most = MOST_THREADS;
    else if (is_drain)
        most = MOST_DRAIN_SECONDS;
    else
        return 1;

    if (value == NULL)
        return wrong("a value is missing after", name);
    if (text != NULL && *text != NULL)
        return wrong("given twice:", name);
    if (most > 0 && number(name, value, least, most, &meaning) != 0)
        return -1;
    if (text != NULL)
        *text = value;
    if (is_drain)
        options->drain_ms = meaning * 1000;
    if (text == &options->config)
        return set_mode(options, MODE_CONFIG, name);
    if (text == &options->port)
        return set_mode(options, MODE_PORT, name);
    return 0;
}

/* Which options go together. */
static int judge(const struct options *options) {
    int tls = options->tls_cert != NULL || options->tls_key != NULL;
    if (options->mode == MODE_NONE)
        return wrong("nothing to serve:", "--config FILE, --port N or --demo is missing");
    if (options->check && options->mode != MODE_CONFIG)
        return wrong("only --config can have", "--check");
    if (options->mode != MODE_PORT && tls)
        return wrong("only --port can have", "--tls-cert and --tls-key");
    if (options->mode != MODE_PORT && options->threads != NULL)
        return wrong("only --port can have", "--threads");
    if (tls && options->tls_key == NULL)
        return wrong("--tls-cert needs", "--tls-key");
    if (tls && options->tls_cert == NULL)
        return wrong("--tls-key needs", "--tls-cert");
    return 0;
}

int options_read(struct options *options, int argc, char **argv) {
    memset(options, 0, sizeof *options);
    options->drain_ms = DRAIN_SECONDS * 1000;
    for (int i = 1; i < argc; i++) {
        int is_unknown;
        if (strcmp(argv[i], "--help") == 0) {
            options->mode = MODE_HELP;
            return 0;
        }
        if (strcmp(argv[i], "--check") == 0) {
            options->check = 1;
            continue;
        }
        if (strcmp(argv[i], "--demo") == 0) {
            if (set_mode(options, MODE_DEMO, argv[i]) != 0)
                return -1;
            continue;
        }
        is_unknown = with_value(options, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (is_unknown > 0)
            return wrong("unknown option", argv[i]);
        if (is_unknown < 0)
            return -1;
        i++;
    }
    return judge(options);
}

int options_help(void) {
    return fputs(help, stdout) != EOF && fflush(stdout) == 0 ? 0 : -1;
}
