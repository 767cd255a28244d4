/* Mistakes that do not compile, each with what is right in its place. tests/cpp.rs compiles this
 * file as it is, and once with each TRAP_: then a message with the words after it must come. */
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

#ifdef TRAP_LENGTH_OF_A_POINTER // frame_flags
    static_cast<void>(conn.send_frame(some.data(), some.size()));
#else
    static_cast<void>(conn.send_frame({some.data(), some.size()}));
#endif
#ifdef TRAP_POINTER // pointer_without_size
    static_cast<void>(conn.send_frame(pointer));
#else
    static_cast<void>(conn.send_frame(std::string_view(pointer)));
#endif
#ifdef TRAP_POINTER_TO_CHARS // pointer_without_size
    static_cast<void>(conn.send_bytes(some.data()));
#else
    static_cast<void>(conn.send_bytes(some));
#endif
#ifdef TRAP_CHOICE_OF_POINTERS // pointer_without_size
    static_cast<void>(conn.send_bytes(some.empty() ? "none" : "a few"));
#else
    static_cast<void>(conn.send_bytes(std::string_view(some.empty() ? "none" : "a few")));
#endif
#ifdef TRAP_ZERO // send_frame
    static_cast<void>(conn.send_frame(0));
#else
    static_cast<void>(conn.send_frame(""));
#endif
#ifdef TRAP_NULL_FRAME // pointer_without_size
    static_cast<void>(conn.send_frame(nullptr));
#else
    static_cast<void>(conn.send_frame({}));
#endif
#ifdef TRAP_NULL_BYTES // pointer_without_size
    static_cast<void>(conn.send_bytes(NULL));
#else
    static_cast<void>(conn.send_bytes(std::string()));
#endif
#ifdef TRAP_NULL_ANSWER // pointer_without_size
    static_cast<void>(conn.refuse(nullptr));
#else
    static_cast<void>(conn.refuse());
#endif
#ifdef TRAP_NULL_WITH_A_SIZE // send_frame
    static_cast<void>(conn.send_frame({nullptr, 5}));
#endif
#ifdef TRAP_CODE_AS_ANSWER // refuse
    static_cast<void>(conn.refuse(0));
#else
    static_cast<void>(conn.refuse("no relays"));
#endif
#ifdef TRAP_ARRAY // array_without_size
    static_cast<void>(conn.send_frame(array));
#else
    static_cast<void>(conn.send_frame({array, sizeof array}));
#endif
#ifdef TRAP_ARRAY_AS_BYTES // array_without_size
    static_cast<void>(conn.send_bytes(array));
#else
    static_cast<void>(conn.send_bytes(std::string_view(array)));
#endif
#ifdef TRAP_FRAME_OF_A_POINTER // frame_view
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
#ifdef TRAP_LENGTH_AS_FLAGS_OF_A_FRAME // frame_view
    static_cast<void>(frame_view(some, some.size()));
#else
    static_cast<void>(frame_view(some, frame_view("").flags()));
#endif
#ifdef TRAP_NUMBERS // send_frame
    static_cast<void>(conn.send_frame(numbers));
#else
    static_cast<void>(conn.send_frame({static_cast<const void *>(numbers.data()), sizeof(int)}));
#endif
#ifdef TRAP_COUNT_OF_NUMBERS // send_frame
    static_cast<void>(conn.send_frame({numbers.data(), numbers.size()}));
#endif
#ifdef TRAP_TEMPORARY_BUFFER // recv_bytes
    static_cast<void>(conn.recv_bytes(std::string(8, 'x')));
#else
    static_cast<void>(conn.recv_bytes(some));
#endif
#ifdef TRAP_CONSTANT_BUFFER // recv_bytes
    static_cast<void>(conn.recv_bytes("constant"));
#else
    static_cast<void>(conn.recv_bytes(array));
#endif
#ifdef TRAP_SIZE_OF_A_BUFFER_AS_TIME // recv_bytes
    static_cast<void>(conn.recv_bytes(array, sizeof array));
#else
    static_cast<void>(conn.recv_bytes({array, 2}, std::chrono::seconds(1)));
#endif
#ifdef TRAP_BUFFER_OF_NUMBERS // recv_bytes
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
#ifdef TRAP_OWNED_VIEW_THAT_IS_MOVED // send_frame copies
    std::string_view view(text);
    static_cast<void>(conn.send_frame_owned(std::move(view)));
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
#ifdef TRAP_OWNED_LENGTH_AS_FLAGS // frame_flags
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
#ifdef TRAP_STATUS_OF_TRUE // status
    const nativeport::status done = true;
#else
    const nativeport::status done = NP_OK;
#endif
#ifdef TRAP_COMPARED_WITH_TRUE // ==
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
#ifdef TRAP_RETURNED_FALSE // status
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
#ifdef TRAP_NULL_TEXT // pointer_without_size
    config.load_string(nullptr, "name");
#else
    config.load_string("[Port]\n", "name");
#endif
#ifdef TRAP_TEXT_OF_A_POINTER // pointer_without_size
    config.load_string(pointer, "name");
#else
    config.load_string(std::string_view(pointer), "name");
#endif
#ifdef TRAP_COPIED // delete
    nativeport::config copy(config);
#else
    nativeport::config moved(std::move(config));
#endif
}

[[maybe_unused]] void times(connection conn, nativeport::runtime &runtime) {
    conn.set_deadline(std::chrono::hours(1));
    conn.set_deadline(std::chrono::duration<double>(0.5));
#ifdef TRAP_NUMBER_AS_TIME // set_deadline
    conn.set_deadline(5);
#endif
#ifdef TRAP_ZERO_AS_TIME // wait
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
    struct parameters final {
        void on_frames(connection, int) {}
    };
    handles<parameters>();
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
    struct hidden : private framed {
        void on_data(connection, bytes_view) {}
    };
    handles<hidden>();
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
#ifdef TRAP_VARIABLE // static constexpr bool
    struct variable {
        bool inbox = true;
    };
    handles<variable>();
#else
    handles<with_inbox>();
#endif
#ifdef TRAP_VARIABLE_HALF_CLOSE // static constexpr bool
    struct half : framed {
        bool half_close = true;
    };
    handles<half>();
#endif
#ifdef TRAP_WEAK_POINTER // on
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
#ifdef TRAP_FUNCTION_AS_TOKEN // token
    void (*function)() = nullptr;
    nativeport::token token(function);
#else
    nativeport::token token(&listener);
#endif
    static_cast<void>(token);
}

/* ---- what is shown for a time ---- */

[[maybe_unused]] void shown(const close_info &info, const log_record &record) {
#ifdef TRAP_KEPT_END // delete
    const close_info kept = info;
#else
    const std::int32_t kept = info.reason();
#endif
#ifdef TRAP_KEPT_RECORD // delete
    const std::vector<log_record> kept_line{record};
#else
    const std::string kept_line(record.text);
#endif
    static_cast<void>(kept);
    static_cast<void>(kept_line);
#ifdef TRAP_HANDLER_KEEPS // on_close
    nativeport::handler handler;
    handler.on_close = [](connection, close_info) {};
#endif
#ifdef TRAP_REFERENCE_TO_A_TEMPORARY // frame
    auto &frame = *connection().recv_frame();
#else
    const auto frame = *connection().recv_frame();
#endif
    static_cast<void>(frame);
}

} // namespace
