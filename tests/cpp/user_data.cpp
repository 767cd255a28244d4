/* The host's object on a connection, in a library and in a program that have hidden symbols. With
 * -DLIBRARY this is the library. Prints ok; says what does not hold, and ends. */
#include "support.hpp"

/* ---- types that both know ---- */

struct session {
    std::string name;
};

/* Names in which letters stand that mark local types elsewhere. */
struct ZLib {
    int number = 7;
};
struct HTML5 {
    int number = 7;
};
template <int, typename Of> struct part {
    Of of;
};
using one_of_three = std::array<ZLib, 3>;
using numbered = part<5, one_of_three>;

/* ---- other types in the library than in the program, with one name ---- */

#ifdef LIBRARY
using number = std::int32_t;
struct of_another_version {
    int one;
};
#else
using number = std::uint32_t;
struct of_another_version {
    int one, more;
};
#endif

namespace {
struct local {
    number inside = 7;
};
} // namespace

[[maybe_unused]] static auto of_a_function() {
    struct inside {
        number is = 7;
    };
    return inside();
}

namespace named {
[[maybe_unused]] static auto of_a_function() {
    struct inside {
        number is = 7;
    };
    return inside();
}
} // namespace named

template <typename Number> static auto of_a_template() {
    struct inside {
        number is = Number(7);
    };
    return inside();
}

using of_function = decltype(of_a_function());
using of_named_function = decltype(named::of_a_function());
using of_template = decltype(of_a_template<int>());
using with_local = part<5, std::vector<of_named_function>>;

/* ---- the library sets, the program asks ---- */

#define EXPORTED __attribute__((visibility("default")))
#define SET(type) nativeport::status set_##type(connection conn)
#define DECLARED(type) EXPORTED SET(type);
#define DEFINED(type)                                                                              \
    SET(type) {                                                                                    \
        const auto answered = conn.set_user_data(std::make_unique<type>());                        \
        CHECK(conn.user_data<type>() != nullptr);                                                  \
        return answered;                                                                           \
    }
#define KNOWN(type) CHECK(set_##type(conn) && conn.user_data<type>() != nullptr);
#define UNKNOWN(type)                                                                              \
    CHECK(set_##type(conn) && conn.user_data<type>() == nullptr);                                  \
    CHECK(conn.set_user_data(std::make_unique<type>()) && conn.user_data<type>() != nullptr);

#define SHARED_TYPES(each) each(ZLib) each(HTML5) each(one_of_three) each(numbered)
#define OTHER_TYPES(each)                                                                          \
    each(of_another_version) each(local) each(of_function) each(of_named_function)                 \
        each(of_template) each(with_local)

SHARED_TYPES(DECLARED)
OTHER_TYPES(DECLARED)
EXPORTED nativeport::status set_session(connection conn, const char *name);

#ifdef LIBRARY

SHARED_TYPES(DEFINED)
OTHER_TYPES(DEFINED)
nativeport::status set_session(connection conn, const char *name) {
    return conn.set_user_data(std::make_unique<session>(session{name}));
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
            SHARED_TYPES(KNOWN)
            // Other types, although they have the same names.
            OTHER_TYPES(UNKNOWN)
            CHECK(set_session(conn, "of the library"));
            names.tell(conn.user_data<session>()->name);
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
