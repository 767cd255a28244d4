/* Connections that never were, frames that are taken, and structs of other sizes. */
#include <nativeport.h>

#include <string.h>

#include "check.h"

static int is_no_conn(np_status status) {
    return status == NP_ERR_CLOSED || status == NP_ERR_INVALID_HANDLE;
}

static void any_value_is_a_safe_handle(np_conn conn) {
    np_conn_info info = NP_CONN_INFO_INIT;
    np_frame frame = {NULL, 0, 0, 0};
    void *user_data = &info;
    size_t accepted = 99;
    uint8_t byte = 1;
    CHECK(is_no_conn(np_conn_admit(conn)));
    CHECK(is_no_conn(np_conn_refuse(conn, NULL, 0)));
    CHECK(is_no_conn(np_conn_send_frame(conn, &byte, 1, NP_FRAME_NO_COMPRESS)));
    CHECK(is_no_conn(np_conn_send_frames(conn, &frame, 1, &accepted)));
    CHECK(accepted == 0);
    CHECK(is_no_conn(np_conn_send_frame_owned(conn, &byte, 1, NULL, NULL, 0)));
    CHECK(is_no_conn(np_conn_send_bytes(conn, &byte, 1)));
    CHECK(is_no_conn(np_conn_cork(conn)));
    CHECK(is_no_conn(np_conn_uncork(conn)));
    CHECK(is_no_conn(np_conn_pause_reading(conn)));
    CHECK(is_no_conn(np_conn_resume_reading(conn)));
    CHECK(is_no_conn(np_conn_shutdown(conn)));
    CHECK(is_no_conn(np_conn_close(conn, 1)));
    CHECK(is_no_conn(np_conn_abort(conn, 1)));
    CHECK(is_no_conn(np_conn_set_deadline(conn, NP_FOREVER)));
    CHECK(is_no_conn(np_conn_get_info(conn, &info)));
    CHECK(is_no_conn(np_conn_set_user_data(conn, NULL, NULL)));
    /* Outside a callback the state may be told first. */
    CHECK(np_conn_get_user_data(conn, &user_data) != NP_OK);
    CHECK(user_data == &info);
}

static void bad_data_is_refused_before_the_handle(void) {
    np_conn conn = NP_CONN_NONE;
    np_conn_info info = NP_CONN_INFO_INIT;
    np_frame frames[2] = {{NULL, 0, NP_FRAME_COMPRESSED, 0}, {NULL, 1, 0, 0}};
    size_t accepted = 99;
    uint8_t byte = 1;
    CHECK(np_conn_send_frame(conn, NULL, 1, 0) == NP_ERR_ARGUMENT);
    CHECK(np_conn_send_frame(conn, &byte, SIZE_MAX, 0) == NP_ERR_ARGUMENT);
    CHECK(np_conn_send_frame(conn, &byte, 1, 8) == NP_ERR_ARGUMENT);
    CHECK(np_conn_send_frames(conn, frames, 2, &accepted) == NP_ERR_ARGUMENT);
    CHECK(accepted == 0);
    CHECK(np_conn_send_frames(conn, NULL, 1, NULL) == NP_ERR_ARGUMENT);
    CHECK(np_conn_send_frames(conn, frames, SIZE_MAX / 2, NULL) == NP_ERR_ARGUMENT);
    CHECK(np_conn_send_bytes(conn, NULL, 1) == NP_ERR_ARGUMENT);
    CHECK(np_conn_get_info(conn, NULL) == NP_ERR_ARGUMENT);
    CHECK(np_conn_get_user_data(conn, NULL) == NP_ERR_ARGUMENT);
    info.struct_size = 0;
    CHECK(is_no_conn(np_conn_get_info(conn, &info)));
    info.struct_size = sizeof info - 1;
    CHECK(np_conn_get_info(conn, &info) == NP_ERR_ARGUMENT);
}

static void a_taken_frame_is_a_copy_and_freed_once(void) {
    uint8_t data[3] = {'a', 'b', 'c'};
    np_frame frame = {NULL, 3, NP_FRAME_COMPRESSED, 0};
    np_frame taken = {NULL, 0, 0, 0};
    frame.data = data;
    CHECK(np_frame_take(&frame, &taken) == NP_OK);
    memset(data, 0, sizeof data);
    CHECK(taken.data != data && taken.len == 3 && memcmp(taken.data, "abc", 3) == 0);
    CHECK(taken.flags == NP_FRAME_COMPRESSED);
    np_frame_free(&taken);
    CHECK(taken.data == NULL && taken.len == 0);
    np_frame_free(&taken);
    np_frame_free(NULL);

    frame.len = 0;
    CHECK(np_frame_take(&frame, &taken) == NP_OK);
    CHECK(taken.data == NULL && taken.len == 0);
    np_frame_free(&taken);

    frame.data = NULL;
    frame.len = 1;
    CHECK(np_frame_take(&frame, &taken) == NP_ERR_ARGUMENT);
    CHECK(np_frame_take(NULL, &taken) == NP_ERR_ARGUMENT);
    CHECK(np_frame_take(&frame, NULL) == NP_ERR_ARGUMENT);
}

static void a_longer_struct_of_a_newer_program_is_filled_as_far_as_known(void) {
    struct {
        np_stats known;
        uint64_t later;
    } stats;
    np_config *config = NULL;
    np_runtime *runtime = NULL;
    size_t needed = 0;
    char text[1];
    memset(&stats, 0xff, sizeof stats);
    stats.known.struct_size = sizeof stats;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, NULL) == NP_OK);
    CHECK(np_runtime_get_stats(runtime, &stats.known) == NP_OK);
    CHECK(stats.known.struct_size == sizeof stats);
    CHECK(stats.known.accepted == 0 && stats.known.closes[NP_STATS_REASONS - 1] == 0);
    CHECK(stats.known.certificate_days_left == NP_NO_CERTIFICATE);
    CHECK(stats.later == UINT64_MAX);
    stats.known.struct_size = 16;
    CHECK(np_runtime_get_stats(runtime, &stats.known) == NP_ERR_ARGUMENT);
    CHECK(np_runtime_get_stats(NULL, &stats.known) == NP_ERR_ARGUMENT);
    /* The first version. */
    memset(&stats, 0xff, sizeof stats);
    stats.known.struct_size = 0;
    CHECK(np_runtime_get_stats(runtime, &stats.known) == NP_OK);
    CHECK(stats.known.struct_size == 0 && stats.known.accept_errors == 0);
    CHECK(stats.known.certificate_days_left == -1);
    CHECK(stats.later == UINT64_MAX);

    CHECK(np_stats_prometheus(runtime, text, 1, &needed) == NP_ERR_BUFFER_TOO_SMALL);
    CHECK(needed > 1);
    CHECK(np_runtime_each_conn(runtime, NULL, NULL) == NP_ERR_ARGUMENT);
    CHECK(np_runtime_stop(runtime, 0) == NP_OK);
    CHECK(np_runtime_wait(runtime, NP_FOREVER) == NP_OK);
    CHECK(np_runtime_free(runtime) == NP_OK);
    np_config_free(config);
}

int main(void) {
    np_conn none = NP_CONN_NONE;
    np_conn invented[3] = {{1}, {UINT64_C(0x100000001)}, {UINT64_MAX}};
    size_t at;
    any_value_is_a_safe_handle(none);
    for (at = 0; at < 3; at++)
        any_value_is_a_safe_handle(invented[at]);
    bad_data_is_refused_before_the_handle();
    a_taken_frame_is_a_copy_and_freed_once();
    a_longer_struct_of_a_newer_program_is_filled_as_far_as_known();
    puts("ok");
    return 0;
}
