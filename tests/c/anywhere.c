/*
 * Every function of the header from places where little is left of a thread or process: in a
 * thread's last destructors, in which the library's own thread-local data is gone, and in the
 * child of a fork, which has none of the threads and all of the locks. In a destructor each
 * answers what it answers elsewhere; in a child NP_ERR_STATE, or what the header says.
 *
 * The functions come from border_symbols.h, which is made from include/nativeport.symbols.
 */
#define _GNU_SOURCE
#include <nativeport.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* What C++ registers the destructors of its thread_local objects with. */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library);
extern void *__dso_handle;

enum { FORKS = 100, PLAIN = 0, ASKED = 1, TLS = 2, POLLED = 3 };

static np_config *config, *spare;
static np_runtime *runtime, *polled;
static np_listener *listeners[4];
static np_loop *loop;
static np_conn standing;
static int in_child;

static const uint8_t bytes[2000];

static void destroy(void *user_data) {
    (void)user_data;
}

static void release(void *release_data, const uint8_t *data, size_t len) {
    (void)release_data;
    (void)data;
    (void)len;
}

/* The last connection that the library has told of. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static np_conn told;

static void tell(np_conn conn) {
    pthread_mutex_lock(&lock);
    told = conn;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)protocol;
    (void)first_byte;
    /* Of the others on_admit has told. */
    if (user_data == NULL)
        tell(conn);
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    (void)conn;
    (void)frames;
    (void)count;
}

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    (void)user_data;
    (void)conn;
    (void)data;
    (void)len;
}

static void on_admit(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    tell(conn);
}

static void on_log(void *user_data, const np_log_record *record) {
    (void)user_data;
    (void)record;
}

static int32_t visit(void *user_data, np_conn conn) {
    (void)user_data;
    (void)conn;
    return 0;
}

static int join(np_listener *listener, const void *first, size_t len) {
    struct sockaddr_in to;
    np_address address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(np_listener_get_address(listener, 0, &address) == NP_OK);
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)address.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(send(fd, first, len, MSG_NOSIGNAL) == (ssize_t)len);
    return fd;
}

/* A new connection that has begun so; in a child, where nobody would tell of it, an old one. */
static np_conn fresh(int which, const void *first, size_t len) {
    static int fd = -1;
    np_conn none = NP_CONN_NONE, conn;
    if (in_child)
        return standing;
    if (fd >= 0)
        close(fd);
    pthread_mutex_lock(&lock);
    told = none;
    pthread_mutex_unlock(&lock);
    fd = join(listeners[which], first, len);
    pthread_mutex_lock(&lock);
    while (told.id == 0)
        pthread_cond_wait(&changed, &lock);
    conn = told;
    pthread_mutex_unlock(&lock);
    return conn;
}

static np_conn framed(void) { return fresh(PLAIN, "\1", 1); }
static np_conn stream(void) { return fresh(PLAIN, "G", 1); }

static np_handler handler_for(int32_t protocol) {
    np_handler handler = NP_HANDLER_INIT;
    handler.on_open = on_open;
    if (protocol == NP_PROTOCOL_REMOTE_APPLICATION || protocol == NP_PROTOCOL_RELAY)
        handler.flags = NP_HANDLER_INBOX;
    else if (protocol == NP_PROTOCOL_CLIENT)
        handler.on_frames = on_frames;
    else
        handler.on_data = on_data;
    return handler;
}

/* A listener that is not started; in a child, where none can be made, a standing one. */
static np_listener *new_listener(int which) {
    np_listener *listener = NULL;
    np_handler handler = handler_for(NP_PROTOCOL_CLIENT);
    if (in_child)
        return listeners[PLAIN];
    CHECK(np_listener_new(runtime, config, (uint32_t)which, &listener, NULL) == NP_OK);
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, NULL) == NP_OK);
    return listener;
}

static np_status end(np_listener *listener, np_status status) {
    if (!in_child)
        CHECK(np_listener_free(listener) == NP_OK);
    return status;
}

static np_config *new_config(void) {
    np_config *made = config;
    if (!in_child)
        CHECK(np_config_new(&made) == NP_OK);
    return made;
}

static np_status end_config(np_config *made, np_status status) {
    if (!in_child)
        np_config_free(made);
    return status;
}

/* One call of each, with arguments that are good. Those without a status answer NP_OK if they
   give what the header says. */

#define CALL(name) static np_status call_##name(void)
#define GIVES(condition) ((condition) ? NP_OK : NP_ERR_INTERNAL)

CALL(np_version_number) { return GIVES(np_version_number() == NP_VERSION_NUMBER); }
CALL(np_version_string) { return GIVES(strcmp(np_version_string(), NP_VERSION_STRING) == 0); }
CALL(np_has_feature) { return GIVES(np_has_feature("tls") == 1); }
CALL(np_status_name) { return GIVES(strcmp(np_status_name(NP_OK), "NP_OK") == 0); }
CALL(np_status_message) { return GIVES(strcmp(np_status_message(NP_OK), "success") == 0); }
CALL(np_close_reason_name) {
    return GIVES(strcmp(np_close_reason_name(NP_CLOSE_PEER_CLOSED), "peer_closed") == 0);
}
CALL(np_close_by_name) { return GIVES(strcmp(np_close_by_name(NP_BY_PEER), "peer") == 0); }
CALL(np_close_stage_name) { return GIVES(strcmp(np_close_stage_name(NP_STAGE_TLS), "tls") == 0); }

CALL(np_config_new) {
    np_config *made = NULL;
    np_status status = np_config_new(&made);
    np_config_free(made);
    return status;
}

CALL(np_config_load_file) {
    np_error error = NP_ERROR_INIT;
    np_config *made = new_config();
    return end_config(made, np_config_load_file(made, "/no/such/file.ini", &error));
}

CALL(np_config_load_string) {
    np_error error = NP_ERROR_INIT;
    np_config *made = new_config();
    return end_config(made, np_config_load_string(made, "[Port]\nport=0\n", 14, "x", &error));
}

CALL(np_config_add_port) {
    np_config *made = new_config();
    return end_config(made, np_config_add_port(made, "web", NULL, NULL));
}

CALL(np_config_set) {
    np_config *made = new_config();
    return end_config(made, np_config_set(made, "Runtime", "ioThreads", "1", NULL));
}

CALL(np_config_get) {
    char buffer[16];
    return np_config_get(config, "Port.plain", "port", buffer, sizeof buffer, NULL);
}

CALL(np_config_check) {
    uint32_t errors = 9;
    np_status status = np_config_check(config, NULL, NULL, &errors, NULL);
    CHECK(status != NP_OK || errors == 0);
    return status;
}

CALL(np_config_port_count) { return GIVES(np_config_port_count(config) == (in_child ? 0u : 4u)); }

CALL(np_config_get_port_name) {
    char buffer[16];
    return np_config_get_port_name(config, 0, buffer, sizeof buffer, NULL);
}

CALL(np_config_get_port_written_name) {
    char buffer[16];
    return np_config_get_port_written_name(config, 0, buffer, sizeof buffer, NULL);
}

CALL(np_config_free) {
    np_config_free(in_child ? spare : new_config());
    return NP_OK;
}

CALL(np_frame_take) {
    np_frame frame = {bytes, sizeof bytes, 0, 0}, taken = {NULL, 0, 0, 0};
    np_status status = np_frame_take(&frame, &taken);
    np_frame_free(&taken);
    return status;
}

CALL(np_frame_free) {
    np_frame taken = {NULL, 0, 0, 0};
    np_frame_free(&taken);
    return GIVES(taken.data == NULL);
}

CALL(np_runtime_new) {
    np_runtime *made = NULL;
    np_error error = NP_ERROR_INIT;
    np_status status = np_runtime_new(config, NP_CONSUMER_WORKERS, &made, &error);
    if (status == NP_OK)
        CHECK(np_runtime_free(made) == NP_OK);
    return status;
}

CALL(np_runtime_set_log) {
    return np_runtime_set_log(runtime, NP_LOG_INFO, on_log, NULL, destroy, NULL);
}

static np_runtime *new_runtime(int32_t consumer) {
    np_runtime *made = consumer == NP_CONSUMER_POLL ? polled : runtime;
    if (!in_child)
        CHECK(np_runtime_new(config, consumer, &made, NULL) == NP_OK);
    return made;
}

static np_status end_runtime(np_runtime *made, np_status status) {
    if (!in_child)
        CHECK(np_runtime_free(made) == NP_OK);
    return status;
}

CALL(np_runtime_stop) {
    np_runtime *made = new_runtime(NP_CONSUMER_CALLBACKS);
    return end_runtime(made, np_runtime_stop(made, 1000));
}

CALL(np_runtime_wait) {
    np_runtime *made = new_runtime(NP_CONSUMER_CALLBACKS);
    if (!in_child)
        CHECK(np_runtime_stop(made, 0) == NP_OK);
    return end_runtime(made, np_runtime_wait(made, UINT64_MAX - 1));
}

CALL(np_runtime_free) {
    return np_runtime_free(new_runtime(NP_CONSUMER_WORKERS));
}

CALL(np_runtime_each_conn) { return np_runtime_each_conn(runtime, visit, NULL); }

CALL(np_runtime_get_stats) {
    np_stats stats = NP_STATS_INIT;
    return np_runtime_get_stats(runtime, &stats);
}

CALL(np_listener_get_stats) {
    np_stats stats = NP_STATS_INIT;
    return np_listener_get_stats(listeners[PLAIN], &stats);
}

CALL(np_stats_prometheus) {
    static char text[1 << 17];
    return np_stats_prometheus(runtime, text, sizeof text, NULL);
}

CALL(np_listener_new) {
    np_listener *made = NULL;
    np_error error = NP_ERROR_INIT;
    np_status status = np_listener_new(runtime, config, TLS, &made, &error);
    if (status == NP_OK)
        CHECK(np_listener_free(made) == NP_OK);
    return status;
}

CALL(np_listener_on) {
    np_listener *listener = new_listener(PLAIN);
    np_handler handler = handler_for(NP_PROTOCOL_UNKNOWN);
    handler.destroy = destroy;
    return end(listener, np_listener_on(listener, NP_PROTOCOL_UNKNOWN, &handler, NULL));
}

CALL(np_listener_on_admit) {
    np_listener *listener = new_listener(PLAIN);
    np_admission admission = NP_ADMISSION_INIT;
    admission.destroy = destroy;
    admission.on_admit = on_admit;
    return end(listener, np_listener_on_admit(listener, &admission, NULL));
}

CALL(np_listener_start) {
    np_listener *listener = new_listener(TLS);
    return end(listener, np_listener_start(listener, NULL));
}

CALL(np_listener_get_address) {
    np_address address;
    return np_listener_get_address(listeners[PLAIN], 0, &address);
}

CALL(np_listener_pause) { return np_listener_pause(listeners[TLS]); }
CALL(np_listener_resume) { return np_listener_resume(listeners[TLS]); }

CALL(np_listener_stop) {
    np_listener *listener = new_listener(PLAIN);
    return end(listener, np_listener_stop(listener, 0));
}

CALL(np_listener_wait) {
    np_listener *listener = new_listener(PLAIN);
    if (!in_child) {
        CHECK(np_listener_start(listener, NULL) == NP_OK);
        CHECK(np_listener_stop(listener, 0) == NP_OK);
    }
    return end(listener, np_listener_wait(listener, NP_FOREVER));
}

CALL(np_listener_free) { return np_listener_free(new_listener(PLAIN)); }

CALL(np_conn_admit) { return np_conn_admit(fresh(ASKED, "\1", 1)); }
CALL(np_conn_refuse) { return np_conn_refuse(fresh(ASKED, "\1", 1), bytes, 100); }
CALL(np_conn_pause_reading) { return np_conn_pause_reading(framed()); }
CALL(np_conn_resume_reading) { return np_conn_resume_reading(framed()); }
CALL(np_conn_shutdown) { return np_conn_shutdown(framed()); }
CALL(np_conn_close) { return np_conn_close(framed(), 1); }
CALL(np_conn_abort) { return np_conn_abort(framed(), 1); }
CALL(np_conn_set_deadline) { return np_conn_set_deadline(framed(), UINT64_MAX - 1); }

CALL(np_conn_get_info) {
    np_conn_info info = NP_CONN_INFO_INIT;
    return np_conn_get_info(framed(), &info);
}

CALL(np_conn_set_user_data) { return np_conn_set_user_data(framed(), &told, destroy); }

CALL(np_conn_get_user_data) {
    void *user_data;
    return np_conn_get_user_data(framed(), &user_data);
}

/* Long enough to be compressed. */
CALL(np_conn_send_frame) { return np_conn_send_frame(framed(), bytes, sizeof bytes, 0); }

CALL(np_conn_send_frames) {
    np_frame frames[2] = {{bytes, sizeof bytes, 0, 0}, {bytes, 10, NP_FRAME_NO_COMPRESS, 0}};
    return np_conn_send_frames(framed(), frames, 2, NULL);
}

CALL(np_conn_send_frame_owned) {
    return np_conn_send_frame_owned(framed(), bytes, sizeof bytes, release, NULL, 0);
}

CALL(np_conn_send_bytes) { return np_conn_send_bytes(stream(), bytes, sizeof bytes); }
CALL(np_conn_cork) { return np_conn_cork(framed()); }
CALL(np_conn_uncork) { return np_conn_uncork(framed()); }

CALL(np_conn_recv_frame) {
    np_frame taken = {NULL, 0, 0, 0};
    np_status status =
        np_conn_recv_frame(fresh(PLAIN, "\3\0\0\0\1x", 6), UINT64_MAX - 1, &taken);
    np_frame_free(&taken);
    return status;
}

CALL(np_conn_recv_bytes) {
    uint8_t buffer[10];
    size_t received;
    return np_conn_recv_bytes(fresh(PLAIN, "\2x", 2), buffer, sizeof buffer, NP_FOREVER,
                              &received);
}

CALL(np_loop_new) {
    np_runtime *made = new_runtime(NP_CONSUMER_POLL);
    np_loop *another = NULL;
    np_status status = np_loop_new(made, NULL, 0, &another, NULL);
    end_runtime(made, status);
    if (status == NP_OK)
        CHECK(np_loop_free(another) == NP_OK);
    return status;
}

CALL(np_loop_poll) {
    np_event events[8];
    size_t count = 0;
    np_status status = NP_OK;
    int opened = in_child, fd = in_child ? -1 : join(listeners[POLLED], "\1\0\0\0\1x", 6);
    do {
        status = np_loop_poll(loop, events, 8, UINT64_MAX - 1, &count);
        for (size_t at = 0; status == NP_OK && at < count; at++)
            opened |= events[at].kind == NP_EVENT_FRAMES;
    } while (status == NP_OK && !opened);
    close(fd);
    return status;
}

CALL(np_loop_wake) { return np_loop_wake(loop); }

CALL(np_loop_free) {
    np_runtime *made = new_runtime(NP_CONSUMER_POLL);
    np_loop *another = loop;
    np_status status;
    if (!in_child)
        CHECK(np_loop_new(made, NULL, NP_LOOP_BUFFER_MIN_SIZE, &another, NULL) == NP_OK);
    status = np_loop_free(another);
    return end_runtime(made, status);
}

/* One for each function of the golden list: a function without a call does not compile. */
static const struct {
    const char *name;
    np_status (*call)(void);
} calls[] = {
#define NAME(name) {#name, call_##name},
#include "border_symbols.h"
};
enum { CALLS = sizeof calls / sizeof calls[0] };

static np_status usual[CALLS];
static atomic_int places;

/* Everything, and the answers are the usual ones. */
static void call_all(const char *place) {
    for (int at = 0; at < CALLS; at++) {
        np_status status = calls[at].call();
        if (status != usual[at]) {
            fprintf(stderr, "%s: %s answers %s instead of %s\n", place, calls[at].name,
                    np_status_name(status), np_status_name(usual[at]));
            abort();
        }
    }
    places++;
}

static pthread_key_t key;

static void in_key_destructor(void *value) {
    (void)value;
    call_all("in the destructor of a key");
}

static void in_thread_local_destructor(void *value) {
    (void)value;
    call_all("in the destructor of a thread_local");
}

/* The first of these destructors runs last, after the library's own thread-local data is gone. */
static void *thread(void *uses_before) {
    CHECK(pthread_setspecific(key, &key) == 0);
    CHECK(__cxa_thread_atexit_impl(in_thread_local_destructor, &key, &__dso_handle) == 0);
    if (uses_before != NULL)
        call_all("in a thread");
    return NULL;
}

static int answers_in_a_child(const char *name) {
    static const char *const names[] = {
        "np_version_number", "np_version_string", "np_has_feature", "np_status_name",
        "np_status_message", "np_close_reason_name", "np_close_by_name", "np_close_stage_name",
        "np_config_port_count", "np_config_free", "np_frame_free",
    };
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++)
        if (strcmp(name, names[at]) == 0)
            return 1;
    return 0;
}

static void child(void) {
    in_child = 1;
    /* One that hangs is ended. */
    signal(SIGALRM, SIG_DFL);
    alarm(120);
    for (int at = 0; at < CALLS; at++) {
        np_status expected = answers_in_a_child(calls[at].name) ? NP_OK : NP_ERR_STATE;
        np_status status = calls[at].call();
        if (status != expected) {
            fprintf(stderr, "in a child: %s answers %s instead of %s\n", calls[at].name,
                    np_status_name(status), np_status_name(expected));
            _exit(1);
        }
    }
    _exit(0);
}

static atomic_int stop_busy;

/* Holds the locks that a child would want most of the time. */
static void *busy(void *argument) {
    char buffer[16];
    np_stats stats = NP_STATS_INIT;
    while (!stop_busy) {
        if (argument == NULL) {
            CHECK(np_config_get(config, "Port.plain", "port", buffer, 16, NULL) == NP_OK);
            CHECK(np_config_port_count(config) == 4);
        } else {
            CHECK(np_runtime_get_stats(runtime, &stats) == NP_OK);
            CHECK(np_runtime_each_conn(runtime, visit, NULL) == NP_OK);
        }
    }
    return NULL;
}

static void start(int which, int32_t consumer) {
    np_error error = NP_ERROR_INIT;
    np_runtime *owner = consumer == NP_CONSUMER_POLL ? polled : runtime;
    np_admission admission = NP_ADMISSION_INIT;
    CHECK(np_listener_new(owner, config, (uint32_t)which, &listeners[which], &error) == NP_OK);
    for (int32_t protocol = NP_PROTOCOL_CLIENT; protocol <= NP_PROTOCOL_UNKNOWN; protocol++) {
        np_handler bare = NP_HANDLER_INIT, handler = handler_for(protocol);
        handler.user_data = which == PLAIN ? NULL : &told;
        if (consumer == NP_CONSUMER_POLL)
            handler = bare;
        CHECK(np_listener_on(listeners[which], protocol, &handler, &error) == NP_OK);
    }
    admission.on_admit = on_admit;
    if (which == ASKED)
        CHECK(np_listener_on_admit(listeners[which], &admission, &error) == NP_OK);
    CHECK(np_listener_start(listeners[which], &error) == NP_OK);
}

int main(void) {
    static const char ini[] =
        "[Runtime]\nioThreads=1\nhandshakeThreads=1\nworkerThreads=1\n"
        "[Port.plain]\nport=0\nbindAddress=127.0.0.1\n[Port.asked]\nport=0\nbindAddress=127.0.0.1\n"
        "[Port.tls]\nport=0\nbindAddress=localhost\nsslSection=TLS\n"
        "[Port.polled]\nport=0\nbindAddress=127.0.0.1\n[TLS]\nselfSigned=localhost\n";
    pthread_t threads[2];
    int fd;
    alarm(600);
    CHECK(np_config_new(&config) == NP_OK && np_config_new(&spare) == NP_OK);
    CHECK(np_config_load_string(config, ini, sizeof ini - 1, "anywhere.ini", NULL) == NP_OK);
    CHECK(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, NULL) == NP_OK);
    CHECK(np_runtime_new(config, NP_CONSUMER_POLL, &polled, NULL) == NP_OK);
    CHECK(np_loop_new(polled, NULL, 0, &loop, NULL) == NP_OK);
    start(PLAIN, NP_CONSUMER_CALLBACKS);
    start(ASKED, NP_CONSUMER_CALLBACKS);
    start(TLS, NP_CONSUMER_CALLBACKS);
    start(POLLED, NP_CONSUMER_POLL);
    for (int at = 0; at < CALLS; at++) {
        usual[at] = calls[at].call();
        /* What it is about was there. */
        if (usual[at] != NP_OK)
            CHECK(strcmp(calls[at].name, "np_config_load_file") == 0
                  || strcmp(calls[at].name, "np_conn_get_user_data") == 0);
    }
    CHECK(pthread_key_create(&key, in_key_destructor) == 0);
    for (int uses_before = 0; uses_before < 2; uses_before++) {
        CHECK(pthread_create(&threads[0], NULL, thread, uses_before ? &key : NULL) == 0);
        CHECK(pthread_join(threads[0], NULL) == 0);
    }
    CHECK(places == 5);
    pthread_mutex_lock(&lock);
    told.id = 0;
    pthread_mutex_unlock(&lock);
    fd = join(listeners[PLAIN], "\1", 1);
    pthread_mutex_lock(&lock);
    while (told.id == 0)
        pthread_cond_wait(&changed, &lock);
    standing = told;
    pthread_mutex_unlock(&lock);
    fflush(stdout);
    for (int at = 0; at < 2; at++)
        CHECK(pthread_create(&threads[at], NULL, busy, at == 0 ? NULL : &key) == 0);
    for (int at = 0; at < FORKS; at++) {
        int status = 0;
        pid_t made = fork();
        CHECK(made >= 0);
        if (made == 0)
            child();
        CHECK(waitpid(made, &status, 0) == made);
        CHECK(status == 0);
    }
    stop_busy = 1;
    for (int at = 0; at < 2; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
    close(fd);
    for (int which = 0; which < 4; which++)
        CHECK(np_listener_free(listeners[which]) == NP_OK);
    CHECK(np_runtime_free(runtime) == NP_OK && np_runtime_free(polled) == NP_OK);
    CHECK(np_loop_free(loop) == NP_OK);
    np_config_free(config);
    np_config_free(spare);
    puts("ok");
    return 0;
}
