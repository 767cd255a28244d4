/* The header first and alone, and every macro that is more than a number expanded. Is
 * compiled as C11 and as C++17. */
#include <nativeport.h>

#if NP_VERSION_NUMBER != NP_VERSION_MAJOR * 1000000 + NP_VERSION_MINOR * 1000 + NP_VERSION_PATCH
#error "NP_VERSION_NUMBER is not what its parts say"
#endif

np_conn use_all_macros(void);

np_conn use_all_macros(void) {
    const char *version = NP_VERSION_STRING;
    np_conn conn = NP_CONN_NONE;
    np_error error = NP_ERROR_INIT;
    np_handler handler = NP_HANDLER_INIT;
    np_admission admission = NP_ADMISSION_INIT;
    np_conn_info info = NP_CONN_INFO_INIT;
    np_stats stats = NP_STATS_INIT;
    uint64_t forever = NP_FOREVER;
    np_status status = NP_ERR_CLOSED;
    uint32_t flags = NP_FRAME_COMPRESSED | NP_FRAME_NO_COMPRESS;
    (void)version;
    (void)error;
    (void)handler;
    (void)admission;
    (void)info;
    (void)forever;
    (void)status;
    (void)flags;
    conn.id += stats.opened[NP_PROTOCOL_UNKNOWN] + stats.closes[NP_CLOSE_PEER_CLOSED];
    return conn;
}
