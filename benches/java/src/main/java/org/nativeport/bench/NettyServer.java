package org.nativeport.bench;

import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteOrder;
import java.util.List;

/**
 * Netty over NIO with its length decoder. One event loop accepts and serves; one write per frame, and a flush
 * when a read is drained.
 *
 * <p>It is measured at its best: a frame keeps its header, so that sending it back needs no further
 * buffer, and nobody looks whether the peer reads.
 */
public final class NettyServer {
    public static void main(String[] words) throws Exception {
        Arguments arguments = Arguments.of(words);
        SslContext tls =
                arguments.tls() == null
                        ? null
                        : SslContextBuilder.forServer(new Identity(arguments.tls()).keys())
                                .sslProvider(arguments.openssl() ? SslProvider.OPENSSL : SslProvider.JDK)
                                .protocols(Identity.PROTOCOLS)
                                .build();
        EventLoopGroup loop = new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory());
        Channel channel =
                new ServerBootstrap()
                        .group(loop)
                        .channel(NioServerSocketChannel.class)
                        .option(ChannelOption.SO_BACKLOG, 4096)
                        .childOption(ChannelOption.TCP_NODELAY, true)
                        .childOption(ChannelOption.ALLOCATOR, PooledByteBufAllocator.DEFAULT)
                        .childHandler(
                                new ChannelInitializer<Channel>() {
                                    @Override
                                    protected void initChannel(Channel channel) {
                                        if (tls != null) {
                                            channel.pipeline()
                                                    .addLast(tls.newHandler(channel.alloc()));
                                        }
                                        channel.pipeline().addLast(new Identify(), new Frames(), new Echo());
                                    }
                                })
                        .bind("127.0.0.1", arguments.port())
                        .sync()
                        .channel();
        Arguments.listening(((InetSocketAddress) channel.localAddress()).getPort());
    }

    /** The first byte, and the answer to it. */
    private static final class Identify extends ByteToMessageDecoder {
        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) {
            if (in.readByte() != 1) {
                context.close();
                return;
            }
            context.writeAndFlush(context.alloc().buffer(1).writeByte(1));
            // What else there is goes on to the next handler.
            context.pipeline().remove(this);
        }
    }

    private static final class Frames extends LengthFieldBasedFrameDecoder {
        Frames() {
            super(Integer.MAX_VALUE, 0, 4, 0, 0);
        }

        /** Its highest bit says that the payload is compressed. */
        @Override
        protected long getUnadjustedFrameLength(ByteBuf in, int offset, int length, ByteOrder order) {
            return in.getInt(offset) & 0x7fff_ffff;
        }
    }

    private static final class Echo extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object frame) {
            context.write(frame, context.voidPromise());
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable failure) {
            // A peer that resets is no news.
            if (!(failure instanceof IOException)) {
                failure.printStackTrace();
            }
            context.close();
        }
    }
}
