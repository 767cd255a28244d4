/* What the programs of this folder share: waiting for what other threads tell, and a client. */
#ifndef SUPPORT_HPP
#define SUPPORT_HPP

#include "../c/check.h"

#include <nativeport.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace std::chrono_literals;
using nativeport::bytes_view;
using nativeport::close_info;
using nativeport::connection;
using nativeport::frame_view;
using nativeport::frames_view;
using nativeport::handler;
using nativeport::protocol;

/* Longer than anything takes on a busy machine: only a hang gets there. */
inline constexpr auto patience = 600s;

/* What callbacks tell the test, in order. */
template <typename T> class told {
public:
    void tell(T what) {
        const std::lock_guard<std::mutex> locked(lock_);
        all_.push_back(std::move(what));
        changed_.notify_all();
    }

    T next() {
        std::unique_lock<std::mutex> locked(lock_);
        CHECK(changed_.wait_for(locked, patience, [this] { return !all_.empty(); }));
        T first = std::move(all_.front());
        all_.erase(all_.begin());
        return first;
    }

    bool empty() {
        const std::lock_guard<std::mutex> locked(lock_);
        return all_.empty();
    }

private:
    std::mutex lock_;
    std::condition_variable changed_;
    std::vector<T> all_;
};

/* A plain socket that knows how frames look. */
class client {
public:
    client(const nativeport::listener &listener, std::string_view first)
        : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(listener.addresses()[0].port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const timeval limit{60, 0};
        setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        CHECK(connect(socket_, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
        send(first);
    }
    /* A framed client that was let in. */
    explicit client(const nativeport::listener &listener) : client(listener, "\1") {
        CHECK(receive(1) == "\1");
    }
    client(const client &) = delete;
    client &operator=(const client &) = delete;
    ~client() { ::close(socket_); }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            CHECK(sent > 0);
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    void send_frame(std::string_view payload) {
        const auto size = static_cast<std::uint32_t>(payload.size());
        std::string bytes;
        for (unsigned shift = 32; shift > 0; shift -= 8)
            bytes += static_cast<char>(size >> (shift - 8) & 255);
        bytes += payload;
        send(bytes);
    }

    std::string receive(std::size_t size) {
        std::string bytes(size, 0);
        std::size_t done = 0;
        while (done < size) {
            const ssize_t got = recv(socket_, &bytes[done], size - done, 0);
            CHECK(got > 0);
            done += static_cast<std::size_t>(got);
        }
        return bytes;
    }

    std::string receive_frame() {
        std::size_t size = 0;
        for (const char byte : receive(4))
            size = size << 8 | static_cast<unsigned char>(byte);
        return receive(size);
    }

    /* Everything up to the end, be it orderly or a reset. */
    std::string receive_rest() {
        std::string bytes;
        char buffer[4096];
        ssize_t got;
        while ((got = recv(socket_, buffer, sizeof buffer, 0)) > 0)
            bytes.append(buffer, static_cast<std::size_t>(got));
        CHECK(got == 0 || errno == ECONNRESET);
        return bytes;
    }

    bool is_reset() {
        char byte;
        return recv(socket_, &byte, 1, 0) < 0 && errno == ECONNRESET;
    }

    void end() { shutdown(socket_, SHUT_WR); }

private:
    int socket_;
};

inline nativeport::config one_port(const std::string &keys = "") {
    nativeport::config config;
    config.load_string("[Port]\nport=0\nbindAddress=127.0.0.1\ncompression=off\n" + keys,
                       "test.ini");
    return config;
}

/* One port, started after `set_up`. */
struct server {
    nativeport::config config;
    nativeport::runtime runtime;
    nativeport::listener listener;

    template <typename SetUp>
    explicit server(SetUp set_up, const std::string &keys = "",
                    nativeport::exception_hook hook = {},
                    nativeport::consumer consumer = nativeport::consumer::callbacks)
        : config(one_port(keys)), runtime(config, consumer, std::move(hook)),
          listener(runtime, config) {
        set_up(*this);
        listener.start();
    }
};

inline handler echo() {
    handler made;
    made.on_frames = [](connection conn, frames_view frames) {
        CHECK(conn.send_frames(frames));
    };
    made.on_data = [](connection conn, bytes_view data) { CHECK(conn.send_bytes(data)); };
    return made;
}

inline void echo_everything(server &self) {
    for (const protocol each : {protocol::client, protocol::relay, protocol::remote_application,
                                protocol::unknown})
        self.listener.on(each, echo());
}

[[noreturn]] inline void never(const char *what) {
    std::fprintf(stderr, "this must not happen: %s\n", what);
    std::exit(1);
}

#ifdef __cpp_exceptions
template <typename Call> nativeport::error thrown_by(Call call) {
    try {
        call();
    } catch (const nativeport::error &error) {
        return error;
    }
    never("no error was thrown");
}
#endif

#endif
