/*
 * blocking: a thread per connection, that receives a frame and sends it back, in a loop.
 *
 *     blocking FILE.ini
 *
 * With NP_HANDLER_INBOX input waits in the connection's inbox until a thread takes it. Once
 * receiveWindow bytes wait there, nothing more is read from the client.
 *
 *     on_open ──► thread:  np_conn_recv_frame ──► np_conn_send_frame ─┐
 *                            ▲                     │ WOULD_BLOCK      │
 *                            │   on_writable ──► waits ◄┘             │
 *                            └────────────────────────────────────────┘
 *
 * SIGINT (Ctrl-C) or SIGTERM ends the program, after what is open has had DRAIN_MS.
 */
#define _POSIX_C_SOURCE 200809L

#include <nativeport.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS 5000

/* One connection's thread. Belongs to both that and the connection. */
struct session {
    np_conn conn;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int writable;
    int closed;
    int references;
};

/* Threads that are still at it: the program ends after the last one. */
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t running_changed = PTHREAD_COND_INITIALIZER;
static int running;

static void count_running(int change) {
    pthread_mutex_lock(&running_lock);
    running += change;
    pthread_cond_signal(&running_changed);
    pthread_mutex_unlock(&running_lock);
}

static void release(struct session *session) {
    int references;
    pthread_mutex_lock(&session->lock);
    references = --session->references;
    pthread_mutex_unlock(&session->lock);
    if (references > 0)
        return;
    pthread_cond_destroy(&session->changed);
    pthread_mutex_destroy(&session->lock);
    free(session);
}

/* Outside of callbacks a send may be refused; on_writable tells when to try again. */
static np_status send_frame(struct session *session, const np_frame *frame) {
    for (;;) {
        np_status status;
        pthread_mutex_lock(&session->lock);
        session->writable = 0;
        pthread_mutex_unlock(&session->lock);
        status = np_conn_send_frame(session->conn, frame->data, frame->len, 0);
        if (status != NP_ERR_WOULD_BLOCK)
            return status;
        pthread_mutex_lock(&session->lock);
        while (!session->writable && !session->closed)
            pthread_cond_wait(&session->changed, &session->lock);
        pthread_mutex_unlock(&session->lock);
    }
}

static void *converse(void *argument) {
    struct session *session = argument;
    np_frame frame;
    np_status status;
    /* NP_ERR_CLOSED comes when everything was taken and the client sends nothing more; the
     * library closes then, behind what was sent. */
    while ((status = np_conn_recv_frame(session->conn, NP_FOREVER, &frame)) == NP_OK) {
        status = send_frame(session, &frame);
        np_frame_free(&frame);
        if (status != NP_OK)
            break;
    }
    release(session);
    count_running(-1);
    return NULL;
}

static void connection_ended(void *user_data) {
    release(user_data);
}

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    struct session *session = calloc(1, sizeof *session);
    pthread_attr_t detached;
    pthread_t thread;
    int failed;
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    if (session == NULL) {
        np_conn_abort(conn, 1);
        return;
    }
    session->conn = conn;
    session->references = 2;
    pthread_mutex_init(&session->lock, NULL);
    pthread_cond_init(&session->changed, NULL);
    np_conn_set_user_data(conn, session, connection_ended);
    count_running(1);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &detached, converse, session);
    pthread_attr_destroy(&detached);
    if (failed) {
        release(session);
        count_running(-1);
        np_conn_abort(conn, 1);
    }
}

/* Lets the connection's thread look again. */
static void tell(np_conn conn, int closed) {
    void *user_data = NULL;
    struct session *session;
    if (np_conn_get_user_data(conn, &user_data) != NP_OK || user_data == NULL)
        return;
    session = user_data;
    pthread_mutex_lock(&session->lock);
    session->writable = 1;
    session->closed |= closed;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

static void on_writable(void *user_data, np_conn conn) {
    (void)user_data;
    tell(conn, 0);
}

static void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    (void)user_data;
    (void)info;
    tell(conn, 1);
}

static np_status start(np_runtime *runtime, const np_config *config, np_listener **listener,
                       np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_status status = np_listener_new(runtime, config, 0, listener, error);
    handler.flags = NP_HANDLER_INBOX;
    handler.on_open = on_open;
    handler.on_writable = on_writable;
    handler.on_close = on_close;
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_CLIENT, &handler, error);
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, error);
    if (status == NP_OK)
        status = np_listener_start(*listener, error);
    return status;
}

int main(int argc, char **argv) {
    np_error error = NP_ERROR_INIT;
    np_address address;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener *listener = NULL;
    np_status status;
    sigset_t ends;
    int signal_number;

    if (argc != 2) {
        fprintf(stderr, "usage: blocking FILE.ini\n");
        return 2;
    }
    /* Blocked before any other thread exists, so that sigwait below gets them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &ends, NULL) != 0)
        return 1;

    status = np_config_new(&config);
    if (status == NP_OK)
        status = np_config_load_file(config, argv[1], &error);
    if (status == NP_OK)
        status = np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error);
    if (status == NP_OK)
        status = start(runtime, config, &listener, &error);
    if (status == NP_OK)
        status = np_listener_get_address(listener, 0, &address);

    if (status == NP_OK) {
        printf("listening %s %u\n", address.host, (unsigned)address.port);
        fflush(stdout);
        sigwait(&ends, &signal_number);
        np_runtime_stop(runtime, DRAIN_MS);
        np_runtime_wait(runtime, NP_FOREVER);
    } else {
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));
    }
    np_listener_free(listener);
    np_runtime_free(runtime);
    /* Every connection has ended: its thread is told NP_ERR_CLOSED, and goes. */
    pthread_mutex_lock(&running_lock);
    while (running > 0)
        pthread_cond_wait(&running_changed, &running_lock);
    pthread_mutex_unlock(&running_lock);
    np_config_free(config);
    return status == NP_OK ? 0 : 2;
}
