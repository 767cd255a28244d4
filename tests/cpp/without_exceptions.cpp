/* What the header does with -fno-exceptions, and without types at run time. Prints ok; says what
 * does not hold, and ends. */
#include "support.hpp"

namespace {

struct session {
    int frames = 0;
};

struct echoing {
    void on_open(connection conn, protocol, std::uint8_t) {
        CHECK(conn.set_user_data(std::make_unique<session>()));
    }
    void on_frames(connection conn, frames_view frames) {
        CHECK(conn.user_data<session>()->frames++ == 0 && conn.user_data<int>() == nullptr);
        const auto kept = nativeport::owned_frame::take(frames[0]);
        CHECK(kept && kept->text() == "hello");
        CHECK(conn.send_frame(*kept));
    }
};

bool tells(const nativeport::error *failed, nativeport::status status, const char *words) {
    return failed != nullptr && failed->status() == status
           && std::string_view(failed->what()).find(words) != std::string_view::npos;
}

void what_is_set_up_serves() {
    echoing object;
    server server([&](struct server &self) {
        self.listener.on(protocol::client, std::ref(object));
    });
    CHECK(server.listener.failure() == nullptr && server.runtime.failure() == nullptr);
    client framed(server.listener);
    framed.send_frame("hello");
    CHECK(framed.receive_frame() == "hello");
    CHECK(server.runtime.connections().size() == 1);

    // A failure of a call that comes later changes nothing of what runs.
    server.listener.on(protocol::client, echo());
    CHECK(tells(server.listener.failure(), NP_ERR_STATE, "start"));
    server.listener.forget_failure();
    CHECK(server.listener.failure() == nullptr && server.listener.pause());
    client other(server.listener, "");
}

void the_first_failure_is_told_by_whatever_is_made_from_it() {
    nativeport::config config;
    config.load_file("/does/not/exist.ini").set("Port", "port", "0");
    CHECK(tells(config.failure(), NP_ERR_CONFIG_FILE, "/does/not/exist.ini"));
    CHECK(config.add_port("web") == UINT32_MAX && config.port_count() == 0);
    nativeport::runtime runtime(config);
    nativeport::listener listener(runtime, config);
    const auto destroyed = std::make_shared<echoing>();
    listener.on(protocol::client, destroyed).on_admit([](connection, protocol, std::uint8_t) {});
    listener.start();
    CHECK(tells(listener.failure(), NP_ERR_CONFIG_FILE, "/does/not/exist.ini"));
    CHECK(destroyed.use_count() == 1 && listener.addresses().empty());
    CHECK(runtime.stop() == NP_ERR_ARGUMENT && listener.wait() == NP_ERR_ARGUMENT);
}

void a_listener_does_not_start_after_a_failure() {
    nativeport::config config = one_port();
    nativeport::runtime runtime(config);
    nativeport::listener listener(runtime, config);
    listener.on(protocol::client, echo()).on(protocol::relay, handler()).start();
    CHECK(tells(listener.failure(), NP_ERR_ARGUMENT, "on_data") && listener.addresses().empty());

    nativeport::runtime polled(config, nativeport::consumer::poll);
    nativeport::loop loop(polled, 0);
    CHECK(tells(loop.failure(), NP_ERR_ARGUMENT, "max_events"));
    CHECK(loop.poll().status() == NP_ERR_ARGUMENT);
}

void what_only_reads_has_values_for_failures() {
    nativeport::config config = one_port();
    CHECK(config.check().empty() && config.get("Port", "port") == "0");
    config.set("Host", "name", std::string("a\0b", 3));
    CHECK(tells(config.failure(), NP_ERR_ARGUMENT, "value") && !config.get("Host", "name"));
    config.forget_failure();
    CHECK(!config.get("Port", "missing") && config.port_name(5).empty());
    const nativeport::config moved = std::move(config);
    const auto findings = config.check(); // NOLINT(bugprone-use-after-move)
    CHECK(findings.size() == 1 && findings[0].is_error && !findings[0].text.empty());
    CHECK(moved.port_count() == 1 && moved.failure() == nullptr);
    CHECK(!nativeport::owned_frame::take(frame_view({reinterpret_cast<const char *>(1), SIZE_MAX})));
}

} // namespace

int main() {
    what_is_set_up_serves();
    the_first_failure_is_told_by_whatever_is_made_from_it();
    a_listener_does_not_start_after_a_failure();
    what_only_reads_has_values_for_failures();
    std::puts("ok");
    return 0;
}
