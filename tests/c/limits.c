/* Sizes that are garbage, and sizes for which there is no memory. */
#define _GNU_SOURCE
#include <nativeport.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    (void)conn;
    (void)frames;
    (void)count;
}

/* Behind what a caller announces there is no memory. */
static void no_more_is_read_than_a_struct_announces(np_listener *listener) {
    np_error error = NP_ERROR_INIT;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), announced = sizeof(np_handler) + 40;
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    np_handler *handler;
    CHECK(pages != MAP_FAILED && munmap(pages + page, page) == 0);
    /* Of garbage nothing but these four bytes. */
    handler = (np_handler *)(void *)(pages + page - sizeof(uint32_t));
    for (uint32_t size = UINT32_MAX; size > sizeof(np_handler) + 1024; size /= 2) {
        memcpy(handler, &size, sizeof size);
        CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, handler, &error) == NP_ERR_ARGUMENT);
        CHECK(strstr(error.message, "NP_HANDLER_INIT") != NULL);
    }
    /* A longer struct of a later version, to its last byte. */
    handler = (np_handler *)(void *)(pages + page - announced);
    memset(handler, 0, announced);
    handler->struct_size = (uint32_t)announced;
    handler->on_frames = on_frames;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, handler, &error) == NP_OK);
    pages[page - 1] = 1;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, handler, &error) == NP_ERR_UNSUPPORTED);
    /* And the first version. */
    handler = (np_handler *)(void *)(pages + page - sizeof(np_handler));
    memset(handler, 0, sizeof *handler);
    handler->on_frames = on_frames;
    CHECK(np_listener_on(listener, NP_PROTOCOL_CLIENT, handler, &error) == NP_OK);
    CHECK(munmap(pages, page) == 0);
}

static void a_size_without_memory_is_a_status(np_runtime *polled) {
    size_t size = (size_t)1 << 30, pages = 0;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    np_frame frame = {NULL, 0, 0, 0}, taken = {NULL, 0, 0, 0};
    np_error error = NP_ERROR_INIT;
    np_loop *loop = NULL;
    struct rlimit before, little;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(data != MAP_FAILED && file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    little = before;
    little.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + (16 << 20);
    frame.data = data;
    frame.len = size;
    CHECK(setrlimit(RLIMIT_AS, &little) == 0);
    CHECK(np_loop_new(polled, NULL, NP_LOOP_BUFFER_MAX_SIZE, &loop, &error) == NP_ERR_MEMORY_LIMIT);
    CHECK(loop == NULL && strstr(error.message, "67108864 bytes") != NULL);
    CHECK(np_frame_take(&frame, &taken) == NP_ERR_MEMORY_LIMIT && taken.data == NULL);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(munmap(data, size) == 0);
    CHECK(np_loop_new(polled, NULL, NP_LOOP_BUFFER_MAX_SIZE, &loop, &error) == NP_OK);
    CHECK(np_loop_free(loop) == NP_OK);
    CHECK(np_loop_new(polled, NULL, (size_t)1 << 46, &loop, &error) == NP_ERR_ARGUMENT);
    CHECK(strcmp(error.message, "size is 70368744177664; a read buffer has NP_LOOP_BUFFER_MIN_SIZE "
                                "(65536) to NP_LOOP_BUFFER_MAX_SIZE (67108864) bytes") == 0);
}

int main(void) {
    np_config *config = NULL;
    np_runtime *runtime = NULL, *polled = NULL;
    np_listener *listener = NULL;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_config_add_port(config, "Port", NULL, NULL) == NP_OK);
    CHECK(np_config_set(config, "Port", "port", "0", NULL) == NP_OK);
    CHECK(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, NULL) == NP_OK);
    CHECK(np_runtime_new(config, NP_CONSUMER_POLL, &polled, NULL) == NP_OK);
    CHECK(np_listener_new(runtime, config, 0, &listener, NULL) == NP_OK);
    no_more_is_read_than_a_struct_announces(listener);
    a_size_without_memory_is_a_status(polled);
    CHECK(np_listener_free(listener) == NP_OK);
    CHECK(np_runtime_free(runtime) == NP_OK && np_runtime_free(polled) == NP_OK);
    np_config_free(config);
    puts("ok");
    return 0;
}
