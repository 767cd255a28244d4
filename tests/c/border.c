/*
 * Every function of the header with arguments that a clumsy host may pass, at any time: before
 * a start, in traffic, in every kind of callback, from many threads at once (that also poll one
 * loop, take from one inbox and stop one listener), after the stop, twice. Each answers a status;
 * nothing crashes, and what was handed over is released once.
 *
 * argv: rounds of each thread, number of random handles. The functions come from
 * border_symbols.h, which is made from include/nativeport.symbols: NAME(np_...) for each.
 */
#define _GNU_SOURCE
#include <nativeport.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 16, CLIENTS = 4, CONNS = 24, LATER = 64, CALLS_IN_CALLBACK = 3 };
enum { POLLS = 50, TAKES = 8 };

/* What the cases are called with. */
struct env {
    np_config *config;
    np_runtime *runtime;
    np_listener *listener;
    /** Polled by whoever comes; NULL where none may be touched. */
    np_loop *loop;
    /** What may be stopped; NULL where nothing may. */
    np_runtime *ending_runtime;
    np_listener *ending_listener;
    np_loop *ending_loop;
    np_conn conns[CONNS];
    int conn_count;
    /** Inside a callback of the library: what waits must refuse. */
    int in_callback;
    /** What starts threads may be called. */
    int heavy;
    uint64_t random;
};

/* A runtime with one listener, and a loop if its events are polled. */
struct life {
    np_runtime *runtime;
    np_listener *listener;
    np_loop *loop;
};

static np_config *config;
static np_runtime *_Atomic runtime;
static np_listener *_Atomic listeners[2];
/* Polled by all threads, and stopped by none. */
static struct life shared;
/* Stopped by all threads: another one in each of their rounds. */
static struct life ending;
static atomic_int handed, destroyed, lent, released, opened, closed, stop_clients;
static atomic_int polled_opened, polled_closed;

/* Where clients go. */
enum port { SHARED = 2, ENDING, PORTS };
static atomic_uint ports[PORTS];

/* Callbacks, and what else must have been seen. */
enum kind {
    OPEN, FRAMES, DATA, END, WRITABLE, CLOSE, ADMIT, LOG, DESTROY,
    FRAME_TAKEN, BYTES_TAKEN, EVENT_POLLED, KINDS
};
static atomic_int in_kind[KINDS];

static void all_cases(enum kind kind, np_conn conn);

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A status that the header has, and that tells of no defect. */
static np_status is_status(const char *call, np_status status) {
    if (strcmp(np_status_name(status), "unknown") == 0 || status == NP_ERR_PANIC
        || status == NP_ERR_INTERNAL) {
        fprintf(stderr, "%s answers %d\n", call, (int)status);
        abort();
    }
    return status;
}

static void is(const char *call, np_status expected, np_status status) {
    if (is_status(call, status) != expected) {
        fprintf(stderr, "%s answers %s instead of %s\n", call, np_status_name(status),
                np_status_name(expected));
        abort();
    }
}

#define TRY(call) is_status(#call, (call))
#define IS(expected, call) is(#call, expected, (call))

/* What is handed over. */

static void destroy(void *user_data) {
    np_conn none = NP_CONN_NONE;
    (void)user_data;
    destroyed++;
    all_cases(DESTROY, none);
}

static void release(void *release_data, const uint8_t *data, size_t len) {
    np_stats stats = NP_STATS_INIT;
    (void)release_data;
    (void)data;
    (void)len;
    released++;
    if (runtime != NULL)
        TRY(np_runtime_get_stats(runtime, &stats));
}

#define HAND(call) \
    do { \
        handed++; \
        TRY(call); \
    } while (0)
#define LEND(call) \
    do { \
        lent++; \
        TRY(call); \
    } while (0)

/* Callbacks. */

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)protocol;
    (void)first_byte;
    opened++;
    HAND(np_conn_set_user_data(conn, &handed, destroy));
    all_cases(OPEN, conn);
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    np_frame taken = {NULL, 0, 0, 0};
    (void)user_data;
    TRY(np_conn_send_frames(conn, frames, count, NULL));
    if (np_frame_take(frames, &taken) == NP_OK)
        np_frame_free(&taken);
    all_cases(FRAMES, conn);
}

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    (void)user_data;
    TRY(np_conn_send_bytes(conn, data, len));
    all_cases(DATA, conn);
}

static void on_end(void *user_data, np_conn conn) {
    (void)user_data;
    all_cases(END, conn);
    TRY(np_conn_close(conn, 1));
}

static void on_writable(void *user_data, np_conn conn) {
    (void)user_data;
    all_cases(WRITABLE, conn);
}

static void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    (void)user_data;
    if (info->stage == NP_STAGE_OPEN)
        closed++;
    all_cases(CLOSE, conn);
}

static void on_admit(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)first_byte;
    all_cases(ADMIT, conn);
    if (protocol == NP_PROTOCOL_UNKNOWN)
        TRY(np_conn_refuse(conn, (const uint8_t *)"no", 2));
    else
        TRY(np_conn_admit(conn));
}

static void on_log(void *user_data, const np_log_record *record) {
    (void)user_data;
    all_cases(LOG, record->conn);
}

static np_handler whole_handler(void) {
    np_handler handler = NP_HANDLER_INIT;
    handler.user_data = &handed;
    handler.destroy = destroy;
    handler.on_open = on_open;
    handler.on_frames = on_frames;
    handler.on_data = on_data;
    handler.on_end = on_end;
    handler.on_writable = on_writable;
    handler.on_close = on_close;
    return handler;
}

static np_admission whole_admission(void) {
    np_admission admission = NP_ADMISSION_INIT;
    admission.user_data = &handed;
    admission.destroy = destroy;
    admission.on_admit = on_admit;
    admission.on_close = on_close;
    return admission;
}

static void note_port(np_listener *listener, int port) {
    np_address address;
    if (TRY(np_listener_get_address(listener, 0, &address)) == NP_OK)
        ports[port] = address.port;
}

/* Objects that were made where they cannot be freed. */

static pthread_mutex_t later_lock = PTHREAD_MUTEX_INITIALIZER;
static np_listener *later_listeners[LATER];
static np_runtime *later_runtimes[LATER];
static int later_listener_count, later_runtime_count;

static int later_has_room(void) {
    int room;
    pthread_mutex_lock(&later_lock);
    room = later_listener_count < LATER - THREADS - 8 && later_runtime_count < 4;
    pthread_mutex_unlock(&later_lock);
    return room;
}

static void end_listener(struct env *env, np_listener *listener) {
    if (!env->in_callback) {
        IS(NP_OK, np_listener_free(listener));
        return;
    }
    IS(NP_ERR_IN_CALLBACK, np_listener_free(listener));
    pthread_mutex_lock(&later_lock);
    CHECK(later_listener_count < LATER);
    later_listeners[later_listener_count++] = listener;
    pthread_mutex_unlock(&later_lock);
}

static void end_runtime(struct env *env, np_runtime *made) {
    if (!env->in_callback) {
        IS(NP_OK, np_runtime_free(made));
        return;
    }
    IS(NP_ERR_IN_CALLBACK, np_runtime_free(made));
    IS(NP_OK, np_runtime_stop(made, 0));
    pthread_mutex_lock(&later_lock);
    CHECK(later_runtime_count < LATER);
    later_runtimes[later_runtime_count++] = made;
    pthread_mutex_unlock(&later_lock);
}

/* Structs of all sizes that a program of another version may claim. */

#define SIZES(of) \
    {0, 1, 4, 7, 8, 12, 16, 24, 40, FIRST_##of - 1, FIRST_##of, sizeof(of), sizeof(of) + 64, \
     sizeof(of) + 1025, 0xcccccccc, UINT32_MAX}
enum { SIZE_COUNT = 16 };

/* In version 0.2.0. */
enum {
    FIRST_np_error = sizeof(np_error),
    FIRST_np_handler = sizeof(np_handler),
    FIRST_np_admission = sizeof(np_admission),
    FIRST_np_conn_info = sizeof(np_conn_info),
    FIRST_np_stats = 1264
};

/* Whether a struct may have this size: 0 is the first version, and some later ones are longer. */
#define IS_SIZE(size, of) ((size) == 0 || ((size) >= FIRST_##of && (size) <= sizeof(of) + 1024))

/* Lengths and counts that nothing has. */
static const size_t garbage[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 46};
enum { GARBAGE = 3 };
#define EACH_GARBAGE(size) \
    for (size_t at_g = 0, size = garbage[0]; at_g < GARBAGE; \
         size = ++at_g < GARBAGE ? garbage[at_g] : 0)

static const uint32_t error_sizes[SIZE_COUNT] = SIZES(np_error);

union wide_error {
    np_error error;
    char room[sizeof(np_error) + 64];
};

/* Whether a failure can be told in an error of this size: garbage is told of too, where the
   error is surely there. */
static int tells(uint32_t size) {
    return size == 0 || size >= sizeof(np_error);
}

/* Calls something with errors of every size. */
#define ERRORS(error, ...) \
    for (int size_ = 0; size_ < SIZE_COUNT; size_++) { \
        union wide_error wide_; \
        np_error *error = &wide_.error; \
        memset(&wide_, 0x5a, sizeof wide_); \
        error->struct_size = error_sizes[size_]; \
        error->status = NP_OK; \
        __VA_ARGS__; \
        CHECK(error->struct_size == error_sizes[size_]); \
        CHECK(error->status == NP_OK || tells(error_sizes[size_])); \
        CHECK(wide_.room[sizeof(np_error)] == 0x5a); \
    }

static const char *const texts[] = {"", "Port", "Runtime", "port", "\xff\xfe", "[", "Port.x",
                                    "a very long name that no section and no key has, ever"};
enum { TEXTS = 8 };

/* The cases, in the order of the header. */

#define CASE(name) static void case_##name(struct env *env)
CASE(np_version_number) {
    (void)env;
    CHECK(np_version_number() == NP_VERSION_NUMBER);
}

CASE(np_version_string) {
    (void)env;
    CHECK(strcmp(np_version_string(), NP_VERSION_STRING) == 0);
}

CASE(np_has_feature) {
    (void)env;
    CHECK(np_has_feature(NULL) == 0 && np_has_feature("\xff") == 0);
}

CASE(np_status_name) {
    CHECK(np_status_name((np_status)next(&env->random)) != NULL);
    CHECK(np_status_name(INT32_MIN) != NULL && np_status_name(INT32_MAX) != NULL);
}

CASE(np_status_message) {
    CHECK(np_status_message((np_status)next(&env->random)) != NULL);
    CHECK(np_status_message(INT32_MIN) != NULL);
}

CASE(np_close_reason_name) {
    CHECK(np_close_reason_name((int32_t)next(&env->random)) != NULL);
    CHECK(np_close_reason_name(INT32_MIN) != NULL);
}

CASE(np_close_by_name) {
    CHECK(np_close_by_name((int32_t)next(&env->random)) != NULL);
    CHECK(np_close_by_name(INT32_MIN) != NULL && np_close_by_name(INT32_MAX) != NULL);
}

CASE(np_close_stage_name) {
    CHECK(np_close_stage_name((int32_t)next(&env->random)) != NULL);
    CHECK(np_close_stage_name(INT32_MIN) != NULL && np_close_stage_name(INT32_MAX) != NULL);
}

CASE(np_config_new) {
    np_config *made = NULL;
    (void)env;
    IS(NP_ERR_ARGUMENT, np_config_new(NULL));
    IS(NP_OK, np_config_new(&made));
    np_config_free(made);
}

CASE(np_config_load_file) {
    IS(NP_ERR_ARGUMENT, np_config_load_file(NULL, "x", NULL));
    IS(NP_ERR_ARGUMENT, np_config_load_file(env->config, NULL, NULL));
    ERRORS(error, CHECK(TRY(np_config_load_file(env->config, "/nowhere/there.ini", error)) != NP_OK);
           CHECK((error->status != NP_OK) == tells(error->struct_size)));
    TRY(np_config_load_file(env->config, "/", NULL));
    TRY(np_config_load_file(env->config, "\xff", NULL));
}

CASE(np_config_load_string) {
    np_config *made = NULL;
    IS(NP_ERR_ARGUMENT, np_config_load_string(NULL, "", 0, "x", NULL));
    IS(NP_ERR_ARGUMENT, np_config_load_string(env->config, NULL, 1, "x", NULL));
    EACH_GARBAGE(size)
        IS(NP_ERR_ARGUMENT, np_config_load_string(env->config, "x", size, "x", NULL));
    IS(NP_ERR_ARGUMENT, np_config_load_string(env->config, "", 0, NULL, NULL));
    IS(NP_OK, np_config_load_string(env->config, NULL, 0, "x", NULL));
    IS(NP_OK, np_config_new(&made));
    ERRORS(error, TRY(np_config_load_string(made, "[\xff\n=\n[[", 7, "x", error)));
    IS(NP_OK, np_config_load_string(made, "[Port]\nport=99999999\n", 21, "x", NULL));
    np_config_free(made);
}

CASE(np_config_add_port) {
    np_config *made = NULL;
    uint32_t index;
    (void)env;
    IS(NP_ERR_ARGUMENT, np_config_add_port(NULL, "x", &index, NULL));
    IS(NP_OK, np_config_new(&made));
    IS(NP_ERR_ARGUMENT, np_config_add_port(made, NULL, NULL, NULL));
    for (int at = 0; at < TEXTS; at++)
        ERRORS(error, TRY(np_config_add_port(made, texts[at], NULL, error)));
    np_config_free(made);
}

CASE(np_config_set) {
    np_config *made = NULL;
    (void)env;
    IS(NP_ERR_ARGUMENT, np_config_set(NULL, "Port", "port", "0", NULL));
    IS(NP_OK, np_config_new(&made));
    IS(NP_ERR_ARGUMENT, np_config_set(made, NULL, "port", "0", NULL));
    IS(NP_ERR_ARGUMENT, np_config_set(made, "Port", NULL, "0", NULL));
    IS(NP_ERR_ARGUMENT, np_config_set(made, "Port", "port", NULL, NULL));
    for (int at = 0; at < TEXTS * TEXTS * TEXTS; at++)
        TRY(np_config_set(made, texts[at % TEXTS], texts[at / TEXTS % TEXTS],
                          texts[at / TEXTS / TEXTS], NULL));
    ERRORS(error, TRY(np_config_set(made, "Nowhere", "port", "0", error)));
    np_config_free(made);
}

CASE(np_config_get) {
    char buffer[8];
    size_t needed;
    IS(NP_ERR_ARGUMENT, np_config_get(NULL, "Port", "port", buffer, 8, &needed));
    IS(NP_ERR_ARGUMENT, np_config_get(env->config, NULL, "port", buffer, 8, NULL));
    IS(NP_ERR_ARGUMENT, np_config_get(env->config, "Port", NULL, buffer, 8, NULL));
    IS(NP_ERR_ARGUMENT, np_config_get(env->config, "Port", "port", NULL, 8, NULL));
    EACH_GARBAGE(size)
        IS(NP_ERR_ARGUMENT, np_config_get(env->config, "Port", "port", buffer, size, NULL));
    for (int at = 0; at < TEXTS * TEXTS; at++)
        TRY(np_config_get(env->config, texts[at % TEXTS], texts[at / TEXTS], buffer,
                          (size_t)at % 9, &needed));
}

static void on_finding(void *user_data, const np_finding *finding) {
    (void)user_data;
    CHECK(finding->text != NULL && finding->valid != NULL);
}

CASE(np_config_check) {
    uint32_t errors, warnings;
    IS(NP_ERR_ARGUMENT, np_config_check(NULL, on_finding, NULL, &errors, &warnings));
    IS(NP_OK, np_config_check(env->config, NULL, NULL, NULL, NULL));
    IS(NP_OK, np_config_check(env->config, on_finding, NULL, &errors, &warnings));
}

CASE(np_config_port_count) {
    CHECK(np_config_port_count(NULL) == 0);
    CHECK(np_config_port_count(env->config) == 2);
}

CASE(np_config_get_port_name) {
    char buffer[4];
    size_t needed;
    IS(NP_ERR_ARGUMENT, np_config_get_port_name(NULL, 0, buffer, 4, &needed));
    IS(NP_ERR_ARGUMENT, np_config_get_port_name(env->config, 0, NULL, 4, &needed));
    EACH_GARBAGE(size)
        IS(NP_ERR_ARGUMENT, np_config_get_port_name(env->config, 0, buffer, size, &needed));
    IS(NP_ERR_NOT_FOUND, np_config_get_port_name(env->config, UINT32_MAX, buffer, 4, NULL));
    IS(NP_ERR_BUFFER_TOO_SMALL, np_config_get_port_name(env->config, 0, NULL, 0, &needed));
}

CASE(np_config_get_port_written_name) {
    char buffer[4];
    size_t needed;
    IS(NP_ERR_ARGUMENT, np_config_get_port_written_name(NULL, 0, buffer, 4, &needed));
    IS(NP_ERR_ARGUMENT, np_config_get_port_written_name(env->config, 0, NULL, 4, &needed));
    EACH_GARBAGE(size)
        IS(NP_ERR_ARGUMENT,
           np_config_get_port_written_name(env->config, 0, buffer, size, &needed));
    IS(NP_ERR_NOT_FOUND, np_config_get_port_written_name(env->config, 2, buffer, 4, NULL));
    IS(NP_ERR_BUFFER_TOO_SMALL, np_config_get_port_written_name(env->config, 0, NULL, 0, NULL));
}

CASE(np_config_free) {
    (void)env;
    np_config_free(NULL);
}

CASE(np_frame_take) {
    np_frame frame = {NULL, 5, 0, 0}, taken = {NULL, 0, 0, 0};
    (void)env;
    IS(NP_ERR_ARGUMENT, np_frame_take(NULL, &taken));
    IS(NP_ERR_ARGUMENT, np_frame_take(&frame, &taken));
    frame.data = (const uint8_t *)"frame";
    IS(NP_ERR_ARGUMENT, np_frame_take(&frame, NULL));
    EACH_GARBAGE(size) {
        frame.len = size;
        IS(NP_ERR_ARGUMENT, np_frame_take(&frame, &taken));
    }
    frame.len = 0x80000000;
    IS(NP_ERR_FRAME_TOO_LARGE, np_frame_take(&frame, &taken));
    frame.len = 5;
    IS(NP_OK, np_frame_take(&frame, &taken));
    np_frame_free(&taken);
}

CASE(np_frame_free) {
    np_frame frame = {NULL, 0, 0, 0};
    (void)env;
    np_frame_free(NULL);
    np_frame_free(&frame);
    np_frame_free(&frame);
}

CASE(np_runtime_new) {
    np_runtime *made = NULL;
    IS(NP_ERR_ARGUMENT, np_runtime_new(NULL, 0, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_runtime_new(env->config, 0, NULL, NULL));
    IS(NP_ERR_ARGUMENT, np_runtime_new(env->config, INT32_MIN, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_runtime_new(env->config, 77, &made, NULL));
    ERRORS(error, CHECK(TRY(np_runtime_new(env->config, 3, &made, error)) != NP_OK));
    CHECK(made == NULL);
    if (env->heavy && later_has_room()) {
        IS(NP_OK, np_runtime_new(env->config, NP_CONSUMER_CALLBACKS, &made, NULL));
        HAND(np_runtime_set_log(made, NP_LOG_DEBUG, on_log, &handed, destroy, NULL));
        end_runtime(env, made);
    }
}

CASE(np_runtime_set_log) {
    HAND(np_runtime_set_log(NULL, NP_LOG_INFO, on_log, &handed, destroy, NULL));
    for (int32_t level = -1; level < 6; level++)
        HAND(np_runtime_set_log(env->runtime, level, on_log, &handed, destroy, NULL));
    HAND(np_runtime_set_log(env->runtime, NP_LOG_INFO, NULL, &handed, destroy, NULL));
    ERRORS(error, HAND(np_runtime_set_log(env->runtime, NP_LOG_INFO, on_log, &handed, destroy,
                                          error)));
    TRY(np_runtime_set_log(env->runtime, NP_LOG_INFO, on_log, NULL, NULL, NULL));
}

static uint64_t drain(struct env *env) {
    static const uint64_t drains[4] = {0, 50, NP_FOREVER, NP_FOREVER};
    return drains[next(&env->random) % 4];
}

CASE(np_runtime_stop) {
    IS(NP_ERR_ARGUMENT, np_runtime_stop(NULL, 0));
    if (env->ending_runtime != NULL && next(&env->random) % 4 == 0) {
        IS(NP_OK, np_runtime_stop(env->ending_runtime, drain(env)));
        TRY(np_runtime_wait(env->ending_runtime, next(&env->random) % 3));
    }
}

CASE(np_runtime_wait) {
    IS(NP_ERR_ARGUMENT, np_runtime_wait(NULL, NP_FOREVER));
    TRY(np_runtime_wait(env->runtime, 0));
    if (env->in_callback && np_runtime_wait(env->runtime, 0) != NP_OK)
        IS(NP_ERR_IN_CALLBACK, np_runtime_wait(env->runtime, NP_FOREVER));
    else
        TRY(np_runtime_wait(env->runtime, 1));
}

CASE(np_runtime_free) {
    IS(NP_OK, np_runtime_free(NULL));
    if (env->in_callback)
        IS(NP_ERR_IN_CALLBACK, np_runtime_free(env->runtime));
}

static int32_t visit(void *user_data, np_conn conn) {
    np_conn_info info = NP_CONN_INFO_INIT;
    TRY(np_conn_get_info(conn, &info));
    return user_data != NULL;
}

CASE(np_runtime_each_conn) {
    IS(NP_ERR_ARGUMENT, np_runtime_each_conn(NULL, visit, NULL));
    IS(NP_ERR_ARGUMENT, np_runtime_each_conn(env->runtime, NULL, NULL));
    IS(NP_OK, np_runtime_each_conn(env->runtime, visit, NULL));
    IS(NP_OK, np_runtime_each_conn(env->runtime, visit, env));
}

CASE(np_runtime_get_stats) {
    static const uint32_t sizes[SIZE_COUNT] = SIZES(np_stats);
    IS(NP_ERR_ARGUMENT, np_runtime_get_stats(env->runtime, NULL));
    for (int at = 0; at < SIZE_COUNT; at++) {
        union {
            np_stats stats;
            char room[sizeof(np_stats) + 64];
        } wide;
        memset(&wide, 0x5a, sizeof wide);
        wide.stats.struct_size = sizes[at];
        IS(NP_ERR_ARGUMENT, np_runtime_get_stats(NULL, &wide.stats));
        IS(IS_SIZE(sizes[at], np_stats) ? NP_OK : NP_ERR_ARGUMENT,
           np_runtime_get_stats(env->runtime, &wide.stats));
        CHECK(wide.stats.struct_size == sizes[at]);
        CHECK((wide.stats.reserved == 0) == IS_SIZE(sizes[at], np_stats));
        CHECK(wide.room[sizeof(np_stats)] == 0x5a);
    }
}

CASE(np_listener_get_stats) {
    static const uint32_t sizes[SIZE_COUNT] = SIZES(np_stats);
    IS(NP_ERR_ARGUMENT, np_listener_get_stats(env->listener, NULL));
    for (int at = 0; at < SIZE_COUNT; at++) {
        union {
            np_stats stats;
            char room[sizeof(np_stats) + 64];
        } wide;
        memset(&wide, 0x5a, sizeof wide);
        wide.stats.struct_size = sizes[at];
        IS(NP_ERR_ARGUMENT, np_listener_get_stats(NULL, &wide.stats));
        IS(IS_SIZE(sizes[at], np_stats) ? NP_OK : NP_ERR_ARGUMENT,
           np_listener_get_stats(env->listener, &wide.stats));
        CHECK((wide.stats.reserved == 0) == IS_SIZE(sizes[at], np_stats));
    }
}

CASE(np_stats_prometheus) {
    char buffer[16];
    size_t needed = 0;
    IS(NP_ERR_ARGUMENT, np_stats_prometheus(NULL, buffer, 16, &needed));
    IS(NP_ERR_ARGUMENT, np_stats_prometheus(env->runtime, NULL, 16, &needed));
    EACH_GARBAGE(size)
        IS(NP_ERR_ARGUMENT, np_stats_prometheus(env->runtime, buffer, size, &needed));
    IS(NP_ERR_BUFFER_TOO_SMALL, np_stats_prometheus(env->runtime, buffer, 16, NULL));
    IS(NP_ERR_BUFFER_TOO_SMALL, np_stats_prometheus(env->runtime, NULL, 0, &needed));
    CHECK(needed > 16);
}

CASE(np_listener_new) {
    np_listener *made = NULL;
    IS(NP_ERR_ARGUMENT, np_listener_new(NULL, env->config, 0, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_listener_new(env->runtime, NULL, 0, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_listener_new(env->runtime, env->config, 0, NULL, NULL));
    ERRORS(error, CHECK(TRY(np_listener_new(env->runtime, env->config, UINT32_MAX, &made, error))
                        != NP_OK));
    CHECK(made == NULL);
    if (later_has_room() && TRY(np_listener_new(env->runtime, env->config, 0, &made, NULL)) == NP_OK)
        end_listener(env, made);
}

CASE(np_listener_on) {
    static const uint32_t sizes[SIZE_COUNT] = SIZES(np_handler);
    np_listener *made = NULL;
    np_handler handler = whole_handler();
    IS(NP_ERR_ARGUMENT, np_listener_on(env->listener, 1, NULL, NULL));
    HAND(np_listener_on(NULL, 1, &handler, NULL));
    /* Started already, most of them. */
    for (int32_t protocol = -1; protocol < 7; protocol++)
        HAND(np_listener_on(env->listener, protocol, &handler, NULL));
    ERRORS(error, HAND(np_listener_on(env->listener, 1, &handler, error)));
    if (!later_has_room() || np_listener_new(env->runtime, env->config, 0, &made, NULL) != NP_OK)
        return;
    for (int at = 0; at < SIZE_COUNT; at++) {
        union {
            np_handler handler;
            char room[sizeof(np_handler) + 64];
        } wide;
        memset(&wide, 0, sizeof wide);
        wide.handler = whole_handler();
        wide.handler.struct_size = sizes[at];
        /* Of garbage nothing is handed over. */
        handed += IS_SIZE(sizes[at], np_handler);
        CHECK((TRY(np_listener_on(made, NP_PROTOCOL_CLIENT, &wide.handler, NULL)) == NP_OK)
              == IS_SIZE(sizes[at], np_handler));
    }
    for (uint32_t bit = 0; bit < 32; bit++) {
        handler.flags = 1u << bit;
        HAND(np_listener_on(made, NP_PROTOCOL_CLIENT, &handler, NULL));
    }
    end_listener(env, made);
}

CASE(np_listener_on_admit) {
    static const uint32_t sizes[SIZE_COUNT] = SIZES(np_admission);
    np_listener *made = NULL;
    np_admission admission = whole_admission();
    IS(NP_ERR_ARGUMENT, np_listener_on_admit(env->listener, NULL, NULL));
    HAND(np_listener_on_admit(NULL, &admission, NULL));
    ERRORS(error, HAND(np_listener_on_admit(env->listener, &admission, error)));
    if (!later_has_room() || np_listener_new(env->runtime, env->config, 0, &made, NULL) != NP_OK)
        return;
    for (int at = 0; at < SIZE_COUNT; at++) {
        union {
            np_admission admission;
            char room[sizeof(np_admission) + 64];
        } wide;
        memset(&wide, 0, sizeof wide);
        wide.admission = whole_admission();
        wide.admission.struct_size = sizes[at];
        handed += IS_SIZE(sizes[at], np_admission);
        CHECK((TRY(np_listener_on_admit(made, &wide.admission, NULL)) == NP_OK)
              == IS_SIZE(sizes[at], np_admission));
    }
    end_listener(env, made);
}

CASE(np_listener_start) {
    IS(NP_ERR_ARGUMENT, np_listener_start(NULL, NULL));
    if (env->ending_listener != NULL && TRY(np_listener_start(env->ending_listener, NULL)) == NP_OK)
        note_port(env->ending_listener, ENDING);
    CHECK(TRY(np_listener_start(env->listener, NULL)) != NP_OK);
    ERRORS(error, CHECK(TRY(np_listener_start(env->listener, error)) != NP_OK));
}

CASE(np_listener_get_address) {
    np_address address;
    IS(NP_ERR_ARGUMENT, np_listener_get_address(NULL, 0, &address));
    IS(NP_ERR_ARGUMENT, np_listener_get_address(env->listener, 0, NULL));
    IS(NP_ERR_NOT_FOUND, np_listener_get_address(env->listener, UINT32_MAX, &address));
    TRY(np_listener_get_address(env->listener, 0, &address));
}

CASE(np_listener_pause) {
    IS(NP_ERR_ARGUMENT, np_listener_pause(NULL));
    TRY(np_listener_pause(env->listener));
    TRY(np_listener_pause(env->listener));
    TRY(np_listener_resume(env->listener));
}

CASE(np_listener_resume) {
    IS(NP_ERR_ARGUMENT, np_listener_resume(NULL));
    TRY(np_listener_resume(env->listener));
    TRY(np_listener_resume(env->listener));
}

CASE(np_listener_stop) {
    IS(NP_ERR_ARGUMENT, np_listener_stop(NULL, 0));
    if (env->ending_listener != NULL && next(&env->random) % 4 == 0) {
        IS(NP_OK, np_listener_stop(env->ending_listener, drain(env)));
        TRY(np_listener_wait(env->ending_listener, next(&env->random) % 3));
    }
}

CASE(np_listener_wait) {
    IS(NP_ERR_ARGUMENT, np_listener_wait(NULL, NP_FOREVER));
    if (TRY(np_listener_wait(env->listener, 0)) != NP_OK && env->in_callback)
        IS(NP_ERR_IN_CALLBACK, np_listener_wait(env->listener, NP_FOREVER));
    else
        TRY(np_listener_wait(env->listener, 1));
}

CASE(np_listener_free) {
    IS(NP_OK, np_listener_free(NULL));
    if (env->in_callback)
        IS(NP_ERR_IN_CALLBACK, np_listener_free(env->listener));
}

#define EACH_CONN(conn) \
    for (int at_ = 0; at_ < env->conn_count; at_++) \
        for (np_conn conn = env->conns[at_], *once_ = &conn; once_ != NULL; once_ = NULL)

CASE(np_conn_admit) {
    EACH_CONN(conn) TRY(np_conn_admit(conn));
}

CASE(np_conn_refuse) {
    EACH_CONN(conn) {
        IS(NP_ERR_ARGUMENT, np_conn_refuse(conn, NULL, 1));
        EACH_GARBAGE(size)
            IS(NP_ERR_ARGUMENT, np_conn_refuse(conn, (const uint8_t *)"x", size));
        IS(NP_ERR_TOO_LARGE, np_conn_refuse(conn, (const uint8_t *)"x", (1 << 20) + 1));
        if (next(&env->random) % 8 == 0)
            TRY(np_conn_refuse(conn, NULL, 0));
    }
}

CASE(np_conn_pause_reading) {
    EACH_CONN(conn) TRY(np_conn_pause_reading(conn));
    EACH_CONN(conn) TRY(np_conn_resume_reading(conn));
}

CASE(np_conn_resume_reading) {
    EACH_CONN(conn) TRY(np_conn_resume_reading(conn));
}

CASE(np_conn_shutdown) {
    EACH_CONN(conn) {
        if (next(&env->random) % 8 == 0)
            TRY(np_conn_shutdown(conn));
    }
}

CASE(np_conn_close) {
    EACH_CONN(conn) {
        if (next(&env->random) % 8 == 0) {
            TRY(np_conn_close(conn, INT32_MIN));
            CHECK(TRY(np_conn_close(conn, INT32_MAX)) != NP_OK);
        }
    }
}

CASE(np_conn_abort) {
    EACH_CONN(conn) {
        if (next(&env->random) % 8 == 0) {
            TRY(np_conn_abort(conn, -1));
            TRY(np_conn_abort(conn, -1));
        }
    }
}

CASE(np_conn_set_deadline) {
    EACH_CONN(conn) {
        TRY(np_conn_set_deadline(conn, UINT64_MAX - 1));
        if (next(&env->random) % 8 == 0)
            TRY(np_conn_set_deadline(conn, 0));
        TRY(np_conn_set_deadline(conn, NP_FOREVER));
    }
}

CASE(np_conn_get_info) {
    static const uint32_t sizes[SIZE_COUNT] = SIZES(np_conn_info);
    EACH_CONN(conn) {
        IS(NP_ERR_ARGUMENT, np_conn_get_info(conn, NULL));
        for (int at = 0; at < SIZE_COUNT; at++) {
            union {
                np_conn_info info;
                char room[sizeof(np_conn_info) + 64];
            } wide;
            memset(&wide, 0x5a, sizeof wide);
            wide.info.struct_size = sizes[at];
            if (TRY(np_conn_get_info(conn, &wide.info)) == NP_OK)
                CHECK(IS_SIZE(sizes[at], np_conn_info) && wide.info.reserved == 0);
            CHECK(wide.info.struct_size == sizes[at]);
            CHECK(wide.room[sizeof(np_conn_info)] == 0x5a);
        }
    }
}

CASE(np_conn_set_user_data) {
    EACH_CONN(conn) {
        HAND(np_conn_set_user_data(conn, env, destroy));
        HAND(np_conn_set_user_data(conn, NULL, destroy));
        TRY(np_conn_set_user_data(conn, env, NULL));
        TRY(np_conn_set_user_data(conn, NULL, NULL));
    }
}

CASE(np_conn_get_user_data) {
    EACH_CONN(conn) {
        void *user_data = NULL;
        IS(NP_ERR_ARGUMENT, np_conn_get_user_data(conn, NULL));
        TRY(np_conn_get_user_data(conn, &user_data));
    }
}

static const uint8_t bytes[40000];

CASE(np_conn_send_frame) {
    EACH_CONN(conn) {
        IS(NP_ERR_ARGUMENT, np_conn_send_frame(conn, NULL, 1, 0));
        EACH_GARBAGE(size) IS(NP_ERR_ARGUMENT, np_conn_send_frame(conn, bytes, size, 0));
        IS(NP_ERR_ARGUMENT, np_conn_send_frame(conn, bytes, 1, UINT32_MAX));
        TRY(np_conn_send_frame(conn, NULL, 0, 0));
        TRY(np_conn_send_frame(conn, bytes, 100, NP_FRAME_NO_COMPRESS));
        TRY(np_conn_send_frame(conn, bytes, sizeof bytes, NP_FRAME_COMPRESSED));
    }
}

CASE(np_conn_send_frames) {
    np_frame frames[3] = {{bytes, 10, 0, 0}, {NULL, 0, 0, 0}, {bytes, 20, 2, 0}};
    np_frame bad[2] = {{bytes, 10, 0, 0}, {NULL, 1, 0, 0}};
    EACH_CONN(conn) {
        size_t accepted = 99;
        IS(NP_ERR_ARGUMENT, np_conn_send_frames(conn, NULL, 1, &accepted));
        CHECK(accepted == 0);
        EACH_GARBAGE(size) {
            IS(NP_ERR_ARGUMENT, np_conn_send_frames(conn, frames, size, NULL));
            bad[1].len = size;
            bad[1].data = bytes;
            IS(NP_ERR_ARGUMENT, np_conn_send_frames(conn, bad, 2, NULL));
        }
        bad[1].len = 1;
        bad[1].data = NULL;
        IS(NP_ERR_ARGUMENT, np_conn_send_frames(conn, bad, 2, &accepted));
        CHECK(accepted == 0);
        TRY(np_conn_send_frames(conn, frames, 3, &accepted));
        CHECK(accepted <= 3);
        TRY(np_conn_send_frames(conn, NULL, 0, NULL));
    }
}

CASE(np_conn_send_frame_owned) {
    EACH_CONN(conn) {
        LEND(np_conn_send_frame_owned(conn, NULL, 1, release, env, 0));
        EACH_GARBAGE(size) LEND(np_conn_send_frame_owned(conn, bytes, size, release, env, 0));
        LEND(np_conn_send_frame_owned(conn, bytes, 1, release, env, UINT32_MAX));
        LEND(np_conn_send_frame_owned(conn, NULL, 0, release, NULL, 0));
        LEND(np_conn_send_frame_owned(conn, bytes, 10, release, NULL, 0));
        LEND(np_conn_send_frame_owned(conn, bytes, sizeof bytes, release, NULL, 2));
        TRY(np_conn_send_frame_owned(conn, bytes, sizeof bytes, NULL, NULL, 0));
    }
}

CASE(np_conn_send_bytes) {
    EACH_CONN(conn) {
        IS(NP_ERR_ARGUMENT, np_conn_send_bytes(conn, NULL, 1));
        EACH_GARBAGE(size) IS(NP_ERR_ARGUMENT, np_conn_send_bytes(conn, bytes, size));
        TRY(np_conn_send_bytes(conn, NULL, 0));
        TRY(np_conn_send_bytes(conn, bytes, 1000));
    }
}

CASE(np_conn_cork) {
    EACH_CONN(conn) TRY(np_conn_cork(conn));
    EACH_CONN(conn) TRY(np_conn_uncork(conn));
}

CASE(np_conn_uncork) {
    EACH_CONN(conn) TRY(np_conn_uncork(conn));
    EACH_CONN(conn) TRY(np_conn_uncork(conn));
}

static uint64_t wait_ms(struct env *env) {
    return env->in_callback ? 0 : next(&env->random) % 3;
}

CASE(np_conn_recv_frame) {
    EACH_CONN(conn) {
        np_frame taken = {NULL, 0, 0, 0};
        IS(NP_ERR_ARGUMENT, np_conn_recv_frame(conn, 0, NULL));
        for (int frames = 0; frames < TAKES; frames++) {
            uint64_t wait = frames == 0 ? wait_ms(env) : 0;
            if (TRY(np_conn_recv_frame(conn, wait, &taken)) != NP_OK)
                break;
            in_kind[FRAME_TAKEN]++;
            TRY(np_conn_send_frame(conn, taken.data, taken.len, 0));
            np_frame_free(&taken);
        }
    }
}

CASE(np_conn_recv_bytes) {
    EACH_CONN(conn) {
        uint8_t buffer[10];
        size_t received;
        IS(NP_ERR_ARGUMENT, np_conn_recv_bytes(conn, NULL, 10, 0, &received));
        IS(NP_ERR_ARGUMENT, np_conn_recv_bytes(conn, buffer, 0, 0, &received));
        EACH_GARBAGE(size)
            IS(NP_ERR_ARGUMENT, np_conn_recv_bytes(conn, buffer, size, 0, &received));
        IS(NP_ERR_ARGUMENT, np_conn_recv_bytes(conn, buffer, 10, 0, NULL));
        for (int pieces = 0; pieces < TAKES; pieces++) {
            uint64_t wait = pieces == 0 ? wait_ms(env) : 0;
            if (TRY(np_conn_recv_bytes(conn, buffer, 10, wait, &received)) != NP_OK)
                break;
            CHECK(received > 0 && received <= sizeof buffer);
            in_kind[BYTES_TAKEN]++;
            TRY(np_conn_send_bytes(conn, buffer, received));
        }
    }
}

CASE(np_loop_new) {
    np_loop *made = NULL;
    np_runtime *polled = NULL;
    np_event events[2];
    size_t count = 9;
    IS(NP_ERR_ARGUMENT, np_loop_new(NULL, NULL, 0, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, NULL, 0, NULL, NULL));
    IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, NULL, 1, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, NULL, NP_LOOP_BUFFER_MIN_SIZE - 1, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, NULL, NP_LOOP_BUFFER_MAX_SIZE + 1, &made, NULL));
    EACH_GARBAGE(size) {
        IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, NULL, size, &made, NULL));
        IS(NP_ERR_ARGUMENT, np_loop_new(env->runtime, (uint8_t *)events, size, &made, NULL));
    }
    /* Its events are not polled. */
    ERRORS(error, CHECK(TRY(np_loop_new(env->runtime, NULL, 0, &made, error)) != NP_OK));
    /* Its listener has started. */
    if (env->loop != NULL)
        IS(NP_ERR_STATE, np_loop_new(shared.runtime, NULL, 0, &made, NULL));
    CHECK(made == NULL);
    if (!env->heavy || !later_has_room())
        return;
    if (TRY(np_runtime_new(env->config, NP_CONSUMER_POLL, &polled, NULL)) != NP_OK)
        return;
    IS(NP_OK, np_loop_new(polled, NULL, NP_LOOP_BUFFER_MIN_SIZE, &made, NULL));
    IS(NP_ERR_ARGUMENT, np_loop_poll(made, NULL, 2, 0, &count));
    IS(NP_ERR_ARGUMENT, np_loop_poll(made, events, 0, 0, &count));
    EACH_GARBAGE(size) IS(NP_ERR_ARGUMENT, np_loop_poll(made, events, size, 0, &count));
    CHECK(TRY(np_loop_poll(made, events, 2, 0, NULL)) != NP_OK);
    if (env->in_callback) {
        IS(NP_ERR_IN_CALLBACK, np_loop_poll(made, events, 2, NP_FOREVER, &count));
        CHECK(count == 9);
    } else {
        IS(NP_OK, np_loop_poll(made, events, 2, 0, &count));
        CHECK(count == 0);
    }
    IS(NP_OK, np_loop_wake(made));
    IS(NP_OK, np_loop_free(made));
    made = NULL;
    if (env->in_callback) {
        end_runtime(env, polled);
        return;
    }
    IS(NP_OK, np_loop_new(polled, NULL, 0, &made, NULL));
    end_runtime(env, polled);
    IS(NP_ERR_STOPPED, np_loop_poll(made, events, 2, NP_FOREVER, &count));
    IS(NP_OK, np_loop_wake(made));
    IS(NP_OK, np_loop_free(made));
}

/* What an event points to may be gone, as others poll the same loop. */
static void on_event(const np_event *event, int counts) {
    switch (event->kind) {
    case NP_EVENT_OPEN:
        polled_opened += counts;
        HAND(np_conn_set_user_data(event->conn, &handed, destroy));
        break;
    case NP_EVENT_FRAMES: TRY(np_conn_send_frame(event->conn, bytes, 100, 0)); break;
    case NP_EVENT_DATA: TRY(np_conn_send_bytes(event->conn, bytes, 100)); break;
    case NP_EVENT_CLOSE: polled_closed += counts; break;
    default: break;
    }
    in_kind[EVENT_POLLED]++;
}

static np_status poll_once(np_loop *loop, size_t capacity, uint64_t timeout_ms) {
    np_event events[8];
    size_t count = 9;
    np_status status = TRY(np_loop_poll(loop, events, capacity, timeout_ms, &count));
    CHECK(status == NP_OK ? count <= capacity : count == 9);
    for (size_t at = 0; status == NP_OK && at < count; at++)
        on_event(&events[at], loop == shared.loop);
    return status;
}

CASE(np_loop_poll) {
    np_event event;
    size_t count;
    CHECK(TRY(np_loop_poll(NULL, &event, 1, NP_FOREVER, &count)) != NP_OK);
    if (env->loop != NULL && env->in_callback)
        IS(NP_ERR_IN_CALLBACK, np_loop_poll(env->loop, &event, 1, NP_FOREVER, &count));
    for (int polls = 0; polls < POLLS && env->loop != NULL; polls++) {
        np_status status = poll_once(env->loop, 1 + next(&env->random) % 8, 0);
        CHECK(status == NP_OK || status == NP_ERR_STATE || status == NP_ERR_IN_CALLBACK);
        if (env->ending_loop != NULL)
            poll_once(env->ending_loop, 1 + next(&env->random) % 8, 0);
    }
}

CASE(np_loop_wake) {
    IS(NP_ERR_ARGUMENT, np_loop_wake(NULL));
    if (env->loop != NULL)
        IS(NP_OK, np_loop_wake(env->loop));
    if (env->ending_loop != NULL)
        IS(NP_OK, np_loop_wake(env->ending_loop));
}

CASE(np_loop_free) {
    IS(NP_OK, np_loop_free(NULL));
    /* It is in use for as long as its runtime is not stopped. */
    if (env->loop != NULL)
        IS(NP_ERR_STATE, np_loop_free(env->loop));
}

/* One for each function of the golden list: a function without a case does not compile. */
static const struct {
    const char *name;
    void (*run)(struct env *env);
} cases[] = {
#define NAME(name) {#name, case_##name},
#include "border_symbols.h"
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* Handles of every kind. */

static int32_t collect(void *user_data, np_conn conn) {
    struct env *env = user_data;
    if (env->conn_count >= CONNS - 8)
        return 1;
    env->conns[env->conn_count++] = conn;
    return 0;
}

static void fill(struct env *env, np_conn own) {
    uint64_t chance = next(&env->random);
    env->conn_count = 0;
    /* A few of these first, or all. */
    for (int at = 0; at < 2 && runtime != NULL; at++)
        IS(NP_OK, np_runtime_each_conn((chance >> 8 & 1) == (uint64_t)at ? runtime : shared.runtime,
                                       collect, env));
    env->conns[env->conn_count++] = own;
    env->conns[env->conn_count++].id = 0;
    env->conns[env->conn_count++].id = chance;
    env->conns[env->conn_count++].id = chance & 0xff000000ff;
    env->conns[env->conn_count++].id = UINT64_MAX;
    /* A slot that exists, in a generation that has been. */
    env->conns[env->conn_count++].id = UINT64_C(1) << 32 | (chance & 0xff);
    CHECK(env->conn_count <= CONNS);
}

static atomic_uint_fast64_t seeds = 88172645463325252;

static struct env new_env(void) {
    struct env env;
    memset(&env, 0, sizeof env);
    env.config = config;
    env.runtime = runtime;
    env.loop = shared.loop;
    env.random = atomic_fetch_add(&seeds, UINT64_C(0x9e3779b97f4a7c15));
    env.listener = listeners[env.random & 1];
    return env;
}

static void run_all(int in_callback, int heavy, np_conn own) {
    struct env env = new_env();
    env.in_callback = in_callback;
    env.heavy = heavy;
    if (!in_callback && ending.runtime != NULL) {
        env.ending_runtime = ending.runtime;
        env.ending_listener = ending.listener;
        env.ending_loop = ending.loop;
        /* Also with the other cases. */
        if (env.random >> 8 & 1) {
            env.listener = ending.listener;
            if (ending.loop == NULL)
                env.runtime = ending.runtime;
        }
    }
    for (int at = 0; at < CASES; at++) {
        fill(&env, own);
        cases[at].run(&env);
    }
}

/* In a callback: a few times for each kind, not inside of one another. */
static void all_cases(enum kind kind, np_conn conn) {
    static _Thread_local int inside;
    if (inside || runtime == NULL || listeners[1] == NULL || in_kind[kind] >= CALLS_IN_CALLBACK)
        return;
    in_kind[kind]++;
    inside = 1;
    if (kind != DESTROY) {
        run_all(1, 1, conn);
    } else {
        /* It may also run in a call of the host, where waiting is allowed. */
        for (int at = 0; at < CASES; at++) {
            struct env env = new_env();
            fill(&env, conn);
            /* What makes listeners would have to free them, which may wait for this. */
            if (strncmp(cases[at].name, "np_listener", 11) != 0
                && strncmp(cases[at].name, "np_runtime", 10) != 0)
                cases[at].run(&env);
        }
    }
    inside = 0;
}

/* Traffic. */

/* One protocol with frames and one that is a stream, on the first port. */
static int has_inbox(int port, int32_t protocol) {
    return port == 0
           && (protocol == NP_PROTOCOL_REMOTE_APPLICATION || protocol == NP_PROTOCOL_RELAY);
}

static void *client(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 7919 + 1;
    while (!stop_clients) {
        struct timeval limit = {0, 200000};
        struct linger reset = {1, 0};
        struct sockaddr_in to;
        unsigned char first = (unsigned char)(1 + next(&random) % 4);
        int either = (int)(next(&random) % (2 * PORTS));
        int port = either < PORTS ? either : ENDING;
        /* Elsewhere nobody knows when somebody answers. */
        int waits = port != SHARED && !has_inbox(port, first);
        unsigned char frame[104] = {0, 0, 0, 100};
        static _Thread_local char back[100000];
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        memset(&to, 0, sizeof to);
        to.sin_family = AF_INET;
        to.sin_port = htons((uint16_t)ports[port]);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
            send(fd, &first, 1, MSG_NOSIGNAL);
            for (int round = 0; round < 20 && !stop_clients; round++) {
                if (send(fd, frame, sizeof frame, MSG_NOSIGNAL) < 0
                    || recv(fd, back, sizeof back, waits ? 0 : MSG_DONTWAIT) == 0)
                    break;
            }
            if (next(&random) % 2 == 0)
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
    }
    return NULL;
}

/* A listener with handlers that fit the consumer, which is started by the caller. */
static struct life new_life(int32_t consumer) {
    struct life life = {NULL, NULL, NULL};
    np_handler handler = whole_handler();
    IS(NP_OK, np_runtime_new(config, consumer, &life.runtime, NULL));
    if (consumer == NP_CONSUMER_POLL) {
        np_handler bare = NP_HANDLER_INIT;
        IS(NP_OK, np_loop_new(life.runtime, NULL, NP_LOOP_BUFFER_MIN_SIZE, &life.loop, NULL));
        bare.destroy = destroy;
        handler = bare;
    }
    HAND(np_runtime_set_log(life.runtime, NP_LOG_DEBUG, life.loop == NULL ? on_log : NULL, &handed,
                            destroy, NULL));
    IS(NP_OK, np_listener_new(life.runtime, config, 0, &life.listener, NULL));
    for (int32_t protocol = NP_PROTOCOL_CLIENT; protocol <= NP_PROTOCOL_UNKNOWN; protocol++)
        HAND(np_listener_on(life.listener, protocol, &handler, NULL));
    return life;
}

static void end_life(struct life *life, int listener_first) {
    if (listener_first)
        IS(NP_OK, np_listener_free(life->listener));
    IS(NP_OK, np_runtime_free(life->runtime));
    if (!listener_first)
        IS(NP_OK, np_listener_free(life->listener));
    IS(NP_OK, np_loop_free(life->loop));
    memset(life, 0, sizeof *life);
}

/* All threads at the same inboxes, with the same times. */
static void take_together(int round) {
    np_conn none = NP_CONN_NONE;
    struct env env = new_env();
    env.random = (uint64_t)round + 1;
    fill(&env, none);
    case_np_conn_recv_frame(&env);
    case_np_conn_recv_bytes(&env);
}

static pthread_barrier_t together;

static void *caller(void *argument) {
    np_conn none = NP_CONN_NONE;
    int rounds = *(int *)argument;
    for (int round = 0;; round++) {
        /* Nobody uses the old one any more, nor the new one yet. */
        if (pthread_barrier_wait(&together) == PTHREAD_BARRIER_SERIAL_THREAD) {
            if (round > 0)
                end_life(&ending, round % 2);
            if (round < rounds)
                ending = new_life(round % 3);
            /* Otherwise the threads start it. */
            if (round < rounds && round % 2 == 0) {
                IS(NP_OK, np_listener_start(ending.listener, NULL));
                note_port(ending.listener, ENDING);
            }
        }
        pthread_barrier_wait(&together);
        if (round == rounds)
            break;
        take_together(round);
        run_all(0, round == 0, none);
    }
    return NULL;
}

/* Values that no handle has, or that one may have by chance. */
static void random_handles(long count) {
    uint64_t random = 42;
    np_conn_info info = NP_CONN_INFO_INIT;
    void *user_data;
    for (long at = 0; at < count; at++) {
        np_conn conn;
        conn.id = next(&random);
        if (at % 4 == 0)
            conn.id &= 0x0000000f000003ff;
        switch (at % 8) {
        case 0: TRY(np_conn_get_info(conn, &info)); break;
        case 1: TRY(np_conn_send_frame(conn, bytes, 3, 0)); break;
        case 2: TRY(np_conn_close(conn, 1)); break;
        case 3: LEND(np_conn_send_frame_owned(conn, bytes, 3, release, NULL, 0)); break;
        case 4: TRY(np_conn_pause_reading(conn)); TRY(np_conn_resume_reading(conn)); break;
        case 5: HAND(np_conn_set_user_data(conn, NULL, destroy)); break;
        case 6: TRY(np_conn_get_user_data(conn, &user_data)); break;
        default: TRY(np_conn_abort(conn, 1)); break;
        }
    }
}

static void start(uint32_t index) {
    np_error error = NP_ERROR_INIT;
    np_listener *listener = NULL;
    IS(NP_OK, np_listener_new(runtime, config, index, &listener, &error));
    for (int32_t protocol = NP_PROTOCOL_CLIENT; protocol <= NP_PROTOCOL_UNKNOWN; protocol++) {
        np_handler handler = whole_handler();
        if (has_inbox((int)index, protocol)) {
            handler.flags = NP_HANDLER_INBOX;
            handler.on_frames = NULL;
            handler.on_data = NULL;
            /* Whoever takes the last bytes is told the end. */
            if (protocol == NP_PROTOCOL_RELAY)
                handler.on_end = NULL;
        }
        HAND(np_listener_on(listener, protocol, &handler, &error));
    }
    if (index == 1) {
        np_admission admission = whole_admission();
        HAND(np_listener_on_admit(listener, &admission, &error));
    }
    IS(NP_OK, np_listener_start(listener, &error));
    note_port(listener, (int)index);
    listeners[index] = listener;
}

static void end_shared(void) {
    np_status status = NP_OK;
    IS(NP_OK, np_runtime_stop(shared.runtime, 0));
    while (status == NP_OK)
        status = poll_once(shared.loop, 8, NP_FOREVER);
    CHECK(status == NP_ERR_STOPPED);
    IS(NP_OK, np_runtime_wait(shared.runtime, NP_FOREVER));
    end_life(&shared, 1);
}

/* What waits in its inbox is not wanted. */
static int32_t give_up(void *user_data, np_conn conn) {
    (void)user_data;
    TRY(np_conn_close(conn, 1));
    return 0;
}

int main(int argc, char **argv) {
    static const char ini[] = "[Runtime]\nioThreads=2\nhandshakeThreads=1\n"
                              "[Port.a]\nport=0\nbindAddress=127.0.0.1\nsendQueueLimit=64K\ncompression=off\n"
                              "[Port.b]\nport=0\nbindAddress=127.0.0.1\nreadTimeout=500ms\n";
    pthread_t threads[THREADS], clients[CLIENTS];
    np_conn none = NP_CONN_NONE;
    np_runtime *made = NULL;
    int rounds;
    CHECK(argc == 3);
    rounds = atoi(argv[1]);
    alarm(900);
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_config_load_string(config, ini, sizeof ini - 1, "border.ini", NULL) == NP_OK);
    shared = new_life(NP_CONSUMER_POLL);
    IS(NP_OK, np_listener_start(shared.listener, NULL));
    note_port(shared.listener, SHARED);
    IS(NP_OK, np_runtime_new(config, NP_CONSUMER_CALLBACKS, &made, NULL));
    runtime = made;
    HAND(np_runtime_set_log(runtime, NP_LOG_DEBUG, on_log, &handed, destroy, NULL));
    start(0);
    start(1);
    puts("quiet");
    run_all(0, 1, none);
    run_all(0, 1, none);
    puts("traffic");
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (long at = 0; at < CLIENTS; at++)
        CHECK(pthread_create(&clients[at], NULL, client, (void *)(at + 1)) == 0);
    for (int at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, caller, &rounds) == 0);
    for (int at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    puts("random handles");
    random_handles(atol(argv[2]));
    /* Every kind of callback has been seen from inside, and each way to take input. */
    for (int kind = 0; kind < KINDS; kind++)
        for (int tries = 0; in_kind[kind] == 0; tries++) {
            struct timespec pause = {0, 1000000};
            struct env env = new_env();
            if (tries > 30000)
                fprintf(stderr, "kind %d was never seen\n", kind);
            CHECK(tries <= 30000);
            /* More than a queue takes: writable follows. */
            fill(&env, none);
            for (int sends = 0; sends < 5; sends++)
                case_np_conn_send_frame(&env);
            case_np_conn_recv_frame(&env);
            case_np_conn_recv_bytes(&env);
            case_np_loop_poll(&env);
            nanosleep(&pause, NULL);
        }
    puts("stopping");
    IS(NP_OK, np_listener_stop(listeners[0], 0));
    IS(NP_OK, np_listener_stop(listeners[0], NP_FOREVER));
    run_all(0, 0, none);
    IS(NP_OK, np_runtime_stop(runtime, 100));
    run_all(0, 0, none);
    IS(NP_OK, np_runtime_stop(runtime, 0));
    while (TRY(np_runtime_wait(runtime, 1)) != NP_OK)
        IS(NP_OK, np_runtime_each_conn(runtime, give_up, NULL));
    IS(NP_OK, np_runtime_wait(runtime, NP_FOREVER));
    stop_clients = 1;
    for (int at = 0; at < CLIENTS; at++)
        pthread_join(clients[at], NULL);
    puts("stopped");
    run_all(0, 1, none);
    run_all(0, 0, none);
    for (int at = 0; at < later_listener_count; at++)
        IS(NP_OK, np_listener_free(later_listeners[at]));
    for (int at = 0; at < later_runtime_count; at++)
        IS(NP_OK, np_runtime_free(later_runtimes[at]));
    IS(NP_OK, np_listener_free(listeners[1]));
    IS(NP_OK, np_runtime_free(runtime));
    runtime = NULL;
    IS(NP_OK, np_listener_free(listeners[0]));
    end_shared();
    np_config_free(config);
    if (handed != destroyed || lent != released || opened != closed
        || polled_opened != polled_closed)
        fprintf(stderr,
                "%d handed, %d destroyed; %d lent, %d released; %d opened, %d closed; polled: %d "
                "opened, %d closed\n",
                handed, destroyed, lent, released, opened, closed, polled_opened, polled_closed);
    CHECK(handed == destroyed && lent == released && opened == closed);
    CHECK(polled_opened == polled_closed);
    puts("ok");
    return 0;
}
