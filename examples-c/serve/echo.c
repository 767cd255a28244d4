#define _POSIX_C_SOURCE 200809L

#include "echo.h"

/* The host code of connections that could not be answered. */
#define NOT_ANSWERED 1

/* One call for the whole batch: the library sends it with one system call where it can.
 * Inside this callback a send is always taken. */
static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    np_status status = np_conn_send_frames(conn, frames, count, NULL);
    (void)user_data;
    /* A client that misses an answer would wait for ever. */
    if (status != NP_OK && status != NP_ERR_CLOSED)
        (void)np_conn_abort(conn, NOT_ANSWERED);
}

np_status echo_serve(np_listener *listener, np_error *error) {
    np_handler handler = NP_HANDLER_INIT;
    np_status status;
    handler.on_frames = on_frames;
    status = np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, error);
    if (status == NP_OK)
        status = np_listener_on(listener, NP_PROTOCOL_REMOTE_APPLICATION, &handler, error);
    return status;
}
