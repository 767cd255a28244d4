/* SIGTERM and SIGINT: the first one is waited for, the second one ends the program. */
#ifndef SERVE_SIGNALS_H
#define SERVE_SIGNALS_H

/* Before any thread is made, as threads inherit what is blocked. -1 after one line on stderr. */
int signals_block(void);

/* Waits up to a second; 1 if a signal came. */
int signals_wait_a_second(void);

/* From now on a signal ends the program at once, as it does to programs that do nothing
 * about it. */
void signals_let_through(void);

#endif
