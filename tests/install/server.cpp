/* Starts a server and ends it, from the outside: what is installed is all there is. */
#include <nativeport.hpp>

#include <cstdio>

int main() {
    nativeport::config config;
    config.load_string("[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=T\n[T]\nselfSigned=here\n",
                       "ini");
    nativeport::runtime runtime(config);
    nativeport::listener listener(runtime, config);
    nativeport::handler echo;
    echo.on_frames = [](nativeport::connection conn, nativeport::frames_view frames) {
        static_cast<void>(conn.send_frames(frames));
    };
    listener.on(nativeport::protocol::client, echo).start();
    std::printf("%s %s\n", NP_VERSION_STRING, np_version_string());
    return 0;
}
