package org.nativeport;

import java.io.IOException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;

/** A way in which a program consumes what its connections have for it. What it does with that is the same in each. */
enum Way {
    /** Each connection has a thread of the program's, which waits. */
    THREAD {
        @Override
        void consume(SocketClientCommunication client, Program program) {
            Tasks.start(() -> converse(client, program));
        }

        @Override
        void consume(ISocket socket, Program program) {
            Tasks.start(() -> converse(socket, program));
        }
    },

    /** The callback for a connection waits, on a thread of the runtime's. */
    CALLBACK {
        @Override
        void consume(SocketClientCommunication client, Program program) throws Exception {
            converse(client, program);
        }
    },

    /** A handler is shown the transactions on the loop's thread. */
    FAST {
        @Override
        void consume(SocketClientCommunication client, Program program) {
            client.onFrame(
                    frame -> {
                        byte[] transaction = frame.toByteArray();
                        byte[] answer = program.answer(client, transaction);
                        if (answer == transaction) {
                            client.write(frame);
                        } else if (answer != null) {
                            client.write(answer);
                        }
                    });
        }
    },

    /** One read is completed after the other. */
    ASYNC {
        @Override
        void consume(SocketClientCommunication client, Program program) {
            client.readAsync()
                    .thenCompose(transaction -> answer(client, program, transaction))
                    .whenComplete(
                            (answered, failure) -> {
                                if (failure == null && answered) {
                                    consume(client, program);
                                } else {
                                    client.close();
                                }
                            });
        }
    };

    /** What a program does, in whatever way its input comes. */
    interface Program {
        /** The answer to a transaction; null for none. */
        byte[] answer(SocketClientCommunication client, byte[] transaction) throws Exception;

        /** What a peer gets that has ended; null for nothing. */
        default byte[] farewell() {
            return null;
        }
    }

    /** Sends everything back. */
    static final Program ECHO = (client, transaction) -> transaction;

    /** Whether the program hears of the end of the peer's input, and closes the connection itself. */
    boolean hearsTheEnd() {
        return this != FAST;
    }

    abstract void consume(SocketClientCommunication client, Program program) throws Exception;

    /** A stream has to be waited for. */
    void consume(ISocket socket, Program program) throws IOException {
        converse(socket, program);
    }

    private static void converse(SocketClientCommunication client, Program program)
            throws Exception {
        try (client) {
            for (byte[] next; (next = client.read()) != null; ) {
                byte[] answer = program.answer(client, next);
                if (answer != null) {
                    client.write(answer);
                }
            }
            byte[] farewell = program.farewell();
            if (farewell != null) {
                client.write(farewell);
            }
        }
    }

    private static void converse(ISocket socket, Program program) throws IOException {
        try (socket) {
            socket.getInputStream().transferTo(socket.getOutputStream());
            byte[] farewell = program.farewell();
            if (farewell != null) {
                socket.getOutputStream().write(farewell);
            }
        }
    }

    /** Completes with whether to go on. */
    private static CompletionStage<Boolean> answer(
            SocketClientCommunication client, Program program, byte[] transaction) {
        byte[] answer;
        try {
            answer = transaction == null ? program.farewell() : program.answer(client, transaction);
        } catch (Exception failure) {
            throw new CompletionException(failure);
        }
        CompletionStage<Void> sent =
                answer == null
                        ? CompletableFuture.completedFuture(null)
                        : client.writeAsync(answer);
        return sent.thenApply(nothing -> transaction != null);
    }
}
