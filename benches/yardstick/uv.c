/*
 * The same server on libuv, in one thread: what a C program could use today.
 *
 * One 256 KiB read buffer for all connections, whole frames sent back with one
 * uv_try_write from where they lie, a buffer of exactly its size for a large cut frame.
 *
 * usage: uv [port]        (0 or none: any free port; prints "listening PORT")
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

enum {
    SCRATCH = 256 << 10,
    SMALL = 2 << 10,
    LARGEST = 64 << 20,
    QUEUE_MAX = 8 << 20
};

struct conn {
    uv_tcp_t tcp;
    uint8_t *cut; /* the beginning of a frame, header included */
    uint32_t cut_len, cut_size;
    uint8_t identified, paused;
};

struct unsent {
    uv_write_t write;
    uint8_t data[];
};

static uint8_t scratch[SMALL + SCRATCH];
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

static size_t frame_size(const uint8_t *at) {
    return 4 + (((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]) & 0x7fffffff);
}

static void *must(void *memory) {
    if (!memory) {
        perror("uv: memory");
        exit(1);
    }
    return memory;
}

static void on_closed(uv_handle_t *handle) {
    struct conn *c = (struct conn *)handle;
    free(c->cut);
    free(c);
}

static void end(struct conn *c) {
    if (!uv_is_closing((uv_handle_t *)c)) uv_close((uv_handle_t *)c, on_closed);
}

static void on_written(uv_write_t *write, int status) {
    struct conn *c = (struct conn *)write->handle;
    free(write);
    if (status < 0) {
        end(c);
    } else if (c->paused && uv_stream_get_write_queue_size((uv_stream_t *)c) <= QUEUE_MAX / 2) {
        c->paused = 0;
        uv_read_start((uv_stream_t *)c, on_alloc, on_read);
    }
}

/* Sends two pieces with one call; what the socket does not take is queued. */
static int send_both(struct conn *c, const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    uv_stream_t *stream = (uv_stream_t *)c;
    uv_buf_t parts[2] = {uv_buf_init((char *)(uintptr_t)a, (unsigned)a_len),
                         uv_buf_init((char *)(uintptr_t)b, (unsigned)b_len)};
    size_t sent = 0;
    if (uv_stream_get_write_queue_size(stream) == 0) {
        int n = uv_try_write(stream, a_len ? parts : parts + 1, a_len && b_len ? 2 : 1);
        if (n < 0 && n != UV_EAGAIN) return -1;
        if (n > 0) sent = (size_t)n;
    }
    if (sent == a_len + b_len) return 0;
    size_t a_sent = sent < a_len ? sent : a_len, b_sent = sent - a_sent;
    size_t a_rest = a_len - a_sent, b_rest = b_len - b_sent;
    struct unsent *unsent = must(malloc(sizeof *unsent + a_rest + b_rest));
    if (a_rest) memcpy(unsent->data, a + a_sent, a_rest);
    if (b_rest) memcpy(unsent->data + a_rest, b + b_sent, b_rest);
    uv_buf_t rest = uv_buf_init((char *)unsent->data, (unsigned)(a_rest + b_rest));
    if (uv_write(&unsent->write, stream, &rest, 1, on_written)) {
        free(unsent);
        return -1;
    }
    if (uv_stream_get_write_queue_size(stream) > QUEUE_MAX) {
        c->paused = 1;
        uv_read_stop(stream);
    }
    return 0;
}

/* Sends back the whole frames of data behind `before`, and keeps the cut one. */
static int take(struct conn *c, const uint8_t *before, size_t before_len, const uint8_t *data, size_t len) {
    size_t at = 0;
    if (!c->identified && len) {
        static const uint8_t answer = 1;
        if (data[0] != 1 && data[0] != 3) return -1;
        c->identified = 1;
        at = 1;
        if (send_both(c, &answer, 1, NULL, 0)) return -1;
    }
    size_t start = at, size = 0;
    while (len - at >= 4) {
        size = frame_size(data + at);
        if (size > 4 + LARGEST) return -1;
        if (len - at < size) break;
        at += size;
    }
    if ((before_len || at > start) && send_both(c, before, before_len, data + start, at - start)) return -1;
    if (at < len) {
        size_t rest = len - at;
        size = rest < 4 || size <= SMALL ? SMALL : size;
        c->cut = must(malloc(size == SMALL ? rest : size));
        memcpy(c->cut, data + at, rest);
        c->cut_len = (uint32_t)rest;
        c->cut_size = (uint32_t)size;
    }
    return 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)suggested;
    struct conn *c = (struct conn *)handle;
    if (c->cut && c->cut_size > SMALL)
        *buffer = uv_buf_init((char *)c->cut + c->cut_len, c->cut_size - c->cut_len);
    else
        *buffer = uv_buf_init((char *)scratch + (c->cut ? c->cut_len : 0), SCRATCH);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
    (void)buffer;
    struct conn *c = (struct conn *)stream;
    int failed = 0;
    if (n < 0) {
        failed = 1;
    } else if (n > 0 && c->cut && c->cut_size > SMALL) {
        c->cut_len += (uint32_t)n;
        if (c->cut_len == c->cut_size) {
            failed = send_both(c, c->cut, c->cut_size, NULL, 0);
            free(c->cut);
            c->cut = NULL;
        }
    } else if (n > 0) {
        size_t kept = 0;
        if (c->cut) {
            kept = c->cut_len;
            memcpy(scratch, c->cut, kept);
            free(c->cut);
            c->cut = NULL;
        }
        failed = take(c, NULL, 0, scratch, kept + (size_t)n);
    }
    if (failed) end(c);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    struct conn *c = must(calloc(1, sizeof *c));
    uv_tcp_init(listener->loop, &c->tcp);
    if (uv_accept(listener, (uv_stream_t *)c) || uv_tcp_nodelay(&c->tcp, 1)
        || uv_read_start((uv_stream_t *)c, on_alloc, on_read))
        end(c);
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    int len = sizeof address;
    uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0, &address);
    uv_tcp_init(loop, &listener);
    int error = uv_tcp_bind(&listener, (struct sockaddr *)&address, 0);
    if (!error) error = uv_listen((uv_stream_t *)&listener, 4096, on_connection);
    if (!error) error = uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &len);
    if (error) {
        fprintf(stderr, "uv: %s\n", uv_strerror(error));
        return 1;
    }
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
