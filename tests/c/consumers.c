/*
 * One host over each way of consuming events, driven by lines on stdin.
 *
 *     consumers MODE INI OPTIONS
 *
 * MODE is callbacks, workers, poll, or inbox, inbox-workers, inbox-poll. Whatever it is, the
 * host's functions below (host_admit to host_closed) are called alike; at the end of the file
 * stands what is different. The host sends back what it gets. OPTIONS are words:
 *
 *     half      the peer's end is told, and answered before the close
 *     admit     admission is asked for, and decided by a line; admit-now: in the event
 *     hold      nothing is consumed before the line "go"
 *     tell      a line for each frame
 *     sink      frames are compared with what they should be, not sent back
 */
#define _POSIX_C_SOURCE 200809L
#include <nativeport.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"

enum { CONNS = 256, LOOPS = 2, CAPACITY = 16, FILL_FRAMES = 512, FILL_BYTES = 4096 };

static int32_t consumer;
static int is_inbox;
static int wants_half, wants_admit, admits_now, holds, tells, sinks;

static np_config *config;
static np_runtime *runtime;
static np_listener *listener;
static np_loop *loops[LOOPS];

/* What a frame that the host could not send waits in. */
struct unsent {
    np_frame frame;
    struct unsent *next;
};

/* The host's part of a connection; its user data. */
struct session {
    np_conn conn;
    int number;
    int32_t protocol;
    atomic_int inside;  /* calls under way: there are never two */
    atomic_int opened, closed, shut;
    int ended;
    uint32_t frames;
    uint64_t bytes;
    struct unsent *first;
    struct unsent **last;
    int close_when_sent;
    /* Threads of their own wait here for room. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int writable;
    atomic_int references;
};

static atomic_int opened, closed, destroyed, handlers_made, handlers_destroyed;

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stdout);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
    va_end(arguments);
}

/* ---- connections by their number ---- */

static pthread_mutex_t conns_lock = PTHREAD_MUTEX_INITIALIZER;
static np_conn conns[CONNS];
static int conn_count;

/* In the order in which they are heard of. */
static int number_of(np_conn conn) {
    int number = 0;
    pthread_mutex_lock(&conns_lock);
    while (number < conn_count && conns[number].id != conn.id)
        number++;
    CHECK(number < CONNS);
    if (number == conn_count)
        conns[conn_count++] = conn;
    pthread_mutex_unlock(&conns_lock);
    return number;
}

/* ---- the gate: nothing is consumed before it opens ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static int gate_is_open;

static void wait_for_go(int number) {
    if (!holds)
        return;
    pthread_mutex_lock(&gate_lock);
    if (!gate_is_open)
        say("held %d", number);
    while (!gate_is_open)
        pthread_cond_wait(&gate_changed, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
}

static void go(void) {
    pthread_mutex_lock(&gate_lock);
    gate_is_open = 1;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_lock);
}

/* A callback of a loop must not block: there the connection is paused instead. */
static int holds_by_pause(void) {
    return holds && !is_inbox && consumer == NP_CONSUMER_CALLBACKS;
}

/* ---- sessions ---- */

static void drop_first(struct session *session) {
    struct unsent *sent = session->first;
    session->first = sent->next;
    if (session->first == NULL)
        session->last = &session->first;
    np_frame_free(&sent->frame);
    free(sent);
}

static void release(struct session *session) {
    if (--session->references > 0)
        return;
    while (session->first != NULL)
        drop_first(session);
    pthread_cond_destroy(&session->changed);
    pthread_mutex_destroy(&session->lock);
    free(session);
}

static void session_destroy(void *user_data) {
    struct session *session = user_data;
    /* The connection gives it back once, after the end was told; what was not polled is not. */
    CHECK(session->closed || consumer == NP_CONSUMER_POLL);
    destroyed++;
    say("destroyed %d", session->number);
    release(session);
}

static struct session *session_new(np_conn conn, int32_t protocol) {
    struct session *session = calloc(1, sizeof *session);
    CHECK(session != NULL);
    session->conn = conn;
    session->number = number_of(conn);
    session->protocol = protocol;
    session->last = &session->first;
    session->references = 1;
    CHECK(pthread_mutex_init(&session->lock, NULL) == 0);
    CHECK(pthread_cond_init(&session->changed, NULL) == 0);
    return session;
}

/* NULL before it was opened. */
static struct session *session_of(np_conn conn) {
    void *session = NULL;
    CHECK(np_conn_get_user_data(conn, &session) == NP_OK);
    return session;
}

static int is_framed(const struct session *session) {
    return session->protocol == NP_PROTOCOL_CLIENT
           || session->protocol == NP_PROTOCOL_REMOTE_APPLICATION;
}

/* ---- sending: what each way does when there is no room ---- */

static np_status send_one(const struct session *session, const np_frame *frame) {
    return is_framed(session) ? np_conn_send_frame(session->conn, frame->data, frame->len, 0)
                              : np_conn_send_bytes(session->conn, frame->data, frame->len);
}

static void keep(struct session *session, const np_frame *frame) {
    struct unsent *unsent = calloc(1, sizeof *unsent);
    CHECK(unsent != NULL);
    CHECK(np_frame_take(frame, &unsent->frame) == NP_OK);
    *session->last = unsent;
    session->last = &unsent->next;
}

static void answer(struct session *session, const np_frame *frame) {
    np_status status;
    if (session->first != NULL) {
        keep(session, frame);
        return;
    }
    for (;;) {
        pthread_mutex_lock(&session->lock);
        session->writable = 0;
        pthread_mutex_unlock(&session->lock);
        status = send_one(session, frame);
        if (status != NP_ERR_WOULD_BLOCK)
            break;
        if (is_inbox) {
            /* A thread of the host's waits for room. */
            pthread_mutex_lock(&session->lock);
            while (!session->writable && !session->closed)
                pthread_cond_wait(&session->changed, &session->lock);
            pthread_mutex_unlock(&session->lock);
            continue;
        }
        /* Where events are polled it is kept, and no more is read; in a callback of the
         * connection a send is always taken. */
        CHECK(consumer == NP_CONSUMER_POLL);
        np_conn_pause_reading(session->conn);
        keep(session, frame);
        return;
    }
    CHECK(status == NP_OK || status == NP_ERR_CLOSED);
}

/* Numbered frames until one is refused, FILL_FRAMES of them at most. */
static void fill(np_conn conn, int number, int most) {
    static const uint8_t zeros[FILL_BYTES];
    uint8_t data[FILL_BYTES];
    np_status status = NP_OK;
    int count = 0;
    memcpy(data, zeros, sizeof data);
    while (count < most) {
        data[0] = (uint8_t)(count >> 8);
        data[1] = (uint8_t)count;
        status = np_conn_send_frame(conn, data, sizeof data, NP_FRAME_NO_COMPRESS);
        if (status != NP_OK)
            break;
        count++;
    }
    say("filled %d %d %s", number, count, np_status_name(status));
}

/* ---- the host ---- */

/* Calls that wait refuse inside of callbacks, and look there. */
static void calls_that_wait(void) {
    np_status expected = consumer == NP_CONSUMER_POLL || is_inbox ? NP_ERR_TIMED_OUT
                                                                  : NP_ERR_IN_CALLBACK;
    CHECK(np_runtime_wait(runtime, 0) == NP_ERR_TIMED_OUT);
    CHECK(np_listener_wait(listener, 0) == NP_ERR_TIMED_OUT);
    CHECK(np_runtime_wait(runtime, 1) == expected);
    if (expected == NP_ERR_IN_CALLBACK) {
        CHECK(np_runtime_free(runtime) == NP_ERR_IN_CALLBACK);
        CHECK(np_listener_free(listener) == NP_ERR_IN_CALLBACK);
    }
}

/* Frames that begin with '!' ask the host for something. 0: it is any other frame. */
static int obey(struct session *session, const np_frame *frame) {
    char order[16] = "";
    if (frame->len == 0 || frame->data[0] != '!' || frame->len >= sizeof order)
        return 0;
    memcpy(order, frame->data, frame->len);
    if (strcmp(order, "!close") == 0) {
        CHECK(np_conn_close(session->conn, 7) == NP_OK);
        CHECK(np_conn_send_frame(session->conn, NULL, 0, 0) == NP_ERR_CLOSED);
        CHECK(np_conn_close(session->conn, 8) == NP_ERR_CLOSED);
        session->shut = 1;
    } else if (strcmp(order, "!abort") == 0) {
        CHECK(np_conn_abort(session->conn, 8) == NP_OK);
        session->shut = 1;
    } else if (strcmp(order, "!deadline") == 0) {
        CHECK(np_conn_set_deadline(session->conn, 20) == NP_OK);
    } else if (strcmp(order, "!fill") == 0) {
        fill(session->conn, session->number, FILL_FRAMES);
    } else if (strcmp(order, "!wait") == 0) {
        calls_that_wait();
        answer(session, frame);
    } else if (strcmp(order, "!stop") == 0) {
        CHECK(np_runtime_stop(runtime, 0) == NP_OK);
        CHECK(np_runtime_stop(runtime, NP_FOREVER) == NP_OK);
    } else {
        CHECK(0 && "an order");
    }
    return 1;
}

static void host_admit(np_conn conn, int32_t protocol, uint8_t first_byte) {
    np_frame frame;
    CHECK(np_conn_send_frame(conn, NULL, 0, 0) == NP_ERR_STATE);
    CHECK(np_conn_recv_frame(conn, 0, &frame) == NP_ERR_STATE);
    say("admit %d %d %d", number_of(conn), protocol, first_byte);
    if (!admits_now)
        return;
    if (protocol == NP_PROTOCOL_UNKNOWN)
        CHECK(np_conn_refuse(conn, (const uint8_t *)"no", 2) == NP_OK);
    else
        CHECK(np_conn_admit(conn) == NP_OK);
    CHECK(np_conn_admit(conn) != NP_OK);
}

/* A connection that was never opened. */
static void host_declined(np_conn conn, const np_close_info *info) {
    say("declined %d %s", number_of(conn), np_close_reason_name(info->reason));
}

static void host_opened(struct session *session, uint8_t first_byte) {
    CHECK(!session->opened && !session->closed);
    session->opened = 1;
    opened++;
    say("opened %d %d %d", session->number, session->protocol, first_byte);
}

static void host_frames(struct session *session, const np_frame *frames, size_t count) {
    CHECK(session->opened && !session->ended && is_framed(session) && count > 0);
    /* What is left in an inbox may be taken while the end is told. */
    CHECK(is_inbox || !session->closed);
    for (size_t i = 0; i < count; i++) {
        const np_frame *frame = &frames[i];
        session->frames++;
        session->bytes += frame->len;
        if (sinks) {
            /* The number of the frame, then its last byte again and again. */
            uint32_t n = session->frames - 1;
            CHECK(frame->len >= 4);
            CHECK(frame->data[0] == (uint8_t)(n >> 24) && frame->data[1] == (uint8_t)(n >> 16)
                  && frame->data[2] == (uint8_t)(n >> 8) && frame->data[3] == (uint8_t)n);
            for (size_t at = 4; at < frame->len; at++)
                CHECK(frame->data[at] == (uint8_t)n);
        } else if (!obey(session, frame)) {
            answer(session, frame);
        }
        if (tells)
            say("frame %d %d", session->number, (int)session->frames);
    }
}

static void host_data(struct session *session, const uint8_t *data, size_t len) {
    np_frame frame = {data, len, 0, 0};
    CHECK(session->opened && !session->ended && !is_framed(session) && len > 0);
    CHECK(is_inbox || !session->closed);
    session->bytes += len;
    answer(session, &frame);
}

static void host_end(struct session *session) {
    static const np_frame last = {(const uint8_t *)"after the end", 13, 0, 0};
    CHECK(session->opened && !session->ended && !session->closed);
    session->ended = 1;
    say("end %d", session->number);
    answer(session, &last);
    if (session->first != NULL)
        session->close_when_sent = 1;
    else
        CHECK(np_conn_close(session->conn, 3) == NP_OK);
}

static void host_writable(struct session *session) {
    CHECK(session->opened && !session->closed);
    say("writable %d", session->number);
    pthread_mutex_lock(&session->lock);
    session->writable = 1;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->lock);
    if (is_inbox || session->first == NULL)
        return;
    while (session->first != NULL) {
        if (send_one(session, &session->first->frame) == NP_ERR_WOULD_BLOCK)
            return;
        drop_first(session);
    }
    np_conn_resume_reading(session->conn);
    if (session->close_when_sent)
        CHECK(np_conn_close(session->conn, 3) == NP_OK);
}

static void host_closed(struct session *session, const np_close_info *info) {
    np_conn_info now = NP_CONN_INFO_INIT;
    CHECK(session->opened && !session->closed);
    /* The handle is valid until this has been consumed; nothing can be sent on it. */
    CHECK(np_conn_get_info(session->conn, &now) == NP_OK);
    CHECK(now.protocol == session->protocol);
    CHECK(np_conn_close(session->conn, 1) == NP_ERR_CLOSED);
    CHECK(info->struct_size == sizeof *info && info->text != NULL);
    pthread_mutex_lock(&session->lock);
    session->closed = 1;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->lock);
    closed++;
    say("closed %d %s %d %d %llu", session->number, np_close_reason_name(info->reason),
        info->host_code, info->stage, (unsigned long long)info->unsent_bytes);
}

/* ---- inbox: input is taken by a thread for each connection ---- */

static pthread_mutex_t receivers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t receivers_changed = PTHREAD_COND_INITIALIZER;
static int receivers;

static void count_receivers(int change) {
    pthread_mutex_lock(&receivers_lock);
    receivers += change;
    pthread_cond_signal(&receivers_changed);
    pthread_mutex_unlock(&receivers_lock);
}

static void receive_frames(struct session *session) {
    np_frame frame;
    np_status status;
    for (;;) {
        /* With and without a limit. */
        status = np_conn_recv_frame(session->conn, session->frames % 2 == 0 ? NP_FOREVER : 5,
                                    &frame);
        if (status == NP_ERR_TIMED_OUT)
            continue;
        if (status != NP_OK)
            break;
        host_frames(session, &frame, 1);
        np_frame_free(&frame);
    }
    CHECK(status == NP_ERR_CLOSED);
    CHECK(np_conn_recv_frame(session->conn, NP_FOREVER, &frame) == NP_ERR_CLOSED);
}

static void receive_bytes(struct session *session) {
    uint8_t buffer[3000];
    size_t received;
    np_status status;
    while ((status = np_conn_recv_bytes(session->conn, buffer, sizeof buffer, NP_FOREVER,
                                        &received)) == NP_OK) {
        CHECK(received > 0 && received <= sizeof buffer);
        host_data(session, buffer, received);
    }
    CHECK(status == NP_ERR_CLOSED);
}

static void *receiver(void *argument) {
    struct session *session = argument;
    wait_for_go(session->number);
    if (is_framed(session))
        receive_frames(session);
    else
        receive_bytes(session);
    /* With a half-close the connection is still there, unless it has ended otherwise. */
    if (wants_half && !session->closed && !session->shut)
        host_end(session);
    release(session);
    count_receivers(-1);
    return NULL;
}

static void start_receiver(struct session *session) {
    pthread_attr_t detached;
    pthread_t thread;
    session->references++;
    count_receivers(1);
    CHECK(pthread_attr_init(&detached) == 0);
    CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
    CHECK(pthread_create(&thread, &detached, receiver, session) == 0);
    pthread_attr_destroy(&detached);
}

static void wait_for_receivers(void) {
    pthread_mutex_lock(&receivers_lock);
    while (receivers > 0)
        pthread_cond_wait(&receivers_changed, &receivers_lock);
    pthread_mutex_unlock(&receivers_lock);
}

/* ---- callbacks, workers and poll alike: from events to the host ---- */

static void enter(struct session *session) {
    CHECK(session != NULL && session->inside++ == 0);
}

static void leave(struct session *session) {
    CHECK(session->inside-- == 1);
}

static void opened_event(np_conn conn, int32_t protocol, uint8_t first_byte) {
    struct session *session = session_new(conn, protocol);
    CHECK(np_conn_set_user_data(conn, session, session_destroy) == NP_OK);
    enter(session);
    if (holds_by_pause())
        CHECK(np_conn_pause_reading(conn) == NP_OK);
    host_opened(session, first_byte);
    if (is_inbox)
        start_receiver(session);
    leave(session);
}

static void frames_event(np_conn conn, const np_frame *frames, size_t count) {
    struct session *session = session_of(conn);
    CHECK(!is_inbox);
    enter(session);
    if (!holds_by_pause())
        wait_for_go(session->number);
    host_frames(session, frames, count);
    leave(session);
}

static void data_event(np_conn conn, const uint8_t *data, size_t len) {
    struct session *session = session_of(conn);
    CHECK(!is_inbox);
    enter(session);
    if (!holds_by_pause())
        wait_for_go(session->number);
    host_data(session, data, len);
    leave(session);
}

static void end_event(np_conn conn) {
    struct session *session = session_of(conn);
    enter(session);
    /* With an inbox it comes while input may still wait there. */
    if (!is_inbox)
        host_end(session);
    leave(session);
}

static void writable_event(np_conn conn) {
    struct session *session = session_of(conn);
    enter(session);
    host_writable(session);
    leave(session);
}

static void closed_event(np_conn conn, const np_close_info *info) {
    struct session *session = session_of(conn);
    enter(session);
    host_closed(session, info);
    leave(session);
}

/* ---- callbacks and workers ---- */

static char handler_data, admission_data;

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    CHECK(user_data == &handler_data);
    opened_event(conn, protocol, first_byte);
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    CHECK(user_data == &handler_data);
    frames_event(conn, frames, count);
}

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    CHECK(user_data == &handler_data);
    data_event(conn, data, len);
}

static void on_end(void *user_data, np_conn conn) {
    CHECK(user_data == &handler_data);
    end_event(conn);
}

static void on_writable(void *user_data, np_conn conn) {
    CHECK(user_data == &handler_data);
    writable_event(conn);
}

static void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    CHECK(user_data == &handler_data);
    closed_event(conn, info);
}

static void on_admit(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    CHECK(user_data == &admission_data);
    host_admit(conn, protocol, first_byte);
}

static void on_declined(void *user_data, np_conn conn, const np_close_info *info) {
    CHECK(user_data == &admission_data);
    host_declined(conn, info);
}

static void handler_destroy(void *user_data) {
    CHECK(user_data == &handler_data || user_data == &admission_data);
    handlers_destroyed++;
}

/* ---- poll ---- */

static pthread_t pollers[LOOPS];
static atomic_int polls_no_more;

static void polled_event(const np_event *event) {
    switch (event->kind) {
    case NP_EVENT_ADMIT:
        on_admit(event->user_data, event->conn, event->protocol, (uint8_t)event->first_byte);
        break;
    case NP_EVENT_OPEN:
        on_open(event->user_data, event->conn, event->protocol, (uint8_t)event->first_byte);
        break;
    case NP_EVENT_FRAMES:
        on_frames(event->user_data, event->conn, event->frames, event->count);
        break;
    case NP_EVENT_DATA:
        on_data(event->user_data, event->conn, event->data, event->count);
        break;
    case NP_EVENT_END:
        on_end(event->user_data, event->conn);
        break;
    case NP_EVENT_WRITABLE:
        on_writable(event->user_data, event->conn);
        break;
    case NP_EVENT_CLOSE:
        if (event->user_data == &admission_data)
            on_declined(event->user_data, event->conn, event->close);
        else
            on_close(event->user_data, event->conn, event->close);
        break;
    default:
        CHECK(event->kind == NP_EVENT_LOG && event->log != NULL);
    }
}

static void *poller(void *argument) {
    np_event events[CAPACITY];
    np_status status;
    size_t count;
    /* What the last events point to is valid until then: nobody else may poll before. */
    while ((status = np_loop_poll(argument, events, CAPACITY, NP_FOREVER, &count)) == NP_OK
           && !polls_no_more) {
        CHECK(count <= CAPACITY);
        for (size_t i = 0; i < count; i++)
            polled_event(&events[i]);
    }
    CHECK(status == NP_ERR_STOPPED || polls_no_more);
    return NULL;
}

/* ---- the program ---- */

static void set_handlers(void) {
    np_handler handler = NP_HANDLER_INIT;
    np_admission admission = NP_ADMISSION_INIT;
    np_error error = NP_ERROR_INIT;
    int is_polled = consumer == NP_CONSUMER_POLL;
    handler.user_data = &handler_data;
    handler.destroy = handler_destroy;
    handler.flags = is_inbox ? NP_HANDLER_INBOX : 0;
    if (wants_half)
        handler.flags |= NP_HANDLER_HALF_CLOSE;
    if (!is_polled) {
        handler.on_open = on_open;
        handler.on_writable = on_writable;
        handler.on_close = on_close;
        handler.on_end = wants_half ? on_end : NULL;
    }
    for (int32_t protocol = NP_PROTOCOL_CLIENT; protocol <= NP_PROTOCOL_UNKNOWN; protocol++) {
        int framed = protocol == NP_PROTOCOL_CLIENT || protocol == NP_PROTOCOL_REMOTE_APPLICATION;
        handler.on_frames = framed && !is_polled && !is_inbox ? on_frames : NULL;
        handler.on_data = !framed && !is_polled && !is_inbox ? on_data : NULL;
        handlers_made++;
        CHECK(np_listener_on(listener, protocol, &handler, &error) == NP_OK);
    }
    /* One that does not fit is refused, and its data released. */
    handler.on_frames = is_polled || is_inbox ? on_frames : NULL;
    handler.on_data = NULL;
    handlers_made++;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, NULL) == NP_ERR_ARGUMENT);
    CHECK(handlers_destroyed == 1);
    if (!wants_admit)
        return;
    admission.user_data = &admission_data;
    admission.destroy = handler_destroy;
    admission.on_admit = is_polled ? NULL : on_admit;
    admission.on_close = is_polled ? NULL : on_declined;
    handlers_made++;
    CHECK(np_listener_on_admit(listener, &admission, &error) == NP_OK);
}

static void start(const char *ini) {
    static uint8_t buffer[NP_LOOP_BUFFER_MIN_SIZE];
    np_error error = NP_ERROR_INIT;
    np_address address;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_config_load_string(config, ini, strlen(ini), "consumers.ini", &error) == NP_OK);
    CHECK(np_runtime_new(config, consumer, &runtime, &error) == NP_OK);
    for (int i = 0; i < LOOPS && consumer == NP_CONSUMER_POLL; i++) {
        /* One reads into memory of ours. */
        uint8_t *memory = i == 0 ? buffer : NULL;
        size_t size = i == 0 ? sizeof buffer : 0;
        CHECK(np_loop_new(runtime, memory, size, &loops[i], &error) == NP_OK);
    }
    CHECK(np_listener_new(runtime, config, 0, &listener, &error) == NP_OK);
    set_handlers();
    CHECK(np_listener_start(listener, &error) == NP_OK);
    CHECK(np_listener_get_address(listener, 0, &address) == NP_OK);
    for (int i = 0; i < LOOPS && loops[i] != NULL; i++)
        CHECK(pthread_create(&pollers[i], NULL, poller, loops[i]) == 0);
    say("port %u", (unsigned)address.port);
}

/* With events that are left to be dropped. */
static void end_pollers(void) {
    if (polls_no_more)
        return;
    polls_no_more = 1;
    for (int i = 0; i < LOOPS && loops[i] != NULL; i++) {
        CHECK(np_loop_wake(loops[i]) == NP_OK);
        CHECK(pthread_join(pollers[i], NULL) == 0);
    }
}

/* Frees l(istener), r(untime), p(olled loops) and c(onfig) in the order of the letters. */
static void free_all(const char *order) {
    int runtime_is_gone = 0;
    go();
    for (; *order != 0; order++) {
        switch (*order) {
        case 'l':
            CHECK(np_listener_free(listener) == NP_OK);
            break;
        case 'r':
            end_pollers();
            CHECK(np_runtime_free(runtime) == NP_OK);
            runtime_is_gone = 1;
            break;
        case 'p':
            /* A loop is freed when nobody polls it, and not before its runtime. */
            end_pollers();
            for (int i = 0; i < LOOPS && loops[i] != NULL; i++) {
                if (runtime_is_gone) {
                    CHECK(np_loop_free(loops[i]) == NP_OK);
                } else {
                    CHECK(np_loop_free(loops[i]) == NP_ERR_STATE);
                }
            }
            break;
        case 'c':
            np_config_free(config);
            break;
        default:
            CHECK(0 && "a letter");
        }
    }
    wait_for_receivers();
    say("over opened=%d closed=%d destroyed=%d handlers=%d/%d", opened, closed, destroyed,
        handlers_destroyed, handlers_made);
}

static long anonymous_kib(void) {
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (kib < 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %ld", &kib) != 1)
            kib = -1;
    fclose(file);
    return kib;
}

static void say_stats(void) {
    np_stats stats = NP_STATS_INIT;
    CHECK(np_runtime_get_stats(runtime, &stats) == NP_OK);
    say("stats %llu %llu %llu %ld", (unsigned long long)stats.frames_in,
        (unsigned long long)stats.bytes_in, (unsigned long long)stats.memory_bytes,
        anonymous_kib());
}

static void *wait_for_end(void *unused) {
    CHECK(np_runtime_wait(runtime, NP_FOREVER) == NP_OK);
    say("stopped");
    return unused;
}

/* One line: a word, mostly the number of a connection, and more. 0: there are no more. */
static int obey_line(char *line, pthread_t *waiter, int *waits) {
    char word[16] = "", rest[64] = "";
    int number = 0;
    unsigned long long value = 0;
    np_conn conn = NP_CONN_NONE;
    np_conn_info info = NP_CONN_INFO_INIT;
    sscanf(line, "%15s %d %63[^\n]", word, &number, rest);
    sscanf(rest, "%llu", &value);
    if (number >= 0 && number < CONNS) {
        pthread_mutex_lock(&conns_lock);
        conn = conns[number];
        pthread_mutex_unlock(&conns_lock);
    }
    if (strcmp(word, "yes") == 0)
        say("%s", np_status_name(np_conn_admit(conn)));
    else if (strcmp(word, "no") == 0)
        say("%s", np_status_name(np_conn_refuse(conn, (const uint8_t *)rest, strlen(rest))));
    else if (strcmp(word, "close") == 0)
        say("%s", np_status_name(np_conn_close(conn, (int32_t)value)));
    else if (strcmp(word, "abort") == 0)
        say("%s", np_status_name(np_conn_abort(conn, (int32_t)value)));
    else if (strcmp(word, "deadline") == 0)
        say("%s", np_status_name(np_conn_set_deadline(conn, value)));
    else if (strcmp(word, "pause") == 0)
        say("%s", np_status_name(np_conn_pause_reading(conn)));
    else if (strcmp(word, "resume") == 0) {
        say("resuming %d", number);
        CHECK(np_conn_resume_reading(conn) == NP_OK);
    } else if (strcmp(word, "handle") == 0)
        say("%s", np_status_name(np_conn_get_info(conn, &info)));
    else if (strcmp(word, "fill") == 0)
        fill(conn, number, 1 << 16);
    else if (strcmp(word, "go") == 0) {
        go();
        pthread_mutex_lock(&conns_lock);
        for (int i = 0; i < conn_count && holds_by_pause(); i++)
            CHECK(np_conn_resume_reading(conns[i]) == NP_OK);
        pthread_mutex_unlock(&conns_lock);
    } else if (strcmp(word, "stats") == 0)
        say_stats();
    else if (strcmp(word, "stop") == 0) {
        CHECK(np_runtime_stop(runtime, (uint64_t)number) == NP_OK);
    } else if (strcmp(word, "wait") == 0) {
        CHECK(pthread_create(waiter, NULL, wait_for_end, NULL) == 0);
        *waits = 1;
    } else if (strcmp(word, "free") == 0) {
        char order[16] = "";
        sscanf(line, "%*s %15s", order);
        if (*waits)
            pthread_join(*waiter, NULL);
        free_all(order);
        return 0;
    } else {
        CHECK(0 && "a line");
    }
    return 1;
}

int main(int argc, char **argv) {
    char line[128];
    pthread_t waiter;
    int waits = 0;
    CHECK(argc == 4);
    is_inbox = strncmp(argv[1], "inbox", 5) == 0;
    consumer = strstr(argv[1], "workers") != NULL ? NP_CONSUMER_WORKERS
               : strstr(argv[1], "poll") != NULL  ? NP_CONSUMER_POLL
                                                  : NP_CONSUMER_CALLBACKS;
    wants_half = strstr(argv[3], "half") != NULL;
    wants_admit = strstr(argv[3], "admit") != NULL;
    admits_now = strstr(argv[3], "admit-now") != NULL;
    holds = strstr(argv[3], "hold") != NULL;
    tells = strstr(argv[3], "tell") != NULL;
    sinks = strstr(argv[3], "sink") != NULL;
    start(argv[2]);
    while (fgets(line, sizeof line, stdin) != NULL && obey_line(line, &waiter, &waits))
        ;
    return 0;
}
