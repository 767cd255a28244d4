/*
 * Sends every frame back, in the way that "consumer" of [Host] says: workers, poll, or inbox.
 *
 *     program server.ini
 *
 * SIGTERM ends the program.
 */
#include <nativeport.hpp>

#include <csignal>
#include <iostream>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

using nativeport::connection;
using nativeport::consumer;
using nativeport::protocol;

/* Echoes whatever is told of. */
struct echo {
    static void on_frames(connection conn, nativeport::frames_view frames) {
        if (!conn.send_frames(frames))
            conn.abort();
    }
};

static void serve(const char *file, const sigset_t &ends) {
    nativeport::config config;
    config.load_file(file);
    const std::string how = config.get("Host", "consumer").value();
    const bool is_polled = how == "poll";

    std::mutex lock;
    std::vector<std::thread> threads;
    nativeport::runtime runtime(config, is_polled          ? consumer::poll
                                        : how == "workers" ? consumer::workers
                                                           : consumer::callbacks);
    nativeport::listener listener(runtime, config);
    std::optional<nativeport::loop> loop;
    if (is_polled) {
        loop.emplace(runtime);
        listener.on(protocol::client, nativeport::polled_handler());
        threads.emplace_back([&loop] {
            echo all;
            while (const auto events = loop->poll())
                for (const nativeport::event event : events)
                    event.visit(all);
        });
    } else if (how == "inbox") {
        nativeport::handler inbox;
        inbox.inbox = true;
        inbox.on_open = [&](connection conn, protocol, std::uint8_t) {
            const std::lock_guard<std::mutex> locked(lock);
            threads.emplace_back([conn] {
                while (const auto frame = conn.recv_frame())
                    if (!conn.send_frame(*frame))
                        conn.abort();
            });
        };
        listener.on(protocol::client, std::move(inbox));
    } else {
        listener.on(protocol::client, std::make_shared<echo>());
    }
    listener.start();
    const np_address address = listener.addresses().front();
    std::cout << "listening " << address.host << ' ' << address.port << std::endl;

    int signal_number = 0;
    sigwait(&ends, &signal_number);
    if (!runtime.stop() || !runtime.wait())
        std::cerr << "the runtime does not stop\n";
    for (std::thread &thread : threads)
        thread.join();
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &ends, nullptr) != 0)
        return 1;
    try {
        serve(argv[1], ends);
    } catch (const std::exception &failed) {
        std::cerr << failed.what() << '\n';
        return 2;
    }
    return 0;
}
