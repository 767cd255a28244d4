package org.nativeport;

class JdkTls12SocketTest extends JdkTlsSocketContract {
    JdkTls12SocketTest() {
        super("TLSv1.2");
    }
}
