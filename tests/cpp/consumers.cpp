/* What nativeport.hpp promises of workers, inboxes and polls, over real sockets. Prints ok; says
 * what does not hold, and ends. tests/cpp.rs builds it in several ways. */
#include "support.hpp"

#include <array>
#include <atomic>
#if __cplusplus >= 202002L
#include <span>
#endif

using nativeport::consumer;
using nativeport::event;
using nativeport::event_kind;
using nativeport::loop;
using nativeport::polled_handler;
using nativeport::token;

namespace {

/* ---- workers ---- */

void callbacks_on_workers_may_block() {
    told<std::string> spoken;
    const server server(
        [&](struct server &self) {
            handler waiting = echo();
            waiting.on_frames = [&](connection conn, frames_view frames) {
                CHECK(conn.send_frame(spoken.next())); // until the other connection speaks
                CHECK(conn.send_frames(frames));
            };
            handler speaking;
            speaking.on_frames = [&](connection, frames_view frames) {
                spoken.tell(std::string(frames[0].text()));
            };
            self.listener.on(protocol::client, waiting);
            self.listener.on(protocol::remote_application, speaking);
        },
        "[Runtime]\nioThreads=1\nworkerThreads=2\n", {}, consumer::workers);
    client waiting(server.listener);
    waiting.send_frame("was waiting");
    client speaking(server.listener, "\3");
    speaking.send_frame("has spoken");
    CHECK(waiting.receive_frame() == "has spoken" && waiting.receive_frame() == "was waiting");
    CHECK(server.runtime.stats().loops_held_up == 0);
}

void a_callback_that_throws_on_a_worker_ends_its_connection() {
    told<std::string> thrown;
    told<std::int32_t> closed;
    const server server(
        [&](struct server &self) {
            handler frames = echo();
            frames.on_frames = [](connection conn, frames_view all) {
                if (all[0].text() == "throw")
                    throw std::runtime_error("from a worker");
                CHECK(conn.send_frames(all));
            };
            frames.on_close = [&](connection, const close_info &info) {
                closed.tell(info.host_code());
            };
            self.listener.on(protocol::client, frames);
        },
        "", [&](connection, std::string_view what) { thrown.tell(std::string(what)); },
        consumer::workers);
    client bystander(server.listener);
    client framed(server.listener);
    framed.send_frame("throw");
    CHECK(framed.is_reset() && thrown.next() == "from a worker");
    CHECK(closed.next() == nativeport::callback_threw);
    bystander.send_frame("still here");
    CHECK(bystander.receive_frame() == "still here");
}

/* ---- inbox ---- */

handler inbox() {
    handler made;
    made.inbox = true;
    return made;
}

/* Gives each connection a thread of its own, which serves until the connection has ended. */
class thread_for_each {
public:
    template <typename Serve> handler with(Serve serve) {
        handler made = inbox();
        made.on_open = [this, serve](connection conn, protocol what, std::uint8_t) {
            threads_.tell(std::thread([=] { serve(conn, what); }));
        };
        return made;
    }
    ~thread_for_each() {
        while (!threads_.empty())
            threads_.next().join();
    }

private:
    told<std::thread> threads_;
};

void serve_blocking(connection conn, protocol what) {
    nativeport::status answered = NP_OK;
    if (what == protocol::client || what == protocol::remote_application) {
        auto frame = conn.recv_frame();
        for (; frame; frame = conn.recv_frame())
            CHECK(conn.send_frame(*frame));
        answered = frame.status();
    } else {
        std::array<char, 3> buffer{};
        auto bytes = conn.recv_bytes(buffer);
        for (; bytes; bytes = conn.recv_bytes(buffer))
            CHECK(bytes->size() <= 3 && conn.send_bytes(*bytes));
        answered = bytes.status();
    }
    CHECK(answered == NP_ERR_CLOSED);
}

void a_thread_for_each_connection_takes_what_waits_in_inboxes() {
    for (const consumer who : {consumer::callbacks, consumer::workers}) {
        thread_for_each threads;
        const server server(
            [&](struct server &self) {
                for (const protocol each : {protocol::client, protocol::relay,
                                            protocol::remote_application, protocol::unknown})
                    self.listener.on(each, threads.with(serve_blocking));
            },
            "", {}, who);
        client framed(server.listener);
        framed.send_frame("hello");
        framed.send_frame("");
        framed.send_frame(std::string(100000, 'x'));
        CHECK(framed.receive_frame() == "hello" && framed.receive_frame().empty());
        CHECK(framed.receive_frame() == std::string(100000, 'x'));
        client web(server.listener, "GET / HTTP");
        CHECK(web.receive(10) == "GET / HTTP");
        web.end();
        CHECK(web.receive_rest().empty());
        client relay(server.listener, "\2relayed");
        relay.end();
        CHECK(relay.receive_rest() == "relayed");
    }
}

/* Says of itself that it has an inbox. */
struct receiver {
    static constexpr bool inbox = true;
    told<std::string> &ended;

    void on_close(connection, const close_info &info) { ended.tell(std::string(info.reason_name())); }
};

void an_object_may_have_an_inbox() {
    told<std::string> ended;
    const server server([&](struct server &self) {
        self.listener.on(protocol::client, std::make_shared<receiver>(receiver{ended}));
    });
    client framed(server.listener);
    framed.send_frame("waits");
    std::vector<connection> open;
    while (open.empty())
        open = server.runtime.connections();
    CHECK(open[0].recv_frame(patience)->text() == "waits");
    framed.end();
    CHECK(open[0].recv_frame(patience).status() == NP_ERR_CLOSED && ended.next() == "peer_closed");
}

void an_inbox_tells_that_nothing_has_come_and_that_nothing_will() {
    told<connection> opened;
    told<std::int32_t> in_callback;
    const server server([&](struct server &self) {
        handler made = inbox();
        made.on_open = [&](connection conn, protocol what, std::uint8_t) {
            if (what == protocol::client) {
                in_callback.tell(conn.recv_frame(1h).status().code());
                // Only a wait of no time is allowed here, and a negative time is none.
                in_callback.tell(conn.recv_frame(-1ms).status().code());
                in_callback.tell(conn.recv_frame(std::chrono::hours::min()).status().code());
            }
            opened.tell(conn);
        };
        self.listener.on(protocol::client, made).on(protocol::relay, made);
        handler without = echo();
        without.on_open = [&](connection conn, protocol, std::uint8_t) { opened.tell(conn); };
        self.listener.on(protocol::remote_application, without);
    });
    client framed(server.listener);
    connection conn = opened.next();
    CHECK(in_callback.next() == NP_ERR_IN_CALLBACK);
    CHECK(in_callback.next() == NP_ERR_TIMED_OUT && in_callback.next() == NP_ERR_TIMED_OUT);
    const auto none = conn.recv_frame(0ms);
    CHECK(!none && none.status() == NP_ERR_TIMED_OUT && none->size() == 0);
    CHECK(conn.recv_frame(1ms).status() == NP_ERR_TIMED_OUT);
    framed.send_frame("kept");
    nativeport::owned_frame kept;
    {
        auto taken = conn.recv_frame(patience);
        CHECK(taken && taken->text() == "kept" && taken->flags() == 0);
        kept = std::move(*taken);
    }
    framed.end();
    CHECK(conn.recv_frame().status() == NP_ERR_CLOSED);
    CHECK(framed.receive_rest().empty() && kept.text() == "kept");
    std::uint8_t bytes[8];
    CHECK(conn.recv_bytes(bytes, 0ms).status() != NP_OK);

    client relay(server.listener, "\2");
    conn = opened.next();
    CHECK(conn.recv_frame(0ms).status() == NP_ERR_STATE);
    CHECK(conn.recv_bytes(bytes, 0ms).status() == NP_ERR_TIMED_OUT);
    CHECK(conn.recv_bytes({bytes, 0}).status() == NP_ERR_ARGUMENT);
    relay.send("abcdefgh");
    CHECK(conn.recv_bytes({bytes, 1})->text() == "a");
    std::vector<std::byte> vector(1);
    CHECK(conn.recv_bytes(vector)->text() == "b");
    std::string text(1, 0);
    CHECK(conn.recv_bytes(text) && text == "c");
#if __cplusplus >= 202002L
    CHECK(conn.recv_bytes(std::span(bytes).subspan(2, 1)) && bytes[2] == 'd');
#else
    CHECK(conn.recv_bytes({bytes + 2, 1}) && bytes[2] == 'd');
#endif
    CHECK(conn.recv_bytes(bytes)->data() == bytes);
    CHECK(conn.abort());

    const client without(server.listener, "\3");
    CHECK(opened.next().recv_frame(0ms).status() == NP_ERR_STATE);
    CHECK(connection().recv_frame().status() == NP_ERR_INVALID_HANDLE);
}

void an_inbox_leaves_no_room_for_callbacks_of_input() {
    const auto refused = thrown_by([] {
        const server server([](struct server &self) {
            handler both = echo();
            both.inbox = true;
            self.listener.on(protocol::client, both);
        });
    });
    CHECK(refused.status() == NP_ERR_ARGUMENT);
}

void a_half_closed_connection_stays_until_the_host_closes_it() {
    told<connection> opened;
    told<bool> closed;
    const server server([&](struct server &self) {
        handler made = inbox();
        made.half_close = true;
        made.on_open = [&](connection conn, protocol, std::uint8_t) { opened.tell(conn); };
        made.on_close = [&](connection, const close_info &) { closed.tell(true); };
        self.listener.on(protocol::relay, made);
    });
    client relay(server.listener, "\2ask");
    relay.end();
    const connection conn = opened.next();
    std::string asked(3, 0);
    for (std::size_t done = 0; done < asked.size();) {
        const auto bytes = conn.recv_bytes({&asked[done], asked.size() - done});
        CHECK(bytes);
        done += bytes->size();
    }
    CHECK(asked == "ask" && conn.recv_bytes(asked).status() == NP_ERR_CLOSED);
    CHECK(conn.send_bytes("an answer") && relay.receive(9) == "an answer" && closed.empty());
    CHECK(conn.close() && relay.receive_rest().empty() && closed.next());
}

/* ---- poll ---- */

/* One port and a loop, which the test polls itself. */
struct polled {
    std::array<std::uint8_t, NP_LOOP_BUFFER_MIN_SIZE> memory;
    nativeport::config config;
    nativeport::runtime runtime;
    loop events;
    nativeport::listener listener;

    template <typename SetUp>
    explicit polled(SetUp set_up, const std::string &keys = "", std::size_t max_events = 1)
        : memory(), config(one_port(keys)), runtime(config, consumer::poll),
          events(runtime, max_events, memory.data(), memory.size()), listener(runtime, config) {
        set_up(*this);
        listener.start();
    }

    /* The next event, which must be of this kind. */
    event next(event_kind kind) {
        for (;;) {
            const auto some = events.poll(patience);
            CHECK(some && some.size() <= 1);
            if (!some.empty()) {
                CHECK(some[0].kind() == kind);
                return some[0];
            }
        }
    }

    /* Polls until something holds that needs the loop to move bytes. */
    template <typename Holds> void until(Holds holds) {
        while (!holds())
            CHECK(events.poll(1ms).empty());
    }

    /* Stops, and polls to the end. */
    void end() {
        CHECK(runtime.stop() && runtime.wait(0ms) == NP_ERR_TIMED_OUT);
        nativeport::status answered = NP_OK;
        while (answered == NP_OK)
            answered = events.poll().status();
        CHECK(answered == NP_ERR_STOPPED && runtime.wait(patience));
        CHECK(events.poll().status() == NP_ERR_STOPPED);
    }
};

void every_event_shows_what_its_kind_has() {
    int streams = 0;
    polled host([&](polled &self) {
        self.listener.on(protocol::client, polled_handler{7});
        polled_handler handler;
        handler.token = &streams;
        handler.half_close = true;
        self.listener.on(protocol::unknown, handler);
    });
    client web(host.listener, "GET /");
    const event opened = host.next(event_kind::open);
    CHECK(opened.conn() && opened.protocol() == protocol::unknown && opened.first_byte() == 'G');
    CHECK(opened.token().object<int>() == &streams);
    CHECK(opened.frames().empty() && opened.data().empty());
    CHECK(!opened.close() && !opened.log());
    std::string data;
    while (data.size() < 5) {
        const event some = host.next(event_kind::data);
        CHECK(some.frames().empty() && !some.close() && !some.log());
        const bytes_view more = some.data();
        const std::uint8_t *const begin = host.memory.data();
        CHECK(more.data() >= begin && more.data() < begin + host.memory.size());
        data += more.text();
    }
    CHECK(data == "GET /" && opened.conn().send_bytes("an answer"));
    web.end();
    CHECK(host.next(event_kind::end).conn() == opened.conn());
    CHECK(opened.conn().close(5));
    const event closed = host.next(event_kind::close);
    CHECK(closed.close()->host_code() == 5 && closed.close()->reason_name() == "peer_closed");
    CHECK(opened.conn().info() && web.receive_rest() == "an answer");
    CHECK(host.events.poll(0ms).empty() && !opened.conn().info());

    client framed(host.listener, "\1");
    const connection conn = host.next(event_kind::open).conn();
    CHECK(conn.set_user_data(std::make_unique<std::string>("on the connection")));
    CHECK(*conn.user_data<std::string>() == "on the connection");
    framed.send_frame("one");
    const event frames = host.next(event_kind::frames);
    CHECK(frames.token().number() == 7 && frames.frames()[0].text() == "one");
    CHECK(frames.frames().size() == 1 && frames.data().empty());
    CHECK(conn.send_frames(frames.frames()));
    framed.end();
    CHECK(host.next(event_kind::close).close()->reason() == NP_CLOSE_PEER_CLOSED);
    CHECK(framed.receive(1) == "\1" && framed.receive_frame() == "one");
    host.end();
}

/* Echoes, and counts. */
struct visitor {
    std::atomic<int> opened{0};
    std::atomic<int> closed{0};
    std::atomic<int> lines{0};
    static void on_admit(connection conn, protocol what, std::uint8_t first_byte) {
        if (what == protocol::relay && first_byte == 2)
            CHECK(conn.refuse("no relays"));
        else
            CHECK(conn.admit());
    }
    void on_open(connection, protocol, std::uint8_t) { opened++; }
    static void on_frames(connection conn, frames_view frames) {
        CHECK(conn.send_frames(frames));
    }
    static void on_data(connection conn, bytes_view data) { CHECK(conn.send_bytes(data)); }
    static void on_end(connection conn) { conn.close(); }
    void on_writable(connection) {}
    void on_close(connection, const close_info &) { closed++; }
    void on_log(const nativeport::log_record &record) {
        CHECK(!record.stage.empty() && !record.text.empty());
        lines++;
    }
};

void one_thread_polls_for_everybody_and_visits() {
    visitor all;
    polled host(
        [&](polled &self) {
            self.runtime.set_log(nativeport::log_level::debug);
            self.listener.on_admit(&all);
            polled_handler handler{&all};
            handler.half_close = true;
            for (const protocol each : {protocol::client, protocol::relay,
                                        protocol::remote_application, protocol::unknown})
                self.listener.on(each, handler);
        },
        "", 16);
    std::thread polling([&] {
        while (const auto events = host.events.poll()) {
            for (const event each : events) {
                CHECK(each.token().object<visitor>()
                      == (each.kind() == event_kind::log ? nullptr : &all));
                each.visit(all);
            }
        }
    });
    {
        client framed(host.listener);
        client application(host.listener, "\3");
        CHECK(application.receive(1) == "\1");
        client web(host.listener, "GET");
        for (const std::string &payload : {std::string("hello"), std::string(),
                                           std::string(300000, 'x')}) {
            framed.send_frame(payload);
            application.send_frame(payload);
            CHECK(framed.receive_frame() == payload && application.receive_frame() == payload);
        }
        CHECK(web.receive(3) == "GET");
        web.end();
        CHECK(web.receive_rest().empty());
        client relay(host.listener, "\2");
        CHECK(relay.receive_rest() == "no relays");
    }
    CHECK(host.runtime.stop(patience) && host.runtime.wait(patience));
    polling.join();
    CHECK(all.opened == 3 && all.closed == 4 && all.lines > 0);
    CHECK(host.events.poll(0ms).status() == NP_ERR_STOPPED);
}

void a_poll_waits_as_long_as_it_is_told_or_until_it_is_woken() {
    polled host([](polled &self) { self.listener.on(protocol::client, polled_handler()); });
    for (const auto time : {0ms, 1ms, 20ms}) {
        const auto begun = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - begun < time)
            CHECK(host.events.poll(time).empty());
        CHECK(host.events.poll(0ms));
    }
    CHECK(host.events.wake());
    CHECK(host.events.poll().empty());
    told<bool> woken;
    std::thread polling([&] {
        auto none = host.events.poll();
        while (none.status() == NP_ERR_STATE) // it is the test that polls just now
            none = host.events.poll();
        CHECK(none && none.empty());
        woken.tell(true);
    });
    // Until it polls, which is when another thread may not.
    while (host.events.poll(0ms).status() != NP_ERR_STATE)
        std::this_thread::yield();
    CHECK(woken.empty() && host.events.wake() && woken.next());
    polling.join();
    host.end();
}

void a_full_queue_would_block_and_its_event_follows() {
    polled host([](polled &self) { self.listener.on(protocol::client, polled_handler()); },
                "sendQueueLimit=64K\n");
    client framed(host.listener, "\1");
    const connection conn = host.next(event_kind::open).conn();
    const std::string payload(32768, 'x');
    std::size_t sent = 0;
    nativeport::status answered = NP_OK;
    while ((answered = conn.send_frame(payload)))
        sent++;
    CHECK(answered == NP_ERR_WOULD_BLOCK && sent > 0);
    std::thread receiving([&] {
        CHECK(framed.receive(1) == "\1");
        for (; sent > 0; sent--)
            CHECK(framed.receive_frame() == payload);
    });
    CHECK(host.next(event_kind::writable).conn() == conn && conn.send_frame("more"));
    host.until([&] { return conn.info()->queued_bytes == 0; });
    receiving.join();
    CHECK(framed.receive_frame() == "more");
}

void log_records_are_events() {
    polled host([](polled &self) {
        self.listener.on(protocol::client, polled_handler{3});
        const auto refused = thrown_by([&] {
            self.runtime.set_log(nativeport::log_level::info,
                                 [](const nativeport::log_record &) {});
        });
        CHECK(refused.status() == NP_ERR_STATE);
    }, "", 64);
    host.runtime.set_log(nativeport::log_level::info);
    client(host.listener, "\1").end();
    std::string about;
    while (about.empty()) {
        const auto events = host.events.poll();
        CHECK(events);
        for (const event each : events) {
            const auto record = each.log();
            CHECK(record.has_value() == (each.kind() == event_kind::log));
            if (!record)
                continue;
            CHECK(each.token().number() == 0 && !each.close());
            if (record->conn && record->level == nativeport::log_level::info)
                about = record->text;
        }
    }
    CHECK(about.find("peer_closed") != std::string::npos);
    host.end();
}

void an_admission_is_an_event_with_its_own_token() {
    polled host([](polled &self) {
        self.listener.on_admit(1).on(protocol::client, polled_handler{2});
    });
    client framed(host.listener, "\1");
    const event asked = host.next(event_kind::admit);
    CHECK(asked.token().number() == 1 && asked.protocol() == protocol::client);
    CHECK(asked.first_byte() == 1 && asked.conn().admit());
    CHECK(host.next(event_kind::open).token().number() == 2);
    asked.conn().abort(9);
    CHECK(host.next(event_kind::close).token().number() == 2);

    client refused(host.listener, "\1");
    CHECK(host.next(event_kind::admit).conn().refuse("no"));
    const event closed = host.next(event_kind::close);
    CHECK(closed.token().number() == 1 && closed.close()->reason() == NP_CLOSE_ADMISSION_REFUSED);
    CHECK(refused.receive_rest() == "no");
}

void inboxes_of_a_polled_runtime_are_emptied_by_other_threads() {
    polled host([](polled &self) {
        polled_handler handler;
        handler.inbox = true;
        self.listener.on(protocol::client, handler);
    });
    std::thread polling([&] {
        std::vector<std::thread> threads;
        while (const auto events = host.events.poll()) {
            for (const event each : events) {
                CHECK(each.kind() == event_kind::open || each.kind() == event_kind::close);
                if (each.kind() == event_kind::open)
                    threads.emplace_back(serve_blocking, each.conn(), each.protocol());
            }
        }
        for (std::thread &each : threads)
            each.join();
    });
    client framed(host.listener);
    client other(host.listener);
    for (client *each : {&framed, &other})
        each->send_frame(std::string(100000, 'y'));
    for (client *each : {&other, &framed})
        CHECK(each->receive_frame() == std::string(100000, 'y'));
    framed.end();
    CHECK(framed.receive_rest().empty() && host.runtime.stop());
    polling.join();
}

void what_does_not_fit_the_consumer_is_refused() {
    nativeport::config config = one_port();
    nativeport::runtime calling(config);
    CHECK(thrown_by([&] { loop none(calling); }).status() == NP_ERR_STATE);

    nativeport::runtime unpolled(config, consumer::poll);
    CHECK(thrown_by([&] { nativeport::listener(unpolled, config).start(); }).status()
          == NP_ERR_STATE);

    nativeport::runtime polled(config, consumer::poll);
    nativeport::listener listener(polled, config);
    CHECK(thrown_by([&] { listener.on(protocol::client, echo()); }).status() == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] {
              listener.on_admit([](connection, protocol, std::uint8_t) {});
          }).status() == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { loop small(polled, 1, NP_LOOP_BUFFER_MIN_SIZE - 1); }).status()
          == NP_ERR_ARGUMENT);
    CHECK(thrown_by([&] { loop none(polled, 0); }).status() == NP_ERR_ARGUMENT);
    const loop events(polled);
    listener.on(protocol::client, polled_handler()).start();
    const auto late = thrown_by([&] { loop none(polled); });
    CHECK(late.status() == NP_ERR_STATE && *late.what() != 0);
}

void loops_may_go_in_any_order() {
    nativeport::config config = one_port();
    std::optional<nativeport::runtime> runtime(std::in_place, config, consumer::poll);
    {
        const loop unused(*runtime); // is taken back: nothing is dealt to it
    }
    std::optional<loop> first(std::in_place, *runtime);
    loop second(*runtime, 8, NP_LOOP_BUFFER_MIN_SIZE);
    nativeport::listener listener(*runtime, config);
    listener.on(protocol::client, polled_handler()).start();

    loop moved = std::move(second);
    CHECK(second.poll(0ms).status() == NP_ERR_ARGUMENT); // NOLINT(bugprone-use-after-move)
    CHECK(!second.wake() && second.handle() == nullptr);
    std::vector<std::unique_ptr<client>> clients;
    for (int opened = 0; opened < 8;) {
        clients.push_back(std::make_unique<client>(listener, "\1"));
        for (bool is_open = false; !is_open;) {
            for (loop *each : {&*first, &moved}) {
                for (const event each_event : each->poll(1ms))
                    is_open = is_open || each_event.kind() == event_kind::open;
            }
        }
        opened++;
    }
    CHECK(runtime->connections().size() == 8);
    first.reset();   // with its connections
    runtime.reset(); // ends them
    CHECK(moved.poll().status() == NP_ERR_STOPPED && moved.wake());
    for (const auto &each : clients)
        each->receive_rest();

    // Assignment ends what was there before.
    nativeport::runtime one(config, consumer::poll);
    loop of_one(one);
    nativeport::runtime other(config, consumer::poll);
    loop of_other(other);
    nativeport::listener of_first(one, config);
    of_first.on(protocol::client, polled_handler()).start();
    of_one = std::move(of_other);
    one = std::move(other);
    nativeport::listener of_second(one, config);
    of_second.on(protocol::client, polled_handler()).start();
    client framed(of_second, "\1");
    CHECK(of_one.poll(patience));
}

} // namespace

int main() {
    callbacks_on_workers_may_block();
    a_callback_that_throws_on_a_worker_ends_its_connection();
    a_thread_for_each_connection_takes_what_waits_in_inboxes();
    an_object_may_have_an_inbox();
    an_inbox_tells_that_nothing_has_come_and_that_nothing_will();
    an_inbox_leaves_no_room_for_callbacks_of_input();
    a_half_closed_connection_stays_until_the_host_closes_it();
    every_event_shows_what_its_kind_has();
    one_thread_polls_for_everybody_and_visits();
    a_poll_waits_as_long_as_it_is_told_or_until_it_is_woken();
    a_full_queue_would_block_and_its_event_follows();
    log_records_are_events();
    an_admission_is_an_event_with_its_own_token();
    inboxes_of_a_polled_runtime_are_emptied_by_other_threads();
    what_does_not_fit_the_consumer_is_refused();
    loops_may_go_in_any_order();
    std::puts("ok");
    return 0;
}
