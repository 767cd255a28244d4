/* The ports of the configuration: all of them listen, or none. */
#ifndef SERVE_PORTS_H
#define SERVE_PORTS_H

#include <nativeport.h>

struct text;

struct port {
    np_listener *listener;
    char *section;    /* as the file writes it */
    const char *tls;  /* "no", "yes", "auto" */
};

/* Filled by ports_open and unchanged until no callback runs any more, so that callbacks may
 * read it without a lock. Zero-initialised it has no ports. */
struct ports {
    np_runtime *runtime;
    struct port *list;
    uint32_t count;
};

/* Makes the runtime and its listeners, which do not listen yet and have no handlers. */
np_status ports_open(struct ports *ports, const np_config *config, np_error *error);

/* From now on there are callbacks. */
np_status ports_listen(const struct ports *ports, np_error *error);

/* One line for every listening socket, then "ready", on stdout. -1 if it is closed. */
int ports_announce(const struct ports *ports);

/* "127.0.0.1:80", "[::1]:80". */
void ports_address(struct text *text, const np_address *address);

/* Ends everything that has not ended yet, and frees it. */
void ports_free(struct ports *ports);

#endif
