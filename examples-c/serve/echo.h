/* Protocols 1 and 3: every frame is sent back. */
#ifndef SERVE_ECHO_H
#define SERVE_ECHO_H

#include <nativeport.h>

np_status echo_serve(np_listener *listener, np_error *error);

#endif
