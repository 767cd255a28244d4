/*
 * poll: a host with a loop of its own. It asks for events when it wants them, on its own
 * thread, and sends every frame back.
 *
 *     poll FILE.ini
 *
 * A send to a connection whose queue is full is refused here, unlike in a callback. So the
 * loop looks at the queue after each answer, and reads no more of a client that does not take
 * its answers; NP_EVENT_WRITABLE tells when to go on. What had been polled by then is kept.
 *
 * SIGINT (Ctrl-C) or SIGTERM ends the program, after what is open has had DRAIN_MS.
 */
#define _POSIX_C_SOURCE 200809L

#include <nativeport.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CAPACITY 64

#define DRAIN_MS 5000

/* Frames that had no room in the send queue. Hangs on its connection. */
struct unsent {
    np_frame frame;
    struct unsent *next;
};

struct session {
    struct unsent *first;
    struct unsent **last;
    int ended;  /* the peer sends nothing more */
};

static void drop_first(struct session *session) {
    struct unsent *sent = session->first;
    session->first = sent->next;
    if (session->first == NULL)
        session->last = &session->first;
    np_frame_free(&sent->frame);
    free(sent);
}

static void session_free(void *user_data) {
    struct session *session = user_data;
    while (session->first != NULL)
        drop_first(session);
    free(session);
}

static void open_session(np_conn conn) {
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        (void)np_conn_abort(conn, 1);
        return;
    }
    session->last = &session->first;
    /* Whatever this answers, the session is freed once. */
    (void)np_conn_set_user_data(conn, session, session_free);
}

/* The thread that polls may ask for it. NULL if there was no memory for one. */
static struct session *session_of(np_conn conn) {
    void *session = NULL;
    return np_conn_get_user_data(conn, &session) == NP_OK ? session : NULL;
}

/* What the event points to is valid until the next poll only. */
static int keep(struct session *session, const np_frame *frame) {
    struct unsent *unsent = calloc(1, sizeof *unsent);
    if (unsent == NULL || np_frame_take(frame, &unsent->frame) != NP_OK) {
        free(unsent);
        return 0;
    }
    *session->last = unsent;
    session->last = &unsent->next;
    return 1;
}

static void on_frames(np_conn conn, const np_frame *frames, size_t count) {
    struct session *session = session_of(conn);
    size_t sent = 0;
    if (session == NULL)
        return;
    if (session->first == NULL
        && np_conn_send_frames(conn, frames, count, &sent) != NP_ERR_WOULD_BLOCK)
        return;
    /* The client is slow: no more of it until it has taken this. */
    (void)np_conn_pause_reading(conn);
    for (; sent < count; sent++) {
        if (!keep(session, &frames[sent])) {
            (void)np_conn_abort(conn, 1);
            return;
        }
    }
}

static void on_writable(np_conn conn) {
    struct session *session = session_of(conn);
    if (session == NULL)
        return;
    while (session->first != NULL) {
        const np_frame *frame = &session->first->frame;
        if (np_conn_send_frame(conn, frame->data, frame->len, 0) == NP_ERR_WOULD_BLOCK)
            return;
        drop_first(session);
    }
    (void)np_conn_resume_reading(conn);
    if (session->ended)
        (void)np_conn_close(conn, 0);
}

/* The handler has NP_HANDLER_HALF_CLOSE: the client may still be owed what was kept. */
static void on_end(np_conn conn) {
    struct session *session = session_of(conn);
    if (session != NULL && session->first != NULL)
        session->ended = 1;
    else
        (void)np_conn_close(conn, 0);
}

/* The host's own loop. Other work of the program would stand here as well. */
static void serve(np_loop *loop) {
    np_event events[CAPACITY];
    size_t count;
    while (np_loop_poll(loop, events, CAPACITY, NP_FOREVER, &count) == NP_OK) {
        for (size_t i = 0; i < count; i++) {
            const np_event *event = &events[i];
            switch (event->kind) {
            case NP_EVENT_OPEN:
                open_session(event->conn);
                break;
            case NP_EVENT_FRAMES:
                on_frames(event->conn, event->frames, event->count);
                break;
            case NP_EVENT_WRITABLE:
                on_writable(event->conn);
                break;
            case NP_EVENT_END:
                on_end(event->conn);
                break;
            default:
                break;
            }
        }
    }
}

/* Waits for a signal beside the loop, and lets that end. */
struct watch {
    sigset_t ends;
    np_runtime *runtime;
};

static void *watch_signals(void *argument) {
    struct watch *watch = argument;
    int signal_number;
    sigwait(&watch->ends, &signal_number);
    (void)np_runtime_stop(watch->runtime, DRAIN_MS);
    return NULL;
}

static np_status start(np_runtime *runtime, const np_config *config, np_listener **listener,
                       np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_status status = np_listener_new(runtime, config, 0, listener, error);
    handler.flags = NP_HANDLER_HALF_CLOSE;
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
    np_loop *loop = NULL;
    np_listener *listener = NULL;
    np_status status;
    struct watch watch;
    pthread_t watcher;

    if (argc != 2) {
        fprintf(stderr, "usage: poll FILE.ini\n");
        return 2;
    }
    /* Blocked before any other thread exists, so that sigwait gets them. */
    sigemptyset(&watch.ends);
    sigaddset(&watch.ends, SIGINT);
    sigaddset(&watch.ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &watch.ends, NULL) != 0)
        return 1;

    status = np_config_new(&config);
    if (status == NP_OK)
        status = np_config_load_file(config, argv[1], &error);
    if (status == NP_OK)
        status = np_runtime_new(config, NP_CONSUMER_POLL, &runtime, &error);
    if (status == NP_OK)
        status = np_loop_new(runtime, NULL, 0, &loop, &error);
    if (status == NP_OK)
        status = start(runtime, config, &listener, &error);
    if (status == NP_OK)
        status = np_listener_get_address(listener, 0, &address);
    watch.runtime = runtime;
    if (status == NP_OK && pthread_create(&watcher, NULL, watch_signals, &watch) != 0)
        status = NP_ERR_NO_THREADS;

    if (status == NP_OK) {
        printf("listening %s %u\n", address.host, (unsigned)address.port);
        fflush(stdout);
        serve(loop);
        pthread_join(watcher, NULL);
    } else {
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));
    }
    np_listener_free(listener);
    np_runtime_free(runtime);
    np_loop_free(loop);
    np_config_free(config);
    return status == NP_OK ? 0 : 2;
}
