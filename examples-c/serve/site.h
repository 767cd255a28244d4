/* What browsers and Prometheus get under which path. */
#ifndef SERVE_SITE_H
#define SERVE_SITE_H

#include "http.h"

struct status;

/* status must live as long as the site. */
struct http_site site_of(struct status *status);

#endif
