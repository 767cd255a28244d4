/*
 * The way of a request: on_open looks at the first byte, on_data collects the head, answer
 * asks the site, sends and closes. Every answer ends its connection, so there is one request
 * in each.
 */
#define _POSIX_C_SOURCE 200809L

#include "http.h"

#include <stdlib.h>
#include <string.h>


#define MOST_HEAD_BYTES 16384
#define REQUEST_MS 10000

/* Host codes of connections that are closed without an answer. */
enum host_code {
    ANSWERED = 0,
    NOT_HTTP = 1,
    HEAD_TOO_LARGE = 2,
    INCOMPLETE = 3,
    NO_MEMORY = 4
};

/* ---- collecting the head ---- */

static void request_free(void *user_data) {
    struct text *head = user_data;
    text_free(head);
    free(head);
}

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    struct text *head;
    (void)user_data;
    (void)protocol;
    if (first_byte < 'A' || first_byte > 'Z') {
        (void)np_conn_close(conn, NOT_HTTP);
        return;
    }
    head = calloc(1, sizeof *head);
    /* The library releases the head, whatever it answers. */
    if (head == NULL || np_conn_set_user_data(conn, head, request_free) != NP_OK
        || np_conn_set_deadline(conn, REQUEST_MS) != NP_OK)
        (void)np_conn_close(conn, NO_MEMORY);
}

/* Bytes of the head up to and with its empty line, 0 if that has not come yet. Searching
 * begins where the last search could not have seen it. Lines may end with LF alone. */
static size_t head_end(const struct text *head, size_t from) {
    for (size_t i = from > 3 ? from - 3 : 0; i < head->len; i++) {
        size_t next = i + 1;
        if (head->bytes[i] != '\n')
            continue;
        if (next < head->len && head->bytes[next] == '\r')
            next++;
        if (next < head->len && head->bytes[next] == '\n')
            return next + 1;
    }
    return 0;
}

static void answer(np_conn conn, const struct http_site *site, const struct text *head);

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    void *pointer = NULL;
    struct text *head;
    size_t before;
    size_t room;
    size_t end;
    if (np_conn_get_user_data(conn, &pointer) != NP_OK || pointer == NULL)
        return;
    head = pointer;
    before = head->len;
    room = MOST_HEAD_BYTES - before;
    text_bytes(head, (const char *)data, len < room ? len : room);
    end = head_end(head, before);
    if (head->failed) {
        (void)np_conn_close(conn, NO_MEMORY);
    } else if (end > 0) {
        /* A body that follows is of no interest to any answer. */
        head->len = end;
        answer(conn, user_data, head);
    } else if (len >= room) {
        (void)np_conn_close(conn, HEAD_TOO_LARGE);
    }
}

/* Complete requests are closed when they are answered: this one is not complete. */
static void on_end(void *user_data, np_conn conn) {
    (void)user_data;
    (void)np_conn_close(conn, INCOMPLETE);
}

/* ---- reading the request line ---- */

/* Cuts the text up to the separator off the front of the rest; 0 if there is none. */
static int cut(struct http_slice *rest, char separator, struct http_slice *front) {
    const char *found = memchr(rest->start, separator, rest->len);
    if (found == NULL)
        return 0;
    front->start = rest->start;
    front->len = (size_t)(found - rest->start);
    rest->start = found + 1;
    rest->len -= front->len + 1;
    return 1;
}

int http_is(struct http_slice slice, const char *string) {
    return slice.len == strlen(string) && memcmp(slice.start, string, slice.len) == 0;
}

/* The path of a target: without query, and without "http://host" if there is one. */
static struct http_slice path_of(struct http_slice target) {
    struct http_slice rest = target;
    struct http_slice front;
    if (cut(&rest, '?', &front))
        target = front;
    rest = target;
    if (target.len > 0 && target.start[0] != '/' && cut(&rest, ':', &front) && rest.len > 2
        && memcmp(rest.start, "//", 2) == 0) {
        const char *path = memchr(rest.start + 2, '/', rest.len - 2);
        if (path == NULL)
            return (struct http_slice){"/", 1};
        return (struct http_slice){path, (size_t)(target.start + target.len - path)};
    }
    return target;
}

/* ---- answering ---- */

static void send_answer(np_conn conn, const struct http_site *site, struct http_answer *answer,
                        int without_body) {
    struct text out = {0};
    if (answer->type == NULL) {
        answer->type = "text/plain; charset=utf-8";
        text_format(&answer->body, "%.3s\n", answer->status);
    }
    if (answer->body.failed) {
        text_free(&answer->body);
        answer->status = "500 Internal Server Error";
    }
    text_format(&out,
                "HTTP/1.1 %s\r\n"
                "Content-Type: %s\r\n"
                "Content-Length: %zu\r\n"
                "Cache-Control: no-store\r\n"
                "Content-Security-Policy: %s\r\n"
                "X-Content-Type-Options: nosniff\r\n"
                "Connection: close\r\n"
                "\r\n",
                answer->status, answer->type, answer->body.len, site->policy);
    if (!without_body)
        text_bytes(&out, answer->body.bytes, answer->body.len);
    if (!out.failed) {
        /* Fails only if the connection is ending, which is what follows anyway. */
        (void)np_conn_send_bytes(conn, (const uint8_t *)out.bytes, out.len);
        (void)np_conn_set_deadline(conn, NP_FOREVER);
    }
    (void)np_conn_close(conn, out.failed ? NO_MEMORY : ANSWERED);
    text_free(&out);
}

static void answer(np_conn conn, const struct http_site *site, const struct text *head) {
    struct http_answer answer = {"200 OK", NULL, {0}};
    struct http_slice rest = {head->bytes, head->len};
    struct http_slice line = {NULL, 0};
    struct http_slice method = {NULL, 0};
    struct http_slice target = {NULL, 0};
    (void)cut(&rest, '\n', &line);
    if (line.len > 0 && line.start[line.len - 1] == '\r')
        line.len--;
    if (!cut(&line, ' ', &method) || !cut(&line, ' ', &target) || line.len != 8
        || memcmp(line.start, "HTTP/1.", 7) != 0)
        answer.status = "400 Bad Request";
    else if (!http_is(method, "GET") && !http_is(method, "HEAD"))
        answer.status = "405 Method Not Allowed\r\nAllow: GET, HEAD";
    else
        site->get(site->user_data, path_of(target), &answer);
    send_answer(conn, site, &answer, http_is(method, "HEAD"));
    text_free(&answer.body);
}

np_status http_serve(np_listener *listener, struct http_site *site, np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    handler.user_data = site;
    handler.on_open = on_open;
    handler.on_data = on_data;
    handler.on_end = on_end;
    return np_listener_on(listener, NP_PROTOCOL_UNKNOWN, &handler, error);
}
