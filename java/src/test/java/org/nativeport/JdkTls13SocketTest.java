package org.nativeport;

class JdkTls13SocketTest extends JdkTlsSocketContract {
    JdkTls13SocketTest() {
        super("TLSv1.3");
    }
}
