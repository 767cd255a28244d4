/* The command line. */
#ifndef SERVE_OPTIONS_H
#define SERVE_OPTIONS_H

#include <stdint.h>

enum mode {
    MODE_NONE,
    MODE_CONFIG,  /* --config FILE */
    MODE_PORT,    /* --port N */
    MODE_DEMO,    /* --demo */
    MODE_HELP     /* --help */
};

struct options {
    enum mode mode;
    int check;
    const char *config;
    const char *port;
    const char *tls_cert;
    const char *tls_key;
    const char *threads;
    uint64_t drain_ms;
};

/* 0, or -1 after one line on stderr that tells what is wrong. */
int options_read(struct options *options, int argc, char **argv);

/* Prints the usage; 0, or -1 if it could not be written. */
int options_help(void);

#endif
