#define _POSIX_C_SOURCE 200809L

#include "site.h"

#include "json.h"
#include "metrics.h"
#include "page.h"
#include "status.h"

static void get(void *user_data, struct http_slice path, struct http_answer *answer) {
    struct status *status = user_data;
    if (http_is(path, "/")) {
        answer->type = "text/html; charset=utf-8";
        page_write(&answer->body, status);
    } else if (http_is(path, "/status.json")) {
        answer->type = "application/json";
        json_write(&answer->body, status);
    } else if (http_is(path, "/metrics")) {
        answer->type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_write(&answer->body, status->ports->runtime);
    } else {
        answer->status = "404 Not Found";
    }
}

struct http_site site_of(struct status *status) {
    return (struct http_site){get, status, PAGE_POLICY};
}
