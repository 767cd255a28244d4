/* What is handed over is released exactly once, whatever the call answers. */
#include <nativeport.h>

#include <string.h>

#include "check.h"

static int released;

static void release(void *user_data) {
    CHECK(user_data == &released);
    released++;
}

static void release_data(void *user_data, const uint8_t *data, size_t len) {
    (void)data;
    (void)len;
    release(user_data);
}

/* The call must answer so, and release what it was given once. */
#define GIVES(expected, call) \
    do { \
        np_status status_; \
        released = 0; \
        status_ = (call); \
        if (status_ != (expected)) \
            fprintf(stderr, "%s: %s\n", #call, np_status_name(status_)); \
        CHECK(status_ == (expected)); \
        CHECK(released == 1); \
    } while (0)

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    (void)conn;
    (void)frames;
    (void)count;
}

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    (void)user_data;
    (void)conn;
    (void)data;
    (void)len;
}

static void on_admit(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    np_conn_admit(conn);
}

static void on_log(void *user_data, const np_log_record *record) {
    (void)user_data;
    (void)record;
}

static np_handler handler(void) {
    np_handler handler = NP_HANDLER_INIT;
    handler.user_data = &released;
    handler.destroy = release;
    handler.on_frames = on_frames;
    handler.on_data = on_data;
    return handler;
}

static np_admission admission(void) {
    np_admission admission = NP_ADMISSION_INIT;
    admission.user_data = &released;
    admission.destroy = release;
    admission.on_admit = on_admit;
    return admission;
}

static void failing_handlers(np_listener *listener) {
    np_error error = NP_ERROR_INIT;
    np_error small = NP_ERROR_INIT;
    np_handler good = handler();
    np_handler bad = handler();
    struct {
        np_handler known;
        void (*on_later)(void *user_data);
    } later;
    small.struct_size = 12;

    GIVES(NP_ERR_ARGUMENT, np_listener_on(NULL, NP_PROTOCOL_CLIENT, &good, &error));
    CHECK(strcmp(error.message, "listener is NULL") == 0);
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, 0, &good, NULL));
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, 5, &good, NULL));
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_CLIENT, &good, &small));

    bad.on_frames = NULL;
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL));
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_REMOTE_APPLICATION, &bad, NULL));
    bad = good;
    bad.on_data = NULL;
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_RELAY, &bad, NULL));
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_UNKNOWN, &bad, NULL));
    bad = good;
    bad.flags = NP_HANDLER_INBOX;
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL));
    bad.flags = 4;
    GIVES(NP_ERR_ARGUMENT, np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL));
    later.known = good;
    later.known.struct_size = sizeof later;
    later.on_later = release;
    GIVES(NP_ERR_UNSUPPORTED, np_listener_on(listener, NP_PROTOCOL_CLIENT, &later.known, NULL));

    /* Nothing was handed over. */
    released = 0;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, NULL, NULL) == NP_ERR_ARGUMENT);
    bad = good;
    bad.struct_size = (uint32_t)offsetof(np_handler, on_close);
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, &error) == NP_ERR_ARGUMENT);
    CHECK(strstr(error.message, "handler has a struct_size of 64") != NULL);
    CHECK(strstr(error.message, "NP_HANDLER_INIT") != NULL);
    bad.struct_size = 0xcccccccc;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL) == NP_ERR_ARGUMENT);
    CHECK(released == 0);

    /* The first version, whose user_data is released with the one that replaces it. */
    bad.struct_size = 0;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL) == NP_OK);
    CHECK(released == 0);
    GIVES(NP_OK, np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL));
    bad.destroy = NULL;
    GIVES(NP_OK, np_listener_on(listener, NP_PROTOCOL_CLIENT, &bad, NULL));
}

static void failing_admissions(np_listener *listener) {
    np_error small = NP_ERROR_INIT;
    np_admission good = admission();
    np_admission bad = admission();
    small.struct_size = 12;
    GIVES(NP_ERR_ARGUMENT, np_listener_on_admit(NULL, &good, NULL));
    GIVES(NP_ERR_ARGUMENT, np_listener_on_admit(listener, &good, &small));
    released = 0;
    bad.struct_size = UINT32_MAX;
    CHECK(np_listener_on_admit(listener, &bad, NULL) == NP_ERR_ARGUMENT);
    CHECK(released == 0);
    bad = good;
    bad.on_admit = NULL;
    GIVES(NP_ERR_ARGUMENT, np_listener_on_admit(listener, &bad, NULL));
    bad = good;
    bad.flags = 1;
    GIVES(NP_ERR_ARGUMENT, np_listener_on_admit(listener, &bad, NULL));
}

static void failing_logs(np_runtime *runtime) {
    np_error small = NP_ERROR_INIT;
    void *data = &released;
    small.struct_size = 12;
    GIVES(NP_ERR_ARGUMENT, np_runtime_set_log(NULL, NP_LOG_INFO, on_log, data, release, NULL));
    GIVES(NP_ERR_ARGUMENT, np_runtime_set_log(runtime, 5, on_log, data, release, NULL));
    GIVES(NP_ERR_ARGUMENT, np_runtime_set_log(runtime, -1, on_log, data, release, NULL));
    GIVES(NP_ERR_ARGUMENT, np_runtime_set_log(runtime, NP_LOG_INFO, on_log, data, release, &small));
    GIVES(NP_OK, np_runtime_set_log(runtime, NP_LOG_INFO, NULL, data, release, NULL));
    GIVES(NP_OK, np_runtime_set_log(runtime, NP_LOG_OFF, on_log, data, release, NULL));
}

static void failing_connections(void) {
    np_conn none = NP_CONN_NONE;
    np_conn invented = {UINT64_MAX};
    uint8_t byte = 1;
    np_status status;
    void *data = &released;
    GIVES(NP_ERR_INVALID_HANDLE, np_conn_set_user_data(none, data, release));
    GIVES(NP_ERR_INVALID_HANDLE,
          np_conn_send_frame_owned(none, &byte, 1, release_data, data, 0));
    GIVES(NP_ERR_ARGUMENT, np_conn_send_frame_owned(none, &byte, 1, release_data, data, 4));
    GIVES(NP_ERR_ARGUMENT, np_conn_send_frame_owned(none, NULL, 1, release_data, data, 0));
    GIVES(NP_ERR_ARGUMENT, np_conn_send_frame_owned(none, &byte, SIZE_MAX, release_data, data, 0));
    released = 0;
    status = np_conn_set_user_data(invented, data, release);
    CHECK(status == NP_ERR_CLOSED || status == NP_ERR_INVALID_HANDLE);
    CHECK(released == 1);
}

int main(void) {
    np_error error = NP_ERROR_INIT;
    np_handler good = handler();
    np_admission admit = admission();
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener *listener = NULL;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_config_add_port(config, "Port", NULL, &error) == NP_OK);
    CHECK(np_config_set(config, "Port", "port", "0", &error) == NP_OK);
    CHECK(np_runtime_new(config, 3, &runtime, NULL) == NP_ERR_ARGUMENT);
    CHECK(runtime == NULL);
    CHECK(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) == NP_OK);
    CHECK(np_listener_new(runtime, config, 1, &listener, NULL) == NP_ERR_NOT_FOUND);
    CHECK(listener == NULL);
    CHECK(np_listener_new(runtime, config, 0, &listener, &error) == NP_OK);

    failing_handlers(listener);
    failing_admissions(listener);
    failing_logs(runtime);
    failing_connections();

    /* Registrations that succeed end with the listener and the runtime. */
    released = 0;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, &good, &error) == NP_OK);
    CHECK(np_listener_on_admit(listener, &admit, &error) == NP_OK);
    CHECK(np_runtime_set_log(runtime, NP_LOG_INFO, on_log, &released, release, &error) == NP_OK);
    CHECK(np_listener_free(listener) == NP_OK);
    CHECK(np_runtime_free(runtime) == NP_OK);
    CHECK(released == 3);

    CHECK(np_listener_free(NULL) == NP_OK);
    CHECK(np_runtime_free(NULL) == NP_OK);
    np_config_free(config);
    puts("ok");
    return 0;
}
