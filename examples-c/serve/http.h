/* Connections that begin with another byte: HTTP/1.x for browsers and Prometheus. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include <nativeport.h>

#include "text.h"

/* A part of a request, which is not terminated. */
struct http_slice {
    const char *start;
    size_t len;
};

struct http_answer {
    const char *status; /* "200 OK" at first */
    const char *type;   /* NULL at first: the body becomes the number of the status */
    struct text body;
};

/* What is served. */
struct http_site {
    /* Answers GET; of the same answer HEAD sends no body. Called by any I/O thread. */
    void (*get)(void *user_data, struct http_slice path, struct http_answer *answer);
    void *user_data;
    /* Content-Security-Policy of every answer. */
    const char *policy;
};

/* site must live until no callback runs any more. */
np_status http_serve(np_listener *listener, struct http_site *site, np_error *error);

int http_is(struct http_slice slice, const char *string);

#endif
