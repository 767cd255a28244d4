#define _POSIX_C_SOURCE 200809L

#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void ends(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

int signals_block(void) {
    struct sigaction action;
    sigset_t set;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    ends(&set);
    /* A shell may have started us in the background with SIGINT ignored. */
    action.sa_handler = SIG_DFL;
    if (sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0) {
        /* A reader of our stdout that goes away is an error of writing, not an end. */
        action.sa_handler = SIG_IGN;
        if (sigaction(SIGPIPE, &action, NULL) == 0 && pthread_sigmask(SIG_BLOCK, &set, NULL) == 0)
            return 0;
    }
    fprintf(stderr, "serve: signals cannot be set up\n");
    return -1;
}

int signals_wait_a_second(void) {
    const struct timespec second = {1, 0};
    sigset_t set;
    ends(&set);
    return sigtimedwait(&set, NULL, &second) > 0;
}

void signals_let_through(void) {
    sigset_t set;
    ends(&set);
    /* Cannot fail with these arguments. Only this thread lets them through. */
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
