/*
 * The library's own server for the benchmark: one I/O loop, the answer from the callback.
 *
 * usage: np [--tls] [--each] [--loops N] [port]
 *        --tls   a self-made ECDSA P-256 identity
 *        --each  one send per frame instead of one for the array
 */
#include <nativeport.h>
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

int main(int argc, char **argv) {
    const char *port = "0", *loops = "1";
    int tls = 0;
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
        else if (!strcmp(argv[i], "--loops") && i + 1 < argc)
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
             "[Runtime]\nioThreads=%s\nhandshakeThreads=1\n"
             "[Port]\nport=%s\nbindAddress=127.0.0.1\nqueueLength=4096\ncompression=off\n%s"
             "[TLS]\nselfSigned=localhost\n",
             loops, port, tls ? "sslSection=TLS\n" : "");
    if (np_config_new(&config) == NP_OK
        && np_config_load_string(config, text, strlen(text), "np", &error) == NP_OK
        && np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) == NP_OK
        && np_listener_new(runtime, config, 0, &listener, &error) == NP_OK
        && np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, &error) == NP_OK
        && np_listener_on(listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, &error) == NP_OK
        && np_listener_start(listener, &error) == NP_OK
        && np_listener_get_address(listener, 0, &address) == NP_OK) {
        printf("listening %u\n", address.port);
        fflush(stdout);
        sigwait(&ends, &signal_number);
    } else {
        fprintf(stderr, "np: %s\n", error.message);
    }
    np_listener_free(listener);
    np_runtime_free(runtime);
    np_config_free(config);
    return error.status == NP_OK ? 0 : 1;
}
