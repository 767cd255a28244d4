/*
 * nativeport: a native socket layer. One port takes framed clients, remote applications,
 * relays and the web, plain or TLS.
 *
 * Generated from src/capi; do not edit. `make header` writes it anew.
 *
 * Conventions
 *
 * Objects     np_config, np_runtime, np_listener and np_loop are made by their _new and
 *             ended by their _free, once. np_conn is a number: any value may be passed at any time,
 *             and one that has ended answers NP_ERR_CLOSED.
 * Status      Functions answer NP_OK (0) or a negative NP_ERR_. Those whose failures have
 *             words take an np_error last; NULL if you do not want them. There is no last
 *             error somewhere else. Outputs are written only on success, unless the
 *             comment says otherwise.
 * Structs     In a struct that begins with struct_size the program sets that member to the
 *             size it was compiled with; the NP_..._INIT macros do so. Programs and libraries
 *             of different versions then work together. 0 means the struct of version 0.2.0.
 *             A size that no version can have is garbage: the call answers NP_ERR_ARGUMENT
 *             and reads nothing else of the struct. Reserved members and unknown flag bits
 *             are 0.
 * Data        A pointer and a length in bytes; NULL is fine if the length is 0. Text is
 *             UTF-8 and ends with a NUL. Times are milliseconds; NP_FOREVER is no limit.
 *             What a callback is shown is valid until it returns. A length above 1 TiB is
 *             invalid: NP_ERR_ARGUMENT.
 * Threads     Any function from any thread, also inside a callback and in a thread's last
 *             destructors (pthread_key_create, thread_local), unless its Thread line says
 *             otherwise. Callbacks of one connection never overlap and keep their order;
 *             those of different connections may run at once on several threads.
 * Waiting     Only functions with "Blocking: yes" may wait. Inside a callback they answer
 *             NP_ERR_IN_CALLBACK.
 * Callbacks   Get user_data first. Passing user_data with a destroy function gives it to
 *             the library, whatever the call answers, and destroy is called exactly once. Only
 *             a table whose struct_size is garbage hands nothing over. Callbacks must not throw
 *             exceptions or longjmp, and block only on workers. They may call any function and
 *             close their own connection.
 * Consumers   NP_CONSUMER_CALLBACKS: on the thread that moves the bytes, the fastest.
 *             NP_CONSUMER_WORKERS: on a pool, where they may block. NP_CONSUMER_POLL: none;
 *             threads of the host poll for events. Under each of them a handler with
 *             NP_HANDLER_INBOX lets the host receive when it wants, and wait for it.
 * Processes   No function is async-signal-safe. In the child of a fork that a runtime has
 *             lived through, every call answers NP_ERR_STATE until it execs; what was handed
 *             over is released as always. Nothing is written to stdout, and to stderr only a
 *             defect of the library; no signal handler is set, descriptors are closed on
 *             exec, and unloading keeps the code mapped.
 * Versions    Before 1.0 the ABI may change with the minor version; the shared library's
 *             name says so (libnativeport.so.0.MINOR).
 *
 * Each function's comment has five lines: Thread (who may call it), Blocking (whether it
 * may wait), Owns (what changes hands), Null (which pointers may be NULL), Fails (which
 * statuses it can answer). NP_ERR_PANIC, a defect of the library, can come from all, as
 * can NP_ERR_STATE in the child of a fork.
 *
 * A complete server that sends every frame back:
 *
 *     #include <nativeport.h>
 *     #include <stdio.h>
 *
 *     static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
 *         (void)user_data;
 *         np_conn_send_frames(conn, frames, count, NULL);
 *     }
 *
 *     int main(void) {
 *         np_error error = NP_ERROR_INIT;
 *         np_handler handler = NP_HANDLER_INIT;
 *         np_config *config = NULL;
 *         np_runtime *runtime = NULL;
 *         np_listener *listener = NULL;
 *         handler.on_frames = on_frames;
 *         if (np_config_new(&config) == NP_OK
 *             && np_config_load_file(config, "server.ini", &error) == NP_OK
 *             && np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) == NP_OK
 *             && np_listener_new(runtime, config, 0, &listener, &error) == NP_OK
 *             && np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, &error) == NP_OK
 *             && np_listener_start(listener, &error) == NP_OK)
 *             getchar();
 *         else
 *             fprintf(stderr, "%s\n", error.message);
 *         np_listener_free(listener);
 *         np_runtime_free(runtime);
 *         np_config_free(config);
 *         return error.status == NP_OK ? 0 : 1;
 *     }
 */

#ifndef NATIVEPORT_H
#define NATIVEPORT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Initialisers: np_error error = NP_ERROR_INIT;
 */

#define NP_CONN_NONE {0}
#define NP_ERROR_INIT {sizeof(np_error), 0, 0, -1, 0, {0}}
#define NP_HANDLER_INIT {sizeof(np_handler), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}
#define NP_ADMISSION_INIT {sizeof(np_admission), 0, NULL, NULL, NULL, NULL}
#define NP_CONN_INFO_INIT \
    {sizeof(np_conn_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0, {0}}, {0, 0, {0}}, \
     {0}, {0}, {0}, {0}, {0}}
#define NP_STATS_INIT {sizeof(np_stats), 0, 0, 0, {0}, {0}, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0, 0, 0, \
                       NP_NO_CERTIFICATE}

#ifdef __cplusplus
extern "C" {
#endif
