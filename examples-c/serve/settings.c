#define _POSIX_C_SOURCE 200809L

#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --demo: a port for everybody, with or without TLS, and a plain one. */
static const char demo[] =
    "[Port.secure]\n"
    "port = 0\n"
    "bindAddress = 127.0.0.1\n"
    "sslSection = TLS\n"
    "ssl = auto\n"
    "\n"
    "[Port.plain]\n"
    "port = 0\n"
    "bindAddress = 127.0.0.1\n"
    "\n"
    "[TLS]\n"
    "selfSigned = localhost, 127.0.0.1\n";

/* --port: without compression, so that a benchmark measures the path of the bytes. */
static np_status load_port(np_config *config, const struct options *options, np_error *error) {
    struct {
        const char *section;
        const char *key;
        const char *value;
    } lines[] = {
        {"Port", "port", options->port},
        {"Port", "bindAddress", "127.0.0.1"},
        {"Port", "compression", "off"},
        {"Port", "sslSection", options->tls_cert != NULL ? "TLS" : NULL},
        {"TLS", "certificate", options->tls_cert},
        {"TLS", "privateKey", options->tls_key},
        {"Runtime", "ioThreads", options->threads},
    };
    np_status status = np_config_add_port(config, "Port", NULL, error);
    for (size_t i = 0; i < sizeof lines / sizeof *lines && status == NP_OK; i++)
        if (lines[i].value != NULL)
            status = np_config_set(config, lines[i].section, lines[i].key, lines[i].value, error);
    return status;
}

static np_status load(np_config *config, const struct options *options, np_error *error) {
    switch (options->mode) {
    case MODE_CONFIG:
        return np_config_load_file(config, options->config, error);
    case MODE_DEMO:
        return np_config_load_string(config, demo, strlen(demo), "demo", error);
    default:
        return load_port(config, options, error);
    }
}

static void tell(void *user_data, const np_finding *finding) {
    (void)user_data;
    fprintf(stderr, "%s\n", finding->text);
}

/* 1 if it can be served. */
static int check(const np_config *config, const struct options *options) {
    uint32_t errors = 0;
    np_status status = np_config_check(config, tell, NULL, &errors, NULL);
    if (status != NP_OK) {
        fprintf(stderr, "serve: checking the configuration: %s\n", np_status_message(status));
        return 0;
    }
    /* The library may be used without ports of a file, this program may not. */
    if (np_config_port_count(config) == 0 && errors == 0) {
        fprintf(stderr,
                "%s: error: there is no port section; valid: [Port] with port = a number "
                "from 0 to 65535\n",
                options->config);
        return 0;
    }
    return errors == 0;
}

np_config *settings_load(const struct options *options) {
    np_error error = NP_ERROR_INIT;
    np_config *config = NULL;
    np_status status = np_config_new(&config);
    if (status == NP_OK)
        status = load(config, options, &error);
    if (status != NP_OK)
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));
    if (status == NP_OK && check(config, options))
        return config;
    np_config_free(config);
    return NULL;
}

char *settings_value(const np_config *config, const char *section, const char *key) {
    size_t size = 0;
    char *value;
    (void)np_config_get(config, section, key, NULL, 0, &size);
    value = calloc(size + 1, 1);
    if (value != NULL)
        (void)np_config_get(config, section, key, value, size, NULL);
    return value;
}
