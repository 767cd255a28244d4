/*
 * echo in C++: the smallest useful server. Sends every frame back.
 *
 *     echo-cpp server.ini
 *
 * All ports of the file are served; SIGINT (Ctrl-C) or SIGTERM ends the program.
 */
#include <nativeport.hpp>

#include <csignal>
#include <iostream>
#include <pthread.h>
#include <vector>

static void serve(const char *file, const sigset_t &ends) {
    nativeport::config config;
    config.load_file(file);
    nativeport::runtime runtime(config);

    nativeport::handler echo;
    echo.on_frames = [](nativeport::connection conn, nativeport::frames_view frames) {
        // Inside a callback of the connection a send is always taken. It fails only if the
        // connection is ending, and then there is nobody to answer.
        static_cast<void>(conn.send_frames(frames));
    };

    std::vector<nativeport::listener> listeners;
    for (std::uint32_t port = 0; port < config.port_count(); port++) {
        nativeport::listener listener(runtime, config, port);
        listener.on(nativeport::protocol::client, echo);
        listener.on(nativeport::protocol::remote_application, echo);
        listener.start();
        const np_address address = listener.addresses().front();
        std::cout << "listening " << address.host << ' ' << address.port << std::endl;
        listeners.push_back(std::move(listener));
    }

    int signal_number = 0;
    sigwait(&ends, &signal_number);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        std::cerr << "usage: echo-cpp FILE.ini\n";
        return 2;
    }
    // Blocked before the library's threads exist, so that sigwait gets them.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
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
