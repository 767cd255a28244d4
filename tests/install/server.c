/* Starts a server and ends it, from the outside: what is installed is all there is. */
#include <nativeport.h>

#include <stdio.h>
#include <string.h>

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    np_conn_send_frames(conn, frames, count, NULL);
}

int main(void) {
    const char *ini = "[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=T\n[T]\nselfSigned=here\n";
    np_error error = NP_ERROR_INIT;
    np_handler handler = NP_HANDLER_INIT;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    np_listener *listener = NULL;
    int ok;

    handler.on_frames = on_frames;
    ok = np_config_new(&config) == NP_OK
         && np_config_load_string(config, ini, strlen(ini), "ini", &error) == NP_OK
         && np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) == NP_OK
         && np_listener_new(runtime, config, 0, &listener, &error) == NP_OK
         && np_listener_on(listener, NP_PROTOCOL_CLIENT, &handler, &error) == NP_OK
         && np_listener_start(listener, &error) == NP_OK;
    printf("%s %s%s\n", NP_VERSION_STRING, np_version_string(), ok ? "" : error.message);
    np_listener_free(listener);
    np_runtime_free(runtime);
    np_config_free(config);
    return ok ? 0 : 1;
}
