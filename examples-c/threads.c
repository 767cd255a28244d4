/*
 * threads: answers from other threads. The callbacks only queue what arrived; a small
 * pool of workers does the work and sends the answers.
 *
 *     threads FILE.ini
 *
 *     on_frames ──► session: frames that wait ──► run queue ──► worker ──► np_conn_send_frames
 *     on_writable ─────────────────────────────────►┘  ▲                        │ WOULD_BLOCK
 *                                                      └── the session waits ◄──┘
 *
 * A session is in the run queue at most once and with one worker at a time, so the answers
 * of a connection keep its order. Both directions are bounded: a session with many waiting
 * frames is not read, and one whose peer does not read is not worked on.
 */
#define _POSIX_C_SOURCE 200809L

#include <nativeport.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 4

/* So many waiting frames pause reading; what was read already may exceed it. */
#define MOST_WAITING 256

/* A worker takes so many frames of a session, then turns to the next one. */
#define BATCH 64

#define DRAIN_MS 5000

struct waiting_frame {
    np_frame frame;
    struct waiting_frame *next;
};

enum session_state {
    IDLE,      /* nothing waits */
    RUNNABLE,  /* in the run queue */
    RUNNING,   /* with a worker */
    BLOCKED    /* its send queue is full; on_writable makes it runnable */
};

/* One connection's work. Lives as long as its connection or a worker needs it. */
struct session {
    np_conn conn;
    unsigned references;
    enum session_state state;
    int writable;  /* on_writable came since the worker took the session */
    int paused;
    int ended;     /* the peer will send nothing more */
    size_t waiting;
    struct waiting_frame *first;
    struct waiting_frame *last;
    struct session *next;  /* in the run queue */
};

/* One lock for everything keeps the example short; it is never held during a send. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct session *run_first;
static struct session *run_last;
static int stopping;

/* ---- sessions; all with the lock held ---- */

static void make_runnable(struct session *session) {
    session->state = RUNNABLE;
    session->references++;
    session->next = NULL;
    if (run_last != NULL)
        run_last->next = session;
    else
        run_first = session;
    run_last = session;
    pthread_cond_signal(&work);
}

static struct session *next_runnable(void) {
    struct session *session = run_first;
    run_first = session->next;
    if (run_first == NULL)
        run_last = NULL;
    return session;
}

static void append(struct session *session, struct waiting_frame *waiting) {
    waiting->next = NULL;
    if (session->last != NULL)
        session->last->next = waiting;
    else
        session->first = waiting;
    session->last = waiting;
    session->waiting++;
}

static void drop_first(struct session *session) {
    struct waiting_frame *done = session->first;
    session->first = done->next;
    if (session->first == NULL)
        session->last = NULL;
    session->waiting--;
    np_frame_free(&done->frame);
    free(done);
}

static void release(struct session *session) {
    if (--session->references > 0)
        return;
    while (session->first != NULL)
        drop_first(session);
    free(session);
}

/* ---- callbacks, on the library's threads ---- */

static void connection_ended(void *user_data) {
    pthread_mutex_lock(&lock);
    release(user_data);
    pthread_mutex_unlock(&lock);
}

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    struct session *session = calloc(1, sizeof *session);
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    if (session == NULL) {
        np_conn_abort(conn, 1);
        return;
    }
    session->conn = conn;
    session->references = 1;
    /* Whatever this answers, the session is released once. */
    np_conn_set_user_data(conn, session, connection_ended);
}

/* NULL if on_open had no memory for one. */
static struct session *session_of(np_conn conn) {
    void *session = NULL;
    if (np_conn_get_user_data(conn, &session) != NP_OK)
        return NULL;
    return session;
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    struct session *session;
    (void)user_data;
    session = session_of(conn);
    if (session == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        /* The frame is valid until this callback returns: a worker needs a copy. */
        struct waiting_frame *waiting = calloc(1, sizeof *waiting);
        if (waiting == NULL || np_frame_take(&frames[i], &waiting->frame) != NP_OK) {
            free(waiting);
            np_conn_abort(conn, 1);
            return;
        }
        pthread_mutex_lock(&lock);
        append(session, waiting);
        if (session->state == IDLE)
            make_runnable(session);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    if (session->waiting > MOST_WAITING && !session->paused) {
        session->paused = 1;
        /* With the lock held, so that no worker resumes before it is paused. */
        np_conn_pause_reading(conn);
    }
    pthread_mutex_unlock(&lock);
}

static void on_writable(void *user_data, np_conn conn) {
    struct session *session;
    (void)user_data;
    session = session_of(conn);
    if (session == NULL)
        return;
    pthread_mutex_lock(&lock);
    session->writable = 1;
    if (session->state == BLOCKED)
        make_runnable(session);
    pthread_mutex_unlock(&lock);
}

/* The peer sends nothing more, but workers may still owe it answers: who finds the session
 * idle closes. (Without on_end the library would close when all frames were delivered.) */
static void on_end(void *user_data, np_conn conn) {
    struct session *session;
    int idle;
    (void)user_data;
    session = session_of(conn);
    if (session == NULL)
        return;
    pthread_mutex_lock(&lock);
    session->ended = 1;
    idle = session->state == IDLE;
    pthread_mutex_unlock(&lock);
    if (idle)
        np_conn_close(conn, 0);
}

/* ---- workers ---- */

/* Answers up to BATCH frames, without the lock: this is where work takes its time. */
static np_status answer(np_conn conn, const np_frame *frames, size_t count, size_t *accepted) {
    *accepted = 0;
    return np_conn_send_frames(conn, frames, count, accepted);
}

static void run(struct session *session) {
    np_frame frames[BATCH];
    size_t count = 0;
    size_t accepted;
    np_status status;
    int done;

    session->state = RUNNING;
    session->writable = 0;
    for (struct waiting_frame *w = session->first; w != NULL && count < BATCH; w = w->next)
        frames[count++] = w->frame;
    pthread_mutex_unlock(&lock);
    status = answer(session->conn, frames, count, &accepted);
    pthread_mutex_lock(&lock);

    if (status != NP_OK && status != NP_ERR_WOULD_BLOCK)
        accepted = session->waiting;  /* the connection has ended: nobody wants the rest */
    while (accepted-- > 0)
        drop_first(session);
    if (session->paused && session->waiting <= MOST_WAITING / 2) {
        session->paused = 0;
        np_conn_resume_reading(session->conn);
    }
    if (session->first == NULL)
        session->state = IDLE;
    else if (status == NP_ERR_WOULD_BLOCK && !session->writable)
        session->state = BLOCKED;
    else
        make_runnable(session);

    done = session->ended && session->state == IDLE;
    if (done) {
        pthread_mutex_unlock(&lock);
        np_conn_close(session->conn, 0);
        pthread_mutex_lock(&lock);
    }
}

static void *worker(void *unused) {
    pthread_mutex_lock(&lock);
    for (;;) {
        struct session *session;
        while (run_first == NULL && !stopping)
            pthread_cond_wait(&work, &lock);
        if (run_first == NULL)
            break;
        session = next_runnable();
        run(session);
        release(session);
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

static void stop_workers(pthread_t *workers, int count) {
    pthread_mutex_lock(&lock);
    stopping = 1;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < count; i++)
        pthread_join(workers[i], NULL);
}

/* ---- the program ---- */

static np_status start(np_runtime *runtime, const np_config *config, np_listener **listener,
                       np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_status status = np_listener_new(runtime, config, 0, listener, error);
    handler.on_open = on_open;
    handler.on_frames = on_frames;
    handler.on_writable = on_writable;
    handler.on_end = on_end;
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_CLIENT, &handler, error);
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, error);
    if (status == NP_OK)
        status = np_listener_start(*listener, error);
    return status;
}

int main(int argc, char **argv) {
    pthread_t workers[WORKERS];
    np_error error = NP_ERROR_INIT;
    np_address address;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener *listener = NULL;
    np_status status;
    sigset_t ends;
    int signal_number;
    int running = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: threads FILE.ini\n");
        return 2;
    }
    /* Blocked before any other thread exists, so that sigwait below gets them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &ends, NULL) != 0)
        return 1;
    while (running < WORKERS && pthread_create(&workers[running], NULL, worker, NULL) == 0)
        running++;

    status = running == WORKERS ? np_config_new(&config) : NP_ERR_NO_THREADS;
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
        /* Workers go on while connections drain; after the wait nothing is queued any more. */
        np_runtime_stop(runtime, DRAIN_MS);
        np_runtime_wait(runtime, NP_FOREVER);
    } else {
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));
    }
    np_listener_free(listener);
    np_runtime_free(runtime);
    stop_workers(workers, running);
    np_config_free(config);
    return status == NP_OK ? 0 : 2;
}
