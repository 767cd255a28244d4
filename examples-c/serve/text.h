/* Text that grows while it is written, and the ways to escape what others have written. */
#ifndef SERVE_TEXT_H
#define SERVE_TEXT_H

#include <stddef.h>

/* Zero-initialised it is empty. Once memory was missing it stays failed, so that only the
 * end result needs a look. */
struct text {
    char *bytes;
    size_t len;
    size_t capacity;
    int failed;
};

void text_bytes(struct text *text, const char *bytes, size_t len);
void text_add(struct text *text, const char *string);
void text_format(struct text *text, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* As HTML text or attribute value. */
void text_html(struct text *text, const char *string);

/* As a JSON string, quotes included. */
void text_json(struct text *text, const char *string);

/* For a terminal: control characters as \xNN, so that no line breaks in two. */
void text_line(struct text *text, const char *string);

void text_free(struct text *text);

#endif
