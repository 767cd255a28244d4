/* Mistakes that do not compile, each with what is right in its place. tests/cpp.rs compiles this
 * file as it is, and once with every TRAP_: then each must be refused with one of the words after
 * it, which its own lines do not hold. */
#include <nativeport.hpp>

#include <array>
#include <memory>

using nativeport::bytes_view;
using nativeport::close_info;
using nativeport::connection;
using nativeport::frame_view;
using nativeport::frames_view;
using nativeport::log_record;
using nativeport::protocol;

namespace {

/* ---- bytes ---- */

[[maybe_unused]] void bytes(connection conn, const std::vector<int> &numbers, const char *pointer) {
    std::vector<char> some;
    char array[16] = "some";
    static_cast<void>(conn.send_frame({array, 4}));

#ifdef TRAP_LENGTH_OF_A_POINTER // frame_flags | deleted function
    static_cast<void>(conn.send_frame(some.data(), some.size()));
#else
    static_cast<void>(conn.send_frame({some.data(), some.size()}));
#endif
#ifdef TRAP_POINTER // deleted function
    static_cast<void>(conn.send_frame(pointer));
#else
    static_cast<void>(conn.send_frame(std::string_view(pointer)));
#endif
#ifdef TRAP_POINTER_TO_CHARS // deleted function
    static_cast<void>(conn.send_bytes(some.data()));
#else
    static_cast<void>(conn.send_bytes(some));
#endif
#ifdef TRAP_CHOICE_OF_POINTERS // deleted function
    static_cast<void>(conn.send_bytes(some.empty() ? "none" : "a few"));
#else
    static_cast<void>(conn.send_bytes(std::string_view(some.empty() ? "none" : "a few")));
#endif
#ifdef TRAP_ZERO // deleted function
    static_cast<void>(conn.send_frame(0));
#else
    static_cast<void>(conn.send_frame(""));
#endif
#ifdef TRAP_NULL_FRAME // deleted function
    static_cast<void>(conn.send_frame(nullptr));
#else
    static_cast<void>(conn.send_frame({}));
#endif
#ifdef TRAP_NULL_BYTES // deleted function
    static_cast<void>(conn.send_bytes(NULL));
#else
    static_cast<void>(conn.send_bytes(std::string()));
#endif
#ifdef TRAP_NULL_ANSWER // deleted function
    static_cast<void>(conn.refuse(nullptr));
#else
    static_cast<void>(conn.refuse());
#endif
#ifdef TRAP_NULL_WITH_A_SIZE // bytes_view
    static_cast<void>(conn.send_frame({nullptr, 5}));
#endif
#ifdef TRAP_CODE_AS_ANSWER // deleted function
    static_cast<void>(conn.refuse(0));
#else
    static_cast<void>(conn.refuse("no relays"));
#endif
#ifdef TRAP_ARRAY // deleted function
    static_cast<void>(conn.send_frame(array));
#else
    static_cast<void>(conn.send_frame({array, sizeof array}));
#endif
#ifdef TRAP_ARRAY_AS_BYTES // deleted function
    static_cast<void>(conn.send_bytes(array));
#else
    static_cast<void>(conn.send_bytes(std::string_view(array)));
#endif
#ifdef TRAP_FRAME_OF_A_POINTER // no matching
    static_cast<void>(frame_view(some.data(), some.size()));
#else
    static_cast<void>(frame_view({some.data(), some.size()}));
#endif
#ifdef TRAP_LENGTH_AS_FLAGS // frame_flags
    static_cast<void>(conn.send_frame(some, some.size()));
#else
    static_cast<void>(conn.send_frame(some, NP_FRAME_NO_COMPRESS));
#endif
#ifdef TRAP_LENGTH_OF_A_LITERAL // frame_flags
    static_cast<void>(conn.send_frame("some", std::strlen("some")));
#else
    static_cast<void>(conn.send_frame("some", std::uint32_t{NP_FRAME_NO_COMPRESS}));
#endif
#ifdef TRAP_SIGNED_LENGTH_AS_FLAGS // frame_flags
    static_cast<void>(conn.send_frame(some, some.end() - some.begin()));
#endif
#ifdef TRAP_LENGTH_AS_FLAGS_OF_A_FRAME // no matching
    static_cast<void>(frame_view(some, some.size()));
#else
    static_cast<void>(frame_view(some, frame_view("").flags()));
#endif
#ifdef TRAP_ARRAY_WITHOUT_END // bytes_view
    extern const char blob[];
    static_cast<void>(conn.send_frame(blob));
#endif
#ifdef TRAP_NUMBERS // bytes_view
    static_cast<void>(conn.send_frame(numbers));
#else
    static_cast<void>(conn.send_frame({static_cast<const void *>(numbers.data()), sizeof(int)}));
#endif
#ifdef TRAP_COUNT_OF_NUMBERS // bytes_view
    static_cast<void>(conn.send_frame({numbers.data(), numbers.size()}));
#endif
#ifdef TRAP_TEMPORARY_BUFFER // bytes_buffer
    static_cast<void>(conn.recv_bytes(std::string(8, 'x')));
#else
    static_cast<void>(conn.recv_bytes(some));
#endif
#ifdef TRAP_CONSTANT_BUFFER // bytes_buffer
    static_cast<void>(conn.recv_bytes("constant"));
#else
    static_cast<void>(conn.recv_bytes(array));
#endif
#ifdef TRAP_SIZE_OF_A_BUFFER_AS_TIME // time_limit
    static_cast<void>(conn.recv_bytes(array, sizeof array));
#else
    static_cast<void>(conn.recv_bytes({array, 2}, std::chrono::seconds(1)));
#endif
#ifdef TRAP_CONSTANT_MEMORY // bytes_buffer
    static_cast<void>(conn.recv_bytes({pointer, 4}));
#endif
#ifdef TRAP_BUFFER_OF_NUMBERS // bytes_buffer
    int many[4];
    static_cast<void>(conn.recv_bytes({many, 4}));
#endif
}

/* ---- bytes that are handed over ---- */

[[maybe_unused]] void owned(connection conn, frames_view frames, std::string text) {
    static_cast<void>(conn.send_frame_owned(std::array<char, 2>{'a', 'b'}));
    static_cast<void>(conn.send_frame_owned(std::vector<std::uint8_t>(3)));
#ifdef TRAP_OWNED_FRAME_VIEW // send_frame copies
    static_cast<void>(conn.send_frame_owned(frames[0]));
#else
    static_cast<void>(conn.send_frame_owned(nativeport::owned_frame()));
#endif
#ifdef TRAP_OWNED_STRING_VIEW // send_frame copies
    static_cast<void>(conn.send_frame_owned(std::string_view(text)));
#else
    static_cast<void>(conn.send_frame_owned(std::string(text)));
#endif
#ifdef TRAP_OWNED_BYTES_VIEW // send_frame copies
    static_cast<void>(conn.send_frame_owned(bytes_view(frames[0])));
#else
    static_cast<void>(conn.send_frame(bytes_view(frames[0])));
#endif
#ifdef TRAP_OWNED_BUFFER // send_frame copies
    static_cast<void>(conn.send_frame_owned(nativeport::bytes_buffer(text)));
#endif
#ifdef TRAP_OWNED_LITERAL // send_frame copies
    static_cast<void>(conn.send_frame_owned("text"));
#endif
#ifdef TRAP_OWNED_POINTER // send_frame copies
    static_cast<void>(conn.send_frame_owned(text.data()));
#endif
#ifdef TRAP_OWNED_VIEW_OF_THE_HOST // send_frame copies
    struct part {
        const std::string *of;
        const char *data() const { return of->data(); }
        std::size_t size() const { return of->size(); }
    };
    static_cast<void>(conn.send_frame_owned(part{&text}));
#endif
#ifdef TRAP_OWNED_LENGTH_AS_FLAGS // no matching
    static_cast<void>(conn.send_frame_owned(std::string(text), text.size()));
#else
    static_cast<void>(conn.send_frame_owned(std::string(text), NP_FRAME_NO_COMPRESS));
#endif
#ifdef TRAP_LENT // pass it with std::move
    static_cast<void>(conn.send_frame_owned(text));
#else
    static_cast<void>(conn.send_frame_owned(std::move(text)));
#endif
}

/* ---- statuses ---- */

[[maybe_unused]] nativeport::status statuses(connection conn) {
    const nativeport::status closed = NP_ERR_CLOSED;
#ifdef TRAP_STATUS_OF_TRUE // bool
    const nativeport::status done = true;
#else
    const nativeport::status done = NP_OK;
#endif
#ifdef TRAP_COMPARED_WITH_TRUE // operand
    if (closed == true)
#else
    if (closed)
#endif
        return done;
#ifdef TRAP_STATUS_OF_A_LENGTH // status
    if (conn)
        return sizeof closed;
#endif
#ifdef TRAP_IGNORED // nodiscard
    conn.send_frame("x");
#else
    if (!conn.send_frame("x"))
        return closed;
#endif
#ifdef TRAP_UNHEARD // nodiscard
    conn.recv_frame();
#endif
#ifdef TRAP_CORK // nodiscard
    conn.cork();
#else
    const auto corked = conn.cork();
#endif
#ifdef TRAP_RETURNED_FALSE // bool
    return false;
#else
    return NP_ERR_STATE;
#endif
}

/* ---- texts and times ---- */

[[maybe_unused]] void texts(nativeport::config &config, const char *pointer) {
    config.set("Port", "port", "0").set(std::string("Port"), "bindAddress", pointer);
    config.load_file(pointer).load_file(std::string("server.ini"));
#ifdef TRAP_ZERO_AS_VALUE // c_text
    config.set("Port", "port", 0);
#endif
#ifdef TRAP_NULL_VALUE // c_text
    config.set("Port", "bindAddress", nullptr);
#endif
#ifdef TRAP_NULL_SECTION // c_text
    static_cast<void>(config.get(nullptr, "port"));
#else
    static_cast<void>(config.get("Port", "port"));
#endif
#ifdef TRAP_NULL_FILE // c_text
    config.load_file(nullptr);
#endif
#ifdef TRAP_NULL_PORT // c_text
    config.add_port(NULL);
#else
    config.add_port("web");
#endif
#ifdef TRAP_NULL_TEXT // deleted function
    config.load_string(nullptr, "name");
#else
    config.load_string("[Port]\n", "name");
#endif
#ifdef TRAP_TEXT_OF_A_POINTER // deleted function
    config.load_string(pointer, "name");
#else
    config.load_string(std::string_view(pointer), "name");
#endif
#ifdef TRAP_COPIED // deleted
    nativeport::config copy(config);
#else
    nativeport::config moved(std::move(config));
#endif
}

[[maybe_unused]] void times(connection conn, nativeport::runtime &runtime) {
    conn.set_deadline(std::chrono::hours(1));
    conn.set_deadline(std::chrono::duration<double>(0.5));
#ifdef TRAP_NUMBER_AS_TIME // time_limit
    conn.set_deadline(5);
#endif
#ifdef TRAP_ZERO_AS_TIME // time_limit
    static_cast<void>(runtime.wait(0));
#else
    static_cast<void>(runtime.wait(std::chrono::milliseconds(0)));
#endif
}

/* ---- handlers ---- */

template <typename T> void handles() {
    static_cast<void>(nativeport::handler_of(std::make_shared<T>()));
}

template <typename T> void visits(const nativeport::event &event) {
    T visitor;
    event.visit(visitor);
}

struct framed {
    void on_frames(connection, frames_view) {}
};

struct with_inbox {
    static constexpr bool inbox = true;
};

class private_inbox : public framed {
    [[maybe_unused]] static constexpr bool inbox = true;
};

struct number : framed {
    [[maybe_unused]] static constexpr int half_close = 1;
};

[[maybe_unused]] void handlers(nativeport::listener &listener, const nativeport::event &event) {
#ifdef TRAP_MISSPELT // a handler has a public on_frames
    struct misspelt {
        void on_frame(connection, frames_view) {}
    };
    handles<misspelt>();
#else
    handles<framed>();
#endif
#ifdef TRAP_PARAMETERS // on_frames cannot be called
    struct parameters {
        void on_frames(connection, int) {}
    };
    handles<parameters>();
#endif
#ifdef TRAP_PARAMETERS_OF_A_FINAL_CLASS // on_frames cannot be called
    struct final_parameters final {
        void on_frames(connection, int) {}
    };
    handles<final_parameters>();
#endif
#ifdef TRAP_OVERLOADS // on_open cannot be called
    struct overloads : framed {
        void on_open(connection) {}
        void on_open(connection, protocol) {}
    };
    handles<overloads>();
#else
    struct overloads : framed {
        void on_open(connection) {}
        void on_open(connection, protocol, std::uint8_t) {}
    };
    handles<overloads>();
#endif
#ifdef TRAP_PRIVATE // on_end cannot be called
    struct hidden : framed {
    private:
        void on_end(connection) {}
    };
    handles<hidden>();
#endif
#ifdef TRAP_PRIVATE_BASE // on_frames cannot be called
    struct hidden_base : private framed {
        void on_data(connection, bytes_view) {}
    };
    handles<hidden_base>();
#endif
#ifdef TRAP_CONSTANT_OBJECT // on_frames cannot be called
    static_cast<void>(nativeport::handler_of(std::make_shared<const framed>()));
#endif
#ifdef TRAP_FUNCTION // on_writable cannot be called
    struct with_function : framed {
        std::function<void()> on_writable;
    };
    handles<with_function>();
#else
    struct with_function : framed {
        std::function<void(connection)> on_writable;
    };
    handles<with_function>();
#endif
#ifdef TRAP_KEEPS_THE_END // on_close cannot be called
    struct keeps : framed {
        void on_close(connection, close_info) {}
    };
    handles<keeps>();
#else
    struct reads : framed {
        void on_close(connection, const close_info &) {}
    };
    handles<reads>();
#endif
#ifdef TRAP_VARIABLE // inbox must be
    struct variable {
        bool inbox = true;
    };
    handles<variable>();
#else
    handles<with_inbox>();
#endif
#ifdef TRAP_VARIABLE_HALF_CLOSE // half_close must be
    struct half : framed {
        bool half_close = true;
    };
    handles<half>();
#endif
#ifdef TRAP_PRIVATE_INBOX // inbox must be
    handles<private_inbox>();
#endif
#ifdef TRAP_NUMBER // half_close must be
    handles<number>();
#endif
#ifdef TRAP_ENUMERATOR // half_close must be
    struct enumerator : framed {
        enum { half_close = 1 };
    };
    handles<enumerator>();
#endif
#ifdef TRAP_CONSTANT_MEMBER // half_close must be
    struct constant_member : framed {
        const bool half_close = true;
    };
    handles<constant_member>();
#endif
#ifdef TRAP_CHANGES_ITS_ARGUMENT // on_end cannot be called
    struct changes : framed {
        void on_end(connection &) {}
    };
    handles<changes>();
#endif
#ifdef TRAP_PRIVATE_WITH_ITS_DESTRUCTOR // on_end cannot be called
    class undeletable : public framed {
        ~undeletable() = default;
        void on_end(connection) {}
    };
    static_cast<void>(nativeport::handler_of<undeletable>(nullptr));
#else
    class guarded_handler : public framed {
        virtual void on_end_of_all() {}

    protected:
        ~guarded_handler() = default;
    };
    static_cast<void>(nativeport::handler_of<guarded_handler>(nullptr));
#endif
#ifdef TRAP_FINAL_DESTRUCTOR // overriding final | overrides a
    struct leaf : framed {
        virtual ~leaf() final = default;
    };
    handles<leaf>();
#else
    struct leaf final : framed {
        virtual ~leaf() = default;
    };
    handles<leaf>();
#endif
    union one_of {
        int number;
        void on_frames(connection, frames_view) {}
    };
    handles<one_of>();
#ifdef TRAP_WEAK_POINTER // no matching
    listener.on(protocol::client, std::weak_ptr<framed>());
#else
    framed one;
    listener.on(protocol::client, std::ref(one)).on(protocol::client, std::make_shared<framed>());
#endif
#ifdef TRAP_UNVISITED // a visitor has public member functions
    struct unvisited {
        void on_frame(connection, frames_view) {}
    };
    visits<unvisited>(event);
#else
    visits<framed>(event);
#endif
#ifdef TRAP_VISITED_WITH_OTHERS // on_log cannot be called
    struct others : framed {
        void on_log(const char *) {}
    };
    visits<others>(event);
#endif
#ifdef TRAP_KEEPS_THE_RECORD // on_log cannot be called
    struct keeps_the_record {
        void on_log(log_record) {}
    };
    visits<keeps_the_record>(event);
#else
    struct reads_the_record {
        void on_log(const log_record &) {}
    };
    visits<reads_the_record>(event);
#endif
#ifdef TRAP_PRIVATE_ADMISSION // on_admit cannot be called
    class guarded : public framed {
        void on_admit(connection, protocol, std::uint8_t) {}
    };
    visits<guarded>(event);
#endif
#ifdef TRAP_FUNCTION_AS_TOKEN // no matching
    void (*function)() = nullptr;
    nativeport::token token(function);
#else
    nativeport::token token(&listener);
#endif
    static_cast<void>(token);
}

/* ---- what is shown for a time ---- */

[[maybe_unused]] void shown(const close_info &info, const log_record &record) {
#ifdef TRAP_KEPT_END // deleted
    const close_info kept = info;
#else
    const std::int32_t kept = info.reason();
#endif
#ifdef TRAP_KEPT_RECORD // deleted
    const std::vector<log_record> kept_line{record};
#else
    const std::string kept_line(record.text);
#endif
    static_cast<void>(kept);
    static_cast<void>(kept_line);
#ifdef TRAP_HANDLER_KEEPS // no match | no viable
    nativeport::handler handler;
    handler.on_close = [](connection, close_info) {};
#endif
#ifdef TRAP_REFERENCE_TO_A_TEMPORARY // lvalue reference
    auto &frame = *connection().recv_frame();
#else
    const auto frame = *connection().recv_frame();
#endif
    static_cast<void>(frame);
}

const nativeport::shown<close_info> end_of(const nativeport::event &event) {
    return event.close();
}

[[maybe_unused]] void events(const nativeport::event &event) {
#ifdef TRAP_END_OF_A_CONSTANT_TEMPORARY // deleted
    const auto &first = *end_of(event);
#else
    const auto &first = end_of(event);
#endif
    static_cast<void>(first);
#ifdef TRAP_END_OF_A_TEMPORARY // deleted
    const auto &end = *event.close();
#else
    const auto end = event.close();
#endif
#ifdef TRAP_RECORD_OF_A_TEMPORARY // deleted
    const auto &record = event.log().value();
#else
    const auto record = event.log();
#endif
    static_cast<void>(end);
    static_cast<void>(record);
}

} // namespace
