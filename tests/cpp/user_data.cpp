/* The host's object on a connection, in a library and in a program that have hidden symbols. With
 * -DLIBRARY this is the library. Prints ok; says what does not hold, and ends. */
#include "support.hpp"

struct session {
    std::string name;
};

namespace {
struct local {
    int number = 7;
};
} // namespace

/* Another type in the library and in the program, with one name. */
#ifdef LIBRARY
using inside_number = std::int32_t;
#else
using inside_number = std::uint32_t;
#endif
static auto of_a_static_function() {
    struct inside {
        inside_number number = 7;
    };
    return std::make_unique<inside>();
}

#define EXPORTED __attribute__((visibility("default")))
EXPORTED nativeport::status set_session(connection conn, const char *name);
EXPORTED nativeport::status set_local(connection conn);
EXPORTED nativeport::status set_inside(connection conn);

#ifdef LIBRARY

nativeport::status set_session(connection conn, const char *name) {
    return conn.set_user_data(std::make_unique<session>(session{name}));
}

nativeport::status set_local(connection conn) {
    CHECK(conn.set_user_data(std::make_unique<local>()));
    CHECK(conn.user_data<local>()->number == 7);
    return NP_OK;
}

nativeport::status set_inside(connection conn) {
    return conn.set_user_data(of_a_static_function());
}

#else

int main() {
    told<std::string> names;
    const server server([&](struct server &self) {
        handler sets;
        sets.on_frames = [&](connection conn, frames_view) {
            CHECK(set_session(conn, "of the library"));
            CHECK(conn.user_data<std::string>() == nullptr);
            CHECK(conn.user_data<session>() != nullptr);
            names.tell(conn.user_data<session>()->name);
            // It may be another type, although it has the same name.
            CHECK(set_local(conn) && conn.user_data<local>() == nullptr);
            CHECK(conn.set_user_data(std::make_unique<local>()));
            CHECK(conn.user_data<local>() != nullptr);
            using inside = decltype(of_a_static_function())::element_type;
            CHECK(set_inside(conn) && conn.user_data<inside>() == nullptr);
            CHECK(conn.set_user_data(of_a_static_function()));
            CHECK(conn.user_data<inside>() != nullptr);
        };
        self.listener.on(protocol::client, sets);
    });
    client framed(server.listener);
    framed.send_frame("");
    CHECK(names.next() == "of the library");
    std::puts("ok");
    return 0;
}

#endif
