/* Connections that begin with another byte: HTTP/1.x for browsers and Prometheus. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include <nativeport.h>

struct status;

/* status must live until no callback runs any more. */
np_status http_serve(np_listener *listener, struct status *status, np_error *error);

#endif
