/*
 * A host that echoes, driven by lines on stdin: what it is asked, it does and answers with one
 * line. argv[1] is the INI text; each port section is listened on, "port N" tells where.
 */
#define _GNU_SOURCE
#include <nativeport.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { PORTS = 4, SIGNALS = 32, HOGS = 4096 };

static np_config *config;
static np_runtime *runtime;
static np_listener *listeners[PORTS];
static uint32_t ports;
static atomic_int opened, closed, log_lines, complaints;
static atomic_int signals_here, signals_elsewhere;
static atomic_int stop_spam, stop_hog;

static void on_open(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte) {
    (void)user_data;
    (void)conn;
    (void)protocol;
    (void)first_byte;
    opened++;
}

static void on_frames(void *user_data, np_conn conn, const np_frame *frames, size_t count) {
    (void)user_data;
    np_conn_send_frames(conn, frames, count, NULL);
}

static void on_data(void *user_data, np_conn conn, const uint8_t *data, size_t len) {
    (void)user_data;
    np_conn_send_bytes(conn, data, len);
}

static void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    (void)user_data;
    (void)conn;
    (void)info;
    closed++;
}

static void on_log(void *user_data, const np_log_record *record) {
    (void)user_data;
    log_lines++;
    if (record->level == NP_LOG_ERROR)
        complaints++;
}

static void on_signal(int number) {
    (void)number;
    if (gettid() == getpid())
        signals_here++;
    else
        signals_elsewhere++;
}

static void listen_on(uint32_t index) {
    np_error error = NP_ERROR_INIT;
    np_handler handler = NP_HANDLER_INIT;
    np_address address;
    int32_t protocol;
    handler.on_open = on_open;
    handler.on_frames = on_frames;
    handler.on_data = on_data;
    handler.on_close = on_close;
    CHECK(np_listener_new(runtime, config, index, &listeners[index], &error) == NP_OK);
    for (protocol = NP_PROTOCOL_CLIENT; protocol <= NP_PROTOCOL_UNKNOWN; protocol++)
        CHECK(np_listener_on(listeners[index], protocol, &handler, &error) == NP_OK);
    if (np_listener_start(listeners[index], &error) != NP_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(3);
    }
    CHECK(np_listener_get_address(listeners[index], 0, &address) == NP_OK);
    printf("port %u\n", address.port);
}

/* accepted=… accept_errors=… then each close reason that was counted. */
static void say_stats(void) {
    np_stats stats = NP_STATS_INIT;
    int32_t reason;
    CHECK(np_runtime_get_stats(runtime, &stats) == NP_OK);
    printf("accepted=%llu accept_errors=%llu opened=%d closed=%d log_lines=%d complaints=%d",
           (unsigned long long)stats.accepted, (unsigned long long)stats.accept_errors, opened, closed,
           log_lines, complaints);
    for (reason = 1; reason < NP_STATS_REASONS; reason++)
        if (stats.closes[reason] > 0)
            printf(" %s=%llu", np_close_reason_name(reason),
                   (unsigned long long)stats.closes[reason]);
    putchar('\n');
}

static int count(const char *folder) {
    DIR *dir = opendir(folder);
    int entries = 0;
    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        entries++;
    closedir(dir);
    return entries - 2;
}

/* Private memory, without what only the allocator keeps. */
static long anonymous_kib(void) {
    char line[256];
    long part, kib = 0;
    FILE *file;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    file = fopen("/proc/self/status", "r");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %ld", &part) == 1 || sscanf(line, "VmSwap: %ld", &part) == 1)
            kib += part;
    fclose(file);
    return kib;
}

static void say_resources(void) {
    printf("fds=%d threads=%d anonymous=%ld\n", count("/proc/self/fd"),
           count("/proc/self/task"), anonymous_kib());
}

/* Descriptors that the host was started with. */
static int there_before[HOGS];

/* Descriptors of the library that a program started from here would get. */
static void say_inherited(void) {
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int seen = 0, inherited = 0;
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd >= HOGS || there_before[fd])
            continue;
        seen++;
        if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
            inherited++;
    }
    closedir(dir);
    printf("seen=%d inherited=%d\n", seen, inherited);
}

/* Whether a program started from here has sockets of ours. */
static void say_sockets_after_exec(void) {
    pid_t child;
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execlp("sh", "sh", "-c", "ls -l /proc/self/fd | grep -c -e socket: -e anon_inode",
               (char *)NULL);
        _exit(1);
    }
    CHECK(waitpid(child, NULL, 0) == child);
}

/* What the child of a fork is answered. */

static np_conn some_conn;

static int32_t take_one(void *user_data, np_conn conn) {
    (void)user_data;
    some_conn = conn;
    return 1;
}

static int32_t take_none(void *user_data, np_conn conn) {
    (void)user_data;
    (void)conn;
    return 0;
}

#define REFUSED(call) \
    do { \
        np_status status_ = (call); \
        if (status_ != NP_ERR_STATE) { \
            fprintf(stderr, "in the child: %s: %s\n", #call, np_status_name(status_)); \
            _exit(1); \
        } \
    } while (0)

static int destroyed;

static void destroy(void *user_data) {
    (void)user_data;
    destroyed++;
}

static void in_child(void) {
    np_error error = NP_ERROR_INIT;
    np_stats stats = NP_STATS_INIT;
    np_conn_info info = NP_CONN_INFO_INIT;
    np_handler handler = NP_HANDLER_INIT;
    np_runtime *another = NULL;
    np_listener *listener = NULL;
    np_address address;
    size_t needed;
    uint8_t byte = 1;
    /* Instead of the host's handler: a child that hangs is ended. */
    signal(SIGALRM, SIG_DFL);
    alarm(600);
    handler.on_frames = on_frames;
    handler.destroy = destroy;
    REFUSED(np_conn_send_frame(some_conn, &byte, 1, 0));
    REFUSED(np_conn_close(some_conn, 1));
    REFUSED(np_conn_get_info(some_conn, &info));
    REFUSED(np_runtime_get_stats(runtime, &stats));
    REFUSED(np_stats_prometheus(runtime, NULL, 0, &needed));
    REFUSED(np_runtime_each_conn(runtime, take_none, NULL));
    REFUSED(np_runtime_set_log(runtime, NP_LOG_INFO, on_log, NULL, destroy, &error));
    if (strstr(error.message, "fork") == NULL || destroyed != 1)
        _exit(2);
    REFUSED(np_listener_new(runtime, config, 0, &listener, &error));
    REFUSED(np_listener_on(listeners[0], NP_PROTOCOL_CLIENT, &handler, &error));
    REFUSED(np_listener_get_address(listeners[0], 0, &address));
    REFUSED(np_listener_get_stats(listeners[0], &stats));
    REFUSED(np_listener_pause(listeners[0]));
    REFUSED(np_listener_resume(listeners[0]));
    REFUSED(np_listener_stop(listeners[0], 0));
    REFUSED(np_listener_wait(listeners[0], NP_FOREVER));
    REFUSED(np_listener_free(listeners[0]));
    REFUSED(np_runtime_new(config, NP_CONSUMER_CALLBACKS, &another, &error));
    REFUSED(np_runtime_stop(runtime, 0));
    REFUSED(np_runtime_wait(runtime, NP_FOREVER));
    REFUSED(np_runtime_free(runtime));
    if (np_version_number() != NP_VERSION_NUMBER || destroyed != 2)
        _exit(3);
    _exit(0);
}

static void say_forks(int times) {
    int good = 0;
    fflush(stdout);
    CHECK(np_runtime_each_conn(runtime, take_one, NULL) == NP_OK);
    for (int i = 0; i < times; i++) {
        int status = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            in_child();
        CHECK(waitpid(child, &status, 0) == child);
        if (status == 0)
            good++;
        else
            fprintf(stderr, "child %d: status %x\n", i, (unsigned)status);
    }
    printf("forks=%d good=%d\n", times, good);
}

/* Sends to everybody who is there, in all ways, whoever has vanished. */

static int32_t send_all(void *user_data, np_conn conn) {
    static const uint8_t data[40000];
    np_frame frames[3] = {{data, 7, 0, 0}, {data, sizeof data, 0, 0}, {data, 100, 2, 0}};
    (void)user_data;
    np_conn_send_frame(conn, data, 100, 0);
    np_conn_send_frames(conn, frames, 3, NULL);
    np_conn_send_frame_owned(conn, data, sizeof data, NULL, NULL, NP_FRAME_NO_COMPRESS);
    np_conn_send_bytes(conn, data, 1000);
    return 0;
}

static void *spam(void *argument) {
    struct timespec pause = {0, 200000};
    (void)argument;
    while (!stop_spam) {
        np_runtime_each_conn(runtime, send_all, NULL);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* Takes every descriptor that there is, and every one that becomes free. */
static void *hog(void *argument) {
    static int held[HOGS];
    int count_held = 0;
    (void)argument;
    while (!stop_hog) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && count_held < HOGS)
            held[count_held++] = fd;
    }
    while (count_held > 0)
        close(held[--count_held]);
    return NULL;
}

static struct sigaction before[SIGNALS];

static int dispositions_are_as_before(void) {
    for (int number = 1; number < SIGNALS; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler != before[number].sa_handler)
            return 0;
    }
    return 1;
}

static int mask_is_as_before(void) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < SIGNALS; number++)
        if (sigismember(&mask, number) != (number == SIGUSR2))
            return 0;
    return 1;
}

static void stop_all(void) {
    for (uint32_t index = 0; index < ports; index++)
        CHECK(np_listener_free(listeners[index]) == NP_OK);
    CHECK(np_runtime_stop(runtime, 0) == NP_OK);
    CHECK(np_runtime_wait(runtime, NP_FOREVER) == NP_OK);
}

int main(int argc, char **argv) {
    np_error error = NP_ERROR_INIT;
    struct sigaction action;
    sigset_t mask;
    pthread_t spammer, hogger;
    char line[64];
    CHECK(argc == 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &action, NULL);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    for (int number = 1; number < SIGNALS; number++)
        sigaction(number, NULL, &before[number]);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);

    for (int fd = 0; fd < HOGS; fd++)
        there_before[fd] = fcntl(fd, F_GETFD) >= 0;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(np_config_load_string(config, argv[1], strlen(argv[1]), "host.ini", &error) == NP_OK);
    if (np_runtime_new(config, NP_CONSUMER_CALLBACKS, &runtime, &error) != NP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 3;
    }
    CHECK(np_runtime_set_log(runtime, NP_LOG_INFO, on_log, NULL, NULL, &error) == NP_OK);
    ports = np_config_port_count(config);
    CHECK(ports <= PORTS);
    for (uint32_t index = 0; index < ports; index++)
        listen_on(index);

    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "stats") == 0)
            say_stats();
        else if (strcmp(line, "resources") == 0)
            say_resources();
        else if (strcmp(line, "inherited") == 0)
            say_inherited();
        else if (strcmp(line, "exec") == 0)
            say_sockets_after_exec();
        else if (strcmp(line, "fork") == 0)
            say_forks(50);
        else if (strcmp(line, "spam") == 0) {
            CHECK(pthread_create(&spammer, NULL, spam, NULL) == 0);
            puts("spamming");
        } else if (strcmp(line, "calm") == 0) {
            stop_spam = 1;
            pthread_join(spammer, NULL);
            puts("calm");
        } else if (strcmp(line, "hog") == 0) {
            stop_hog = 0;
            CHECK(pthread_create(&hogger, NULL, hog, NULL) == 0);
            puts("hogging");
        } else if (strcmp(line, "yield") == 0) {
            stop_hog = 1;
            pthread_join(hogger, NULL);
            puts("yielded");
        } else if (strcmp(line, "signals") == 0) {
            printf("here=%d elsewhere=%d mask=%d dispositions=%d\n", signals_here,
                   signals_elsewhere, mask_is_as_before(),
                   dispositions_are_as_before());
        } else if (strcmp(line, "stop") == 0) {
            stop_all();
            puts("stopped");
        } else {
            printf("what is %s?\n", line);
        }
    }
    CHECK(np_runtime_free(runtime) == NP_OK);
    np_config_free(config);
    puts("over");
    return 0;
}
