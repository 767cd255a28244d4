/* The parts of the page that never change: its style and its script. */
#ifndef SERVE_PAGE_ASSETS_H
#define SERVE_PAGE_ASSETS_H

extern const char page_style[];
extern const char page_script[];

#endif
