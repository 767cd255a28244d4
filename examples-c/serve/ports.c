#define _POSIX_C_SOURCE 200809L

#include "ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "settings.h"
#include "text.h"

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
    char *tls_section = section != NULL ? settings_value(config, section, "sslSection") : NULL;
    char *ssl = section != NULL ? settings_value(config, section, "ssl") : NULL;
    const char *tls = NULL;
    if (tls_section != NULL && ssl != NULL)
        tls = tls_section[0] == '\0' ? "no" : strcasecmp(ssl, "auto") == 0 ? "auto" : "yes";
    free(section);
    free(tls_section);
    free(ssl);
    return tls;
}

static np_status open_port(struct port *port, np_runtime *runtime, const np_config *config,
                           uint32_t index, np_error *error) {
    np_status status = np_listener_new(runtime, config, index, &port->listener, error);
    if (status != NP_OK)
        return status;
    port->section = name_of(config, index, np_config_get_port_written_name);
    port->tls = tls_of(config, index);
    return port->section != NULL && port->tls != NULL ? NP_OK : NP_ERR_MEMORY_LIMIT;
}

np_status ports_open(struct ports *ports, const np_config *config, np_error *error) {
    uint32_t count = np_config_port_count(config);
    np_status status = np_runtime_new(config, NP_CONSUMER_CALLBACKS, &ports->runtime, error);
    if (status != NP_OK)
        return status;
    ports->list = calloc(count, sizeof *ports->list);
    if (ports->list == NULL)
        return NP_ERR_MEMORY_LIMIT;
    ports->count = count;
    for (uint32_t i = 0; i < count && status == NP_OK; i++)
        status = open_port(&ports->list[i], ports->runtime, config, i, error);
    return status;
}

np_status ports_listen(const struct ports *ports, np_error *error) {
    np_status status = NP_OK;
    for (uint32_t i = 0; i < ports->count && status == NP_OK; i++)
        status = np_listener_start(ports->list[i].listener, error);
    return status;
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
