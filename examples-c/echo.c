/*
 * echo: the smallest useful server. Sends every frame back.
 *
 *     echo server.ini
 *
 * All ports of the file are served; SIGINT (Ctrl-C) or SIGTERM ends the program.
 */
#define _POSIX_C_SOURCE 200809L

#include <nativeport.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    /* Inside a callback of the connection a send is always taken. It fails only if the
     * connection is ending, and then there is nobody to answer. */
    (void)np_conn_send_frames(conn, frames, count, NULL);
}

/* Starts one port; what went wrong stands in error. */
static np_status start(np_runtime *runtime, const np_config *config, uint32_t index,
                       np_listener **listener, np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_address address;
    np_status status = np_listener_new(runtime, config, index, listener, error);
    handler.on_frames = on_frames;
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_CLIENT, &handler, error);
    if (status == NP_OK)
        status = np_listener_on(*listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, error);
    if (status == NP_OK)
        status = np_listener_start(*listener, error);
    if (status == NP_OK && np_listener_get_address(*listener, 0, &address) == NP_OK)
        printf("listening %s %u\n", address.host, (unsigned)address.port);
    return status;
}

int main(int argc, char **argv) {
    np_error error = NP_ERROR_INIT;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener **listeners = NULL;
    uint32_t ports = 0;
    np_status status;
    sigset_t ends;
    int signal_number;

    if (argc != 2) {
        fprintf(stderr, "usage: echo FILE.ini\n");
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
        status = np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error);
    ports = np_config_port_count(config);
    listeners = calloc(ports + 1, sizeof *listeners);
    if (status == NP_OK && listeners == NULL)
        status = NP_ERR_MEMORY_LIMIT;
    for (uint32_t i = 0; i < ports && status == NP_OK; i++)
        status = start(runtime, config, i, &listeners[i], &error);

    if (status == NP_OK && fflush(stdout) == 0)
        sigwait(&ends, &signal_number);
    else
        fprintf(stderr, "%s\n", error.message[0] ? error.message : np_status_message(status));

    np_runtime_free(runtime);
    for (uint32_t i = 0; i < ports && listeners != NULL; i++)
        np_listener_free(listeners[i]);
    free(listeners);
    np_config_free(config);
    return status == NP_OK ? 0 : 2;
}
