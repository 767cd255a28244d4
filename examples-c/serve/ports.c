#define _POSIX_C_SOURCE 200809L

#include "ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "echo.h"
#include "http.h"
#include "text.h"

/* What the library logs, a line each. */
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

/* A value of the configuration, "" if there is none; NULL without memory. */
static char *value_of(const np_config *config, const char *section, const char *key) {
    size_t size = 0;
    char *value;
    (void)np_config_get(config, section, key, NULL, 0, &size);
    value = calloc(size + 1, 1);
    if (value != NULL)
        (void)np_config_get(config, section, key, value, size, NULL);
    return value;
}

typedef np_status (*name_fn)(const np_config *config, uint32_t index, char *buffer, size_t size,
                             size_t *needed);

/* One of the names of a port section; NULL without memory. */
static char *name_of(const np_config *config, uint32_t index, name_fn get_name) {
    size_t size = 0;
    char *name;
    (void)get_name(config, index, NULL, 0, &size);
    name = calloc(size + 1, 1);
    if (name != NULL)
        (void)get_name(config, index, name, size, NULL);
    return name;
}

/* NULL without memory. */
static const char *tls_of(const np_config *config, uint32_t index) {
    char *section = name_of(config, index, np_config_get_port_name);
    char *tls_section = section != NULL ? value_of(config, section, "sslSection") : NULL;
    char *ssl = section != NULL ? value_of(config, section, "ssl") : NULL;
    const char *tls = NULL;
    if (tls_section != NULL && ssl != NULL)
        tls = tls_section[0] == '\0' ? "no" : strcasecmp(ssl, "auto") == 0 ? "auto" : "yes";
    free(section);
    free(tls_section);
    free(ssl);
    return tls;
}

/* The level of logLevel = debug is everything; otherwise what somebody should look at, as a
 * line for every connection would drown it. */
static np_status set_log(np_runtime *runtime, const np_config *config, np_error *error) {
    char *level = value_of(config, "Runtime", "logLevel");
    int is_debug = level != NULL && strcasecmp(level, "debug") == 0;
    free(level);
    return np_runtime_set_log(runtime, is_debug ? NP_LOG_DEBUG : NP_LOG_WARN, on_log, NULL, NULL,
                              error);
}

static np_status make_port(struct port *port, np_runtime *runtime, const np_config *config,
                           uint32_t index, struct status *state, np_error *error) {
    np_status status = np_listener_new(runtime, config, index, &port->listener, error);
    if (status != NP_OK)
        return status;
    port->section = name_of(config, index, np_config_get_port_written_name);
    port->tls = tls_of(config, index);
    if (port->section == NULL || port->tls == NULL)
        return NP_ERR_MEMORY_LIMIT;
    status = echo_serve(port->listener, error);
    return status == NP_OK ? http_serve(port->listener, state, error) : status;
}

/* First everything is made, then everything started: from the first start on callbacks
 * read the list. */
static np_status start(struct ports *ports, const np_config *config, struct status *state,
                       np_error *error) {
    uint32_t count = np_config_port_count(config);
    np_status status = np_runtime_new(config, NP_CONSUMER_CALLBACKS, &ports->runtime, error);
    if (status != NP_OK)
        return status;
    ports->list = calloc(count, sizeof *ports->list);
    if (ports->list == NULL)
        return NP_ERR_MEMORY_LIMIT;
    ports->count = count;
    for (uint32_t i = 0; i < count && status == NP_OK; i++)
        status = make_port(&ports->list[i], ports->runtime, config, i, state, error);
    /* Not before: what certificates are warned of, the check has told already. */
    if (status == NP_OK)
        status = set_log(ports->runtime, config, error);
    for (uint32_t i = 0; i < count && status == NP_OK; i++)
        status = np_listener_start(ports->list[i].listener, error);
    return status;
}

int ports_start(struct ports *ports, const np_config *config, struct status *state) {
    np_error error = NP_ERROR_INIT;
    np_status status = start(ports, config, state, &error);
    if (status == NP_OK)
        return 0;
    fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));
    return -1;
}

void ports_address(struct text *text, const np_address *address) {
    const char *form = address->family == 6 ? "[%s]:%u" : "%s:%u";
    text_format(text, form, address->host, (unsigned)address->port);
}

int ports_announce(const struct ports *ports) {
    struct text text = {0};
    int written;
    for (uint32_t i = 0; i < ports->count; i++) {
        const struct port *port = &ports->list[i];
        np_address address;
        for (uint32_t n = 0; np_listener_get_address(port->listener, n, &address) == NP_OK; n++) {
            text_add(&text, "listening ");
            text_line(&text, port->section);
            text_add(&text, " ");
            ports_address(&text, &address);
            text_format(&text, " tls=%s\n", port->tls);
        }
    }
    text_add(&text, "ready\n");
    written = !text.failed && fwrite(text.bytes, 1, text.len, stdout) == text.len
              && fflush(stdout) == 0;
    text_free(&text);
    if (!written)
        fprintf(stderr, "serve: stdout cannot be written\n");
    return written ? 0 : -1;
}

void ports_free(struct ports *ports) {
    /* A page that is being made reads all listeners: only when no callback runs any more
     * may the first of them go. */
    if (ports->runtime != NULL) {
        (void)np_runtime_stop(ports->runtime, 0);
        (void)np_runtime_wait(ports->runtime, NP_FOREVER);
    }
    for (uint32_t i = 0; i < ports->count; i++) {
        (void)np_listener_free(ports->list[i].listener);
        free(ports->list[i].section);
    }
    free(ports->list);
    (void)np_runtime_free(ports->runtime);
}
