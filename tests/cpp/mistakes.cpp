/* What a mistake says. The argument names it: "throw", "hook" and "sort" end well, "destroy" and
 * "cycle" do not. */
#include "support.hpp"

#include <map>

namespace {
thread_local bool has_no_memory = false;
}

void *operator new(std::size_t size) {
    void *const memory = has_no_memory ? nullptr : std::malloc(size);
    if (memory == nullptr)
        throw std::bad_alloc();
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

namespace {

/* Its listener owns the handler, which shares it. */
struct owner {
    std::optional<nativeport::listener> listener;
    void on_frames(connection, frames_view) {}
};

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string_view mistake = argv[1];
    nativeport::config config;
    config.load_string("[Runtime]\nioThreads=1\n[Port]\nport=0\nbindAddress=127.0.0.1\n", "text");
    nativeport::exception_hook hook;
    if (mistake == "hook")
        hook = [](connection, std::string_view what) { CHECK(what == "what it says"); };
    auto runtime = std::make_unique<nativeport::runtime>(config, nativeport::consumer::callbacks,
                                                         hook);
    if (mistake == "cycle") {
        const auto shared = std::make_shared<owner>();
        shared->listener.emplace(*runtime, config).on(protocol::client, shared).start();
        return 0;
    }
    auto listener = std::make_unique<nativeport::listener>(*runtime, config);
    told<connection> closed;
    handler frames;
    frames.on_frames = [&](connection conn, frames_view) {
        if (mistake == "destroy")
            listener.reset();
        if (mistake == "throw" || mistake == "hook")
            throw std::runtime_error("what it says");
        conn.close();
    };
    frames.on_close = [&](connection conn, const close_info &) { closed.tell(conn); };
    listener->on(protocol::client, frames).start();
    client first(*listener), second(*listener);
    first.send_frame("");
    second.send_frame("");
    const connection one = closed.next(), other = closed.next();
    const std::map<connection, int> by_connection{{one, 1}, {other, 2}, {one, 3}};
    CHECK(by_connection.size() == 2 && by_connection.at(one) == 1);
    CHECK((one < other) != (other < one) && !(one < one));

    bool names_polls = false;
    try {
        nativeport::listener(*runtime, config).on(protocol::client, nativeport::polled_handler{});
    } catch (const nativeport::error &failed) {
        names_polls = std::string_view(failed.what()).find("polled") != std::string_view::npos;
    }
    CHECK(names_polls);

    nativeport::runtime polled(config, nativeport::consumer::poll);
    bool refused = false;
    try {
        nativeport::loop loop(polled, 0);
    } catch (const nativeport::error &failed) {
        refused = std::string_view(failed.what()).find("max_events") != std::string_view::npos;
    }
    CHECK(refused);

    // Not an empty list.
    nativeport::config doubtful;
    doubtful.load_string("[Port]\nport=0\nmaxFramSize=1\n", "text");
    const client third(*listener);
    for (const bool is_about_connections : {true, false}) {
        bool is_told = false;
        has_no_memory = true;
        try {
            if (is_about_connections)
                static_cast<void>(runtime->connections());
            else
                static_cast<void>(doubtful.check());
        } catch (const std::bad_alloc &) {
            is_told = true;
        }
        has_no_memory = false;
        CHECK(is_told);
    }
    return 0;
}
