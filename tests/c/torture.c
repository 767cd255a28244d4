/*
 * A whole life of a host, in stages that it prints: a runtime, a plain port and one that
 * takes TLS as well, a client on each, a send from a thread of the host's, a stop that drains.
 *
 *     torture [callbacks | workers | poll]
 *
 * Exit status: 0 if both clients were served (in several attempts, if connections were told
 * their end), 3 if a function of the library answered an error (its words are on stderr), 4 if
 * a client was never served, 5 if something that must come did not. A hang ends by SIGALRM.
 * However far it has come: what was handed over is released once, and when all is freed no
 * descriptor and no thread is left.
 *
 * The clients use read and write, the library never does on sockets, so that a fault in a
 * system call of the one is not one of the other.
 */
#define _POSIX_C_SOURCE 200809L
#include <nativeport.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ATTEMPTS = 12, PATIENCE_MS = 8000, RETRIES = 100, LARGE = 200000, HANDED = 64, EVENTS = 4 };

static const char INI[] = "[Runtime]\n"
                          "ioThreads=1\n"
                          "handshakeThreads=1\n"
                          "workerThreads=2\n"
                          "[Port.plain]\n"
                          "port=0\n"
                          "bindAddress=127.0.0.1\n"
                          "readTimeout=1000\n"
                          "idleTimeout=1000\n"
                          "compression=off\n"
                          "writeTimeout=1000\n"
                          "[Port.auto]\n"
                          "port=0\n"
                          "bindAddress=127.0.0.1\n"
                          "readTimeout=1000\n"
                          "idleTimeout=1000\n"
                          "compression=off\n"
                          "writeTimeout=1000\n"
                          "ssl=auto\n"
                          "sslSection=Tls\n"
                          "[Tls]\n"
                          "selfSigned=localhost\n";

static int32_t consumer = NP_CONSUMER_CALLBACKS;
static np_runtime *runtime;
static np_loop *polled;
static atomic_int opened, closed, lent_out, released;
/* User data: how often each was released. */
static atomic_int destroyed[HANDED];
static atomic_int handed;

static void stage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static _Noreturn void give_up(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

/* User data of its own for each call that takes it over, whatever that answers. */
static void *hand_over(void) {
    int at = handed++;
    if (at >= HANDED)
        give_up(5, "more is handed over than was thought of");
    return &destroyed[at];
}

static void destroy(void *user_data) {
    atomic_int *times = user_data;
    if ((*times)++ != 0)
        give_up(5, "user data %d is released twice", (int)(times - destroyed));
}

/* Callbacks. */

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    opened++;
    np_conn_set_user_data(conn, hand_over(), destroy);
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    np_conn_send_frames(conn, frames, count, NULL);
}

static void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    (void)user_data;
    (void)conn;
    if (info->reason <= 0 || strcmp(np_close_reason_name(info->reason), "unknown") == 0)
        give_up(5, "a connection ended without a reason: %d", (int)info->reason);
    closed++;
}

static void on_log(void *user_data, const np_log_record *record) {
    (void)user_data;
    stage("log %s: %s", record->stage, record->text);
}

/* Polls until everything was told. */
static void *poller(void *unused) {
    np_event events[EVENTS];
    np_status status;
    size_t count, at;
    while ((status = np_loop_poll(polled, events, EVENTS, NP_FOREVER, &count)) == NP_OK) {
        for (at = 0; at < count; at++) {
            const np_event *event = &events[at];
            if (event->kind == NP_EVENT_OPEN)
                on_open(NULL, event->conn, event->protocol, (uint8_t)event->first_byte);
            else if (event->kind == NP_EVENT_FRAMES)
                on_frames(NULL, event->conn, event->frames, event->count);
            else if (event->kind == NP_EVENT_CLOSE)
                on_close(NULL, event->conn, event->close);
            else if (event->kind == NP_EVENT_LOG)
                on_log(NULL, event->log);
        }
    }
    if (status != NP_ERR_STOPPED)
        give_up(5, "np_loop_poll: %s", np_status_message(status));
    return unused;
}

/* A client. Each step answers 1, or 0 if the connection was told its end. */

static int wait_for(int fd, short what) {
    for (;;) {
        struct pollfd poller = {0};
        int ready;
        poller.fd = fd;
        poller.events = what;
        ready = poll(&poller, 1, PATIENCE_MS);
        if (ready > 0)
            return 1;
        if (ready == 0)
            give_up(5, "a client waits in vain");
        if (errno != EINTR)
            give_up(5, "poll: %s", strerror(errno));
    }
}

static int put(int fd, const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t done;
        wait_for(fd, POLLOUT);
        done = write(fd, at, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return 0;
        at += done;
        len -= (size_t)done;
    }
    return 1;
}

static int get(int fd, void *data, size_t len) {
    char *at = data;
    while (len > 0) {
        ssize_t done;
        wait_for(fd, POLLIN);
        done = read(fd, at, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return 0;
        at += done;
        len -= (size_t)done;
    }
    return 1;
}

static int get_frame(int fd, const unsigned char *expected, size_t len) {
    static _Thread_local unsigned char payload[LARGE];
    unsigned char header[4];
    if (!get(fd, header, sizeof header))
        return 0;
    if (((size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3])
        != len)
        give_up(5, "a broken header");
    if (!get(fd, payload, len))
        return 0;
    if (memcmp(payload, expected, len) != 0)
        give_up(5, "another frame than was sent");
    return 1;
}

static int echo(int fd, const unsigned char *payload, size_t len) {
    unsigned char header[4];
    header[0] = (unsigned char)(len >> 24);
    header[1] = (unsigned char)(len >> 16);
    header[2] = (unsigned char)(len >> 8);
    header[3] = (unsigned char)len;
    return put(fd, header, sizeof header) && put(fd, payload, len) && get_frame(fd, payload, len);
}

/* A connected socket whose first byte is sent and answered; -1 if it was told its end. */
static int arrive(const np_address *address) {
    struct sockaddr_in to;
    unsigned char byte = 1;
    int fd = -1, tries;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)address->port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (tries = 0; fd < 0 && tries < RETRIES; tries++)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        give_up(4, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        give_up(4, "connect: %s", strerror(errno));
    if (put(fd, &byte, 1) && get(fd, &byte, 1))
        return fd;
    close(fd);
    return -1;
}

struct client {
    const char *name;
    np_address address;
    int (*serve)(int fd);
    int fd;
};

/* The last one has buffers of its own on its way in and out. */
static int frames(int fd) {
    static unsigned char large[LARGE];
    size_t at;
    for (at = 0; at < sizeof large; at++)
        large[at] = (unsigned char)(at * at >> 3);
    return echo(fd, large, 3) && echo(fd, large, 0) && echo(fd, large, sizeof large);
}

/* The handle of the connection between these ports. Connections to two listeners may come from the
 * same port. */
struct search {
    uint32_t port;
    uint32_t local_port;
    np_conn found;
};

static int32_t look(void *user_data, np_conn conn) {
    struct search *search = user_data;
    np_conn_info info = NP_CONN_INFO_INIT;
    if (np_conn_get_info(conn, &info) == NP_OK && info.peer.port == search->port
        && info.local.port == search->local_port) {
        search->found = conn;
        return 1;
    }
    return 0;
}

static void release(void *release_data, const uint8_t *data, size_t len) {
    (void)release_data;
    (void)data;
    (void)len;
    released++;
}

/* The host sends from this thread, which is none of the library's: one frame that is copied
 * and one that is lent. */
static int sent_to(int fd) {
    static const uint8_t copied[7] = "foreign", lent[20000] = "lent";
    struct sockaddr_in own, other;
    socklen_t len = sizeof own, other_len = sizeof other;
    struct search search = {0, 0, {0}};
    np_status status;
    if (getsockname(fd, (struct sockaddr *)&own, &len) != 0)
        give_up(4, "getsockname: %s", strerror(errno));
    if (getpeername(fd, (struct sockaddr *)&other, &other_len) != 0)
        give_up(4, "getpeername: %s", strerror(errno));
    search.port = ntohs(own.sin_port);
    search.local_port = ntohs(other.sin_port);
    status = np_runtime_each_conn(runtime, look, &search);
    if (status != NP_OK)
        give_up(5, "np_runtime_each_conn: %s", np_status_message(status));
    status = np_conn_send_frame(search.found, copied, sizeof copied, 0);
    if (status == NP_OK) {
        lent_out++;
        status = np_conn_send_frame_owned(search.found, lent, sizeof lent, release, NULL, 0);
    }
    if (status == NP_ERR_CLOSED || status == NP_ERR_INVALID_HANDLE)
        return 0;
    if (status != NP_OK)
        give_up(5, "sending: %s", np_status_message(status));
    return get_frame(fd, copied, sizeof copied) && get_frame(fd, lent, sizeof lent);
}

static void *run(void *argument) {
    struct client *client = argument;
    int attempt;
    sigset_t pipe;
    /* The client writes as one that knows nothing of MSG_NOSIGNAL. */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (attempt = 1; attempt <= ATTEMPTS; attempt++) {
        client->fd = arrive(&client->address);
        if (client->fd >= 0 && client->serve(client->fd)) {
            stage("%s: served in attempt %d", client->name, attempt);
            return NULL;
        }
        stage("%s: told its end in attempt %d", client->name, attempt);
        if (client->fd >= 0)
            close(client->fd);
    }
    give_up(4, "%s: never served", client->name);
}

static void begin(pthread_t *thread, void *(*body)(void *), void *argument) {
    int tries;
    for (tries = 0; tries < RETRIES; tries++)
        if (pthread_create(thread, NULL, body, argument) == 0)
            return;
    give_up(4, "the host has no threads");
}

/* The server. */

static int says(const char *call, np_status status, const np_error *error) {
    if (status == NP_OK)
        return 1;
    if (error->status != status || error->message[0] == 0)
        give_up(5, "%s answers %s without words", call, np_status_name(status));
    fprintf(stderr, "%s: %s: %s\n", call, np_status_name(status), error->message);
    return 0;
}

/* Gives a listener its callbacks, which is NULL where events are polled. */
static np_status listen_to(np_listener *listener, np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    handler.user_data = hand_over();
    handler.destroy = destroy;
    if (consumer != NP_CONSUMER_POLL) {
        handler.on_open = on_open;
        handler.on_frames = on_frames;
        handler.on_close = on_close;
    }
    return np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, error);
}

static int start(np_config *config, np_listener **listener, uint32_t index, np_address *address) {
    np_error error = NP_ERROR_INIT;
    if (!says("np_listener_new", np_listener_new(runtime, config, index, listener, &error), &error)
        || !says("np_listener_on", listen_to(*listener, &error), &error))
        return 0;
    if (!says("np_listener_start", np_listener_start(*listener, &error), &error)) {
        /* Takes other callbacks, or has ended and refuses them. */
        np_status status = listen_to(*listener, NULL);
        if (status != NP_OK && status != NP_ERR_STATE)
            give_up(5, "np_listener_on after a failure: %s", np_status_message(status));
        return 0;
    }
    if (np_listener_get_address(*listener, 0, address) != NP_OK)
        give_up(5, "a started listener has no address");
    stage("listening");
    return 1;
}

static int live(np_config *config, np_listener **listeners) {
    np_error error = NP_ERROR_INIT;
    struct client clients[2] = {{"framed", {0}, frames, -1}, {"foreign", {0}, sent_to, -1}};
    pthread_t threads[2], polls;
    np_log_fn log = consumer == NP_CONSUMER_POLL ? NULL : on_log;
    char byte;
    if (!says("np_config_load_string",
              np_config_load_string(config, INI, sizeof INI - 1, "torture.ini", &error), &error)
        || !says("np_runtime_new", np_runtime_new(config, consumer, &runtime, &error), &error)
        || !says("np_runtime_set_log",
                 np_runtime_set_log(runtime, NP_LOG_INFO, log, hand_over(), destroy, &error),
                 &error)
        || (consumer == NP_CONSUMER_POLL
            && !says("np_loop_new", np_loop_new(runtime, NULL, 0, &polled, &error), &error)))
        return 0;
    stage("running");
    if (!start(config, &listeners[0], 1, &clients[0].address)
        || !start(config, &listeners[1], 0, &clients[1].address))
        return 0;
    if (polled != NULL)
        begin(&polls, poller, NULL);
    begin(&threads[0], run, &clients[0]);
    begin(&threads[1], run, &clients[1]);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    close(clients[0].fd);
    if (np_runtime_stop(runtime, 50) != NP_OK)
        give_up(5, "np_runtime_stop failed");
    stage("stopping");
    if (get(clients[1].fd, &byte, 1))
        give_up(5, "a byte instead of an end");
    close(clients[1].fd);
    if (np_runtime_wait(runtime, NP_FOREVER) != NP_OK)
        give_up(5, "np_runtime_wait failed");
    if (polled != NULL)
        pthread_join(polls, NULL);
    if (opened != closed)
        give_up(5, "%d opened, %d closed", opened, closed);
    if (lent_out != released)
        give_up(5, "%d lent, %d released", lent_out, released);
    stage("stopped");
    return 1;
}

/* What is left behind. */

/* How many entries a folder of /proc/self has; the words that tell of them go to `words`. */
static int entries(const char *folder, char *words, size_t size) {
    DIR *entries = opendir(folder);
    struct dirent *entry;
    int count = 0;
    if (entries == NULL)
        give_up(4, "%s: %s", folder, strerror(errno));
    words[0] = 0;
    while ((entry = readdir(entries)) != NULL) {
        char path[512], told[128];
        ssize_t len;
        FILE *name;
        if (entry->d_name[0] == '.')
            continue;
        count++;
        /* What a descriptor leads to, or what a thread is called; it may be gone by now. */
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        len = readlink(path, told, sizeof told - 1);
        told[len > 0 ? len : 0] = 0;
        snprintf(path, sizeof path, "%s/%s/comm", folder, entry->d_name);
        if (len < 0 && (name = fopen(path, "r")) != NULL) {
            if (fgets(told, sizeof told, name) != NULL)
                told[strcspn(told, "\n")] = 0;
            fclose(name);
        }
        len = (ssize_t)strlen(words);
        snprintf(words + len, size - (size_t)len, " %s", told);
    }
    closedir(entries);
    return count;
}

static char words[4096];

static int descriptors(void) {
    return entries("/proc/self/fd", words, sizeof words);
}

static int threads(void) {
    return entries("/proc/self/task", words, sizeof words);
}

/* A thread that has done its work may need a moment to go. */
static void wait_for_threads(int before) {
    int left, told = 0;
    while ((left = threads()) > before) {
        struct timespec moment = {0, 1000000};
        if (left != told)
            stage("%d threads are left:%s", left, words);
        told = left;
        nanosleep(&moment, NULL);
    }
}

int main(int argc, char **argv) {
    np_config *config = NULL;
    np_listener *listeners[2] = {NULL, NULL};
    int lived, at, descriptors_before, threads_before;
    alarm(600);
    if (argc > 1)
        consumer = strcmp(argv[1], "workers") == 0 ? NP_CONSUMER_WORKERS
                   : strcmp(argv[1], "poll") == 0  ? NP_CONSUMER_POLL
                                                   : NP_CONSUMER_CALLBACKS;
    descriptors_before = descriptors();
    threads_before = threads();
    if (np_config_new(&config) != NP_OK)
        give_up(5, "np_config_new failed");
    lived = live(config, listeners);
    if (np_listener_free(listeners[0]) != NP_OK || np_runtime_free(runtime) != NP_OK
        || np_listener_free(listeners[1]) != NP_OK || np_loop_free(polled) != NP_OK)
        give_up(5, "a free failed");
    np_config_free(config);
    stage("freed");
    for (at = 0; at < handed; at++)
        if (destroyed[at] != 1)
            give_up(5, "user data %d of %d was never released", at, handed);
    wait_for_threads(threads_before);
    if (descriptors() != descriptors_before)
        give_up(5, "%d descriptors instead of %d:%s", descriptors(), descriptors_before, words);
    stage("nothing is left");
    return lived ? 0 : 3;
}
