/* What a mistake says. The argument names it: "throw" and "sort" end well, "destroy" does not. */
#include "support.hpp"

#include <map>

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string_view mistake = argv[1];
    nativeport::config config;
    config.load_string("[Runtime]\nioThreads=1\n[Port]\nport=0\nbindAddress=127.0.0.1\n", "text");
    auto runtime = std::make_unique<nativeport::runtime>(config);
    auto listener = std::make_unique<nativeport::listener>(*runtime, config);
    told<connection> closed;
    handler frames;
    frames.on_frames = [&](connection conn, frames_view) {
        if (mistake == "destroy")
            listener.reset();
        if (mistake == "throw")
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
    return 0;
}
