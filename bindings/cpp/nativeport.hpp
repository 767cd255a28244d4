/*
 * nativeport for C++17 and later: the C interface of nativeport.h with owners that free what
 * they own, connections as small values, views of what callbacks are shown, and handlers that
 * are lambdas or objects. Everything is in this file; link with the library and nothing else.
 *
 * Consumers   Who gets events: callbacks on the threads that move the bytes, callbacks on
 *             workers, where they may block, or threads of the host that poll a loop. Under
 *             each of them a handler with an inbox leaves input to connection::recv_frame and
 *             recv_bytes, for a thread for each connection.
 * Owners      config, runtime, listener, loop and owned_frame can be moved and not copied. Their
 *             destructors free; those of runtime and listener stop first and wait, so they
 *             must not run inside a callback: that terminates the program. Pass an object that
 *             owns its listener or runtime, and is its handler, as std::ref; see handler_of for
 *             what its destructor must do. Of an owner that was moved from, calls fail with
 *             NP_ERR_ARGUMENT; stats, port_count, prometheus, connections and addresses give
 *             zeros, or nothing.
 * Values      connection is a number that may be copied and kept at will; calls for one that
 *             has ended answer NP_ERR_CLOSED.
 * Views       bytes_view, frame_view, frames_view, close_info and log_record borrow. What a
 *             callback is shown is valid until it returns, and what an event shows until its
 *             loop is polled again; owned_frame keeps a frame longer. close_info and log_record
 *             cannot be copied: copy what you keep of them.
 * Bytes       come from a container, an array of std::uint8_t or std::byte, or as
 *             {pointer, size}; a size of another type needs static_cast<std::size_t>(size). A
 *             string literal or another const char array gives what stands before its first NUL:
 *             pass {literal, size} for what has a NUL inside. A pointer alone has no size and does
 *             not compile; for a text that ends with NUL pass std::string_view(pointer).
 * Failures    Constructors and whatever sets things up, listener::start included, throw error.
 *             All the rest answers a status, which is true if the call went well. It may be
 *             ignored only where the call fails for no other reason than that the connection
 *             has ended.
 * Exceptions  None crosses into the library. A callback of a connection that throws ends this
 *             connection, by abort(callback_threw), and nothing else; what a log sink throws
 *             changes nothing. The text goes to the exception hook of the runtime, or else to
 *             stderr. Destructors of what callbacks own must not throw. Who polls handles events
 *             in code of his own, and so his exceptions too.
 *             With -fno-exceptions nothing throws: an owner keeps its first failure(), and its
 *             further calls for setting up do nothing; config::get and what gives a name answer
 *             nothing or an empty text, and config::check a finding. An owner that is made
 *             from it takes over its failure(): ask the listener, which is made last.
 *             Such code has types of its own: it cannot share functions that take a
 *             connection with code that is compiled with exceptions.
 * Threads     As in nativeport.h: any call from any thread. Callbacks of one connection never
 *             overlap; those of different ones may, and they share their handler.
 *
 * Constants (NP_ERR_, NP_CLOSE_, NP_BY_, NP_STAGE_, NP_FRAME_) and structs that only hold
 * facts (np_address, np_conn_info, np_stats) are those of nativeport.h, where every function is
 * described in full; handle() leads there for anything that is not wrapped.
 */
#ifndef NATIVEPORT_HPP
#define NATIVEPORT_HPP

#if __cplusplus < 201703L
#error "nativeport.hpp needs C++17 or later, such as -std=c++17"
#endif

#include <nativeport.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#ifdef __cpp_rtti
#include <typeinfo>
#endif

namespace nativeport {

// Named after the ABI, so that programs may hold parts that were compiled for different ones.
static_assert(NP_VERSION_MAJOR == 0 && NP_VERSION_MINOR == 1, "nativeport.h is of another version");
#ifdef __cpp_exceptions
inline namespace v0_1 {
#else
inline namespace v0_1_without_exceptions {
#endif

/* ---- Status: what calls answer, and what is thrown ---------------------------------------- */

/** What a call answered: true if it went well, otherwise an NP_ERR_ constant. */
class status {
public:
    /** Only an np_status becomes a status: `return false;` does not compile. */
    template <typename Code, typename = std::enable_if_t<std::is_same_v<Code, np_status>>>
    constexpr status(Code code) noexcept : code_(code) {}

    constexpr explicit operator bool() const noexcept { return code_ == NP_OK; }
    constexpr np_status code() const noexcept { return code_; }
    /** "NP_ERR_CLOSED" */
    const char *name() const noexcept { return np_status_name(code_); }
    /** One sentence. */
    const char *message() const noexcept { return np_status_message(code_); }

    friend constexpr bool operator==(status a, status b) noexcept { return a.code_ == b.code_; }
    friend constexpr bool operator!=(status a, status b) noexcept { return a.code_ != b.code_; }

private:
    np_status code_;
};

/** Why something could not be set up. what() is one line that names the place and the remedy. */
class error : public std::runtime_error {
public:
    error(nativeport::status status, const np_error &details)
        : std::runtime_error(details.message[0] != 0 ? details.message : status.message()),
          status_(status), os_error_(details.os_error), tls_alert_(details.tls_alert) {}

    nativeport::status status() const noexcept { return status_; }
    /** errno of the operating system, 0 if it was not involved. */
    int os_error() const noexcept { return os_error_; }
    /** The TLS alert, -1 if there was none. */
    int tls_alert() const noexcept { return tls_alert_; }

private:
    nativeport::status status_;
    int os_error_;
    int tls_alert_;
};

/* ---- Times -------------------------------------------------------------------------------- */

/** No limit, wherever a time is asked for. */
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

/**
 * How long something may take: any duration, rounded up to milliseconds. A negative one is 0, and
 * one of 1e15 ms (about 31,700 years) or more is forever.
 */
class time_limit {
public:
    template <typename Rep, typename Period>
    constexpr time_limit(std::chrono::duration<Rep, Period> time) noexcept : ms_(0) {
        const double ms = std::chrono::duration<double, std::milli>(time).count();
        if (ms >= 1e15)
            ms_ = NP_FOREVER;
        else if (ms > 0) // false for NaN
            ms_ = static_cast<std::uint64_t>(
                std::chrono::ceil<std::chrono::milliseconds>(time).count());
    }

    /** As nativeport.h takes it. */
    constexpr std::uint64_t ms() const noexcept { return ms_; }

private:
    std::uint64_t ms_;
};

/* ---- Setting up --------------------------------------------------------------------------- */

namespace detail {

/** Throws what a call for setting up has answered, unless it went well. */
inline void require([[maybe_unused]] np_status answered,
                    [[maybe_unused]] const np_error &details = NP_ERROR_INIT) {
#ifdef __cpp_exceptions
    if (answered != NP_OK)
        throw error(answered, details);
#endif
}

/** What can fail when it is set up. */
class fallible {
#ifdef __cpp_exceptions
protected:
    /** Makes a call that sets something up, and throws what it answers. */
    template <typename Call> void set_up(Call call) {
        np_error details = NP_ERROR_INIT;
        const np_status answered = call(&details);
        require(answered, details);
    }

    void inherit(const fallible &) noexcept {}
#else
public:
    /** Why it could not be set up: the first failure. Null if nothing has failed. */
    const error *failure() const noexcept { return failure_.get(); }
    /** Lets further calls go on after a failure. */
    void forget_failure() noexcept { failure_.reset(); }

protected:
    /** Makes a call that sets something up, unless one has failed before. */
    template <typename Call> void set_up(Call call) {
        if (failure_ != nullptr)
            return;
        np_error details = NP_ERROR_INIT;
        const np_status answered = call(&details);
        if (answered != NP_OK)
            failure_ = std::make_shared<const error>(answered, details);
    }

    void inherit(const fallible &from) noexcept {
        if (failure_ == nullptr)
            failure_ = from.failure_;
    }

private:
    std::shared_ptr<const error> failure_;
#endif

protected:
    /** Makes what `owner` owns. */
    template <typename Owner, typename Make> void make(Owner &owner, Make make) {
        set_up([&](np_error *details) {
            typename Owner::pointer made = nullptr;
            const np_status answered = make(&made, details);
            owner.reset(made);
            return answered;
        });
    }
};

/** The library would go on, and call what its owner is about to destroy. */
inline void require_freed(np_status answered) noexcept {
    if (answered != NP_ERR_IN_CALLBACK)
        return;
    std::fputs("nativeport: a runtime or listener was destroyed inside of a callback or by "
               "its own handler; pass an object that owns it as std::ref\n",
               stderr);
    std::terminate();
}

/** For std::unique_ptr: frees with a function of the C interface. */
template <auto Free> struct freed_by {
    template <typename T> void operator()(T *object) const noexcept {
        if constexpr (std::is_same_v<decltype(Free(object)), np_status>)
            require_freed(Free(object));
        else
            Free(object);
    }
};

/** Makes *text what `copy` copies into a buffer; it tells the size that it needs. */
template <typename Copy> np_status copy_text(std::string *text, Copy copy) {
    std::size_t needed = 128;
    np_status answered;
    do {
        // Some more, as statistics may have grown since the size was told.
        text->resize(needed + needed / 8);
        answered = copy(&(*text)[0], text->size(), &needed);
    } while (answered == NP_ERR_BUFFER_TOO_SMALL);
    text->resize(answered == NP_OK ? needed - 1 : 0);
    return answered;
}

/** Items that C shows one by one. That there is no memory is told when C has returned. */
template <typename T> class collected {
public:
    /** False if there is no memory. */
    template <typename Make> bool add(Make make) noexcept {
#ifdef __cpp_exceptions
        try {
            items_.push_back(make());
        } catch (...) {
            failed_ = true;
        }
#else
        items_.push_back(make());
#endif
        return !failed_;
    }

    std::vector<T> take() {
#ifdef __cpp_exceptions
        if (failed_)
            throw std::bad_alloc();
#endif
        return std::move(items_);
    }

private:
    std::vector<T> items_;
    bool failed_ = false;
};

/** Goes through an array of C, which it shows as views. */
template <typename View, typename Item> class view_iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = View;
    using difference_type = std::ptrdiff_t;
    using reference = View;
    /** Holds the view, as long as a member of it is called. */
    struct pointer {
        View view;
        const View *operator->() const noexcept { return &view; }
    };

    view_iterator() noexcept = default;
    explicit view_iterator(const Item *at) noexcept : at_(at) {}
    View operator*() const noexcept { return View(*at_); }
    pointer operator->() const noexcept { return {View(*at_)}; }
    view_iterator &operator++() noexcept {
        ++at_;
        return *this;
    }
    view_iterator operator++(int) noexcept { return view_iterator(at_++); }
    friend bool operator==(view_iterator a, view_iterator b) noexcept { return a.at_ == b.at_; }
    friend bool operator!=(view_iterator a, view_iterator b) noexcept { return a.at_ != b.at_; }

private:
    const Item *at_ = nullptr;
};

template <typename T>
inline constexpr bool is_byte = sizeof(T) == 1 && std::is_trivially_copyable_v<T>;
template <> inline constexpr bool is_byte<void> = true;
template <> inline constexpr bool is_byte<const void> = true;

/** For pointers to single bytes, and to memory of no type. */
template <typename T> using if_byte = std::enable_if_t<is_byte<T>>;

/** For those that can be written to. */
template <typename T> using if_writable_byte = std::enable_if_t<is_byte<T> && !std::is_const_v<T>>;

/** For containers, spans and arrays of them. */
template <typename Container>
using if_writable = if_writable_byte<
    std::remove_reference_t<decltype(*std::data(std::declval<Container &>()))>>;

} // namespace detail

/**
 * Whether send_frame_owned takes a container: one that owns its bytes. What is trivially copyable
 * is taken for a view, but for std::array, and all else for an owner: specialise this for a view
 * with a copy constructor of its own, or for an owner without one.
 */
template <typename Container>
inline constexpr bool owns_bytes = !std::is_trivially_copyable_v<Container>;
template <typename Byte, std::size_t Size>
inline constexpr bool owns_bytes<std::array<Byte, Size>> = true;

/* ---- Views: bytes and frames -------------------------------------------------------------- */

/**
 * Borrowed bytes. Made from whatever holds bytes in one piece, from {pointer, size}, or from a
 * string literal.
 */
class bytes_view {
public:
    constexpr bytes_view() noexcept = default;
    template <typename Byte, typename = detail::if_byte<Byte>>
    bytes_view(const Byte *data, std::size_t size) noexcept
        : data_(static_cast<const std::uint8_t *>(static_cast<const void *>(data))), size_(size) {}
    template <typename Container,
              typename Element = std::remove_pointer_t<
                  decltype(std::declval<const Container &>().data())>,
              typename = detail::if_byte<Element>>
    bytes_view(const Container &container) noexcept
        : bytes_view(container.data(), container.size()) {}

    /** A text, up to its first NUL. What stands behind that in an array is not sent. */
    template <std::size_t Size>
    bytes_view(const char (&text)[Size]) noexcept : bytes_view(text, ::strnlen(text, Size)) {}
    template <typename Byte, std::size_t Size,
              typename = std::enable_if_t<std::is_same_v<std::remove_const_t<Byte>, std::uint8_t>
                                          || std::is_same_v<std::remove_const_t<Byte>, std::byte>>>
    bytes_view(Byte (&bytes)[Size]) noexcept : bytes_view(bytes, Size) {}

    // These have no size: pass {pointer, size}, or std::string_view(text).
    template <typename T, typename = std::enable_if_t<std::is_pointer_v<T>>>
    bytes_view(const T &pointer_without_size) = delete;
    bytes_view(std::nullptr_t pointer_without_size) = delete;
    // Only part of it may be filled: pass {array, size}.
    template <std::size_t Size> bytes_view(char (&array_without_size)[Size]) = delete;

    constexpr const std::uint8_t *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr const std::uint8_t *begin() const noexcept { return data_; }
    constexpr const std::uint8_t *end() const noexcept { return data_ + size_; }
    constexpr std::uint8_t operator[](std::size_t index) const noexcept { return data_[index]; }
    std::string_view text() const noexcept {
        return {reinterpret_cast<const char *>(data_), size_};
    }

private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

/** Borrowed memory to write bytes to: a container, an array, or a span. */
class bytes_buffer {
public:
    template <typename Byte, typename = detail::if_writable_byte<Byte>>
    bytes_buffer(Byte *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <typename Container, typename = detail::if_writable<Container>>
    bytes_buffer(Container &container) noexcept
        : bytes_buffer(std::data(container), std::size(container)) {}
    /** A temporary, unless it owns what it holds. */
    template <typename Span, typename = detail::if_writable<const Span>>
    bytes_buffer(const Span &span) noexcept : bytes_buffer(std::data(span), std::size(span)) {}

    std::uint8_t *data() const noexcept { return static_cast<std::uint8_t *>(data_); }
    std::size_t size() const noexcept { return size_; }

private:
    void *data_;
    std::size_t size_;
};

/**
 * NP_FRAME_ flags: an int, as these constants are, or a std::uint32_t. No other type becomes flags,
 * as it is the length of something. A length of these two types does: from 4 on the send answers
 * NP_ERR_ARGUMENT, and what it sends is never longer than the payload.
 */
class frame_flags {
public:
    template <typename Bits, typename = std::enable_if_t<std::is_same_v<Bits, int>
                                                         || std::is_same_v<Bits, std::uint32_t>>>
    constexpr frame_flags(Bits bits) noexcept : bits_(static_cast<std::uint32_t>(bits)) {}

    constexpr std::uint32_t bits() const noexcept { return bits_; }

private:
    std::uint32_t bits_;
};

/** A borrowed frame: a payload, and NP_FRAME_ flags. Can be passed as bytes_view. */
class frame_view {
public:
    frame_view(bytes_view payload, frame_flags flags = 0) noexcept
        : frame_{payload.data(), payload.size(), flags.bits(), 0} {}
    explicit frame_view(const np_frame &frame) noexcept : frame_(frame) {}

    const std::uint8_t *data() const noexcept { return frame_.data; }
    std::size_t size() const noexcept { return frame_.len; }
    std::uint32_t flags() const noexcept { return frame_.flags; }
    std::string_view text() const noexcept { return bytes_view(*this).text(); }
    const np_frame &raw() const noexcept { return frame_; }

private:
    np_frame frame_;
};

// An array of them is passed to C as an array of np_frame.
static_assert(std::is_standard_layout_v<frame_view> && sizeof(frame_view) == sizeof(np_frame));

/** Borrowed frames, one behind the other. */
class frames_view {
public:
    using iterator = detail::view_iterator<frame_view, np_frame>;

    frames_view(const np_frame *frames, std::size_t count) noexcept
        : frames_(frames), count_(count) {}
    /** A vector or an array of frame_view. */
    template <typename Container,
              typename = std::enable_if_t<std::is_same_v<
                  decltype(std::declval<const Container &>().data()), const frame_view *>>>
    frames_view(const Container &frames) noexcept
        : frames_(reinterpret_cast<const np_frame *>(frames.data())), count_(frames.size()) {}

    const np_frame *data() const noexcept { return frames_; }
    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }
    iterator begin() const noexcept { return iterator(frames_); }
    iterator end() const noexcept { return iterator(frames_ + count_); }
    frame_view operator[](std::size_t index) const noexcept { return frame_view(frames_[index]); }

private:
    const np_frame *frames_;
    std::size_t count_;
};

template <typename T> class received;

/** A frame in memory of its own: kept beyond its callback, or received. */
class owned_frame {
public:
    owned_frame() noexcept = default;
#ifdef __cpp_exceptions
    explicit owned_frame(frame_view frame) {
        detail::require(np_frame_take(&frame.raw(), &frame_));
    }
#endif
    /** The same without an exception. */
    static received<owned_frame> take(frame_view frame) noexcept;

    owned_frame(owned_frame &&other) noexcept : frame_(std::exchange(other.frame_, np_frame{})) {}
    owned_frame &operator=(owned_frame &&other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~owned_frame() { np_frame_free(&frame_); }

    const std::uint8_t *data() const noexcept { return frame_.data; }
    std::size_t size() const noexcept { return frame_.len; }
    std::uint32_t flags() const noexcept { return frame_.flags; }
    std::string_view text() const noexcept { return bytes_view(*this).text(); }
    operator frame_view() const noexcept { return frame_view(frame_); }

private:
    friend class connection;
    np_frame frame_{};
};

/** What a receiving call gives: a value if its status is true. */
template <typename T> class received {
public:
    received(nativeport::status status, T value) noexcept
        : status_(status), value_(std::move(value)) {}

    explicit operator bool() const noexcept { return static_cast<bool>(status_); }
    nativeport::status status() const noexcept { return status_; }
    T &operator*() & noexcept { return value_; }
    const T &operator*() const & noexcept { return value_; }
    /** Of a temporary the value itself, as nothing else would last. */
    T operator*() && noexcept { return std::move(value_); }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }

private:
    nativeport::status status_;
    T value_;
};

inline received<owned_frame> owned_frame::take(frame_view frame) noexcept {
    owned_frame taken;
    const status answered = np_frame_take(&frame.raw(), &taken.frame_);
    return {answered, std::move(taken)};
}

/** "192.0.2.1:80", "[2001:db8::1]:80" */
inline std::string to_string(const np_address &address) {
    const std::string host = address.host;
    return (address.family == 6 ? '[' + host + ']' : host) + ':' + std::to_string(address.port);
}

/* ---- Connection --------------------------------------------------------------------------- */

/** What the first byte of a connection has said. */
enum class protocol : std::int32_t {
    client = NP_PROTOCOL_CLIENT,
    relay = NP_PROTOCOL_RELAY,
    remote_application = NP_PROTOCOL_REMOTE_APPLICATION,
    unknown = NP_PROTOCOL_UNKNOWN,
};

/** The host code of a connection that was aborted because a callback threw. */
inline constexpr std::int32_t callback_threw = -NP_CLOSE_CALLBACK_PANIC;

namespace detail {

template <typename T> inline char address_of_type{};

/**
 * Whether the mangled name of a type says that other units may have another type of this name: it
 * is in an anonymous namespace, or in a function (Z), which may be static. Identifiers, with their
 * length before them, are skipped.
 */
inline bool is_local(const char *name) noexcept {
    constexpr const char *digits = "0123456789";
    if (std::strstr(name, "_GLOBAL__N_") != nullptr)
        return true;
    while (*name != 0 && *name != 'Z') {
        const std::size_t number = std::strspn(name, digits);
        if (number != 0)
            name += number + ::strnlen(name + number, std::strtoul(name, nullptr, 10));
        else if (*name == 'L' && name[1] >= 'a') // a constant: Li5E
            name += std::strcspn(name, "E");
        else if (*name == 'A' || *name == 'S' || *name == 'T') // an array, or one of before: S1_
            name += 1 + std::strspn(name + 1, digits);
        else
            name++;
    }
    return *name != 0;
}

/**
 * Stands for a type. Libraries with hidden symbols have different addresses for one type, so the
 * names decide; for types whose names are local to a unit only the address counts. Types that
 * break the rule of one definition, with one name, size and alignment, are taken for each other.
 */
class type_mark {
public:
    template <typename T> static type_mark of() noexcept {
        type_mark mark;
        mark.address_ = &address_of_type<T>;
        mark.size_ = sizeof(T);
        mark.alignment_ = alignof(T);
#ifdef __cpp_rtti
        const char *const name = typeid(T *).name();
        if (!is_local(name))
            mark.name_ = name;
#endif
        return mark;
    }

    friend bool operator==(type_mark a, type_mark b) noexcept {
        if (a.address_ == b.address_)
            return true;
        return a.name_ != nullptr && b.name_ != nullptr && a.size_ == b.size_
               && a.alignment_ == b.alignment_ && std::strcmp(a.name_, b.name_) == 0;
    }

private:
    const void *address_ = nullptr;
    const char *name_ = nullptr;
    std::size_t size_ = 0;
    std::size_t alignment_ = 0;
};

/** The host's object on a connection, with its type, so that no other is taken for it. */
struct user_data_box {
    void *object;
    type_mark type;
    void (*destroy)(void *object);

    static void release(void *box) {
        const std::unique_ptr<user_data_box> owned(static_cast<user_data_box *>(box));
        owned->destroy(owned->object);
    }
};

} // namespace detail

/** Holds back the output of a connection as long as it lives; see connection::cork. */
class [[nodiscard]] cork_guard {
public:
    explicit cork_guard(np_conn conn) noexcept : conn_(conn) { np_conn_cork(conn_); }
    cork_guard(const cork_guard &) = delete;
    cork_guard &operator=(const cork_guard &) = delete;
    ~cork_guard() { np_conn_uncork(conn_); }

private:
    np_conn conn_;
};

/** A connection: a number, 0 for none. That it is not 0 does not say that it is still open. */
class connection {
public:
    constexpr connection() noexcept = default;
    constexpr explicit connection(np_conn handle) noexcept : handle_(handle) {}

    constexpr explicit operator bool() const noexcept { return handle_.id != 0; }
    constexpr std::uint64_t id() const noexcept { return handle_.id; }
    constexpr np_conn handle() const noexcept { return handle_; }

    /**
     * Sends one frame, copied. flags: 0 or NP_FRAME_NO_COMPRESS. In a callback of this connection
     * the frame is always taken. Everywhere else, callbacks of other connections included, a full
     * queue answers NP_ERR_WOULD_BLOCK: nothing was taken, and on_writable follows.
     */
    [[nodiscard]] status send_frame(bytes_view payload, frame_flags flags = 0) const noexcept {
        return np_conn_send_frame(handle_, payload.data(), payload.size(), flags.bits());
    }

    /** Sends frames in order, copied; *accepted becomes the number that was taken. */
    [[nodiscard]] status send_frames(frames_view frames,
                                     std::size_t *accepted = nullptr) const noexcept {
        return np_conn_send_frames(handle_, frames.data(), frames.size(), accepted);
    }

    /**
     * Sends one frame, without a copy where that can be (see np_conn_send_frame_owned). The library
     * gets the container, and destroys it when its bytes have left, or when the call fails. If the
     * system has no memory to move it to, it stays with the caller: the answer is
     * NP_ERR_MEMORY_LIMIT, and the connection does not end.
     */
    template <typename Container>
    [[nodiscard]] status send_frame_owned(Container &&container,
                                          frame_flags flags = 0) const noexcept {
        static_assert(owns_bytes<std::remove_cv_t<std::remove_reference_t<Container>>>,
                      "a view does not own its bytes: send_frame copies them; for a container "
                      "that does, specialise nativeport::owns_bytes");
        static_assert(!std::is_reference_v<Container> && !std::is_const_v<Container>,
                      "the container is handed over: pass it with std::move");
        auto *owned = new (std::nothrow) Container(std::move(container));
        if (owned == nullptr)
            return NP_ERR_MEMORY_LIMIT;
        const bytes_view payload(*owned);
        return np_conn_send_frame_owned(
            handle_, payload.data(), payload.size(),
            [](void *released, const std::uint8_t *, std::size_t) {
                delete static_cast<Container *>(released);
            },
            owned, flags.bits());
    }

    /** Sends bytes on a stream, copied: all or none of them. */
    [[nodiscard]] status send_bytes(bytes_view bytes) const noexcept {
        return np_conn_send_bytes(handle_, bytes.data(), bytes.size());
    }

    /**
     * Takes the next frame from the inbox of a handler that has one, and waits for it.
     * NP_ERR_TIMED_OUT if none has come; NP_ERR_CLOSED when no more will.
     */
    [[nodiscard]] received<owned_frame>
    recv_frame(time_limit timeout = forever) const noexcept {
        owned_frame frame;
        const status answered =
            np_conn_recv_frame(handle_, timeout.ms(), &frame.frame_);
        return {answered, std::move(frame)};
    }

    /**
     * The same for the bytes of a stream: gives the part of the buffer that it has filled. A
     * buffer without room is refused with NP_ERR_ARGUMENT.
     */
    [[nodiscard]] received<bytes_view>
    recv_bytes(bytes_buffer buffer, time_limit timeout = forever) const noexcept {
        std::size_t size = 0;
        const status answered = np_conn_recv_bytes(handle_, buffer.data(), buffer.size(),
                                                   timeout.ms(), &size);
        return {answered, bytes_view(buffer.data(), size)};
    }

    /** Holds output back until the guard goes, so that several sends leave together. */
    cork_guard cork() const noexcept { return cork_guard(handle_); }

    /** Answers on_admit with yes. */
    [[nodiscard]] status admit() const noexcept { return np_conn_admit(handle_); }

    /** Answers on_admit with no, after these raw bytes, at most 1 MiB. */
    [[nodiscard]] status refuse(bytes_view answer = {}) const noexcept {
        return np_conn_refuse(handle_, answer.data(), answer.size());
    }

    /** Slows the peer down: reads nothing more until resume_reading. */
    status pause_reading() const noexcept { return np_conn_pause_reading(handle_); }
    status resume_reading() const noexcept { return np_conn_resume_reading(handle_); }

    /** Ends the connection by itself after this time; forever takes that back. After a close it cuts the flush. */
    status set_deadline(time_limit after) const noexcept {
        return np_conn_set_deadline(handle_, after.ms());
    }

    /** Tells the peer, behind everything that was sent, that nothing more follows. */
    [[nodiscard]] status shutdown() const noexcept { return np_conn_shutdown(handle_); }

    /** Ends the connection after what was sent has left. on_close is told host_code. */
    status close(std::int32_t host_code = 0) const noexcept {
        return np_conn_close(handle_, host_code);
    }

    /** Ends the connection at once, with a reset. */
    status abort(std::int32_t host_code = 0) const noexcept {
        return np_conn_abort(handle_, host_code);
    }

    /** Nothing if it has ended. */
    std::optional<np_conn_info> info() const noexcept {
        np_conn_info info = NP_CONN_INFO_INIT;
        if (np_conn_get_info(handle_, &info) != NP_OK)
            return std::nullopt;
        return info;
    }

    /**
     * Hangs an object on the connection. The one before is destroyed, and so is this one after
     * on_close, or at once if the call fails. NP_ERR_MEMORY_LIMIT: the system has no memory left;
     * the connection does not end.
     */
    template <typename T>
    [[nodiscard]] status set_user_data(std::unique_ptr<T> object) const noexcept {
        if (object == nullptr)
            return np_conn_set_user_data(handle_, nullptr, nullptr);
        auto *box = new (std::nothrow) detail::user_data_box{
            object.get(), detail::type_mark::of<T>(),
            [](void *released) { delete static_cast<T *>(released); }};
        if (box == nullptr)
            return NP_ERR_MEMORY_LIMIT;
        static_cast<void>(object.release());
        return np_conn_set_user_data(handle_, box, detail::user_data_box::release);
    }

    /**
     * The object of set_user_data, inside callbacks of this connection and on the thread that
     * polls its loop, until it is replaced. Null elsewhere, if there is none, and if it was set
     * as a type of another name. Two different types of one name are not told apart. Between
     * libraries with hidden symbols a type in a function or in an anonymous namespace is not found.
     */
    template <typename T> T *user_data() const noexcept {
        void *box = nullptr;
        if (np_conn_get_user_data(handle_, &box) != NP_OK || box == nullptr)
            return nullptr;
        const auto &data = *static_cast<detail::user_data_box *>(box);
        return data.type == detail::type_mark::of<T>() ? static_cast<T *>(data.object) : nullptr;
    }

    friend constexpr bool operator==(connection a, connection b) noexcept {
        return a.id() == b.id();
    }
    friend constexpr bool operator!=(connection a, connection b) noexcept {
        return a.id() != b.id();
    }
    /** For maps and sets; std::hash is there too. */
    friend constexpr bool operator<(connection a, connection b) noexcept {
        return a.id() < b.id();
    }

private:
    np_conn handle_{0};
};

static_assert(sizeof(connection) == 8 && std::is_trivially_copyable_v<connection>);

/* ---- Handlers ----------------------------------------------------------------------------- */

/** How a connection ended. */
class close_info {
public:
    explicit close_info(const np_close_info &info) noexcept : info_(info) {}
    close_info(const close_info &) = delete;
    close_info &operator=(const close_info &) = delete;

    /** Why: NP_CLOSE_, and its name, "peer_closed". */
    std::int32_t reason() const noexcept { return info_.reason; }
    std::string_view reason_name() const noexcept { return np_close_reason_name(info_.reason); }
    /** Who ended it: NP_BY_, and its name, "peer". */
    std::int32_t by() const noexcept { return info_.by; }
    std::string_view by_name() const noexcept { return np_close_by_name(info_.by); }
    /** How far it had come: NP_STAGE_, and its name, "identify". */
    std::int32_t stage() const noexcept { return info_.stage; }
    std::string_view stage_name() const noexcept { return np_close_stage_name(info_.stage); }
    /** The code given to close or abort, otherwise 0. */
    std::int32_t host_code() const noexcept { return info_.host_code; }
    /** errno of the operating system, 0 if it reported none. */
    int os_error() const noexcept { return info_.os_error; }
    /** The TLS alert, -1 if there was none. */
    int tls_alert() const noexcept { return info_.tls_alert; }
    std::uint64_t bytes_in() const noexcept { return info_.bytes_in; }
    std::uint64_t bytes_out() const noexcept { return info_.bytes_out; }
    /** Bytes that sends had accepted and that never reached the operating system. */
    std::uint64_t unsent_bytes() const noexcept { return info_.unsent_bytes; }
    /** From accept to the end. */
    std::chrono::milliseconds duration() const noexcept {
        return std::chrono::milliseconds(info_.duration_ms);
    }
    /** More words where there are any. */
    std::string_view text() const noexcept { return info_.text; }

private:
    const np_close_info &info_;
};

/**
 * The callbacks of one protocol, shared by all its connections; leave empty what you do not
 * need. on_frames is required for client and remote_application, on_data for relay and unknown,
 * unless there is an inbox.
 *
 * Callbacks of one connection never overlap and come in this order: on_open once, on_frames or
 * on_data and on_writable any number of times, on_end at most once, on_close once and last.
 * Those of different connections may run at once on several threads. They may block only on
 * workers.
 */
struct handler {
    std::function<void(connection, protocol, std::uint8_t first_byte)> on_open{};
    std::function<void(connection, frames_view)> on_frames{};
    std::function<void(connection, bytes_view)> on_data{};
    /** The peer will send nothing more, and you close. Empty: the library closes. */
    std::function<void(connection)> on_end{};
    /** There is room again after a send has answered NP_ERR_WOULD_BLOCK. */
    std::function<void(connection)> on_writable{};
    std::function<void(connection, const close_info &)> on_close{};
    /** Input waits for recv_frame and recv_bytes; on_frames and on_data stay empty. */
    bool inbox = false;
    /** After the peer's end it is you who closes, also without on_end. */
    bool half_close = false;
};

/** What events bring back to who polls: a pointer or a number of the host's. */
class token {
public:
    constexpr token() noexcept = default;
    constexpr token(std::uintptr_t number) noexcept : number_(number) {}
    template <typename T, typename = std::enable_if_t<!std::is_function_v<T>>>
    token(T *object) noexcept : number_(reinterpret_cast<std::uintptr_t>(object)) {}

    constexpr std::uintptr_t number() const noexcept { return number_; }
    /** As the type that it was made of; nothing checks that. */
    template <typename T> T *object() const noexcept { return reinterpret_cast<T *>(number_); }

private:
    std::uintptr_t number_ = 0;
};

/** Takes the place of a handler where events are polled. */
struct polled_handler {
    /** What the events of its connections bring back. */
    nativeport::token token{};
    /** As in handler. */
    bool inbox = false;
    bool half_close = false;
};

struct log_record;

/** Is told what a callback has thrown, and on which connection; none for a log sink. */
using exception_hook = std::function<void(connection, std::string_view what)>;

namespace detail {

/** Whether Of<T> can be formed. */
template <template <typename> class Of, typename T, typename = void>
inline constexpr bool is_valid = false;
template <template <typename> class Of, typename T>
inline constexpr bool is_valid<Of, T, std::void_t<Of<T>>> = true;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor" // None of these is ever made.
/** A name that both have is ambiguous here, be it overloaded, a template, or private in T. */
template <typename T, typename Namesake> struct with_namesake : T, Namesake {
    ~with_namesake() noexcept; // A class whose destructor is final must be declared final itself.
};
#pragma GCC diagnostic pop

/**
 * Whether T has the name of this member. Nothing can be derived from final classes and unions. Of
 * these only a public name is found, and none that is overloaded or a template.
 */
template <typename Member, typename T> constexpr bool is_named() {
    if constexpr (std::is_class_v<T> && !std::is_final_v<T>)
        return !is_valid<Member::template address,
                         with_namesake<std::remove_cv_t<T>, typename Member::namesake>>;
    else
        return is_valid<Member::template address, T>;
}

// A callback of an object: whatever can be called by its name, unless it is empty, as a
// std::function may be. What has the name and cannot be called does not compile, as it would never
// be called.
#define NATIVEPORT_CALLBACK(name, ...)                                                             \
    struct name##_callback {                                                                       \
        struct namesake {                                                                          \
            int name;                                                                              \
        };                                                                                         \
        template <typename T> using address = decltype(&T::name);                                  \
        template <typename T>                                                                      \
        using may_be_empty = std::enable_if_t<                                                     \
            !std::is_function_v<std::remove_reference_t<decltype((std::declval<T &>().name))>>,    \
            decltype(std::declval<T &>().name == nullptr)>;                                        \
                                                                                                   \
        template <typename T, typename... Arguments>                                               \
        static auto try_call(void (*)(Arguments...))                                               \
            -> decltype(static_cast<void>(std::declval<T &>().name(                                \
                            std::declval<const std::remove_reference_t<Arguments> &>()...)),       \
                        std::true_type());                                                         \
        template <typename T> static std::false_type try_call(...);                                \
        /** Whether T has it. */                                                                   \
        template <typename T> static constexpr bool is_in() {                                      \
            constexpr bool can_be_called =                                                         \
                decltype(try_call<T>(static_cast<void (*)(__VA_ARGS__)>(nullptr)))::value;         \
            static_assert(can_be_called || !is_named<name##_callback, T>(),                        \
                          #name " cannot be called: it must be public, and take "                  \
                          "(" #__VA_ARGS__ "); if it means something else, pass a "                \
                          "nativeport::handler of lambdas");                                       \
            return can_be_called;                                                                  \
        }                                                                                          \
                                                                                                   \
        template <typename T> static bool is_set([[maybe_unused]] T &object) {                     \
            if constexpr (is_valid<may_be_empty, T>)                                               \
                return !(object.name == nullptr);                                                  \
            else                                                                                   \
                return true;                                                                       \
        }                                                                                          \
                                                                                                   \
        /** Makes it the callback of a handler, if T has it. */                                    \
        template <typename T, typename... Arguments>                                               \
        static void bind([[maybe_unused]] std::function<void(Arguments...)> &callback,             \
                         [[maybe_unused]] const std::shared_ptr<T> &object) {                      \
            if constexpr (is_in<T>())                                                              \
                if (is_set(*object))                                                               \
                    callback = [object](const Arguments &...arguments) {                           \
                        static_cast<void>(object->name(arguments...));                             \
                    };                                                                             \
        }                                                                                          \
                                                                                                   \
        /** Calls it, if T has it. */                                                              \
        template <typename T, typename... Arguments>                                               \
        static void visit([[maybe_unused]] T &object,                                              \
                          [[maybe_unused]] const Arguments &...arguments) {                        \
            if constexpr (is_in<T>())                                                              \
                if (is_set(object))                                                                \
                    static_cast<void>(object.name(arguments...));                                  \
        }                                                                                          \
    };

NATIVEPORT_CALLBACK(on_admit, connection, protocol, std::uint8_t)
NATIVEPORT_CALLBACK(on_open, connection, protocol, std::uint8_t)
NATIVEPORT_CALLBACK(on_frames, connection, frames_view)
NATIVEPORT_CALLBACK(on_data, connection, bytes_view)
NATIVEPORT_CALLBACK(on_end, connection)
NATIVEPORT_CALLBACK(on_writable, connection)
NATIVEPORT_CALLBACK(on_close, connection, const close_info &)
NATIVEPORT_CALLBACK(on_log, const log_record &)
#undef NATIVEPORT_CALLBACK

// What T says of itself by a constant.
#define NATIVEPORT_CONSTANT(name)                                                                  \
    struct name##_constant {                                                                       \
        struct namesake {                                                                          \
            int name;                                                                              \
        };                                                                                         \
        template <typename T> using address = decltype(&T::name);                                  \
        template <typename T>                                                                      \
        using constant = std::enable_if_t<std::is_same_v<address<T>, const bool *>>;               \
                                                                                                   \
        template <typename T> static constexpr bool of() {                                         \
            static_assert(is_valid<constant, T> || !is_named<name##_constant, T>(),                \
                          #name " must be a public static constexpr bool; if it means "            \
                          "something else, pass a nativeport::handler of lambdas");                \
            if constexpr (is_valid<constant, T>)                                                   \
                return T::name;                                                                    \
            else                                                                                   \
                return false;                                                                      \
        }                                                                                          \
    };

NATIVEPORT_CONSTANT(inbox)
NATIVEPORT_CONSTANT(half_close)
#undef NATIVEPORT_CONSTANT

} // namespace detail

/**
 * An object as a handler, which shares it. Its callbacks are the public members with the names and
 * arguments of the members of handler: functions, overloads, templates, and function objects. One
 * that is empty now is never called, also if it is assigned later. A public
 * `static constexpr bool inbox = true` gives the connections an inbox; half_close works the same.
 *
 * A member of such a name that cannot be called does not compile. Final classes and unions are not
 * checked for that: the header ignores their private members, and overloads or a template of which
 * none fits, without a message. A class with `virtual ~T() final` must be declared final itself.
 */
template <typename T> handler handler_of(std::shared_ptr<T> object) {
    constexpr bool inbox = detail::inbox_constant::of<T>();
    static_assert(inbox || detail::on_frames_callback::is_in<T>()
                      || detail::on_data_callback::is_in<T>(),
                  "a handler has a public on_frames(connection, frames_view) "
                  "or on_data(connection, bytes_view), or an inbox");
    handler made;
    if (object == nullptr) // which listener::on refuses, as it refuses every empty handler
        return made;
    detail::on_open_callback::bind(made.on_open, object);
    detail::on_frames_callback::bind(made.on_frames, object);
    detail::on_data_callback::bind(made.on_data, object);
    detail::on_end_callback::bind(made.on_end, object);
    detail::on_writable_callback::bind(made.on_writable, object);
    detail::on_close_callback::bind(made.on_close, object);
    made.inbox = inbox;
    made.half_close = detail::half_close_constant::of<T>();
    return made;
}

/**
 * The same without a share: callbacks run until the listener has ended, and none may meet a part of
 * the object that is destroyed. An object that owns its listener declares it as the last member, in
 * the most derived class; or its destructor stops the listener and waits for it first.
 * std::weak_ptr would not do: its lock may be the last owner, and then destroys the object inside a
 * callback.
 */
template <typename T> handler handler_of(std::reference_wrapper<T> object) {
    return handler_of(std::shared_ptr<T>(std::shared_ptr<void>(), std::addressof(object.get())));
}

/* ---- Config ------------------------------------------------------------------------------- */

namespace detail {

/** A text for C, which ends it with NUL: a std::string or what becomes one, but for null. */
class c_text {
public:
    c_text() : text_(std::in_place) {}
    template <typename Text,
              typename = std::enable_if_t<(std::is_convertible_v<Text, std::string>
                                           || std::is_convertible_v<Text, std::string_view>)
                                          && !std::is_null_pointer_v<std::decay_t<Text>>>>
    c_text(Text &&text) {
        if constexpr (std::is_pointer_v<std::remove_reference_t<Text>>)
            if (text == nullptr)
                return;
        if constexpr (std::is_convertible_v<Text, std::string>)
            text_ = std::forward<Text>(text);
        else
            text_.emplace(static_cast<std::string_view>(text));
        if (text_->find('\0') == std::string::npos)
            return;
        text_.reset();
        np_error details = NP_ERROR_INIT;
        std::strcpy(details.message, "a text has a NUL inside, where C would end it");
        require(NP_ERR_ARGUMENT, details);
    }

    /** Null if there is none that C can take, and C answers NP_ERR_ARGUMENT. */
    const char *c_str() const noexcept { return text_ ? text_->c_str() : nullptr; }

private:
    std::optional<std::string> text_;
};

} // namespace detail

/** One finding of config::check; texts are empty where they do not apply. */
struct finding {
    /** Otherwise a warning. */
    bool is_error;
    /** Line in the file, from 1; 0 if it comes from no file. */
    std::uint32_t line;
    /** The whole finding in one line, ready to be shown. */
    std::string text;
    std::string file;
    std::string section;
    std::string key;
    /** What is wrong. */
    std::string message;
    /** What would be valid. */
    std::string valid;
};

/**
 * A configuration: sections with keys, from files, strings and calls. Runtimes and listeners
 * copy what they need when they are made.
 */
class config : public detail::fallible {
public:
    config() {
        make(config_, [](np_config **made, np_error *) { return np_config_new(made); });
    }

    /** Reads an INI file, as np_config_load_file does: what is read or set later counts; ports are added. */
    config &load_file(const detail::c_text &path) {
        set_up([&](np_error *details) {
            return np_config_load_file(handle(), path.c_str(), details);
        });
        return *this;
    }

    /** Reads INI text; name stands for the file in messages. */
    config &load_string(bytes_view text, const detail::c_text &name) {
        set_up([&](np_error *details) {
            return np_config_load_string(handle(), text.text().data(), text.size(), name.c_str(),
                                         details);
        });
        return *this;
    }

    /** Adds a port section with defaults only: "web" adds [Port.web], "Port" adds [Port]. Gives its index. */
    std::uint32_t add_port(const detail::c_text &name) {
        std::uint32_t index = UINT32_MAX;
        set_up([&](np_error *details) {
            return np_config_add_port(handle(), name.c_str(), &index, details);
        });
        return index;
    }

    /** Sets one value, as a line "key = value" in the section would. A port section must exist before. */
    config &set(const detail::c_text &section, const detail::c_text &key,
                const detail::c_text &value) {
        set_up([&](np_error *details) {
            return np_config_set(handle(), section.c_str(), key.c_str(), value.c_str(), details);
        });
        return *this;
    }

    /** The value that counts, empty if it has none; nothing if there is no such key, or it lacks its value. */
    std::optional<std::string> get(const detail::c_text &section, const detail::c_text &key) const {
        std::string value;
        const np_status answered =
            detail::copy_text(&value, [&](char *buffer, std::size_t size, std::size_t *needed) {
                return np_config_get(handle(), section.c_str(), key.c_str(), buffer, size, needed);
            });
        if (answered != NP_ERR_NOT_FOUND)
            detail::require(answered);
        return answered == NP_OK ? std::optional(std::move(value)) : std::nullopt;
    }

    /** Checks everything without binding anything. It can start if no finding is an error. */
    std::vector<finding> check() const {
        detail::collected<finding> findings;
        const auto add = [](void *all, const np_finding *found) {
            static_cast<detail::collected<finding> *>(all)->add([found] {
                return finding{found->severity == NP_SEVERITY_ERROR, found->line, found->text,
                               found->file, found->section, found->key, found->message,
                               found->valid};
            });
        };
        const status answered = np_config_check(handle(), add, &findings, nullptr, nullptr);
        detail::require(answered.code());
        if (!answered)
            return {{true, 0, answered.message(), {}, {}, {}, answered.message(), {}}};
        return findings.take();
    }

    std::uint32_t port_count() const noexcept { return np_config_port_count(handle()); }

    /** The canonical name of a port section, which set and get take: "Port.1". */
    std::string port_name(std::uint32_t index) const {
        return name_by(np_config_get_port_name, index);
    }

    /** Its name as the file writes it, for messages: "Port 1". */
    std::string port_written_name(std::uint32_t index) const {
        return name_by(np_config_get_port_written_name, index);
    }

    np_config *handle() const noexcept { return config_.get(); }

private:
    template <typename Copy> std::string name_by(Copy copy, std::uint32_t index) const {
        std::string name;
        detail::require(
            detail::copy_text(&name, [&](char *buffer, std::size_t size, std::size_t *needed) {
                return copy(handle(), index, buffer, size, needed);
            }));
        return name;
    }

    std::unique_ptr<np_config, detail::freed_by<np_config_free>> config_;
};

/* ---- The border: where C calls C++ -------------------------------------------------------- */

enum class log_level : std::int32_t {
    off = NP_LOG_OFF,
    error = NP_LOG_ERROR,
    warn = NP_LOG_WARN,
    info = NP_LOG_INFO,
    debug = NP_LOG_DEBUG,
};

/** One line of the log. */
struct log_record {
    explicit log_record(const np_log_record &record) noexcept
        : level(static_cast<log_level>(record.level)), conn(record.conn), stage(record.stage),
          text(record.text) {}
    log_record(const log_record &) = delete;
    log_record &operator=(const log_record &) = delete;

    log_level level;
    /** The connection that it is about, or none. */
    connection conn;
    /** The part of the library that speaks: "accept", "tls", "open", ... */
    std::string_view stage;
    std::string_view text;
};

/** Receives log records, one at a time, on a thread of its own. May block. */
using log_sink = std::function<void(const log_record &)>;

namespace detail {

/** The callbacks that decide about connections. */
struct admission {
    std::function<void(connection, protocol, std::uint8_t)> on_admit;
    std::function<void(connection, const close_info &)> on_close;
};

/**
 * What C is given as user_data: the host's functions, and who is told what they throw. C
 * destroys it by `destroy`. Through `run` no exception leaves.
 */
template <typename Functions> struct border {
    Functions functions;
    std::shared_ptr<const exception_hook> hook;

    static void destroy(void *user_data) { delete static_cast<border *>(user_data); }

    template <typename Call>
    static void run(void *user_data, np_conn conn, Call call) noexcept {
        const border &self = *static_cast<const border *>(user_data);
#ifdef __cpp_exceptions
        try {
            call(self.functions, connection(conn));
        } catch (const std::exception &exception) {
            self.threw(connection(conn), exception.what());
        } catch (...) {
            self.threw(connection(conn), "an exception that is no std::exception");
        }
#else
        call(self.functions, connection(conn));
#endif
    }

#ifdef __cpp_exceptions
private:
    void threw(connection conn, std::string_view what) const noexcept {
        // A log sink has no say about the connection that a record is about.
        if constexpr (!std::is_same_v<Functions, log_sink>)
            conn.abort(callback_threw);
        try {
            if (hook != nullptr && *hook)
                return (*hook)(conn, what);
        } catch (...) {
            // It is told below as if there were no hook.
        }
        const char *who =
            std::is_same_v<Functions, log_sink> ? "the log sink, about" : "a callback of";
        std::fprintf(stderr, "nativeport: %s connection %llx threw: %.*s\n", who,
                     static_cast<unsigned long long>(conn.id()), static_cast<int>(what.size()),
                     what.data());
    }
#endif
};

/** For handler and for polled_handler. */
template <typename Handler> std::uint32_t flags_of(const Handler &handler) noexcept {
    return (handler.inbox ? NP_HANDLER_INBOX : 0u)
           | (handler.half_close ? NP_HANDLER_HALF_CLOSE : 0u);
}

using handler_border = border<handler>;

inline void on_open(void *user_data, np_conn conn, std::int32_t what, std::uint8_t first_byte) {
    handler_border::run(user_data, conn, [=](const handler &host, connection opened) {
        host.on_open(opened, static_cast<protocol>(what), first_byte);
    });
}

inline void on_frames(void *user_data, np_conn conn, const np_frame *frames, std::size_t count) {
    handler_border::run(user_data, conn, [=](const handler &host, connection from) {
        host.on_frames(from, frames_view(frames, count));
    });
}

inline void on_data(void *user_data, np_conn conn, const std::uint8_t *data, std::size_t len) {
    handler_border::run(user_data, conn, [=](const handler &host, connection from) {
        host.on_data(from, bytes_view(data, len));
    });
}

inline void on_end(void *user_data, np_conn conn) {
    handler_border::run(user_data, conn,
                        [](const handler &host, connection ended) { host.on_end(ended); });
}

inline void on_writable(void *user_data, np_conn conn) {
    handler_border::run(user_data, conn,
                        [](const handler &host, connection to) { host.on_writable(to); });
}

/** For handler and for admission. */
template <typename Functions>
void on_close(void *user_data, np_conn conn, const np_close_info *info) {
    border<Functions>::run(user_data, conn, [=](const Functions &host, connection closed) {
        host.on_close(closed, close_info(*info));
    });
}

inline void on_admit(void *user_data, np_conn conn, std::int32_t what, std::uint8_t first_byte) {
    border<admission>::run(user_data, conn, [=](const admission &host, connection asking) {
        host.on_admit(asking, static_cast<protocol>(what), first_byte);
    });
}

inline void on_log(void *user_data, const np_log_record *record) {
    border<log_sink>::run(user_data, record->conn, [=](const log_sink &sink, connection) {
        sink(log_record(*record));
    });
}

/** Loops cannot be freed while their runtime uses them: those that went too early wait here. */
class loops_left_behind {
public:
    /** For one more loop: what may fail, fails here. */
    void make_room() {
        const std::lock_guard<std::mutex> locked(lock_);
        loops_.reserve(++made_);
    }

    void leave(np_loop *loop) noexcept {
        const std::lock_guard<std::mutex> locked(lock_);
        if (np_loop_free(loop) != NP_OK)
            loops_.push_back(loop);
    }

    void runtime_was_freed() noexcept {
        const std::lock_guard<std::mutex> locked(lock_);
        for (np_loop *loop : loops_)
            np_loop_free(loop);
        loops_.clear();
    }

private:
    std::mutex lock_;
    std::vector<np_loop *> loops_;
    std::size_t made_ = 0;
};

/** For std::unique_ptr: frees a runtime and then the loops that it leaves, or one loop. */
struct freed_with_loops {
    std::shared_ptr<loops_left_behind> left;

    void operator()(np_runtime *runtime) const noexcept {
        require_freed(np_runtime_free(runtime));
        left->runtime_was_freed();
    }
    void operator()(np_loop *loop) const noexcept { left->leave(loop); }
};

} // namespace detail

/* ---- Runtime ------------------------------------------------------------------------------ */

/** Where events go. */
enum class consumer : std::int32_t {
    /** To callbacks, on the thread that moves the bytes. */
    callbacks = NP_CONSUMER_CALLBACKS,
    /** To callbacks, on threads where they may block: workerThreads of them. */
    workers = NP_CONSUMER_WORKERS,
    /** To threads of the host that poll; see loop. */
    poll = NP_CONSUMER_POLL,
};

/** The library's threads. Several may exist in one process; they share nothing. */
class runtime : public detail::fallible {
public:
    /**
     * `hook` is told what callbacks and the log sink throw, from any thread; without one it goes
     * to stderr.
     */
    explicit runtime(const config &config, consumer consumer = consumer::callbacks,
                     exception_hook hook = {})
        : hook_(std::make_shared<const exception_hook>(std::move(hook))),
          runtime_(nullptr, {std::make_shared<detail::loops_left_behind>()}) {
        inherit(config);
        make(runtime_, [&](np_runtime **made, np_error *details) {
            return np_runtime_new(config.handle(), static_cast<std::int32_t>(consumer), made,
                                  details);
        });
    }

    /**
     * Records of this level and the more important ones go to the sink from now on, as far as
     * logLevel of [Runtime] (info) lets them through. Where events are polled there is no sink,
     * and they come as events.
     */
    void set_log(log_level level, log_sink sink = {}) {
        set_up([&](np_error *details) {
            const bool is_set = static_cast<bool>(sink);
            return np_runtime_set_log(handle(), static_cast<std::int32_t>(level),
                                      is_set ? detail::on_log : nullptr,
                                      new detail::border<log_sink>{std::move(sink), hook_},
                                      detail::border<log_sink>::destroy, details);
        });
    }

    /**
     * Begins to stop: nobody comes in any more. Connections may go on for the drain time, and idle
     * ones do; then, or at once without one, they end, and what they have not sent is lost. To let
     * each end behind what was sent, close those of connections() and give them time here.
     */
    status stop(time_limit drain = std::chrono::milliseconds(0)) noexcept {
        return np_runtime_stop(handle(), drain.ms());
    }

    /**
     * Waits until a stop has ended everything; after that no code of the host runs. Where
     * events are polled, the end comes only to those who poll on.
     */
    [[nodiscard]] status wait(time_limit timeout = forever) noexcept {
        return np_runtime_wait(handle(), timeout.ms());
    }

    /** The counters: the sum of the listeners. */
    np_stats stats() const noexcept {
        np_stats stats = NP_STATS_INIT;
        np_runtime_get_stats(handle(), &stats);
        return stats;
    }

    /** All counters in Prometheus' text format. */
    std::string prometheus() const {
        std::string text;
        detail::copy_text(&text, [&](char *buffer, std::size_t size, std::size_t *needed) {
            return np_stats_prometheus(handle(), buffer, size, needed);
        });
        return text;
    }

    /** The connections that the host knows at this moment, also before admission. */
    std::vector<connection> connections() const {
        detail::collected<connection> open;
        const auto add = [](void *all, np_conn conn) -> std::int32_t {
            const auto make = [conn] { return connection(conn); };
            return static_cast<detail::collected<connection> *>(all)->add(make) ? 0 : 1;
        };
        np_runtime_each_conn(handle(), add, &open);
        return open.take();
    }

    np_runtime *handle() const noexcept { return runtime_.get(); }

private:
    friend class listener;
    friend class loop;
    std::shared_ptr<const exception_hook> hook_;
    std::unique_ptr<np_runtime, detail::freed_with_loops> runtime_;
};

/* ---- Listener ----------------------------------------------------------------------------- */

/**
 * One port section, made, started, paused and ended. May outlive its runtime. Where events are
 * polled, its destructor does not wait.
 */
class listener : public detail::fallible {
public:
    /** It does not listen before start. */
    listener(const runtime &runtime, const config &config, std::uint32_t port_index = 0)
        : hook_(runtime.hook_) {
        inherit(runtime);
        inherit(config);
        make(listener_, [&](np_listener **made, np_error *details) {
            return np_listener_new(runtime.handle(), config.handle(), port_index, made, details);
        });
    }

    /** Sets the callbacks of one protocol, before the start; replaces those before. */
    listener &on(protocol protocol, handler handler) {
        return set([&](np_error *details) {
            np_handler table = NP_HANDLER_INIT;
            table.flags = detail::flags_of(handler);
            table.on_open = handler.on_open ? detail::on_open : nullptr;
            table.on_frames = handler.on_frames ? detail::on_frames : nullptr;
            table.on_data = handler.on_data ? detail::on_data : nullptr;
            table.on_end = handler.on_end ? detail::on_end : nullptr;
            table.on_writable = handler.on_writable ? detail::on_writable : nullptr;
            table.on_close = handler.on_close ? detail::on_close<nativeport::handler> : nullptr;
            table.destroy = detail::handler_border::destroy;
            table.user_data = new detail::handler_border{std::move(handler), hook_};
            return on(protocol, table, details);
        });
    }

    /** Serves a protocol where events are polled. */
    listener &on(protocol protocol, polled_handler handler) {
        return set([&](np_error *details) {
            np_handler table = NP_HANDLER_INIT;
            table.flags = detail::flags_of(handler);
            table.user_data = handler.token.object<void>();
            return on(protocol, table, details);
        });
    }

    /** An object in place of callbacks; see handler_of. */
    template <typename T> listener &on(protocol protocol, std::shared_ptr<T> object) {
        return on(protocol, handler_of(std::move(object)));
    }
    /** An object that outlives this listener, as std::ref(object). */
    template <typename T> listener &on(protocol protocol, std::reference_wrapper<T> object) {
        return on(protocol, handler_of(object));
    }

    /**
     * Asks about every connection before it is opened: answer with connection::admit or
     * refuse, in on_admit or later. on_close tells of those that were never opened.
     */
    listener &on_admit(std::function<void(connection, protocol, std::uint8_t first_byte)> on_admit,
                       std::function<void(connection, const close_info &)> on_close = {}) {
        return set([&](np_error *details) {
            np_admission table = NP_ADMISSION_INIT;
            table.on_admit = on_admit ? detail::on_admit : nullptr;
            table.on_close = on_close ? detail::on_close<detail::admission> : nullptr;
            table.destroy = detail::border<detail::admission>::destroy;
            table.user_data = new detail::border<detail::admission>{
                {std::move(on_admit), std::move(on_close)}, hook_};
            return np_listener_on_admit(handle(), &table, details);
        });
    }

    /** Asks where events are polled; the events until it is opened, or ends before, bring the token back. */
    listener &on_admit(token token) {
        return set([&](np_error *details) {
            np_admission table = NP_ADMISSION_INIT;
            table.user_data = token.object<void>();
            return np_listener_on_admit(handle(), &table, details);
        });
    }

    /** Binds and listens; needs a handler (on) first. Callbacks may run from here on. */
    listener &start() {
        return set([&](np_error *details) { return np_listener_start(handle(), details); });
    }

    /** What is listened on; with "port = 0" this tells the port. Empty before the start. */
    std::vector<np_address> addresses() const {
        std::vector<np_address> all;
        np_address address;
        for (std::uint32_t i = 0; np_listener_get_address(handle(), i, &address) == NP_OK; i++)
            all.push_back(address);
        return all;
    }

    /** Accepts nothing until resume. */
    [[nodiscard]] status pause() noexcept { return np_listener_pause(handle()); }
    [[nodiscard]] status resume() noexcept { return np_listener_resume(handle()); }

    /** As runtime::stop and runtime::wait, for this port. */
    status stop(time_limit drain = std::chrono::milliseconds(0)) noexcept {
        return np_listener_stop(handle(), drain.ms());
    }
    [[nodiscard]] status wait(time_limit timeout = forever) noexcept {
        return np_listener_wait(handle(), timeout.ms());
    }

    np_stats stats() const noexcept {
        np_stats stats = NP_STATS_INIT;
        np_listener_get_stats(handle(), &stats);
        return stats;
    }

    np_listener *handle() const noexcept { return listener_.get(); }

private:
    template <typename Call> listener &set(Call call) {
        set_up(call);
        return *this;
    }

    np_status on(protocol protocol, const np_handler &table, np_error *details) noexcept {
        return np_listener_on(handle(), static_cast<std::int32_t>(protocol), &table, details);
    }

    std::shared_ptr<const exception_hook> hook_;
    std::unique_ptr<np_listener, detail::freed_by<np_listener_free>> listener_;
};

/* ---- Loop: events for threads that poll --------------------------------------------------- */

/** What an event tells of: each is named after its callback. */
enum class event_kind : std::int32_t {
    admit = NP_EVENT_ADMIT,
    open = NP_EVENT_OPEN,
    frames = NP_EVENT_FRAMES,
    data = NP_EVENT_DATA,
    end = NP_EVENT_END,
    writable = NP_EVENT_WRITABLE,
    close = NP_EVENT_CLOSE,
    log = NP_EVENT_LOG,
};

/** What an event shows, if it does. Keep it under a name: `*` of a temporary would dangle. */
template <typename T> struct shown : std::optional<T> {
    using std::optional<T>::optional;
    using std::optional<T>::operator*;
    using std::optional<T>::value;
    void operator*() && = delete;
    void operator*() const && = delete;
    void value() && = delete;
    void value() const && = delete;
};

/** Something happened. What it shows is valid until its loop is polled again. */
class event {
public:
    explicit event(const np_event &raw) noexcept : event_(raw) {}

    /** There may be new ones: leave alone what you do not know. */
    event_kind kind() const noexcept { return static_cast<event_kind>(event_.kind); }
    /** None for a line of the log. */
    connection conn() const noexcept { return connection(event_.conn); }
    /** That of the connection's polled_handler; until it is opened, that of on_admit. */
    nativeport::token token() const noexcept { return event_.user_data; }
    /** Of admit and open. */
    nativeport::protocol protocol() const noexcept {
        return static_cast<nativeport::protocol>(event_.protocol);
    }
    std::uint8_t first_byte() const noexcept {
        return static_cast<std::uint8_t>(event_.first_byte);
    }
    /** Empty for other kinds; so is data. */
    frames_view frames() const noexcept {
        return {event_.frames, event_.frames != nullptr ? event_.count : 0};
    }
    bytes_view data() const noexcept {
        return {event_.data, event_.data != nullptr ? event_.count : 0};
    }
    /** Nothing for other kinds; so is log. */
    shown<close_info> close() const noexcept {
        if (event_.close == nullptr)
            return std::nullopt;
        return shown<close_info>(std::in_place, *event_.close);
    }
    shown<log_record> log() const noexcept {
        if (event_.log == nullptr)
            return std::nullopt;
        return shown<log_record>(std::in_place, *event_.log);
    }

    /**
     * Calls the public member of an object that is named and called like the callback for this
     * kind: on_admit(connection, protocol, first_byte), the members of handler,
     * on_log(const log_record &). Without one, nothing happens.
     */
    template <typename T> void visit(T &object) const {
        using namespace detail;
        static_assert(on_admit_callback::is_in<T>() || on_open_callback::is_in<T>()
                          || on_frames_callback::is_in<T>() || on_data_callback::is_in<T>()
                          || on_end_callback::is_in<T>() || on_writable_callback::is_in<T>()
                          || on_close_callback::is_in<T>() || on_log_callback::is_in<T>(),
                      "a visitor has public member functions on_...");
        switch (kind()) {
        case event_kind::admit:
            return on_admit_callback::visit(object, conn(), protocol(), first_byte());
        case event_kind::open:
            return on_open_callback::visit(object, conn(), protocol(), first_byte());
        case event_kind::frames:
            return on_frames_callback::visit(object, conn(), frames());
        case event_kind::data:
            return on_data_callback::visit(object, conn(), data());
        case event_kind::end:
            return on_end_callback::visit(object, conn());
        case event_kind::writable:
            return on_writable_callback::visit(object, conn());
        case event_kind::close:
            return on_close_callback::visit(object, conn(), close_info(*event_.close));
        case event_kind::log:
            return on_log_callback::visit(object, log_record(*event_.log));
        }
    }

private:
    np_event event_;
};

/** What a poll gives: true if it went well, and the events, which may be none. */
class polled_events {
public:
    using iterator = detail::view_iterator<event, np_event>;

    polled_events(nativeport::status status, const np_event *events, std::size_t count) noexcept
        : status_(status), events_(events), count_(count) {}

    explicit operator bool() const noexcept { return static_cast<bool>(status_); }
    nativeport::status status() const noexcept { return status_; }
    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }
    iterator begin() const noexcept { return iterator(events_); }
    iterator end() const noexcept { return iterator(events_ + count_); }
    event operator[](std::size_t index) const noexcept { return event(events_[index]); }

private:
    nativeport::status status_;
    const np_event *events_;
    std::size_t count_;
};

/**
 * A share of a polled runtime's connections: the thread that polls it moves their bytes.
 *
 *     while (const auto events = loop.poll())
 *         for (const nativeport::event event : events)
 *             event.visit(server);
 *
 * One that goes before the runtime has ended leaves its connections to the runtime's destructor.
 */
class loop : public detail::fallible {
public:
    /**
     * Before the first listener starts. A poll gives at most max_events, from input that fits
     * into a buffer of buffer_size bytes, NP_LOOP_BUFFER_MIN_SIZE to
     * NP_LOOP_BUFFER_MAX_SIZE.
     */
    explicit loop(const runtime &runtime, std::size_t max_events = 256,
                  std::size_t buffer_size = NP_LOOP_BUFFER_SIZE)
        : loop(runtime, max_events, nullptr, buffer_size) {}

    /** The same with a buffer of the host's, which outlives the runtime's last poll. */
    loop(const runtime &runtime, std::size_t max_events, std::uint8_t *buffer,
         std::size_t buffer_size)
        : events_(max_events), loop_(nullptr, runtime.runtime_.get_deleter()) {
        inherit(runtime);
        make(loop_, [&](np_loop **made, np_error *details) {
            if (max_events == 0) {
                std::strcpy(details->message, "max_events is 0: a poll could tell nothing");
                return NP_ERR_ARGUMENT;
            }
            // Of a runtime that was moved from there is none; np_loop_new says so.
            if (const auto &left = loop_.get_deleter().left)
                left->make_room();
            return np_loop_new(runtime.handle(), buffer, buffer_size, made, details);
        });
    }

    /**
     * Moves bytes, waits for events, and gives them; none if the time has passed or wake was
     * called. One thread at a time: others are answered NP_ERR_STATE. NP_ERR_STOPPED when the
     * runtime has ended and everything was told. A send to a connection whose queue is full
     * answers NP_ERR_WOULD_BLOCK here. Poll soon again: nothing moves in between.
     */
    [[nodiscard]] polled_events poll(time_limit timeout = forever) noexcept {
        std::size_t count = 0;
        const status answered = np_loop_poll(handle(), events_.data(), events_.size(),
                                             timeout.ms(), &count);
        return {answered, events_.data(), count};
    }

    /** Lets the poll that is under way return early, or else the next one. From any thread. */
    status wake() const noexcept { return np_loop_wake(handle()); }

    np_loop *handle() const noexcept { return loop_.get(); }

private:
    std::vector<np_event> events_;
    std::unique_ptr<np_loop, detail::freed_with_loops> loop_;
};

} // inline namespace
} // namespace nativeport

template <> struct std::hash<nativeport::connection> {
    std::size_t operator()(nativeport::connection conn) const noexcept {
        return std::hash<std::uint64_t>()(conn.id());
    }
};

#endif
