/*
 * The library's own server for the benchmark: one I/O loop, the answer from the callback.
 *
 * usage: np [--tls] [--each] [--workers | --poll | --inbox] [--loops N] [port]
 *        --tls      a self-made ECDSA P-256 identity
 *        --each     one send per frame instead of one for the array
 *        --workers  the answer comes from a callback on one worker
 *        --poll     it comes from a thread that polls
 *        --inbox    it comes from one thread for each connection, frame by frame
 */
#include <nativeport.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    np_conn_send_frames(conn, frames, count, NULL);
}

static void on_frames_each(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++)
        np_conn_send_frame(conn, frames[i].data, frames[i].len, NP_FRAME_NO_COMPRESS);
}

static void *poll_for_events(void *loop) {
    np_event events[64];
    size_t count;
    while (np_loop_poll(loop, events, 64, NP_FOREVER, &count) == NP_OK)
        for (size_t i = 0; i < count; i++)
            if (events[i].kind == NP_EVENT_FRAMES)
                np_conn_send_frames(events[i].conn, events[i].frames, events[i].count, NULL);
    return NULL;
}

/* The load reads all it asked for, so that no send is refused. */
static void *converse(void *argument) {
    np_conn conn = {(uint64_t)(uintptr_t)argument};
    np_frame frame;
    while (np_conn_recv_frame(conn, NP_FOREVER, &frame) == NP_OK) {
        np_conn_send_frame(conn, frame.data, frame.len, NP_FRAME_NO_COMPRESS);
        np_frame_free(&frame);
    }
    return NULL;
}

static void on_open_converse(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    pthread_t thread;
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    if (pthread_create(&thread, NULL, converse, (void *)(uintptr_t)conn.id) == 0)
        pthread_detach(thread);
    else
        np_conn_abort(conn, 1);
}

int main(int argc, char **argv) {
    const char *port = "0", *loops = "1";
    int tls = 0;
    int32_t consumer = NP_CONSUMER_CALLBACKS;
    np_loop *loop = NULL;
    pthread_t poller;
    int polls = 0;
    np_error error = NP_ERROR_INIT;
    np_handler handler = NP_HANDLER_INIT;
    np_address address;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener *listener = NULL;
    char text[512];
    struct rlimit files;
    sigset_t ends;
    int signal_number;

    handler.on_frames = on_frames;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tls"))
            tls = 1;
        else if (!strcmp(argv[i], "--each"))
            handler.on_frames = on_frames_each;
        else if (!strcmp(argv[i], "--workers"))
            consumer = NP_CONSUMER_WORKERS;
        else if (!strcmp(argv[i], "--poll")) {
            consumer = NP_CONSUMER_POLL;
            handler.on_frames = NULL;
        } else if (!strcmp(argv[i], "--inbox")) {
            handler.flags = NP_HANDLER_INBOX;
            handler.on_frames = NULL;
            handler.on_open = on_open_converse;
        } else if (!strcmp(argv[i], "--loops") && i + 1 < argc)
            loops = argv[++i];
        else
            port = argv[i];
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);

    /* The load does not compress, and neither do the other servers. The rest is the default. */
    snprintf(text, sizeof text,
             "[Runtime]\nioThreads=%s\nhandshakeThreads=1\nworkerThreads=1\n"
             "[Port]\nport=%s\nbindAddress=127.0.0.1\nqueueLength=4096\ncompression=off\n%s"
             "[TLS]\nselfSigned=localhost\n",
             loops, port, tls ? "sslSection=TLS\n" : "");
    if (np_config_new(&config) == NP_OK
        && np_config_load_string(config, text, strlen(text), "np", &error) == NP_OK
        && np_runtime_new(config, consumer, &runtime, &error) == NP_OK
        && (consumer != NP_CONSUMER_POLL || np_loop_new(runtime, NULL, 0, &loop, &error) == NP_OK)
        && np_listener_new(runtime, config, 0, &listener, &error) == NP_OK
        && np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, &error) == NP_OK
        && np_listener_on(listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, &error) == NP_OK
        && np_listener_start(listener, &error) == NP_OK
        && np_listener_get_address(listener, 0, &address) == NP_OK) {
        printf("listening %u\n", address.port);
        fflush(stdout);
        if (loop != NULL)
            polls = pthread_create(&poller, NULL, poll_for_events, loop) == 0;
        sigwait(&ends, &signal_number);
    } else {
        fprintf(stderr, "np: %s\n", error.message);
    }
    if (polls) {
        np_runtime_stop(runtime, 0);
        pthread_join(poller, NULL);
    }
    np_loop_free(loop);
    np_listener_free(listener);
    np_runtime_free(runtime);
    np_config_free(config);
    return error.status == NP_OK ? 0 : 1;
}
