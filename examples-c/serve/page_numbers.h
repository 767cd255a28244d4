/* Numbers as people read them. The script of page_assets.c writes them in the same forms. */
#ifndef SERVE_PAGE_NUMBERS_H
#define SERVE_PAGE_NUMBERS_H

#include <stdint.h>

struct text;

/* 1234567 with narrow blanks: 1 234 567. */
void page_count(struct text *html, uint64_t number);

/* 1.5 MB. */
void page_size(struct text *html, uint64_t bytes);

/* The two largest units: 3 d 4 h. */
void page_duration(struct text *html, uint64_t seconds);

#endif
