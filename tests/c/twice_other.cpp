// The other unit.
#include <nativeport.h>
#include <nativeport.h>

np_status other_unit(const np_handler &handler);

np_status other_unit(const np_handler &handler) {
    return handler.struct_size == sizeof handler ? NP_OK : NP_ERR_ARGUMENT;
}
