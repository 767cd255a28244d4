/*
 * client: a small framed client on plain sockets, for trying things out by hand.
 *
 *     client HOST PORT [--protocol 1|3] [TEXT ...]
 *
 * Sends each TEXT, or each line of the standard input if there is none, as a raw frame
 * and prints the frame that comes back. It does not use the library: what it knows of the
 * protocol is all that a client needs to know.
 *
 *     client: 1 (or 3)                    server: 1
 *     client: length, payload             server: length, payload
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* The highest bit of the length says that the payload is deflate-compressed. */
#define COMPRESSED 0x80000000u

/* No answer for so long is an error. */
#define PATIENCE_SECONDS 10

static void fail(const char *format, ...) {
    va_list words;
    va_start(words, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    va_end(words);
    exit(1);
}

static void usage(void) {
    fprintf(stderr, "usage: client HOST PORT [--protocol 1|3] [TEXT ...]\n");
    exit(2);
}

static int connect_to(const char *host, const char *port) {
    struct timeval patience = {PATIENCE_SECONDS, 0};
    struct addrinfo hints;
    struct addrinfo *addresses;
    int found;
    int at_once = 1;
    int error = 0;
    int server = -1;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    found = getaddrinfo(host, port, &hints, &addresses);
    if (found != 0)
        fail("%s: %s", host, gai_strerror(found));
    for (struct addrinfo *a = addresses; a != NULL && server < 0; a = a->ai_next) {
        server = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (server >= 0 && connect(server, a->ai_addr, a->ai_addrlen) == 0)
            break;
        error = errno;
        if (server >= 0)
            close(server);
        server = -1;
    }
    freeaddrinfo(addresses);
    if (server < 0)
        fail("%s port %s: %s", host, port, strerror(error));
    if (setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
        fail("setting the time limit: %s", strerror(errno));
    /* Without it a payload waits until its header was acknowledged, some 40 ms. */
    if (setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once) != 0)
        fail("sending at once: %s", strerror(errno));
    return server;
}

static void send_all(int server, const void *data, size_t len) {
    const char *next = data;
    while (len > 0) {
        /* Without the flag a server that is gone would end this program with SIGPIPE. */
        ssize_t sent = send(server, next, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fail("sending: %s", strerror(errno));
        next += sent;
        len -= (size_t)sent;
    }
}

/* 0 if the stream ended before the first byte. */
static int receive(int server, void *data, size_t len) {
    char *next = data;
    size_t missing = len;
    while (missing > 0) {
        ssize_t got = recv(server, next, missing, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            fail("no answer within %d seconds", PATIENCE_SECONDS);
        if (got < 0)
            fail("receiving: %s", strerror(errno));
        if (got == 0 && missing == len)
            return 0;
        if (got == 0)
            fail("the server ended the connection inside a frame");
        next += got;
        missing -= (size_t)got;
    }
    return 1;
}

static void identify(int server, unsigned char protocol) {
    unsigned char answer;
    send_all(server, &protocol, 1);
    if (!receive(server, &answer, 1))
        fail("the server closed the connection instead of answering %u", protocol);
    if (answer != 1)
        fail("the server answered %u instead of 1", answer);
}

static void send_frame(int server, const char *data, size_t len) {
    unsigned char header[4];
    if (len >= COMPRESSED)
        fail("a frame holds at most %u bytes", COMPRESSED - 1);
    for (int i = 0; i < 4; i++)
        header[i] = (unsigned char)(len >> (24 - 8 * i));
    send_all(server, header, sizeof header);
    send_all(server, data, len);
}

static void print_frame(int server) {
    unsigned char header[4];
    uint32_t word = 0;
    uint32_t len;
    char *data;
    if (!receive(server, header, sizeof header))
        fail("the server closed the connection");
    for (int i = 0; i < 4; i++)
        word = word << 8 | header[i];
    len = word & ~COMPRESSED;
    data = malloc((size_t)len + 1);
    if (data == NULL)
        fail("no memory for a frame of %u bytes", len);
    if (len > 0 && !receive(server, data, len))
        fail("the server ended the connection inside a frame");
    if (word & COMPRESSED)
        printf("(a compressed frame of %u bytes)\n", len);
    else if (fwrite(data, 1, len, stdout) != len || putchar('\n') == EOF)
        fail("writing: %s", strerror(errno));
    free(data);
    if (fflush(stdout) != 0)
        fail("writing: %s", strerror(errno));
}

static void exchange(int server, const char *data, size_t len) {
    send_frame(server, data, len);
    print_frame(server);
}

int main(int argc, char **argv) {
    unsigned char protocol = 1;
    int first = 3;
    int server;

    if (argc < 3)
        usage();
    if (argc > 3 && strcmp(argv[3], "--protocol") == 0) {
        if (argc == 4 || (strcmp(argv[4], "1") != 0 && strcmp(argv[4], "3") != 0))
            usage();
        protocol = (unsigned char)(argv[4][0] - '0');
        first = 5;
    }
    server = connect_to(argv[1], argv[2]);
    identify(server, protocol);
    for (int i = first; i < argc; i++)
        exchange(server, argv[i], strlen(argv[i]));
    if (first == argc) {
        char *line = NULL;
        size_t size = 0;
        ssize_t len;
        while ((len = getline(&line, &size, stdin)) >= 0) {
            if (len > 0 && line[len - 1] == '\n')
                len--;
            exchange(server, line, (size_t)len);
        }
        if (ferror(stdin))
            fail("reading: %s", strerror(errno));
        free(line);
    }
    close(server);
    return 0;
}
