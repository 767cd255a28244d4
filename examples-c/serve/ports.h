/* The ports of the configuration: all of them listen, or none. */
#ifndef SERVE_PORTS_H
#define SERVE_PORTS_H

#include <nativeport.h>

struct status;
struct text;

struct port {
    np_listener *listener;
    char *section;    /* as the file writes it */
    const char *tls;  /* "no", "yes", "auto" */
};

/* Filled before the first port starts and unchanged until no callback runs any more, so
 * that callbacks may read it without a lock. */
struct ports {
    np_runtime *runtime;
    struct port *list;
    uint32_t count;
};

/* Starts all ports, with their handlers. -1 after one line on stderr. */
int ports_start(struct ports *ports, const np_config *config, struct status *status);

/* One line for every listening socket, then "ready", on stdout. -1 if it is closed. */
int ports_announce(const struct ports *ports);

/* "127.0.0.1:80", "[::1]:80". */
void ports_address(struct text *text, const np_address *address);

/* Ends everything that has not ended yet, and frees it. */
void ports_free(struct ports *ports);

#endif
