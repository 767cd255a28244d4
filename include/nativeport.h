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

/* ----------------------------------------------------------------------------------------
 * Version: which library is loaded, and what it can do.
 * ---------------------------------------------------------------------------------------- */

/** The version of this header. NUMBER is major * 1000000 + minor * 1000 + patch. */
#define NP_VERSION_MAJOR 0
#define NP_VERSION_MINOR 1
#define NP_VERSION_PATCH 0
#define NP_VERSION_NUMBER \
    (NP_VERSION_MAJOR * 1000000 + NP_VERSION_MINOR * 1000 + NP_VERSION_PATCH)
#define NP_VERSION_STRING "0.1.0"

/**
 * The version of the loaded library as NP_VERSION_NUMBER counts: major * 1000000 +
 * minor * 1000 + patch. Compare it with NP_VERSION_NUMBER, which is the version of the
 * header that the program was compiled with.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: never
 */
uint32_t np_version_number(void);

/**
 * The version of the loaded library as text, "major.minor.patch".
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_version_string(void);

/**
 * 1 if the loaded library has the feature, otherwise 0. Names: "callbacks", "workers", "poll"
 * (runtimes with NP_CONSUMER_...), "inbox" (NP_HANDLER_INBOX), "deflate" (compressed frames),
 * "prometheus" (np_stats_prometheus), "tls". An unknown name gives 0.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: name may be NULL, the answer is 0
 * Fails: never
 */
int32_t np_has_feature(const char *name);

/* ----------------------------------------------------------------------------------------
 * Status: what calls answer, why connections end, and the words for both.
 * ---------------------------------------------------------------------------------------- */

/** success */
#define NP_OK 0
/** an argument is NULL, out of range or badly formed */
#define NP_ERR_ARGUMENT (-101)
/** this value was never the handle of a connection */
#define NP_ERR_INVALID_HANDLE (-102)
/** the data is larger than the limit for it */
#define NP_ERR_TOO_LARGE (-103)
/** there is nothing of that name or number */
#define NP_ERR_NOT_FOUND (-104)
/** not available in this version or on this system */
#define NP_ERR_UNSUPPORTED (-105)
/** the buffer is too small; the needed size was written */
#define NP_ERR_BUFFER_TOO_SMALL (-106)
/** the connection is closed or closing */
#define NP_ERR_CLOSED (-201)
/** the call does not fit the present state */
#define NP_ERR_STATE (-202)
/** a call that may wait is not allowed inside a callback */
#define NP_ERR_IN_CALLBACK (-203)
/** the send queue is full; a writable event follows */
#define NP_ERR_WOULD_BLOCK (-204)
/** the time-out passed first */
#define NP_ERR_TIMED_OUT (-205)
/** the runtime or listener has been stopped */
#define NP_ERR_STOPPED (-206)
/** the operating system reported an error */
#define NP_ERR_IO (-301)
/** the address and port are already in use */
#define NP_ERR_ADDRESS_IN_USE (-302)
/** the address does not exist on this machine or could not be resolved */
#define NP_ERR_ADDRESS_NOT_AVAILABLE (-303)
/** the operating system refused permission */
#define NP_ERR_PERMISSION_DENIED (-304)
/** no file descriptors are left */
#define NP_ERR_NO_DESCRIPTORS (-305)
/** the operating system would not start another thread */
#define NP_ERR_NO_THREADS (-306)
/** TLS failed */
#define NP_ERR_TLS (-401)
/** the certificate or private key cannot be used */
#define NP_ERR_CERTIFICATE (-402)
/** a frame holds at most 2,147,483,647 bytes */
#define NP_ERR_FRAME_TOO_LARGE (-501)
/** the configuration has an error */
#define NP_ERR_CONFIG (-601)
/** the configuration file cannot be read */
#define NP_ERR_CONFIG_FILE (-602)
/** a defect inside the library was caught; please report it */
#define NP_ERR_PANIC (-701)
/** no memory: memoryLimit is reached and this connection would hold most (it ends), or the system has none */
#define NP_ERR_MEMORY_LIMIT (-702)
/** an invariant inside the library does not hold; please report it */
#define NP_ERR_INTERNAL (-703)

/** the peer ended the stream */
#define NP_CLOSE_PEER_CLOSED 1
/** the peer reset the connection */
#define NP_CLOSE_PEER_RESET 2
/** the host called close */
#define NP_CLOSE_HOST_CLOSED 3
/** the host called abort */
#define NP_CLOSE_HOST_ABORTED 4
/** the deadline that the host had set passed */
#define NP_CLOSE_HOST_DEADLINE 5
/** the host refused the connection at admission */
#define NP_CLOSE_ADMISSION_REFUSED 6
/** the host did not decide about admission within readTimeout */
#define NP_CLOSE_ADMISSION_TIMEOUT 7
/** no handler is registered for this protocol */
#define NP_CLOSE_NO_HANDLER 8
/** the peer ended the stream before its first byte */
#define NP_CLOSE_CLOSED_BEFORE_IDENTIFIED 9
/** the first byte did not arrive within readTimeout */
#define NP_CLOSE_READ_TIMEOUT 10
/** the TLS handshake was not finished within handshakeTimeout */
#define NP_CLOSE_HANDSHAKE_TIMEOUT 11
/** a frame was begun and not completed within frameTimeout */
#define NP_CLOSE_FRAME_TIMEOUT 12
/** nothing was sent or received for idleTimeout */
#define NP_CLOSE_IDLE_TIMEOUT 13
/** the peer acknowledged nothing of what was sent for writeTimeout */
#define NP_CLOSE_WRITE_TIMEOUT 14
/** the flush of a close took longer than closeTimeout */
#define NP_CLOSE_CLOSE_TIMEOUT 15
/** the peer speaks TLS on a port without TLS */
#define NP_CLOSE_TLS_ON_PLAIN_PORT 20
/** TLS failed */
#define NP_CLOSE_TLS_FAILED 21
/** the peer ended the stream without close_notify */
#define NP_CLOSE_TLS_TRUNCATED 22
/** the peer sent TLS records without data, over and over */
#define NP_CLOSE_TLS_NO_DATA 23
/** a frame is larger than maxFrameSize */
#define NP_CLOSE_FRAME_TOO_LARGE 30
/** the stream ended inside a frame, or inside a TLS record where requireCloseNotify is no */
#define NP_CLOSE_TRUNCATED 31
/** a compressed payload is broken or incomplete */
#define NP_CLOSE_DEFLATE_CORRUPT 32
/** a compressed frame has no bytes on the wire */
#define NP_CLOSE_DEFLATE_EMPTY 33
/** a compressed payload goes on behind the end of its stream */
#define NP_CLOSE_DEFLATE_TRAILING 34
/** a payload inflates to more than maxInflatedSize */
#define NP_CLOSE_INFLATED_TOO_LARGE 35
/** the peer sent a compressed frame to a port with compression = never */
#define NP_CLOSE_COMPRESSION_REFUSED 36
/** the port has maxConnections already */
#define NP_CLOSE_MAX_CONNECTIONS 40
/** the address has maxConnectionsPerAddress already */
#define NP_CLOSE_MAX_CONNECTIONS_PER_ADDRESS 41
/** maxHandshakes is reached and this unidentified connection was evicted */
#define NP_CLOSE_MAX_HANDSHAKES 42
/** the address has reached maxHandshakesPerAddress and this unidentified connection was evicted */
#define NP_CLOSE_MAX_HANDSHAKES_PER_ADDRESS 43
/** no file descriptors are left */
#define NP_CLOSE_NO_DESCRIPTORS 44
/** no memory: memoryLimit is reached and this connection, above 64 KiB, holds most, or the system has none */
#define NP_CLOSE_MEMORY_LIMIT 45
/** descriptors are scarce and the address holds more than half of the connections */
#define NP_CLOSE_ADDRESS_OVER_SHARE 46
/** the listener or runtime stopped before the connection was identified */
#define NP_CLOSE_STOPPED 50
/** the drain deadline cut the connection */
#define NP_CLOSE_DRAIN_DEADLINE 51
/** the operating system reported an error on the socket */
#define NP_CLOSE_IO_ERROR 60
/** the peer no longer answers */
#define NP_CLOSE_KEEP_ALIVE 61
/** a callback of the host failed */
#define NP_CLOSE_CALLBACK_PANIC 70
/** a defect inside the library was caught */
#define NP_CLOSE_INTERNAL 71

/** What a call answers: NP_OK, or a negative NP_ERR_ constant. The numbers are frozen. */
typedef int32_t np_status;

/**
 * Why a call failed, in words. Callers own it and set struct_size first (NP_ERROR_INIT
 * does); functions that take one write it only when they fail.
 */
typedef struct np_error {
    /** sizeof(np_error), set by the caller. */
    uint32_t struct_size;
    /** The status that the call returned. */
    np_status status;
    /** errno of the operating system, 0 if it was not involved. */
    int32_t os_error;
    /** The TLS alert, -1 if there was none. */
    int32_t tls_alert;
    /** Bytes that the whole message needs with its NUL; above sizeof message it was cut. */
    uint32_t message_size;
    /** One line of UTF-8 that names the place and the remedy. */
    char message[492];
} np_error;

/**
 * The name of a status as this header writes it, for example "NP_ERR_CLOSED"; "unknown"
 * for a number that is none.
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_status_name(np_status status);

/**
 * One sentence about a status; "unknown" for a number that is none.
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_status_message(np_status status);

/**
 * The name of a close reason as logs and statistics write it, for example "peer_closed"
 * for NP_CLOSE_PEER_CLOSED; "unknown" for a number that is none.
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_close_reason_name(int32_t reason);

/**
 * The name of who ended a connection, as "peer" for NP_BY_PEER; "unknown" for a number that
 * is none.
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_close_by_name(int32_t by);

/**
 * The name of how far a connection had come, as "identify" for NP_STAGE_IDENTIFY; "unknown"
 * for a number that is none.
 *
 * Thread: any
 * Blocking: no
 * Owns: the library keeps the text; it is valid for ever
 * Null: never returned
 * Fails: never
 */
const char *np_close_stage_name(int32_t stage);

/* ----------------------------------------------------------------------------------------
 * Config: what the INI file says, before anything runs.
 * ---------------------------------------------------------------------------------------- */

/** The finding must be put right, otherwise the listener or runtime will not start. */
#define NP_SEVERITY_ERROR 1

/** The finding is probably not what was meant; things start with it. */
#define NP_SEVERITY_WARNING 2

/**
 * A configuration: sections with keys, from files, strings and calls. Runtimes and
 * listeners copy what they need when they are made; later changes do not reach them.
 */
typedef struct np_config np_config;

/**
 * One finding of np_config_check. The texts are never NULL, empty where they do not
 * apply, and valid until the callback returns.
 */
typedef struct np_finding {
    /** sizeof(np_finding) of the library, which writes it. */
    uint32_t struct_size;
    /** NP_SEVERITY_ERROR or NP_SEVERITY_WARNING. */
    int32_t severity;
    /** Line in the file, from 1; 0 if it comes from no file. */
    uint32_t line;
    /** 0. */
    uint32_t reserved;
    /** The whole finding in one line, ready to be shown. */
    const char *text;
    /** File, or the name given to np_config_load_string, as messages show it. */
    const char *file;
    /** Section. */
    const char *section;
    /** Key. */
    const char *key;
    /** What is wrong. */
    const char *message;
    /** What would be valid. */
    const char *valid;
} np_finding;

/** Is called for each finding, in the thread that called np_config_check. */
typedef void (*np_finding_fn)(void *user_data, const np_finding *finding);

/**
 * Makes an empty configuration.
 *
 * Thread: any
 * Blocking: no
 * Owns: *config belongs to the caller, until np_config_free
 * Null: config must not be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_config_new(np_config **config);

/**
 * Reads an INI file into the configuration, of 8 MiB and 100,000 lines that are neither blank nor comments at most. It may be a pipe, such as
 * "/dev/stdin", which must end within 5 s. Several files may be read, and what is read or set
 * later counts: a key that is given again in `[Runtime]` or in a TLS section replaces the older
 * value. Ports of further files are further ports, and a name that is there already is an
 * error. Relative paths in the file start at its folder, those in a pipe at the working directory.
 * The library wipes its copy of the text, and the values of keys whose names say that they are secrets (password, token and
 * so on). Other values pass through the parser, which may leave copies. Messages show the path cut and
 * escaped, without what may be a secret.
 * What is wrong inside it, np_config_check tells; np_runtime_new and np_listener_new
 * refuse it.
 *
 * Thread: any
 * Blocking: no; it reads a file, and waits 5 s at most for a pipe
 * Owns: nothing; path is copied
 * Null: config and path must not be NULL; error may be
 * Fails: NP_ERR_CONFIG_FILE if the file cannot be read as a text, or is larger than these bounds;
 *   NP_ERR_ARGUMENT
 */
np_status np_config_load_file(np_config *config,
                              const char *path,
                              np_error *error);

/**
 * Reads INI text into the configuration, as np_config_load_file does. name stands for the
 * file in messages, cut and escaped there; relative paths start at the working directory at the time of the call.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; text and name are copied
 * Null: text may be NULL if len is 0; config and name must not be; error may be
 * Fails: NP_ERR_CONFIG_FILE if it is no text, larger than 8 MiB, or has more than 100,000 lines that
 *   are neither blank nor comments; NP_ERR_ARGUMENT
 */
np_status np_config_load_string(np_config *config,
                                const char *text,
                                size_t len,
                                const char *name,
                                np_error *error);

/**
 * Adds a port section that no file has, with defaults only, behind the others. name is
 * written as in a file, "Port 1" or "Port.web", or without "Port.": "web". "Port" or an
 * empty name make a further bare `[Port]`. The canonical name, which np_config_set takes,
 * is what np_config_get_port_name gives for *index.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; name is copied
 * Null: config and name must not be NULL; index and error may be
 * Fails: NP_ERR_ARGUMENT, also if there is a port section of that name
 */
np_status np_config_add_port(np_config *config,
                             const char *name,
                             uint32_t *index,
                             np_error *error);

/**
 * Sets one value, as a line "key = value" in the section would. section is a canonical
 * name: "Runtime", the name of a port ("Port", "Port.#2", "Port.web") or of a TLS section.
 * Keys, units and defaults are those of the INI file. Relative paths start at the working
 * directory at the time of the call. Whether the value is right, also whether it is empty,
 * np_config_check tells; np_runtime_new and np_listener_new refuse it.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; the texts are copied
 * Null: only error may be NULL
 * Fails: NP_ERR_NOT_FOUND if there is no such port, NP_ERR_ARGUMENT
 */
np_status np_config_set(np_config *config,
                        const char *section,
                        const char *key,
                        const char *value,
                        np_error *error);

/**
 * Copies the value that counts into buffer: as it was written, or the default. *needed
 * becomes its size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer is then
 * unchanged. Keys of the host's own sections can be read as well.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: buffer may be NULL if size is 0; needed may be; config, section and key must not be
 * Fails: NP_ERR_NOT_FOUND if there is no such section or key, or a required one has no value
 *   (one that has nothing by default gives an empty text), NP_ERR_BUFFER_TOO_SMALL,
 *   NP_ERR_ARGUMENT
 */
np_status np_config_get(const np_config *config,
                        const char *section,
                        const char *key,
                        char *buffer,
                        size_t size,
                        size_t *needed);

/**
 * Checks everything, certificates and keys included, without binding anything, and calls
 * back for each finding: 1,000 errors and 1,000 warnings at most, and one that counts the others.
 * No finding shows a text that may be a key or password. The configuration can start if *errors is 0 and np_config_port_count
 * is not.
 *
 * Thread: any; the callback runs in the calling thread, before the call returns
 * Blocking: no; it reads the files that the configuration names
 * Owns: nothing; a finding's texts are valid until the callback returns
 * Null: callback, errors and warnings may be NULL; config must not be
 * Fails: NP_ERR_ARGUMENT; findings are no failure
 */
np_status np_config_check(const np_config *config,
                          np_finding_fn callback,
                          void *user_data,
                          uint32_t *errors,
                          uint32_t *warnings);

/**
 * The number of port sections. np_listener_new takes an index below it.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: config may be NULL, the answer is 0
 * Fails: never; in the child of a fork the answer is 0
 */
uint32_t np_config_port_count(const np_config *config);

/**
 * Copies the canonical name of a port section, in the order of the file, into buffer.
 * *needed becomes its size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer is then
 * unchanged.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: buffer may be NULL if size is 0; needed may be; config must not be
 * Fails: NP_ERR_NOT_FOUND if there are not so many, NP_ERR_BUFFER_TOO_SMALL,
 *   NP_ERR_ARGUMENT
 */
np_status np_config_get_port_name(const np_config *config,
                                  uint32_t index,
                                  char *buffer,
                                  size_t size,
                                  size_t *needed);

/**
 * As np_config_get_port_name, but the name as the file writes it, for messages: "Port 1"
 * where the canonical name is "Port.1". It is whole; invisible characters are escaped.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: buffer may be NULL if size is 0; needed may be; config must not be
 * Fails: NP_ERR_NOT_FOUND if there are not so many, NP_ERR_BUFFER_TOO_SMALL,
 *   NP_ERR_ARGUMENT
 */
np_status np_config_get_port_written_name(const np_config *config,
                                          uint32_t index,
                                          char *buffer,
                                          size_t size,
                                          size_t *needed);

/**
 * Ends a configuration. Runtimes and listeners made from it go on.
 *
 * Thread: any; no other call with this pointer may be under way or follow
 * Blocking: no
 * Owns: config is gone
 * Null: config may be NULL, nothing happens
 * Fails: never
 */
void np_config_free(np_config *config);

/* ----------------------------------------------------------------------------------------
 * Handle: the values that stand for connections and addresses, passed by value.
 * ---------------------------------------------------------------------------------------- */

/** No time limit, wherever milliseconds are asked for. */
#define NP_FOREVER UINT64_MAX

/**
 * A connection: a number, not a pointer. It may be copied and kept at will, and any value
 * whatever may be passed at any time: one that has ended answers NP_ERR_CLOSED, one that
 * never was answers NP_ERR_INVALID_HANDLE. {0} (NP_CONN_NONE) is never a connection.
 * Languages that cannot pass structs by value may declare it as a 64-bit integer.
 */
typedef struct np_conn {
    /** The number; equal numbers are the same connection. */
    uint64_t id;
} np_conn;

/** An address and a port. */
typedef struct np_address {
    /** 4 or 6. */
    uint32_t family;
    /** TCP port. */
    uint32_t port;
    /**
     * The address alone, "192.0.2.1", "2001:db8::1"; a link-local one with the number of its
     * interface, "fe80::1%3", as getaddrinfo takes it.
     */
    char host[64];
} np_address;

/**
 * Releases user_data. Is called exactly once, from any thread, after the last use; must
 * not block for long. NULL in its place means that there is nothing to release.
 */
typedef void (*np_destroy_fn)(void *user_data);

/* ----------------------------------------------------------------------------------------
 * Frame: a payload with its length, as callbacks are given and array sends take it.
 * ---------------------------------------------------------------------------------------- */

/** The frame came compressed; its data is inflated already. Ignored when sending. */
#define NP_FRAME_COMPRESSED 1

/** When sending: never compress this frame, for example because it is compressed data. */
#define NP_FRAME_NO_COMPRESS 2

/** One frame's payload. */
typedef struct np_frame {
    /** The payload; may be NULL if len is 0. */
    const uint8_t *data;
    /** Bytes of payload. */
    size_t len;
    /** NP_FRAME_ bits. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
} np_frame;

/**
 * Keeps a frame beyond its callback: copies it to memory of its own. taken may be used
 * from any thread, and until np_frame_free whatever becomes of the connection.
 *
 * Thread: any; with a frame of a callback inside that callback
 * Blocking: no
 * Owns: *taken belongs to the caller, until np_frame_free
 * Null: neither may be NULL
 * Fails: NP_ERR_FRAME_TOO_LARGE, NP_ERR_MEMORY_LIMIT if the system has no memory left
 *   (no connection ends), NP_ERR_ARGUMENT
 */
np_status np_frame_take(const np_frame *frame, np_frame *taken);

/**
 * Ends a frame that np_frame_take or np_conn_recv_frame has made and sets it to zeros, so that a second call
 * does nothing. data and len must be as that left them.
 *
 * Thread: any; not two at once with the same frame
 * Blocking: no
 * Owns: the data is gone
 * Null: taken may be NULL, nothing happens
 * Fails: never
 */
void np_frame_free(np_frame *taken);

/* ----------------------------------------------------------------------------------------
 * Runtime: the threads behind everything, their log, and their end.
 * ---------------------------------------------------------------------------------------- */

/** Callbacks run on the thread that moves the bytes: the default, the fastest. */
#define NP_CONSUMER_CALLBACKS 0

/**
 * Callbacks run on workerThreads threads of the library, and may block: those of one
 * connection still never overlap and keep their order.
 */
#define NP_CONSUMER_WORKERS 1

/** The host's threads poll for events: np_loop_new, np_loop_poll. */
#define NP_CONSUMER_POLL 2

/** Nothing. */
#define NP_LOG_OFF 0

/** What should not happen. */
#define NP_LOG_ERROR 1

/** What somebody should look at. */
#define NP_LOG_WARN 2

/** Listeners that start and stop, and the end of each connection. */
#define NP_LOG_INFO 3

/** Also who is turned away before he is a connection. */
#define NP_LOG_DEBUG 4

/** The library's threads. Several may exist in one process; they share nothing. */
typedef struct np_runtime np_runtime;

/** One line of the log. Valid until the callback returns. */
typedef struct np_log_record {
    /** sizeof(np_log_record) of the library, which writes it. */
    uint32_t struct_size;
    /** NP_LOG_ERROR to NP_LOG_DEBUG. */
    int32_t level;
    /** The connection that it is about, or NP_CONN_NONE. */
    np_conn conn;
    /** The part of the library that speaks: "accept", "tls", "open", ...; never NULL. */
    const char *stage;
    /** The line, UTF-8 without a line end; never NULL. Holds no payloads and no secrets. */
    const char *text;
} np_log_record;

/**
 * Receives log records, one at a time, on a thread of its own. May block: records are
 * then dropped and counted, connections do not wait.
 */
typedef void (*np_log_fn)(void *user_data, const np_log_record *record);

/** Is shown a connection; 0 goes on, anything else ends the round. */
typedef int32_t (*np_visit_fn)(void *user_data, np_conn conn);

/**
 * Starts the threads that [Runtime] in config describes. consumer says where events go:
 * one of NP_CONSUMER_.
 *
 * Thread: any
 * Blocking: no
 * Owns: *runtime belongs to the caller, until np_runtime_free; config is copied
 * Null: only error may be NULL
 * Fails: NP_ERR_CONFIG, NP_ERR_NO_THREADS, NP_ERR_NO_DESCRIPTORS, NP_ERR_IO,
 *   NP_ERR_ARGUMENT
 */
np_status np_runtime_new(const np_config *config,
                         int32_t consumer,
                         np_runtime **runtime,
                         np_error *error);

/**
 * Sets where log records of this level and the more important ones go; what logLevel in
 * [Runtime] leaves out does not come. Replaces the one before, whose user_data is released
 * when its last record is done. callback NULL or NP_LOG_OFF ends logging. Where events are
 * polled callback stays NULL, and records come as NP_EVENT_LOG.
 *
 * Thread: any
 * Blocking: no
 * Owns: user_data belongs to the library, also on failure; destroy releases it once
 * Null: callback, user_data, destroy and error may be NULL; runtime must not be
 * Fails: NP_ERR_STOPPED once the runtime has ended (not during a drain), NP_ERR_STATE for a
 *   callback where events are polled, NP_ERR_ARGUMENT
 */
np_status np_runtime_set_log(np_runtime *runtime,
                             int32_t level,
                             np_log_fn callback,
                             void *user_data,
                             np_destroy_fn destroy,
                             np_error *error);

/**
 * Begins to stop and returns: nothing is accepted from now on and the addresses can be bound
 * again, connections that are not identified yet end, the others may go on until they end by
 * themselves or drain_ms milliseconds have passed (0: end now, NP_FOREVER: no limit). A second
 * call can only shorten the time. np_listener_start, if it is running on another thread, answers
 * NP_ERR_STOPPED. The address is free after np_listener_start has returned.
 *
 * When the time has passed, connections whose output is queued are reset, all others end in order.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: runtime must not be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_runtime_stop(np_runtime *runtime,
                          uint64_t drain_ms);

/**
 * Waits until a stop has ended everything, at most timeout_ms milliseconds (NP_FOREVER: no
 * limit, 0: only looks). After NP_OK no callback, destructor or log callback runs any more.
 * Where events are polled, the end comes only while the host polls, to NP_ERR_STOPPED.
 *
 * Thread: any; inside a callback, and in last destructors on threads of the library, only with
 *   timeout_ms 0
 * Blocking: yes, up to timeout_ms
 * Owns: nothing
 * Null: runtime must not be NULL
 * Fails: NP_ERR_TIMED_OUT, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT
 */
np_status np_runtime_wait(np_runtime *runtime, uint64_t timeout_ms);

/**
 * Stops with drain_ms 0, waits for the end and frees. Listeners of the runtime may be
 * freed before or after; they cannot be started any more. Where events are polled,
 * what the host has not polled is dropped; as this polls, what it has polled before is not valid
 * any more: threads that poll end first.
 *
 * Thread: any, but not inside a callback; no other call with this pointer may be under way
 *   or follow
 * Blocking: yes, until all callbacks have returned
 * Owns: runtime is gone, except with NP_ERR_IN_CALLBACK
 * Null: runtime may be NULL, nothing happens
 * Fails: NP_ERR_IN_CALLBACK, and nothing is freed
 */
np_status np_runtime_free(np_runtime *runtime);

/**
 * Shows all connections whose handles the host knows at this moment to visit, one after the
 * other, those too that wait for admission or whose end it has not consumed. New ones may
 * come and shown ones may end meanwhile.
 *
 * Thread: any; visit runs in the calling thread, before the call returns
 * Blocking: no
 * Owns: nothing
 * Null: only user_data may be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_runtime_each_conn(const np_runtime *runtime,
                               np_visit_fn visit,
                               void *user_data);

/* ----------------------------------------------------------------------------------------
 * Handler: the tables of callbacks that a host gives to a listener, and what they are told.
 * ---------------------------------------------------------------------------------------- */

/** First byte 1: answered with a byte 1, then frames. */
#define NP_PROTOCOL_CLIENT 1

/** First byte 2: no answer, a raw stream without that byte. */
#define NP_PROTOCOL_RELAY 2

/** First byte 3: answered with a byte 1, then frames. */
#define NP_PROTOCOL_REMOTE_APPLICATION 3

/** Any other first byte: a raw stream that begins with that byte. */
#define NP_PROTOCOL_UNKNOWN 4

/**
 * In np_handler.flags: input waits in the connection's inbox for np_conn_recv_frame and
 * np_conn_recv_bytes; on_frames and on_data stay NULL.
 */
#define NP_HANDLER_INBOX 1

/**
 * In np_handler.flags: after the peer's end of stream the connection stays open until the host
 * closes it, also without on_end. Not so where a TLS peer has ended without close_notify
 * (NP_CLOSE_TLS_TRUNCATED, unless the port has requireCloseNotify = no) or any peer inside a frame (NP_CLOSE_TRUNCATED).
 */
#define NP_HANDLER_HALF_CLOSE 2

/** The peer ended the connection. */
#define NP_BY_PEER 1

/** The library ended it, by one of its rules. */
#define NP_BY_LIBRARY 2

/** The host ended it. */
#define NP_BY_HOST 3

/** The operating system ended it. */
#define NP_BY_SYSTEM 4

/** Accepted, nothing read yet. */
#define NP_STAGE_ACCEPT 1

/** TLS handshake. */
#define NP_STAGE_TLS 2

/** Waiting for the first byte. */
#define NP_STAGE_IDENTIFY 3

/** Waiting for the host's decision. */
#define NP_STAGE_ADMIT 4

/** In use. */
#define NP_STAGE_OPEN 5

/** How a connection ended. Valid until the callback returns. */
typedef struct np_close_info {
    /** sizeof(np_close_info) of the library, which writes it. */
    uint32_t struct_size;
    /** Why: NP_CLOSE_. */
    int32_t reason;
    /** Who ended it: NP_BY_. */
    int32_t by;
    /** How far it had come: NP_STAGE_. */
    int32_t stage;
    /** The code given to np_conn_close or np_conn_abort, otherwise 0. */
    int32_t host_code;
    /** errno of the operating system, 0 if it reported none. */
    int32_t os_error;
    /** The TLS alert, -1 if there was none. */
    int32_t tls_alert;
    /** 0. */
    uint32_t reserved;
    /** Bytes read from the socket. */
    uint64_t bytes_in;
    /** Bytes written to the socket. */
    uint64_t bytes_out;
    /** Bytes that sends had accepted and that never reached the operating system. */
    uint64_t unsent_bytes;
    /** From accept to the end, in milliseconds. */
    uint64_t duration_ms;
    /** More words where there are any, otherwise empty; UTF-8, never NULL. */
    const char *text;
} np_close_info;

/**
 * The callbacks of one protocol on one listener, shared by all its connections. Set
 * struct_size (NP_HANDLER_INIT does); leave what you do not need NULL.
 *
 * Callbacks of one connection never overlap and come in this order: on_open once,
 * on_frames or on_data and on_writable any number of times, on_end at most once, on_close
 * exactly once and last. Those of different connections may run at once on several
 * threads. Data is valid until the callback returns. A callback must not throw an exception
 * or longjmp, and block only where it runs on a worker (NP_CONSUMER_WORKERS). Where events
 * are polled (NP_CONSUMER_POLL) all callbacks but destroy stay NULL.
 */
typedef struct np_handler {
    /** sizeof(np_handler), set by the caller. */
    uint32_t struct_size;
    /** 0, or NP_HANDLER_ bits. */
    uint32_t flags;
    /**
     * The first argument of all callbacks. Belongs to the library as soon as the table is
     * passed to np_listener_on, whatever that answers.
     */
    void *user_data;
    /**
     * Releases user_data, exactly once: at once if np_listener_on fails, otherwise after
     * the last callback, when listener and runtime have ended.
     */
    np_destroy_fn destroy;
    /**
     * The connection may be used. The answer byte, if the protocol has one, is on its way.
     * first_byte is also the first byte of the stream with NP_PROTOCOL_UNKNOWN.
     */
    void (*on_open)(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte);
    /**
     * Whole frames, in order, count of them, at least 1. Required for
     * NP_PROTOCOL_CLIENT and NP_PROTOCOL_REMOTE_APPLICATION without NP_HANDLER_INBOX. The array and the data are
     * valid until the callback returns; np_frame_take keeps a frame longer.
     */
    void (*on_frames)(void *user_data, np_conn conn, const np_frame *frames, size_t count);
    /**
     * The next bytes of a stream, len of them, at least 1. Required for
     * NP_PROTOCOL_RELAY and NP_PROTOCOL_UNKNOWN without NP_HANDLER_INBOX. The data is valid
     * until the callback returns.
     */
    void (*on_data)(void *user_data, np_conn conn, const uint8_t *data, size_t len);
    /**
     * The peer will send nothing more; sending stays possible, and the host closes. NULL:
     * the library closes as soon as everything is consumed and sent. With NP_HANDLER_INBOX it
     * comes while input may still wait there. It does not come where a TLS peer has ended
     * without close_notify, as anybody on the way may have cut it: on_close tells tls_truncated, unless
     * the port has requireCloseNotify = no.
     */
    void (*on_end)(void *user_data, np_conn conn);
    /** The send queue has room again after a send answered NP_ERR_WOULD_BLOCK. */
    void (*on_writable)(void *user_data, np_conn conn);
    /**
     * The end, once for every connection that on_open told of. The handle answers
     * NP_ERR_CLOSED once this has returned and its user data is released; until then it tells facts, counters and
     * user data, and takes nothing more to send. With NP_HANDLER_INBOX it comes when what is left
     * in the inbox was taken, however long that takes: receive until NP_ERR_CLOSED, or give it up
     * by np_conn_close.
     */
    void (*on_close)(void *user_data, np_conn conn, const np_close_info *info);
} np_handler;

/**
 * The callbacks that decide about connections before they are opened, for all protocols
 * of one listener. Set struct_size (NP_ADMISSION_INIT does).
 */
typedef struct np_admission {
    /** sizeof(np_admission), set by the caller. */
    uint32_t struct_size;
    /** 0. */
    uint32_t flags;
    /** As in np_handler; belongs to the library once passed to np_listener_on_admit. */
    void *user_data;
    /** As in np_handler. */
    np_destroy_fn destroy;
    /**
     * Answer with np_conn_admit or np_conn_refuse, in the callback or later, from any
     * thread. Without an answer within readTimeout the connection is refused. Required.
     */
    void (*on_admit)(void *user_data, np_conn conn, int32_t protocol, uint8_t first_byte);
    /**
     * The end of a connection that on_admit told of and that was never opened: refused,
     * not decided in time, or gone. May be NULL.
     */
    void (*on_close)(void *user_data, np_conn conn, const np_close_info *info);
} np_admission;

/* ----------------------------------------------------------------------------------------
 * Listener: one port section, made, started, paused and ended.
 * ---------------------------------------------------------------------------------------- */

/** One port that is listened on. */
typedef struct np_listener np_listener;

/**
 * Makes a listener from the port section with this index (np_config_port_count). It does
 * not listen before np_listener_start. What is doubtful in the configuration of this port, such
 * as a key that means nothing, goes to the runtime's log, each once.
 *
 * Thread: any
 * Blocking: no; it reads certificates and keys
 * Owns: *listener belongs to the caller, until np_listener_free; config is copied; the
 *   runtime may be freed before or after
 * Null: only error may be NULL
 * Fails: NP_ERR_NOT_FOUND if there are not so many ports, NP_ERR_CONFIG,
 *   NP_ERR_CERTIFICATE, NP_ERR_STOPPED, NP_ERR_ARGUMENT
 */
np_status np_listener_new(np_runtime *runtime,
                          const np_config *config,
                          uint32_t port_index,
                          np_listener **listener,
                          np_error *error);

/**
 * Sets the callbacks of one protocol, before the start. A second call replaces the first,
 * whose user_data is released. Connections of a protocol without callbacks are closed with
 * NP_CLOSE_NO_HANDLER; the log tells their first byte and port.
 *
 * Thread: any
 * Blocking: no
 * Owns: handler->user_data belongs to the library, also on failure; handler->destroy
 *   releases it once; the table itself is copied
 * Null: only error may be NULL
 * Fails: NP_ERR_STATE after the start, NP_ERR_UNSUPPORTED for members that this version does
 *   not know, NP_ERR_ARGUMENT, also for a table that does not fit the runtime's consumer
 */
np_status np_listener_on(np_listener *listener,
                         int32_t protocol,
                         const np_handler *handler,
                         np_error *error);

/**
 * Asks the host about every connection before it is opened, whatever its protocol. Set
 * before the start; a second call replaces the first, whose user_data is released.
 *
 * Thread: any
 * Blocking: no
 * Owns: admission->user_data belongs to the library, also on failure; admission->destroy
 *   releases it once; the table itself is copied
 * Null: only error may be NULL
 * Fails: NP_ERR_STATE after the start, NP_ERR_UNSUPPORTED for members that this version
 *   does not know, NP_ERR_ARGUMENT
 */
np_status np_listener_on_admit(np_listener *listener,
                               const np_admission *admission,
                               np_error *error);

/**
 * Binds and listens, on all addresses or on none. At least one np_listener_on must have
 * succeeded before. From here on callbacks may run, also before this returns. After a failure
 * it may be tried again, unless that was NP_ERR_NO_THREADS: then the listener has ended.
 *
 * Thread: any
 * Blocking: no; a host name in bindAddress is looked up
 * Owns: nothing
 * Null: listener must not be NULL; error may be
 * Fails: NP_ERR_ADDRESS_IN_USE, NP_ERR_ADDRESS_NOT_AVAILABLE, NP_ERR_PERMISSION_DENIED,
 *   NP_ERR_NO_DESCRIPTORS, NP_ERR_NO_THREADS, NP_ERR_IO, NP_ERR_STATE if it was started
 *   already, has no handler, or its runtime is polled and has no loop, NP_ERR_STOPPED,
 *   NP_ERR_ARGUMENT
 */
np_status np_listener_start(np_listener *listener, np_error *error);

/**
 * The addresses that are listened on, index from 0. With "port = 0" this tells the port.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: neither may be NULL
 * Fails: NP_ERR_NOT_FOUND if there are not so many, and before the start;
 *   NP_ERR_ARGUMENT
 */
np_status np_listener_get_address(const np_listener *listener,
                                  uint32_t index,
                                  np_address *address);

/**
 * Accepts nothing from the return on until np_listener_resume; new connections wait in the
 * backlog of the operating system. Established ones go on.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: listener must not be NULL
 * Fails: NP_ERR_STATE before the start, NP_ERR_STOPPED, NP_ERR_ARGUMENT
 */
np_status np_listener_pause(np_listener *listener);

/**
 * Ends np_listener_pause.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: listener must not be NULL
 * Fails: NP_ERR_STATE before the start, NP_ERR_STOPPED, NP_ERR_ARGUMENT
 */
np_status np_listener_resume(np_listener *listener);

/**
 * Begins to stop this port and returns, as np_runtime_stop does for all. After the return no
 * connection is accepted and the address can be bound again; the system resets connections that
 * wait in the backlog. np_listener_start, if it is running on another thread, answers
 * NP_ERR_STOPPED. The address is free after np_listener_start has returned.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: listener must not be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_listener_stop(np_listener *listener, uint64_t drain_ms);

/**
 * Waits until a stop has ended this port, its connections and its accepter threads, at most
 * timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). Where events are polled, the
 * end comes only while the host polls.
 *
 * Thread: any; inside a callback, in last destructors on threads of the library, and on a thread
 *   that polls, only with timeout_ms 0
 * Blocking: yes, up to timeout_ms
 * Owns: nothing
 * Null: listener must not be NULL
 * Fails: NP_ERR_TIMED_OUT, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT
 */
np_status np_listener_wait(np_listener *listener,
                           uint64_t timeout_ms);

/**
 * Stops with drain_ms 0, waits for the end and frees. Where events are polled it does not
 * wait: the end comes with the polls.
 *
 * Thread: any, but not inside a callback; no other call with this pointer may be under way
 *   or follow
 * Blocking: yes, until the callbacks of its connections have returned
 * Owns: listener is gone, except with NP_ERR_IN_CALLBACK
 * Null: listener may be NULL, nothing happens
 * Fails: NP_ERR_IN_CALLBACK, and nothing is freed
 */
np_status np_listener_free(np_listener *listener);

/* ----------------------------------------------------------------------------------------
 * Connection: what it is, who decides about it, and how it ends.
 * ---------------------------------------------------------------------------------------- */

/**
 * What is known about a connection. Set struct_size (NP_CONN_INFO_INIT does). The texts
 * are empty where they do not apply.
 */
typedef struct np_conn_info {
    /** sizeof(np_conn_info), set by the caller. */
    uint32_t struct_size;
    /** NP_PROTOCOL_. */
    int32_t protocol;
    /** The port section: the index that its listener was made with. */
    uint32_t port_index;
    /** 1 with TLS, otherwise 0. */
    uint32_t secure;
    /** 1 if the TLS session was resumed, otherwise 0. */
    uint32_t tls_resumed;
    /** 0. */
    uint32_t reserved;
    /** Milliseconds since accept. */
    uint64_t age_ms;
    /** Bytes read from the socket. */
    uint64_t bytes_in;
    /** Bytes written to the socket. */
    uint64_t bytes_out;
    /** Frames received. */
    uint64_t frames_in;
    /** Frames whose send was accepted. */
    uint64_t frames_out;
    /** Bytes that wait to be sent. */
    uint64_t queued_bytes;
    /** The other side; what the PROXY header says, if there was one. */
    np_address peer;
    /** This side. */
    np_address local;
    /** "TLSv1.3". */
    char tls_version[16];
    /** The cipher suite, with its IANA name. */
    char tls_suite[64];
    /** The key exchange group, with its IANA name. */
    char tls_group[32];
    /**
     * The ALPN protocol that was agreed on; empty if the client has sent no list, or one with nothing in
     * common on a port with alpnMismatch = continue.
     */
    char tls_alpn[256];
    /** The server name that the client asked for. */
    char tls_server_name[256];
} np_conn_info;

/**
 * Answers on_admit with yes: the connection is opened.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_STATE if it was decided before or nobody asked, NP_ERR_CLOSED,
 *   NP_ERR_INVALID_HANDLE
 */
np_status np_conn_admit(np_conn conn);

/**
 * Answers on_admit with no: the bytes, at most 1 MiB, are sent raw, without an answer byte,
 * and the connection is closed with NP_CLOSE_ADMISSION_REFUSED.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; the bytes are copied
 * Null: data may be NULL if len is 0
 * Fails: NP_ERR_STATE if it was decided before or nobody asked, NP_ERR_CLOSED,
 *   NP_ERR_INVALID_HANDLE, NP_ERR_TOO_LARGE, NP_ERR_MEMORY_LIMIT if the system has no memory
 *   left (the connection does not end and can still be decided), NP_ERR_ARGUMENT
 */
np_status np_conn_refuse(np_conn conn, const uint8_t *data, size_t len);

/**
 * Reads nothing more until np_conn_resume_reading, so that the peer is slowed down. What
 * was read already may still arrive. frameTimeout and idleTimeout stand still meanwhile.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_pause_reading(np_conn conn);

/**
 * Ends np_conn_pause_reading.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_resume_reading(np_conn conn);

/**
 * Tells the peer, behind everything that was sent, that nothing more follows (FIN, with
 * TLS close_notify). Receiving goes on; sends answer NP_ERR_CLOSED.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_STATE before admission is decided, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_shutdown(np_conn conn);

/**
 * Sends what is queued, then ends the connection. The library resets it earlier if the peer
 * acknowledges nothing for writeTimeout, or after closeTimeout in all. np_conn_abort and
 * np_conn_set_deadline also cut it (so do a drain deadline and memoryLimit). After the return,
 * sends answer NP_ERR_CLOSED. A callback that is already running or starting on another thread
 * may finish; after that only on_close follows: free there what callbacks use. host_code is a
 * number of the host's own, for on_close and the log.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED if it is closed or closing already, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_close(np_conn conn, int32_t host_code);

/**
 * Ends the connection at once, with a reset; on_close tells how many bytes were not sent.
 * Otherwise as np_conn_close; after it, it cuts the flush short.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED if it has ended, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_abort(np_conn conn, int32_t host_code);

/**
 * Closes the connection with NP_CLOSE_HOST_DEADLINE when after_ms milliseconds have
 * passed from now: for logins and requests. Replaces the one before; NP_FOREVER takes it
 * away. On a connection that is closing already, the deadline cuts the flush: the connection is
 * reset then, on_close reports the unsent bytes, and the reason stays that of the close. A deadline
 * from before the close has no effect on the flush.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED if it has ended, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_set_deadline(np_conn conn,
                               uint64_t after_ms);

/**
 * Writes what is known about the connection.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: info must not be NULL
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_ARGUMENT
 */
np_status np_conn_get_info(np_conn conn, np_conn_info *info);

/**
 * Hangs a pointer of the host's on the connection. The one before is released; the last
 * one after on_close has returned.
 *
 * Thread: any
 * Blocking: no
 * Owns: user_data belongs to the library, also on failure; destroy releases it once
 * Null: user_data and destroy may be NULL
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_set_user_data(np_conn conn, void *user_data, np_destroy_fn destroy);

/**
 * Gives the pointer that np_conn_set_user_data has set; NULL if there is none.
 *
 * Thread: only inside callbacks of this connection, or the one that polls its loop, so that
 *   it cannot be released meanwhile
 * Blocking: no
 * Owns: nothing; the pointer is valid until the callback returns, the loop is polled again, or
 *   another one is set
 * Null: user_data must not be NULL
 * Fails: NP_ERR_STATE on any other thread, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE,
 *   NP_ERR_ARGUMENT
 */
np_status np_conn_get_user_data(np_conn conn, void **user_data);

/* ----------------------------------------------------------------------------------------
 * Sending: frames and bytes on one connection, copied or lent.
 * ---------------------------------------------------------------------------------------- */

/**
 * Releases data that was sent without a copy. Is called exactly once, from any thread;
 * must not block.
 */
typedef void (*np_release_fn)(void *release_data, const uint8_t *data, size_t len);

/**
 * Sends one frame. NP_OK means: it will be sent, in order, or on_close tells how many
 * bytes were not. Inside a callback of this connection a frame is always taken; elsewhere
 * NP_ERR_WOULD_BLOCK means that nothing was taken and on_writable follows. flags: 0 or
 * NP_FRAME_NO_COMPRESS; NP_FRAME_COMPRESSED is ignored. The call compresses data of compressThreshold
 * to compressLimit bytes before it returns: 28 to 58 ms for 1 MiB at the default level 6, in proportion to
 * the size. Larger data is sent as it is.
 * If the send would exceed memoryLimit, the library resets the connections that hold more than
 * this one. If none holds more, this connection ends and the call answers NP_ERR_MEMORY_LIMIT;
 * the same happens if the system has no memory left.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; the data is copied
 * Null: data may be NULL if len is 0
 * Fails: NP_ERR_WOULD_BLOCK, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_STATE if it has
 *   no frames or admission is not decided, NP_ERR_FRAME_TOO_LARGE, NP_ERR_MEMORY_LIMIT
 *   (the connection ends), NP_ERR_ARGUMENT
 */
np_status np_conn_send_frame(np_conn conn,
                             const uint8_t *data,
                             size_t len,
                             uint32_t flags);

/**
 * Sends several frames in order, each as np_conn_send_frame does with its own flags, and
 * cheaper than one by one. The call compresses all of them before it returns. *accepted is
 * the number of frames taken, counted from the first, also on failure. The array that
 * on_frames was given may be passed on.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; the data is copied or sent before the call returns
 * Null: frames may be NULL if count is 0; accepted may be
 * Fails: as np_conn_send_frame; with NP_ERR_ARGUMENT none was taken
 */
np_status np_conn_send_frames(np_conn conn,
                              const np_frame *frames,
                              size_t count,
                              size_t *accepted);

/**
 * Sends one frame, without a copy where that can be: the data belongs to the library until it
 * calls release, exactly once, whatever this answers, perhaps before it returns. What is
 * compressed is copied (NP_FRAME_NO_COMPRESS or `compression = off` spare that), and so is what
 * is below 64 KiB inside a callback of this connection. Worth while from some 16 KiB up. flags
 * as in np_conn_send_frame.
 *
 * Thread: any
 * Blocking: no
 * Owns: the data belongs to the library until release(release_data, data, len), also on
 *   failure
 * Null: data may be NULL if len is 0; release_data may be; release may be for data that
 *   lives for ever
 * Fails: as np_conn_send_frame
 */
np_status np_conn_send_frame_owned(np_conn conn,
                                   const uint8_t *data,
                                   size_t len,
                                   np_release_fn release,
                                   void *release_data,
                                   uint32_t flags);

/**
 * Sends bytes on a stream (NP_PROTOCOL_RELAY, NP_PROTOCOL_UNKNOWN), all or none of them,
 * otherwise as np_conn_send_frame.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing; the data is copied
 * Null: data may be NULL if len is 0
 * Fails: NP_ERR_WOULD_BLOCK, NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE, NP_ERR_STATE if it has
 *   frames or admission is not decided, NP_ERR_MEMORY_LIMIT (the connection ends), NP_ERR_ARGUMENT
 */
np_status np_conn_send_bytes(np_conn conn,
                             const uint8_t *data,
                             size_t len);

/**
 * Holds output back, so that several sends leave together; 256 KiB, sendQueueLimit if that is
 * less, np_conn_shutdown or a close override it. Counts: as many np_conn_uncork let it go.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_cork(np_conn conn);

/**
 * Ends one np_conn_cork; without one nothing happens.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: no pointers
 * Fails: NP_ERR_CLOSED, NP_ERR_INVALID_HANDLE
 */
np_status np_conn_uncork(np_conn conn);

/* ----------------------------------------------------------------------------------------
 * Inbox: taking input when the host wants it, for hosts with a thread per connection.
 * ---------------------------------------------------------------------------------------- */

/**
 * Takes the next frame from the inbox of a connection whose handler has NP_HANDLER_INBOX;
 * waits for it, at most timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). While
 * receiveWindow bytes wait in the inbox, nothing more is read from the peer.
 *
 * NP_ERR_CLOSED comes when everything was taken and the peer has ended the stream, or the
 * connection has ended. After the peer's end the connection stays open for answers until
 * NP_ERR_CLOSED was given; with NP_HANDLER_HALF_CLOSE until the host closes it. A connection
 * that has ended counts against maxConnections until everything was taken, or np_conn_close
 * has given up what is left (it may answer NP_ERR_CLOSED, and does so nevertheless).
 *
 * Thread: any; inside a callback only with timeout_ms 0; never the thread that polls the
 *   connection's loop, unless timeout_ms is 0
 * Blocking: yes, up to timeout_ms
 * Owns: *taken belongs to the caller, until np_frame_free
 * Null: taken must not be NULL
 * Fails: NP_ERR_TIMED_OUT if there is none, NP_ERR_CLOSED, NP_ERR_STATE if the connection has
 *   no inbox, no frames, or is not open yet, NP_ERR_IN_CALLBACK, NP_ERR_INVALID_HANDLE,
 *   NP_ERR_ARGUMENT
 */
np_status np_conn_recv_frame(np_conn conn, uint64_t timeout_ms, np_frame *taken);

/**
 * Takes the next bytes of a stream from its inbox into buffer: as many as there are and fit,
 * at least one. Waits for the first, like np_conn_recv_frame.
 *
 * Thread: any; inside a callback only with timeout_ms 0; never the thread that polls the
 *   connection's loop, unless timeout_ms is 0
 * Blocking: yes, up to timeout_ms
 * Owns: nothing; the bytes are copied
 * Null: neither buffer nor received may be NULL
 * Fails: NP_ERR_TIMED_OUT if there are none, NP_ERR_CLOSED, NP_ERR_STATE if the connection
 *   has no inbox, is no stream, or is not open yet, NP_ERR_IN_CALLBACK,
 *   NP_ERR_INVALID_HANDLE, NP_ERR_ARGUMENT, also if size is 0
 */
np_status np_conn_recv_bytes(np_conn conn,
                             uint8_t *buffer,
                             size_t size,
                             uint64_t timeout_ms,
                             size_t *received);

/* ----------------------------------------------------------------------------------------
 * Poll: loops that the host's own threads drive, and the events that they give.
 * ---------------------------------------------------------------------------------------- */

/**
 * The host is asked; it answers with np_conn_admit or np_conn_refuse. protocol and first_byte
 * are set; user_data is that of np_listener_on_admit.
 */
#define NP_EVENT_ADMIT 1

/** The connection may be used. protocol and first_byte are set. */
#define NP_EVENT_OPEN 2

/** Whole frames, in order: count of them at frames. */
#define NP_EVENT_FRAMES 3

/** The next bytes of a stream: count of them at data. */
#define NP_EVENT_DATA 4

/**
 * The peer will send nothing more; the host closes. Only with NP_HANDLER_HALF_CLOSE: without
 * it the library closes when the host polls again and what was sent is flushed.
 */
#define NP_EVENT_END 5

/** The send queue has room again after a send answered NP_ERR_WOULD_BLOCK. */
#define NP_EVENT_WRITABLE 6

/** The end: close is set. The handle answers NP_ERR_CLOSED from the next poll on. */
#define NP_EVENT_CLOSE 7

/** A line of the log: log is set. Comes after np_runtime_set_log with a level and no callback. */
#define NP_EVENT_LOG 8

/** The size of a loop's read buffer if none is asked for, in bytes. */
#define NP_LOOP_BUFFER_SIZE 262144

/** The smallest size of a loop's read buffer, in bytes. */
#define NP_LOOP_BUFFER_MIN_SIZE 65536

/** The largest size of a loop's read buffer, in bytes. */
#define NP_LOOP_BUFFER_MAX_SIZE 67108864

/**
 * One loop of a runtime with NP_CONSUMER_POLL: the host's thread that polls it moves the
 * bytes of its connections.
 */
typedef struct np_loop np_loop;

/**
 * Something happened. Events of one connection come in the order of np_handler's callbacks.
 * What it points to is valid until the next poll of the same loop.
 */
typedef struct np_event {
    /** NP_EVENT_. Ignore kinds that you do not know. */
    int32_t kind;
    /** NP_PROTOCOL_ where the kind says so, otherwise 0. */
    int32_t protocol;
    /** The connection; NP_CONN_NONE if none is meant. */
    np_conn conn;
    /**
     * That of the handler; of NP_EVENT_ADMIT, and of the NP_EVENT_CLOSE of a connection that was
     * never opened, that of np_listener_on_admit.
     */
    void *user_data;
    /** Frames, or bytes of data. */
    size_t count;
    /** NULL unless the kind says so. */
    const np_frame *frames;
    /** NULL unless the kind says so. */
    const uint8_t *data;
    /** NULL unless the kind says so. */
    const np_close_info *close;
    /** NULL unless the kind says so. */
    const np_log_record *log;
    /** The first byte where the kind says so, otherwise 0. */
    uint32_t first_byte;
    /** 0. */
    uint32_t reserved;
} np_event;

/**
 * Makes a loop of a runtime with NP_CONSUMER_POLL, before the first of its listeners starts.
 * Connections are dealt to all loops of the runtime; ioThreads is no more than advice how
 * many to make. Input is read into buffer, size bytes of it; the larger, the more a poll can
 * give. With buffer NULL the loop has its own, of NP_LOOP_BUFFER_SIZE bytes if size is 0.
 *
 * Thread: any
 * Blocking: no
 * Owns: *loop belongs to the caller, until np_loop_free; buffer stays the caller's, must
 *   live until np_loop_poll has answered NP_ERR_STOPPED or the loop or the runtime is freed,
 *   and may be read between polls
 * Null: buffer and error may be NULL
 * Fails: NP_ERR_STATE if a listener has started or the runtime is not polled,
 *   NP_ERR_STOPPED, NP_ERR_NO_DESCRIPTORS, NP_ERR_IO, NP_ERR_MEMORY_LIMIT if the system has no
 *   memory for the buffer (no connection ends), NP_ERR_ARGUMENT, also if size is below
 *   NP_LOOP_BUFFER_MIN_SIZE or above NP_LOOP_BUFFER_MAX_SIZE
 */
np_status np_loop_new(np_runtime *runtime,
                      uint8_t *buffer,
                      size_t size,
                      np_loop **loop,
                      np_error *error);

/**
 * Moves bytes and gives events: at most capacity of them, *count of them, to events. Waits
 * for the first, at most timeout_ms milliseconds (NP_FOREVER: no limit, 0: only looks). With
 * NP_OK *count may be 0: the time passed, or np_loop_wake was called.
 *
 * What the events point to, and the handles of connections whose NP_EVENT_CLOSE they are, is
 * valid until the next poll of the same loop: that tells the library that all of it has been
 * consumed. Unlike in callbacks, a send to a connection whose queue is full answers
 * NP_ERR_WOULD_BLOCK. Poll soon again: nothing of the loop moves in between.
 *
 * Thread: any, one at a time
 * Blocking: yes, up to timeout_ms
 * Owns: the events are copied out; what they point to stays the library's
 * Null: none may be NULL
 * Fails: NP_ERR_STOPPED when all listeners have ended after a stop and everything was told
 *   (np_runtime_wait then needs no more polls), NP_ERR_STATE
 *   while another thread polls it, NP_ERR_IN_CALLBACK, NP_ERR_ARGUMENT, also if capacity is 0
 */
np_status np_loop_poll(np_loop *loop,
                       np_event *events,
                       size_t capacity,
                       uint64_t timeout_ms,
                       size_t *count);

/**
 * Lets the poll of this loop that is under way return early, or else the next one.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: loop must not be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_loop_wake(np_loop *loop);

/**
 * Frees a loop that has ended (np_loop_poll answered NP_ERR_STOPPED, or the runtime is freed)
 * or was never used (no listener has started, and it is the loop that was made last).
 *
 * Thread: any; no other call with this pointer may be under way or follow
 * Blocking: no
 * Owns: loop is gone, except with NP_ERR_STATE
 * Null: loop may be NULL, nothing happens
 * Fails: NP_ERR_STATE while it is in use, and nothing is freed
 */
np_status np_loop_free(np_loop *loop);

/* ----------------------------------------------------------------------------------------
 * Stats: counters of a runtime or a listener, as numbers and as text.
 * ---------------------------------------------------------------------------------------- */

/** Size of the arrays by protocol in np_stats. */
#define NP_STATS_PROTOCOLS 8

/** Size of the array by close reason in np_stats. */
#define NP_STATS_REASONS 128

/** In certificate_days_left: there is no certificate. */
#define NP_NO_CERTIFICATE INT64_MIN

/**
 * Counters. They only grow, except open, unidentified, connections,
 * memory_bytes, loops_held_up and certificate_days_left. Each is right, but they are not
 * all of the same instant, and what a connection did is counted at the end of its loop's
 * turn: a peer may see a moment earlier what is counted. Set struct_size (NP_STATS_INIT does).
 */
typedef struct np_stats {
    /** sizeof(np_stats), set by the caller. */
    uint32_t struct_size;
    /** 0. */
    uint32_t reserved;
    /** Connections accepted. */
    uint64_t accepted;
    /** Connections that are not identified yet, at this moment. */
    uint64_t unidentified;
    /** Connections open at this moment; index: NP_PROTOCOL_. */
    uint64_t open[8];
    /** Connections ever opened; index: NP_PROTOCOL_. */
    uint64_t opened[8];
    /** Frames received. */
    uint64_t frames_in;
    /**
     * Frames whose send was accepted. bytes_unsent counts the bytes of these frames that did not
     * reach the operating system.
     */
    uint64_t frames_out;
    /** Bytes read from sockets. */
    uint64_t bytes_in;
    /** Bytes written to sockets. */
    uint64_t bytes_out;
    /** Bytes that count against memoryLimit at this moment. */
    uint64_t memory_bytes;
    /** Log records dropped because the log callback was too slow. */
    uint64_t log_dropped;
    /** Connections ended; index: NP_CLOSE_. */
    uint64_t closes[128];
    /** Loops whose present turn has lasted for a second or longer: a callback blocks. */
    uint64_t loops_held_up;
    /** Turns of loops that took a second or longer. */
    uint64_t slow_turns;
    /**
     * Connections that count against maxConnections at this moment: the unidentified, those not
     * admitted yet, the open, and those that are ending.
     */
    uint64_t connections;
    /**
     * Calls of accept that failed: mostly of connections that had ended by then, or for want of
     * descriptors or memory.
     */
    uint64_t accept_errors;
    /**
     * Bytes that sends had accepted and that had not reached the operating system when their
     * connections ended: the sum of their unsent_bytes in np_close_info, and what the library
     * itself could not send, as to connections that never get a handle.
     */
    uint64_t bytes_unsent;
    /**
     * Whole days until the server's own certificate expires, at this moment: 0 on its last
     * day, negative after it; NP_NO_CERTIFICATE without TLS. Of a runtime, the smallest of its started
     * listeners. In a struct that was only zeroed, without NP_STATS_INIT, 0 means that it was not filled in.
     */
    int64_t certificate_days_left;
} np_stats;

/**
 * Writes the counters of a runtime: the sum of its listeners.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: neither may be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_runtime_get_stats(const np_runtime *runtime, np_stats *stats);

/**
 * Writes the counters of a listener.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: neither may be NULL
 * Fails: NP_ERR_ARGUMENT
 */
np_status np_listener_get_stats(const np_listener *listener, np_stats *stats);

/**
 * Copies all counters of a runtime and its listeners into buffer, in Prometheus' text
 * format. The label section is the port section, port the bound port, map_to_port the value of mapToPort, or
 * the bound port without one. A listener that starts again under the same configuration goes on counting
 * where it was; with port = 0 the label port then changes.
 * The library keeps the labels of ended listeners. A section has up to 64 labels in the life of the runtime; it counts
 * later listeners of it under port and map_to_port "other". Once 64 labels of ended listeners exist, it counts those of
 * new sections under section "other" too. *needed becomes the size with its NUL, also with NP_ERR_BUFFER_TOO_SMALL; buffer
 * is then unchanged. The size may have grown at the next call: ask for some more.
 *
 * Thread: any
 * Blocking: no
 * Owns: nothing
 * Null: buffer may be NULL if size is 0; needed may be; runtime must not be
 * Fails: NP_ERR_BUFFER_TOO_SMALL, NP_ERR_ARGUMENT
 */
np_status np_stats_prometheus(const np_runtime *runtime,
                              char *buffer,
                              size_t size,
                              size_t *needed);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NATIVEPORT_H */
