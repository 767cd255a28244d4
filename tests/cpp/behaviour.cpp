/* What nativeport.hpp promises, over real sockets. Prints ok; says what does not hold, and
 * ends. tests/cpp.rs builds it in several ways. */
#include "support.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <unordered_set>
#if __cplusplus >= 202002L
#include <ranges>
#include <span>
#endif

namespace {

/* ---- values ---- */

void views_borrow_from_whatever_holds_bytes() {
    const std::string text = "a\0b";
    const std::vector<std::uint8_t> numbers = {1, 2, 3};
    const std::array<char, 2> letters = {'x', 'y'};
    CHECK(bytes_view("hello").text() == "hello");
    CHECK(bytes_view(std::string("a\0b", 3)).size() == 3);
    CHECK(bytes_view(std::string_view(text)).size() == text.size());
    CHECK(bytes_view(numbers).data() == numbers.data() && bytes_view(numbers)[2] == 3);
    CHECK(bytes_view(letters).text() == "xy");
    CHECK(bytes_view().empty() && bytes_view().text().empty());
    CHECK(bytes_view(frame_view("payload")).text() == "payload");
    CHECK(std::count(bytes_view("abca").begin(), bytes_view("abca").end(), 'a') >= 0);
    // What stands behind the NUL may be a secret.
    struct user {
        char name[16];
    };
    const user anna = {{'a', 'n', 'n', 'a', 0, 's', 'e', 'c', 'r', 'e', 't'}};
    CHECK(bytes_view(anna.name).text() == "anna" && bytes_view("").empty());
    const char without_end[3] = {'a', 'b', 'c'};
    CHECK(bytes_view(without_end).text() == "abc");
    CHECK(bytes_view({"a\0b", 3}).size() == 3);
    std::uint8_t bytes[2] = {0, 1};
    const std::byte constant_bytes[3] = {};
    CHECK(bytes_view(bytes).size() == 2 && bytes_view(constant_bytes).size() == 3);

#if __cplusplus >= 202002L
    const std::span<const std::byte> span = std::as_bytes(std::span(letters));
    CHECK(bytes_view(span).text() == "xy");
    static_assert(!nativeport::owns_bytes<std::span<char>>);
    static_assert(std::ranges::input_range<frames_view>);
    static_assert(std::ranges::input_range<const nativeport::polled_events>);
    static_assert(std::ranges::contiguous_range<bytes_view>);
    const std::span<const std::uint8_t> back = bytes_view(numbers);
    CHECK(back.data() == numbers.data() && back.size() == 3);
#endif

    const std::vector<frame_view> frames = {frame_view("one"),
                                            frame_view("two", NP_FRAME_NO_COMPRESS)};
    const frames_view both(frames);
    std::string all;
    for (const frame_view frame : both)
        all += frame.text();
    CHECK(both.begin()->text() == "one");
    CHECK(all == "onetwo" && both.size() == 2 && both[1].flags() == NP_FRAME_NO_COMPRESS);
#if __cplusplus >= 202002L
    CHECK(std::ranges::count(both, std::string_view("two"), &frame_view::text) == 1);
#endif
}

using nativeport::time_limit;

void durations_of_every_kind_become_milliseconds() {
    static_assert(time_limit(5ms).ms() == 5 && time_limit(2h).ms() == 7'200'000);
    static_assert(time_limit(0ms).ms() == 0);
    // Rounded up: a poll that should wait a little does not turn into one that never waits.
    static_assert(time_limit(1us).ms() == 1 && time_limit(1'000'001ns).ms() == 2);
    static_assert(time_limit(std::chrono::duration<double>(0.25)).ms() == 250);
    static_assert(time_limit(std::chrono::duration<float, std::milli>(0.001F)).ms() == 1);
    static_assert(time_limit(std::chrono::duration<std::uint64_t, std::ratio<2, 3>>(3)).ms()
                  == 2000);
    static_assert(time_limit(-1ms).ms() == 0 && time_limit(std::chrono::hours::min()).ms() == 0);
    static_assert(time_limit(std::chrono::milliseconds::min()).ms() == 0);
    static_assert(time_limit(nativeport::forever).ms() == NP_FOREVER);
    static_assert(time_limit(nativeport::forever - 1ms).ms() == NP_FOREVER);
    static_assert(time_limit(std::chrono::hours::max()).ms() == NP_FOREVER);
    static_assert(time_limit(std::chrono::seconds::max()).ms() == NP_FOREVER);
    using endless = std::numeric_limits<double>;
    static_assert(time_limit(std::chrono::duration<double>(endless::infinity())).ms()
                  == NP_FOREVER);
    CHECK(time_limit(std::chrono::duration<double>(endless::quiet_NaN())).ms() == 0);
    static_assert(time_limit(std::chrono::nanoseconds::max()).ms() == 9'223'372'036'855);
    static_assert(time_limit(24h * 365 * 1000).ms() == 31'536'000'000'000);
}

void statuses_say_what_they_are() {
    const nativeport::status closed = NP_ERR_CLOSED;
    CHECK(!closed && nativeport::status(NP_OK));
    CHECK(closed == NP_ERR_CLOSED && closed != NP_OK && closed.code() == NP_ERR_CLOSED);
    CHECK(closed.name() == std::string("NP_ERR_CLOSED") && *closed.message() != 0);
}

void a_connection_is_a_number() {
    const connection none;
    const connection made_up(np_conn{77});
    CHECK(!none && made_up && none != made_up && made_up == connection(np_conn{77}));
    CHECK(std::unordered_set<connection>({made_up, none}).count(made_up) == 1);
    CHECK(none.send_frame("x") == NP_ERR_INVALID_HANDLE);
    CHECK(!none.info() && none.user_data<int>() == nullptr);
    const np_address v6{6, 80, "::1"};
    const np_address v4{4, 80, "192.0.2.1"};
    CHECK(nativeport::to_string(v6) == "[::1]:80" && nativeport::to_string(v4) == "192.0.2.1:80");
}

/* ---- config and errors ---- */

void a_config_is_loaded_set_read_and_checked() {
    nativeport::config config;
    config.load_string("[Port 1]\nport=0\nmaxFramSize=1\n[Host]\nname=value\n", "host.ini");
    CHECK(config.port_count() == 1 && config.add_port("web") == 1);
    CHECK(config.port_name(0) == "Port.1" && config.port_written_name(0) == "Port 1");
    config.set("Port.web", "port", "0").set("Host", "long", std::string(1000, 'x'));
    CHECK(config.get("Host", "name") == "value" && config.get("Port.web", "port") == "0");
    CHECK(config.get("Host", "long") == std::string(1000, 'x'));
    CHECK(!config.get("Host", "missing"));
    const std::vector<nativeport::finding> findings = config.check();
    CHECK(findings.size() == 1 && !findings[0].is_error && findings[0].line == 3);
    CHECK(findings[0].file == "host.ini" && findings[0].key == "maxFramSize");
    CHECK(findings[0].section == "Port 1" && !findings[0].text.empty());
}

void errors_have_a_status_an_os_error_and_words() {
    nativeport::config config;
    const auto missing = thrown_by([&] { config.load_file("/does/not/exist.ini"); });
    CHECK(missing.status() == NP_ERR_CONFIG_FILE);
    CHECK(std::string(missing.what()).find("/does/not/exist.ini") != std::string::npos);

    // What C would not see, or only a part of.
    const char *const no_text = nullptr;
    const auto cut = thrown_by([&] { config.set("Host", "name", std::string("a\0b", 3)); });
    CHECK(std::string(cut.what()).find("NUL inside") != std::string::npos);
    config.set(std::string_view("Host"), "name", std::string_view("valued", 5));
    CHECK(config.get("Host", "name") == "value");
    config.set("Host", "name", {});
    CHECK(config.get("Host", "name") == "");
    for (const auto &refused : {cut, thrown_by([&] { config.load_file(no_text); }),
                                thrown_by([&] { static_cast<void>(config.get(no_text, "name")); })})
        CHECK(refused.status() == NP_ERR_ARGUMENT);

    const auto no_name = thrown_by([&] { config.port_name(5); });
    CHECK(no_name.status() == NP_ERR_NOT_FOUND && no_name.os_error() == 0);
    CHECK(no_name.what() == std::string(np_status_message(NP_ERR_NOT_FOUND)));

    const server first(echo_everything);
    config = one_port();
    config.set("Port", "port", std::to_string(first.listener.addresses()[0].port));
    nativeport::runtime runtime(config);
    nativeport::listener second(runtime, config);
    const auto taken = thrown_by([&] { second.on(protocol::client, echo()).start(); });
    CHECK(taken.status() == NP_ERR_ADDRESS_IN_USE && taken.os_error() == EADDRINUSE);
    CHECK(taken.tls_alert() == -1 && second.addresses().empty());

    nativeport::listener silent(runtime, config);
    const auto no_handler = thrown_by([&] { silent.start(); });
    CHECK(no_handler.status() == NP_ERR_STATE);
    CHECK(std::string(no_handler.what()).find("no handler") != std::string::npos);

    const auto incomplete = thrown_by([&] { second.on(protocol::client, handler()); });
    CHECK(incomplete.status() == NP_ERR_ARGUMENT);
    CHECK(std::string(incomplete.what()).find("on_frames") != std::string::npos);
}

/* ---- echo, streams, admission ---- */

void frames_and_streams_come_back() {
    const server server(echo_everything);
    client framed(server.listener);
    framed.send_frame("hello");
    framed.send_frame("");
    framed.send_frame(std::string(100000, 'x'));
    CHECK(framed.receive_frame() == "hello" && framed.receive_frame().empty());
    CHECK(framed.receive_frame() == std::string(100000, 'x'));
    client application(server.listener, "\3");
    application.send_frame("hi");
    CHECK(application.receive(1) == "\1" && application.receive_frame() == "hi");
    client relay(server.listener, "\2relayed");
    CHECK(relay.receive(7) == "relayed");
    client web(server.listener, "GET /");
    CHECK(web.receive(5) == "GET /");
    web.end();
    CHECK(web.receive_rest().empty());
}

/* All callbacks as member functions, one of them static. */
struct recorder {
    told<std::string> calls;

    void on_open(connection conn, protocol what, std::uint8_t first_byte) {
        CHECK(conn && what == protocol::unknown);
        calls.tell(std::string("open ") + static_cast<char>(first_byte));
    }
    void on_data(connection conn, bytes_view data) {
        calls.tell("data " + std::string(data.text()));
        CHECK(conn.send_bytes("got it"));
    }
    static void on_end(connection conn) {
        CHECK(conn.send_bytes(", bye"));
        CHECK(conn.shutdown());
        conn.close(42);
    }
    void on_close(connection, const close_info &info) {
        CHECK(info.reason() == NP_CLOSE_PEER_CLOSED && info.reason_name() == "peer_closed");
        CHECK(info.by() == NP_BY_PEER && info.stage() == NP_STAGE_OPEN && info.text().empty());
        CHECK(info.by_name() == "peer" && info.stage_name() == "open");
        CHECK(info.os_error() == 0 && info.tls_alert() == -1 && info.unsent_bytes() == 0);
        CHECK(info.bytes_in() == 3 && info.bytes_out() == 11 && info.duration() < patience);
        calls.tell("close " + std::to_string(info.host_code()));
    }
};

void the_member_functions_of_an_object_are_a_handler() {
    const auto object = std::make_shared<recorder>();
    {
        const handler made = nativeport::handler_of(object);
        CHECK(made.on_open && made.on_data && made.on_end && made.on_close);
        CHECK(!made.on_frames && !made.on_writable);
        const server server([&](struct server &self) {
            self.listener.on(protocol::unknown, object);
        });
        client web(server.listener, "GET");
        CHECK(object->calls.next() == "open G" && object->calls.next() == "data GET");
        web.end();
        CHECK(web.receive_rest() == "got it, bye");
        CHECK(object->calls.next() == "close 42" && object->calls.empty());
    }
    CHECK(object.use_count() == 1);
}

/* Callbacks of every kind that can be called. */
struct of_every_kind {
    told<std::string> calls;
    std::function<void(connection, const close_info &)> on_close;
    std::function<void(connection)> on_end; // empty: the library closes

    void on_open(int) { never("another overload"); }
    void on_open(connection, protocol, std::uint8_t) { calls.tell("open"); }
    template <typename Connection, typename Bytes> void on_data(Connection conn, Bytes data) {
        calls.tell("data " + std::string(data.text()));
        CHECK(conn.send_bytes(data));
    }
    const std::function<void(connection, frames_view)> on_frames = [](connection, frames_view) {};

private:
    void on_writable_now() {}
};

struct of_every_kind_and_final final : of_every_kind {
    static constexpr bool half_close = true;
};

void callbacks_of_every_kind_are_called() {
    const auto object = std::make_shared<of_every_kind_and_final>();
    const handler final_one = nativeport::handler_of(object);
    CHECK(final_one.on_open && final_one.half_close && !final_one.inbox && !final_one.on_end);

    of_every_kind plain;
    plain.on_close = [&](connection, const close_info &info) {
        plain.calls.tell("close " + std::string(info.reason_name()));
    };
    const server server([&](struct server &self) {
        self.listener.on(protocol::unknown, std::ref(plain));
        self.listener.on(protocol::client, std::ref(plain));
        const auto refused = thrown_by(
            [&] { self.listener.on(protocol::relay, std::shared_ptr<of_every_kind>()); });
        CHECK(refused.status() == NP_ERR_ARGUMENT);
    });
    client web(server.listener, "GET");
    CHECK(web.receive(3) == "GET");
    web.end();
    CHECK(web.receive_rest().empty());
    for (const char *expected : {"open", "data GET", "close peer_closed"})
        CHECK(plain.calls.next() == expected);
}

/* Owns its listener, and is its handler. */
class host_of_its_own {
public:
    explicit host_of_its_own(std::atomic<int> *destroyed)
        : config_(one_port()), runtime_(config_), destroyed_(destroyed),
          listener_(runtime_, config_) {
        listener_.on(protocol::client, std::ref(*this)).start();
    }
    host_of_its_own(const host_of_its_own &) = delete;
    host_of_its_own &operator=(const host_of_its_own &) = delete;
    ~host_of_its_own() { ++*destroyed_; }

    void on_frames(connection conn, frames_view frames) { CHECK(conn.send_frames(frames)); }
    const nativeport::listener &listener() const { return listener_; }

private:
    nativeport::config config_;
    nativeport::runtime runtime_;
    std::atomic<int> *destroyed_;
    nativeport::listener listener_; // the last: what callbacks use outlives it
};

void an_object_that_owns_its_listener_can_be_its_handler() {
    std::atomic<int> destroyed{0};
    auto host = std::make_shared<host_of_its_own>(&destroyed);
    client framed(host->listener());
    framed.send_frame("mine");
    CHECK(framed.receive_frame() == "mine");
    host.reset();
    CHECK(destroyed == 1 && framed.receive_rest().empty());
}

void admission_lets_in_and_refuses_now_or_later() {
    told<connection> waiting;
    told<std::int32_t> ended;
    told<connection> opened;
    const server server([&](struct server &self) {
        self.listener.on_admit(
            [&](connection conn, protocol what, std::uint8_t) {
                if (what == protocol::relay)
                    CHECK(conn.refuse("no relays"));
                else
                    waiting.tell(conn);
            },
            [&](connection, const close_info &info) { ended.tell(info.reason()); });
        handler frames = echo();
        frames.on_open = [&](connection conn, protocol, std::uint8_t) { opened.tell(conn); };
        self.listener.on(protocol::client, frames).on(protocol::relay, echo());
    });
    client relay(server.listener, "\2");
    CHECK(relay.receive_rest() == "no relays");
    CHECK(ended.next() == NP_CLOSE_ADMISSION_REFUSED);

    client framed(server.listener, "\1");
    const connection conn = waiting.next();
    CHECK(conn.send_frame("too early") == NP_ERR_STATE);
    CHECK(conn.admit() && conn.admit() == NP_ERR_STATE);
    CHECK(opened.next() == conn && framed.receive(1) == "\1");
    framed.send_frame("in");
    CHECK(framed.receive_frame() == "in" && ended.empty());
}

/* ---- sending ---- */

/* A framed connection with its handle. */
struct one_connection {
    told<connection> opened;
    told<std::string> events;
    server host;
    client peer;
    connection conn;

    explicit one_connection(const std::string &keys = "", handler extra = {})
        : host(
              [&](server &self) {
                  handler made = std::move(extra);
                  made.on_open = [this](connection from, protocol, std::uint8_t) {
                      opened.tell(from);
                  };
                  if (!made.on_frames)
                      made.on_frames = [](connection, frames_view) {};
                  made.on_writable = [this](connection) { events.tell("writable"); };
                  made.on_close = [this](connection, const close_info &info) {
                      events.tell(std::string(info.reason_name()) + ' '
                                  + std::to_string(info.host_code()));
                  };
                  self.listener.on(protocol::client, made);
              },
              keys),
          peer(host.listener), conn(opened.next()) {}
};

/* A container of bytes that counts how often its memory is released. */
class counted_bytes {
public:
    counted_bytes(std::string bytes, std::atomic<int> *released)
        : bytes_(std::move(bytes)), released_(released) {}
    counted_bytes(counted_bytes &&other) noexcept
        : bytes_(std::move(other.bytes_)), released_(std::exchange(other.released_, nullptr)) {}
    counted_bytes &operator=(counted_bytes &&) = delete;
    ~counted_bytes() {
        if (released_ != nullptr)
            ++*released_;
    }
    const char *data() const { return bytes_.data(); }
    std::size_t size() const { return bytes_.size(); }

private:
    std::string bytes_;
    std::atomic<int> *released_;
};

void sends_of_other_threads_arrive_in_order_copied_lent_and_corked() {
    one_connection one;
    std::atomic<int> released{0};
    {
        const auto held = one.conn.cork();
        CHECK(one.conn.send_frame("copied"));
        CHECK(one.conn.send_frame(std::vector<std::uint8_t>{'v'}, NP_FRAME_NO_COMPRESS));
        const std::array<frame_view, 2> frames = {frame_view("first"), frame_view("second")};
        std::size_t accepted = 0;
        CHECK(one.conn.send_frames(frames, &accepted) && accepted == 2);
        CHECK(one.conn.send_frame_owned(std::string("short, inside the string itself")));
        CHECK(one.conn.send_frame_owned(std::vector<char>(50000, 'l')));
        CHECK(one.conn.send_frame_owned(counted_bytes("counted", &released)));
    }
    for (const char *expected : {"copied", "v", "first", "second"})
        CHECK(one.peer.receive_frame() == expected);
    CHECK(one.peer.receive_frame() == "short, inside the string itself");
    CHECK(one.peer.receive_frame() == std::string(50000, 'l'));
    CHECK(one.peer.receive_frame() == "counted");
    CHECK(one.conn.send_bytes("no stream") == NP_ERR_STATE);
    one.conn.abort(7);
    CHECK(one.events.next() == "host_aborted 7");
    CHECK(one.conn.send_frame_owned(counted_bytes("late", &released)) == NP_ERR_CLOSED);
    CHECK(one.host.runtime.stop() && one.host.runtime.wait());
    CHECK(released == 2);
}

/* Whether a frame comes compressed, as its first bit says. */
bool comes_compressed(client &peer) {
    std::size_t size = 0;
    for (const char byte : peer.receive(4))
        size = size << 8 | static_cast<unsigned char>(byte);
    peer.receive(size & 0x7fffffff);
    return size > 0x7fffffff;
}

void a_frame_is_compressed_unless_its_flags_say_no() {
    nativeport::config config = one_port();
    config.set("Port", "compression", "zlib");
    const nativeport::runtime runtime(config);
    nativeport::listener listener(runtime, config);
    const std::string payload(5000, 'c');
    const std::vector<frame_view> both = {frame_view(payload),
                                          frame_view(payload, NP_FRAME_NO_COMPRESS)};
    handler sends;
    sends.on_open = [&](connection conn, protocol, std::uint8_t) {
        CHECK(conn.send_frame(payload) && conn.send_frame(payload, NP_FRAME_NO_COMPRESS));
        CHECK(conn.send_frame_owned(std::string(payload)));
        CHECK(conn.send_frame_owned(std::string(payload), NP_FRAME_NO_COMPRESS));
        CHECK(conn.send_frames(both));
    };
    sends.on_frames = [](connection, frames_view) {};
    listener.on(protocol::client, sends).start();
    client framed(listener);
    for (const char *sent_by : {"send_frame", "send_frame_owned", "send_frames"}) {
        const bool compressed = comes_compressed(framed), not_compressed = comes_compressed(framed);
        if (!compressed || not_compressed)
            never(sent_by);
    }
}

/* Sends when its thread is over and the library's own data of that thread is gone. */
struct last_words {
    connection conn;
    std::string text;
    ~last_words() {
        if (conn) {
            CHECK(conn.send_frame(text));
            CHECK(conn.send_frame_owned(std::string(text)));
            CHECK(conn.info());
        }
    }
};
thread_local last_words words;

void a_thread_local_object_sends_in_its_destructor() {
    one_connection one;
    const std::string text(2000, 'w');
    for (const bool uses_it_before : {false, true}) {
        std::thread([&] {
            words.conn = one.conn; // made before the library's, and so destroyed after them
            words.text = text;
            if (uses_it_before)
                CHECK(one.conn.send_frame(text));
        }).join();
        for (int frames = uses_it_before ? 3 : 2; frames > 0; frames--)
            CHECK(one.peer.receive_frame() == text);
    }
}

void a_full_queue_blocks_and_tells_when_there_is_room() {
    one_connection one("sendQueueLimit=64K\n");
    const std::string payload(32768, 'x');
    std::size_t sent = 0;
    nativeport::status answered = NP_OK;
    while ((answered = one.conn.send_frame(payload)))
        sent++;
    CHECK(answered == NP_ERR_WOULD_BLOCK);
    for (; sent > 0; sent--)
        CHECK(one.peer.receive_frame() == payload);
    CHECK(one.events.next() == "writable");
}

void an_owned_frame_outlives_its_callback() {
    told<nativeport::owned_frame> kept;
    handler keeping;
    keeping.on_frames = [&](connection, frames_view frames) {
        for (const frame_view frame : frames)
            kept.tell(nativeport::owned_frame(frame));
    };
    one_connection one("", keeping);
    one.peer.send_frame("first");
    one.peer.send_frame("second");
    nativeport::owned_frame first = kept.next();
    nativeport::owned_frame second = kept.next();
    CHECK(first.text() == "first" && second.text() == "second" && second.flags() == 0);
    first = std::move(second);
    CHECK(first.text() == "second" && first.size() == 6);
    CHECK(one.conn.send_frame(first));
    CHECK(one.conn.send_frames(std::vector<frame_view>{first}));
    CHECK(one.conn.send_frame_owned(std::move(first)));
    for (int i = 0; i < 3; i++)
        CHECK(one.peer.receive_frame() == "second");
}

void a_connection_can_be_asked_paused_and_given_a_deadline() {
    one_connection one("", echo());
    for (const nativeport::time_limit far :
         {nativeport::time_limit(std::chrono::hours::max()),
          nativeport::time_limit(nativeport::forever - 1ms), nativeport::time_limit(24h * 36500)}) {
        CHECK(one.conn.set_deadline(far));
        one.peer.send_frame("the loop looks at its deadlines");
        CHECK(one.peer.receive_frame() == "the loop looks at its deadlines");
    }
    const auto info = one.conn.info();
    CHECK(info && info->protocol == NP_PROTOCOL_CLIENT && info->secure == 0);
    CHECK(nativeport::to_string(info->local)
          == nativeport::to_string(one.host.listener.addresses()[0]));
    CHECK(one.conn.pause_reading() && one.conn.resume_reading());
    CHECK(one.conn.set_deadline(1h) && one.conn.set_deadline(nativeport::forever));
    CHECK(one.conn.set_deadline(1ms));
    CHECK(one.events.next() == "host_deadline 0");
    CHECK(one.conn.close() == NP_ERR_CLOSED);
    while (one.conn.info()) // until on_close has returned
        std::this_thread::yield();
}

/* ---- exceptions ---- */

void a_callback_that_throws_ends_its_connection_and_nothing_else() {
    told<std::string> thrown;
    told<std::int32_t> closed;
    const auto hook = [&](connection conn, std::string_view what) {
        CHECK(conn);
        thrown.tell(std::string(what));
        throw std::runtime_error("the hook throws as well");
    };
    const server server(
        [&](struct server &self) {
            handler frames;
            frames.on_frames = [](connection conn, frames_view all) {
                if (all[0].text() == "throw")
                    throw std::runtime_error("what it says");
                if (all[0].text() == "throw 7")
                    throw 7;
                CHECK(conn.send_frames(all));
            };
            frames.on_close = [&](connection, const close_info &info) {
                if (info.reason() != NP_CLOSE_HOST_ABORTED)
                    return; // one of those that go on, at the end of the test
                closed.tell(info.host_code());
                throw std::runtime_error("from on_close");
            };
            handler data;
            data.on_open = [](connection, protocol, std::uint8_t) {
                throw std::runtime_error("from on_open");
            };
            data.on_data = [](connection, bytes_view) { never("on_data behind a throw"); };
            handler ends;
            ends.on_data = [](connection, bytes_view) {};
            ends.on_end = [](connection) { throw std::runtime_error("from on_end"); };
            self.listener.on(protocol::client, frames).on(protocol::remote_application, frames);
            self.listener.on(protocol::unknown, data).on(protocol::relay, ends);
        },
        "", hook);
    client bystander(server.listener);
    client framed(server.listener);
    framed.send_frame("throw");
    CHECK(framed.is_reset());
    CHECK(thrown.next() == "what it says" && thrown.next() == "from on_close");
    CHECK(closed.next() == nativeport::callback_threw);
    client application(server.listener, "\3");
    application.send_frame("throw 7");
    application.receive_rest();
    CHECK(thrown.next() == "an exception that is no std::exception");
    CHECK(thrown.next() == "from on_close" && closed.next() == nativeport::callback_threw);
    client web(server.listener, "GET");
    CHECK(web.receive_rest().empty() && thrown.next() == "from on_open");
    client relay(server.listener, "\2data");
    relay.end();
    CHECK(relay.receive_rest().empty() && thrown.next() == "from on_end");

    bystander.send_frame("still here");
    CHECK(bystander.receive_frame() == "still here");
    client another(server.listener);
    another.send_frame("and others come");
    CHECK(another.receive_frame() == "and others come");
    CHECK(thrown.empty() && closed.empty());
    const np_stats stats = server.listener.stats();
    CHECK(stats.closes[NP_CLOSE_HOST_ABORTED] == 4 && stats.closes[NP_CLOSE_CALLBACK_PANIC] == 0);
}

void an_admission_that_throws_ends_its_connection() {
    told<std::string> thrown;
    const server server(
        [&](struct server &self) {
            self.listener.on_admit([](connection conn, protocol what, std::uint8_t) {
                if (what != protocol::client)
                    throw std::runtime_error("from on_admit");
                CHECK(conn.admit());
            });
            self.listener.on(protocol::client, echo()).on(protocol::relay, echo());
        },
        "", [&](connection, std::string_view what) { thrown.tell(std::string(what)); });
    client relay(server.listener, "\2");
    CHECK(relay.receive_rest().empty() && thrown.next() == "from on_admit");
    client framed(server.listener);
    framed.send_frame("in");
    CHECK(framed.receive_frame() == "in");
}

void a_log_sink_gets_records_and_may_throw() {
    told<std::string> thrown;
    told<std::string> lines;
    server server(
        [&](struct server &self) {
            echo_everything(self);
            self.runtime.set_log(nativeport::log_level::debug,
                                 [&](const nativeport::log_record &record) {
                                     CHECK(!record.stage.empty() && !record.text.empty());
                                     if (!record.conn)
                                         return;
                                     CHECK(record.level == nativeport::log_level::info);
                                     lines.tell(std::string(record.text));
                                     throw std::runtime_error("from the sink");
                                 });
        },
        "", [&](connection, std::string_view what) { thrown.tell(std::string(what)); });
    client bystander(server.listener);
    for (int i = 0; i < 2; i++) {
        client(server.listener).end();
        CHECK(lines.next().find("peer_closed") != std::string::npos);
        CHECK(thrown.next() == "from the sink");
    }
    bystander.send_frame("still here");
    CHECK(bystander.receive_frame() == "still here");
    server.runtime.set_log(nativeport::log_level::off, {});
}

void a_log_sink_gets_what_its_level_lets_through() {
    told<std::uint64_t> about;
    told<connection> closed;
    server server(
        [&](struct server &self) {
            handler frames = echo();
            frames.on_close = [&](connection conn, const close_info &) { closed.tell(conn); };
            self.listener.on(protocol::client, frames);
        },
        "[Runtime]\nioThreads=1\n");
    const auto log = [&](nativeport::log_level level) {
        server.runtime.set_log(level, [&](const nativeport::log_record &record) {
            if (record.conn)
                about.tell(record.conn.id());
        });
    };
    log(nativeport::log_level::error);
    client(server.listener).end();
    closed.next();
    // The only loop has gone on, and so it is done with the end of the first.
    client framed(server.listener);
    framed.send_frame("");
    CHECK(framed.receive_frame().empty());
    log(nativeport::log_level::info); // which waits for the last record of the sink before
    framed.end();
    const connection second = closed.next();
    CHECK(about.next() == second.id());
    server.runtime.set_log(nativeport::log_level::off);
}

/* ---- owners ---- */

struct counted {
    explicit counted(std::atomic<int> *count) : count_(count) {}
    virtual ~counted() { ++*count_; }
    counted(const counted &) = delete;
    counted &operator=(const counted &) = delete;

private:
    std::atomic<int> *count_;
};

struct counted_more : counted {
    using counted::counted;
    int number = 5;
};

void user_data_is_typed_and_destroyed_exactly_once() {
    std::atomic<int> destroyed{0};
    told<int> looked;
    connection late;
    {
        handler looking;
        looking.on_frames = [&](connection conn, frames_view) {
            CHECK(conn.user_data<counted_more>()->number == 5);
            CHECK(conn.user_data<counted>() == nullptr && conn.user_data<int>() == nullptr);
            CHECK(conn.set_user_data(std::unique_ptr<counted>(
                std::make_unique<counted_more>(&destroyed))));
            CHECK(conn.user_data<counted>() != nullptr);
            CHECK(conn.user_data<counted_more>() == nullptr);
            looked.tell(destroyed);
        };
        one_connection one("", looking);
        late = one.conn;
        CHECK(one.conn.set_user_data(std::make_unique<counted_more>(&destroyed)));
        CHECK(one.conn.user_data<counted_more>() == nullptr); // outside of its callbacks
        one.peer.send_frame("look");
        CHECK(looked.next() == 1 && destroyed == 1);
    }
    CHECK(destroyed == 2);
    CHECK(!late.set_user_data(std::make_unique<counted_more>(&destroyed)) && destroyed == 3);
    one_connection one;
    CHECK(one.conn.set_user_data(std::make_unique<counted_more>(&destroyed)));
    CHECK(one.conn.set_user_data(std::unique_ptr<counted_more>()) && destroyed == 4);
}

void handlers_are_destroyed_exactly_once_also_those_that_are_refused() {
    std::atomic<int> destroyed{0};
    const auto with_count = [&] {
        handler made = echo();
        made.on_end = [held = std::make_shared<counted>(&destroyed)](connection) {};
        return made;
    };
    {
        server server([&](struct server &self) {
            self.listener.on(protocol::client, with_count());
            self.listener.on(protocol::client, with_count());
            CHECK(destroyed == 1); // replaced
        });
        thrown_by([&] { server.listener.on(protocol::relay, with_count()); }); // started
        CHECK(destroyed == 2);
    }
    CHECK(destroyed == 3);
}

void owners_that_were_moved_from_refuse_and_those_moved_to_go_on() {
    server first(echo_everything);
    nativeport::config config = std::move(first.config);
    nativeport::runtime runtime = std::move(first.runtime);
    nativeport::listener listener = std::move(first.listener);
    client framed(listener);
    framed.send_frame("moved");
    CHECK(framed.receive_frame() == "moved" && config.port_count() == 1);
    CHECK(runtime.stats().certificate_days_left == NP_NO_CERTIFICATE);
    CHECK(runtime.stats().accepted == 1 && runtime.connections().size() == 1);
    CHECK(runtime.prometheus().find("nativeport_") != std::string::npos);

    // What was moved from answers; that is what is tried here. NOLINTBEGIN(bugprone-use-after-move)
    CHECK(thrown_by([&] { first.config.set("Port", "port", "1"); }).status() == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { first.listener.start(); }).status() == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { first.listener.on(protocol::client, echo()); }).status()
          == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { nativeport::runtime none(first.config); }).status() == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { nativeport::listener none(first.runtime, config); }).status()
          == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { first.runtime.set_log(nativeport::log_level::info,
                                                [](const nativeport::log_record &) {}); })
              .status() == NP_ERR_ARGUMENT);
    CHECK(first.runtime.stop() == NP_ERR_ARGUMENT && first.listener.wait() == NP_ERR_ARGUMENT);
    CHECK(first.listener.pause() == NP_ERR_ARGUMENT && first.listener.addresses().empty());
    CHECK(first.runtime.stats().accepted == 0 && first.runtime.connections().empty());
    CHECK(first.runtime.prometheus().empty() && first.config.port_count() == 0);
    // NOLINTEND(bugprone-use-after-move)

    CHECK(thrown_by([&] { nativeport::loop(first.runtime); }).status() == NP_ERR_ARGUMENT);

    server second(echo_everything);
    listener = std::move(second.listener); // ends the first one
    CHECK(framed.receive_rest().empty());
    client other(listener);
    runtime = std::move(second.runtime);
    other.send_frame("goes on");
    CHECK(other.receive_frame() == "goes on");
}

void a_listener_is_paused_resumed_stopped_and_waited_for() {
    server server(echo_everything);
    client framed(server.listener);
    CHECK(server.listener.pause() && server.listener.resume());
    CHECK(server.listener.wait(0ms) == NP_ERR_TIMED_OUT);
    CHECK(server.listener.stop(nativeport::forever));
    CHECK(server.listener.wait(1ms) == NP_ERR_TIMED_OUT);
    framed.send_frame("drained");
    CHECK(framed.receive_frame() == "drained");
    framed.end();
    CHECK(framed.receive_rest().empty() && server.listener.wait(patience));
    CHECK(server.runtime.wait(0ms) == NP_ERR_TIMED_OUT);
    CHECK(server.runtime.stop(5s) && server.runtime.wait());
    const auto stopped = thrown_by(
        [&] { nativeport::listener(server.runtime, server.config).start(); });
    CHECK(stopped.status() == NP_ERR_STOPPED);
}

/* As README.md says it. */
void connections_closed_before_the_stop_have_their_answers() {
    constexpr int answers = 64;
    const std::string payload(64 * 1024, 'a'); // in all more than sockets take by themselves
    told<bool> sent;
    server server(
        [&](auto &self) {
            handler made;
            made.on_frames = [&](connection conn, frames_view) {
                for (int i = 0; i < answers; i++)
                    CHECK(conn.send_frame(payload));
                sent.tell(true);
            };
            self.listener.on(protocol::client, made);
        },
        "sendQueueLimit=64M\n");
    client framed(server.listener);
    framed.send_frame("");
    CHECK(sent.next());
    for (const auto conn : server.runtime.connections())
        CHECK(conn.close());
    CHECK(server.runtime.stop(nativeport::forever));
    std::thread takes([&] {
        for (int i = 0; i < answers; i++)
            CHECK(framed.receive_frame() == payload);
        CHECK(!framed.is_reset());
    });
    CHECK(server.runtime.wait(patience));
    takes.join();
}

} // namespace

int main() {
    views_borrow_from_whatever_holds_bytes();
    durations_of_every_kind_become_milliseconds();
    statuses_say_what_they_are();
    a_connection_is_a_number();
    a_config_is_loaded_set_read_and_checked();
    errors_have_a_status_an_os_error_and_words();
    frames_and_streams_come_back();
    the_member_functions_of_an_object_are_a_handler();
    callbacks_of_every_kind_are_called();
    an_object_that_owns_its_listener_can_be_its_handler();
    admission_lets_in_and_refuses_now_or_later();
    sends_of_other_threads_arrive_in_order_copied_lent_and_corked();
    a_frame_is_compressed_unless_its_flags_say_no();
    a_thread_local_object_sends_in_its_destructor();
    a_full_queue_blocks_and_tells_when_there_is_room();
    an_owned_frame_outlives_its_callback();
    a_connection_can_be_asked_paused_and_given_a_deadline();
    a_callback_that_throws_ends_its_connection_and_nothing_else();
    an_admission_that_throws_ends_its_connection();
    a_log_sink_gets_records_and_may_throw();
    a_log_sink_gets_what_its_level_lets_through();
    user_data_is_typed_and_destroyed_exactly_once();
    handlers_are_destroyed_exactly_once_also_those_that_are_refused();
    owners_that_were_moved_from_refuse_and_those_moved_to_go_on();
    a_listener_is_paused_resumed_stopped_and_waited_for();
    connections_closed_before_the_stop_have_their_answers();
    std::puts("ok");
    return 0;
}
