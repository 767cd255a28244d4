// One of two units that include the header, here twice.
#include <nativeport.h>
#include <nativeport.h>

np_status other_unit(const np_handler &handler);

int main() {
    np_handler handler = NP_HANDLER_INIT;
    return other_unit(handler) == NP_OK ? 0 : 1;
}
