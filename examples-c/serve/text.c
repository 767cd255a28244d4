#define _POSIX_C_SOURCE 200809L

#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for so many more bytes. */
static int reserve(struct text *text, size_t more) {
    size_t capacity = text->capacity > 0 ? text->capacity : 1024;
    char *bytes;
    if (text->failed)
        return 0;
    while (capacity - text->len < more)
        capacity *= 2;
    if (capacity == text->capacity)
        return 1;
    bytes = realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->failed = 1;
        return 0;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return 1;
}

void text_bytes(struct text *text, const char *bytes, size_t len) {
    if (len == 0 || !reserve(text, len))
        return;
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

void text_add(struct text *text, const char *string) {
    text_bytes(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...) {
    va_list values;
    int len;
    va_start(values, format);
    len = vsnprintf(NULL, 0, format, values);
    va_end(values);
    /* vsnprintf writes a NUL behind the text, which does not count. */
    if (len < 0 || !reserve(text, (size_t)len + 1)) {
        text->failed = 1;
        return;
    }
    va_start(values, format);
    vsnprintf(text->bytes + text->len, (size_t)len + 1, format, values);
    va_end(values);
    text->len += (size_t)len;
}

void text_html(struct text *text, const char *string) {
    for (; *string != '\0'; string++) {
        switch (*string) {
        case '&': text_add(text, "&amp;"); break;
        case '<': text_add(text, "&lt;"); break;
        case '>': text_add(text, "&gt;"); break;
        case '"': text_add(text, "&quot;"); break;
        case '\'': text_add(text, "&#39;"); break;
        default: text_bytes(text, string, 1);
        }
    }
}

void text_json(struct text *text, const char *string) {
    text_add(text, "\"");
    for (; *string != '\0'; string++) {
        unsigned char byte = (unsigned char)*string;
        if (byte == '"' || byte == '\\')
            text_add(text, "\\");
        if (byte < ' ')
            text_format(text, "\\u%04x", byte);
        else
            text_bytes(text, string, 1);
    }
    text_add(text, "\"");
}

void text_line(struct text *text, const char *string) {
    for (; *string != '\0'; string++) {
        unsigned char byte = (unsigned char)*string;
        if (byte < ' ' || byte == 0x7f)
            text_format(text, "\\x%02x", byte);
        else
            text_bytes(text, string, 1);
    }
}

void text_free(struct text *text) {
    free(text->bytes);
    memset(text, 0, sizeof *text);
}
