package org.nativeport;

class JdkLateTls12SocketTest extends JdkLateTlsContract {
    JdkLateTls12SocketTest() {
        super("TLSv1.2");
    }
}
