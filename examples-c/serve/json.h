/* The server's state for programs, as JSON. */
#ifndef SERVE_JSON_H
#define SERVE_JSON_H

struct status;
struct text;

void json_write(struct text *json, struct status *status);

#endif
