/*
 * workers: callbacks that block. They run on workerThreads threads of the library, so one
 * that waits holds up its own connection and no other.
 *
 *     workers FILE.ini
 *
 * The payload of a frame is a path; the answer is the first line of that file. Opening and
 * reading may block for as long as it likes: a FIFO waits for whoever writes into it.
 *
 * SIGINT (Ctrl-C) or SIGTERM ends the program, after what is open has had DRAIN_MS.
 */
#define _POSIX_C_SOURCE 200809L

#include <nativeport.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_MS 5000

static void answer_with_first_line(np_conn conn, const np_frame *request) {
    char path[256], line[256] = "";
    FILE *file;
    if (request->len >= sizeof path) {
        (void)np_conn_close(conn, 1);
        return;
    }
    memcpy(path, request->data, request->len);
    path[request->len] = 0;
    /* This is where it blocks. */
    file = fopen(path, "r");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL)
            line[0] = 0;
        fclose(file);
    }
    /* Inside a callback of the connection a send is always taken. */
    (void)np_conn_send_frame(conn, (const uint8_t *)line, strcspn(line, "\n"), 0);
}

/* Those of one connection never overlap: its answers keep the order of its requests. */
static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++) {
        if (frames[i].len > 0)
            answer_with_first_line(conn, &frames[i]);
        else
            (void)np_conn_send_frame(conn, NULL, 0, 0);
    }
}

static np_status start(np_runtime *runtime, const np_config *config, np_listener **listener,
                       np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_status status = np_listener_new(runtime, config, 0, listener, error);
    handler.on_frames = on_frames;
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
        fprintf(stderr, "usage: workers FILE.ini\n");
        return 2;
    }
    /* Blocked before the library's threads exist, so that sigwait below gets them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &ends, NULL) != 0)
        return 1;

    status = np_config_new(&config);
    if (status == NP_OK)
        status = np_config_load_file(config, argv[1], &error);
    if (status == NP_OK)
        status = np_runtime_new(config, NP_CONSUMER_WORKERS, &runtime, &error);
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
    np_config_free(config);
    return status == NP_OK ? 0 : 2;
}
