/* Two Rust libraries in one program: both work, unwinding in the other one included. */
#include <nativeport.h>

#include <string.h>

#include "check.h"

int32_t other_half(int32_t number);

int main(void) {
    np_config *config = NULL;
    CHECK(np_config_new(&config) == NP_OK);
    CHECK(other_half(8) == 4);
    CHECK(other_half(7) == -1);
    CHECK(strcmp(np_version_string(), NP_VERSION_STRING) == 0);
    np_config_free(config);
    puts("ok");
    return 0;
}
