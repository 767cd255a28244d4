package org.nativeport;

class JdkLateTls13SocketTest extends JdkLateTlsContract {
    JdkLateTls13SocketTest() {
        super("TLSv1.3");
    }
}
