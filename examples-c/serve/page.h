/* The server's state as a page for people. */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

struct status;
struct text;

/* Content-Security-Policy: a browser may run and show what is in the page itself, and fetch
 * from here. */
#define PAGE_POLICY \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

void page_write(struct text *html, struct status *status);

#endif
