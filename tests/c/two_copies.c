/* Two copies of the library in one process, each with names of its own: argv has their paths. */
#define _GNU_SOURCE
#include <nativeport.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* The functions of one copy that this program calls. */
#define FUNCTIONS(X) \
    X(np_config_new) \
    X(np_config_load_string) \
    X(np_config_free) \
    X(np_runtime_new) \
    X(np_runtime_get_stats) \
    X(np_runtime_each_conn) \
    X(np_runtime_free) \
    X(np_listener_new) \
    X(np_listener_on) \
    X(np_listener_start) \
    X(np_listener_get_address) \
    X(np_listener_free) \
    X(np_conn_send_frames)

struct copy {
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
    np_config *config;
    np_runtime *runtime;
    np_listener *listener;
    np_address address;
    int fd;
};

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    struct copy *copy = user_data;
    CHECK(copy->np_conn_send_frames(conn, frames, count, NULL) == NP_OK);
}

static void load(struct copy *copy, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
#define FIND(name) \
    *(void **)&copy->name = dlsym(library, #name); \
    CHECK(copy->name != NULL);
    FUNCTIONS(FIND)
}

static void serve(struct copy *copy) {
    static const char ini[] = "[Port]\nport=0\nbindAddress=127.0.0.1\n";
    np_handler handler = NP_HANDLER_INIT;
    handler.user_data = copy;
    handler.on_frames = on_frames;
    CHECK(copy->np_config_new(&copy->config) == NP_OK);
    CHECK(copy->np_config_load_string(copy->config, ini, sizeof ini - 1, "ini", NULL) == NP_OK);
    CHECK(copy->np_runtime_new(copy->config, 0, &copy->runtime, NULL) == NP_OK);
    CHECK(copy->np_listener_new(copy->runtime, copy->config, 0, &copy->listener, NULL) == NP_OK);
    CHECK(copy->np_listener_on(copy->listener, NP_PROTOCOL_CLIENT, &handler, NULL) == NP_OK);
    CHECK(copy->np_listener_start(copy->listener, NULL) == NP_OK);
    CHECK(copy->np_listener_get_address(copy->listener, 0, &copy->address) == NP_OK);
}

static void get(int fd, char *data, size_t len) {
    while (len > 0) {
        ssize_t got = read(fd, data, len);
        CHECK(got > 0);
        data += got;
        len -= (size_t)got;
    }
}

static void arrive(struct copy *copy) {
    struct sockaddr_in to;
    char byte = 1;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)copy->address.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    copy->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(copy->fd, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(write(copy->fd, &byte, 1) == 1);
    get(copy->fd, &byte, 1);
}

static void echo(struct copy *copy) {
    char frame[6] = {0, 0, 0, 2, 'h', 'i'}, back[6] = {0};
    CHECK(write(copy->fd, frame, sizeof frame) == sizeof frame);
    get(copy->fd, back, sizeof back);
    CHECK(memcmp(frame, back, sizeof frame) == 0);
}

static int32_t count(void *user_data, np_conn conn) {
    (void)conn;
    ++*(int *)user_data;
    return 0;
}

static void end(struct copy *copy) {
    np_stats stats = NP_STATS_INIT;
    int conns = 0;
    /* Counted at the end of a turn. */
    while (stats.frames_in == 0)
        CHECK(copy->np_runtime_get_stats(copy->runtime, &stats) == NP_OK);
    CHECK(stats.accepted == 1);
    CHECK(copy->np_runtime_each_conn(copy->runtime, count, &conns) == NP_OK);
    CHECK(conns == 1);
    CHECK(copy->np_listener_free(copy->listener) == NP_OK);
    CHECK(copy->np_runtime_free(copy->runtime) == NP_OK);
    copy->np_config_free(copy->config);
}

int main(int argc, char **argv) {
    struct copy copies[2];
    memset(copies, 0, sizeof copies);
    alarm(600);
    CHECK(argc == 3);
    load(&copies[0], argv[1]);
    load(&copies[1], argv[2]);
    CHECK(copies[0].np_config_new != copies[1].np_config_new);
    serve(&copies[0]);
    serve(&copies[1]);
    arrive(&copies[0]);
    arrive(&copies[1]);
    echo(&copies[0]);
    echo(&copies[1]);
    /* The end of the one is not the end of the other. */
    end(&copies[0]);
    echo(&copies[1]);
    end(&copies[1]);
    puts("ok");
    return 0;
}
