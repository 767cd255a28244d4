/* From the command line to a configuration. */
#ifndef SERVE_SETTINGS_H
#define SERVE_SETTINGS_H

#include <nativeport.h>

#include "options.h"

/* Makes the configuration and tells every finding in a line on stderr. NULL if it has an
 * error, which has then been told too. */
np_config *settings_load(const struct options *options);

/* A value of the configuration, "" if there is none; NULL without memory. To be freed. */
char *settings_value(const np_config *config, const char *section, const char *key);

#endif
