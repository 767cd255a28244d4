/*
 * The yardstick: the least that speaks the protocol, on epoll, in one thread.
 *
 * It has no limits on connections, no deadlines, no TLS, no handles. What it does have is
 * what makes such a server fast: one 256 KiB read buffer for all connections, one receive
 * per wake-up in the common case, all whole frames of a read sent back with one call from
 * where they lie, and a buffer of exactly its size for a large frame that was cut.
 *
 * usage: epoll [port]     (0 or none: any free port; prints "listening PORT")
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    SCRATCH = 256 << 10,  /* the read buffer */
    SMALL = 2 << 10,      /* a cut frame up to this goes before the next read's bytes */
    LARGEST = 64 << 20,   /* a larger frame ends its connection */
    READS = 4,            /* of one connection, before the others get their turn */
    QUEUE_MAX = 8 << 20   /* unsent bytes above which a connection is not read */
};

struct conn {
    struct conn *again_next; /* in the list of those that have not been read empty */
    uint8_t *cut;            /* the beginning of a frame, header included */
    uint8_t *queue;          /* what the socket did not take */
    uint32_t cut_len, cut_size;
    size_t queue_at, queue_len, queue_size;
    int fd;
    uint8_t identified, in_again, dead;
};

static uint8_t scratch[SMALL + SCRATCH];
static struct conn *again, **again_end = &again;
static int ep;

static size_t frame_size(const uint8_t *at) {
    return 4 + (((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]) & 0x7fffffff);
}

static void *must(void *memory) {
    if (!memory) {
        perror("epoll: memory");
        exit(1);
    }
    return memory;
}

static void enqueue(struct conn *c, const uint8_t *data, size_t len) {
    if (!len) return;
    if (c->queue_at > c->queue_len / 2) {
        memmove(c->queue, c->queue + c->queue_at, c->queue_len - c->queue_at);
        c->queue_len -= c->queue_at;
        c->queue_at = 0;
    }
    if (c->queue_size - c->queue_len < len) {
        c->queue_size = c->queue_len + len;
        c->queue = must(realloc(c->queue, c->queue_size));
    }
    memcpy(c->queue + c->queue_len, data, len);
    c->queue_len += len;
}

/* Sends two pieces with one call; what the socket does not take is queued. */
static int send_both(struct conn *c, const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
    size_t sent = 0;
    if (c->queue_at == c->queue_len) {
        ssize_t n;
        if (a_len && b_len) {
            struct iovec parts[2] = {{(void *)(uintptr_t)a, a_len}, {(void *)(uintptr_t)b, b_len}};
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
            n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        } else {
            n = send(c->fd, a_len ? a : b, a_len + b_len, MSG_NOSIGNAL);
        }
        if (n < 0 && errno != EAGAIN) return -1;
        if (n > 0) sent = (size_t)n;
    }
    if (sent < a_len) {
        enqueue(c, a + sent, a_len - sent);
        sent = a_len;
    }
    enqueue(c, b + (sent - a_len), b_len - (sent - a_len));
    return 0;
}

static int flush_queue(struct conn *c) {
    while (c->queue_at < c->queue_len) {
        ssize_t n = send(c->fd, c->queue + c->queue_at, c->queue_len - c->queue_at, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->queue_at += (size_t)n;
    }
    if (c->queue) {
        free(c->queue);
        c->queue = NULL;
        c->queue_at = c->queue_len = c->queue_size = 0;
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

/* FULL: there is more. SHORT: there is not, except an end. EMPTY: there is nothing. */
enum outcome { ENDED, EMPTY, SHORT, FULL };

/* One read and its answers. */
static enum outcome read_once(struct conn *c) {
    ssize_t n;
    if (c->cut && c->cut_size > SMALL) {
        size_t rest = c->cut_size - c->cut_len;
        struct iovec parts[2] = {{c->cut + c->cut_len, rest}, {scratch, SCRATCH}};
        n = readv(c->fd, parts, 2);
        if (n <= 0) return n < 0 && errno == EAGAIN ? EMPTY : ENDED;
        if ((size_t)n < rest) {
            c->cut_len += (uint32_t)n;
            return SHORT;
        }
        uint8_t *whole = c->cut;
        size_t whole_len = c->cut_size, more = (size_t)n - rest;
        c->cut = NULL;
        int failed = take(c, whole, whole_len, scratch, more);
        free(whole);
        return failed ? ENDED : more == SCRATCH ? FULL : SHORT;
    }
    size_t kept = c->cut ? c->cut_len : 0;
    n = recv(c->fd, scratch + kept, SCRATCH, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN ? EMPTY : ENDED;
    if (kept) {
        memcpy(scratch, c->cut, kept);
        free(c->cut);
        c->cut = NULL;
    }
    if (take(c, NULL, 0, scratch, kept + (size_t)n)) return ENDED;
    return n == SCRATCH ? FULL : SHORT;
}

static void end(struct conn *c) {
    close(c->fd);
    free(c->cut);
    free(c->queue);
    if (c->in_again)
        c->dead = 1; /* freed when the list comes to it */
    else
        free(c);
}

/* Everything that an event or the list asks for. `ended`: the peer's end may be in it. */
static void work(struct conn *c, int ended) {
    if (flush_queue(c)) {
        end(c);
        return;
    }
    for (int i = 0; i < READS; i++) {
        if (c->queue_len - c->queue_at > QUEUE_MAX) return; /* the event that it is writable comes */
        enum outcome outcome = read_once(c);
        if (outcome == ENDED) {
            end(c);
            return;
        }
        if (outcome == EMPTY || (outcome == SHORT && !ended)) return;
    }
    if (!c->in_again) {
        c->in_again = 1;
        c->again_next = NULL;
        *again_end = c;
        again_end = &c->again_next;
    }
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return; /* also when descriptors are short: it is a yardstick */
        struct conn *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event)) {
            close(fd);
            free(c);
        }
    }
}

static int listen_on(uint16_t port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 4096)
        || getsockname(fd, (struct sockaddr *)&address, &len)) {
        perror("epoll: listen");
        exit(1);
    }
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);

    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event)) {
        perror("epoll");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(ep, events, 512, again ? 0 : -1);
        for (int i = 0; i < count; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (!c->dead)
                work(c, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
        }
        struct conn *list = again;
        again = NULL;
        again_end = &again;
        while (list) {
            struct conn *c = list;
            list = c->again_next;
            c->in_again = 0;
            if (c->dead)
                free(c);
            else
                work(c, 1); /* an end may have been seen by the event that brought it here */
        }
    }
}
