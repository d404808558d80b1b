package f3.openwhisk;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import javax.net.SocketFactory;

/**
 * Makes what gRPC's OkHttp transport takes for TCP sockets and what is a connection to one Unix
 * socket, whatever address is asked for. Thread-safe.
 */
final class UnixSocketFactory extends SocketFactory {
  private final UnixDomainSocketAddress address;

  UnixSocketFactory(Path path) {
    address = UnixDomainSocketAddress.of(path);
  }

  @Override
  public Socket createSocket() throws IOException {
    return new UnixSocket(SocketChannel.open(address), address);
  }

  @Override
  public Socket createSocket(String host, int port) throws IOException {
    return createSocket();
  }

  @Override
  public Socket createSocket(String host, int port, InetAddress local, int localPort)
      throws IOException {
    return createSocket();
  }

  @Override
  public Socket createSocket(InetAddress host, int port) throws IOException {
    return createSocket();
  }

  @Override
  public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort)
      throws IOException {
    return createSocket();
  }

  /** As much of a socket as the transport uses. One thread reads while another writes. */
  private static final class UnixSocket extends Socket {
    private final SocketChannel channel;
    private final SocketAddress peer;

    UnixSocket(SocketChannel channel, SocketAddress peer) {
      this.channel = channel;
      this.peer = peer;
    }

    @Override
    public InputStream getInputStream() {
      return new ChannelInput(channel);
    }

    @Override
    public OutputStream getOutputStream() {
      return new ChannelOutput(channel);
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }

    @Override
    public boolean isClosed() {
      return !channel.isOpen();
    }

    @Override
    public boolean isConnected() {
      return true;
    }

    @Override
    public SocketAddress getRemoteSocketAddress() {
      return peer;
    }

    @Override
    public SocketAddress getLocalSocketAddress() {
      return peer;
    }

    @Override
    public void setTcpNoDelay(boolean on) {} // there is nothing to delay

    @Override
    public void setSoTimeout(int millis) {} // calls have deadlines; the transport sets none here
  }

  // The streams of java.nio.channels.Channels share one lock in Java 17, so that a waiting reader
  // would block the writer; these have none.
  private static final class ChannelInput extends InputStream {
    private final SocketChannel channel;

    ChannelInput(SocketChannel channel) {
      this.channel = channel;
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      return channel.read(ByteBuffer.wrap(bytes, offset, length));
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }

  private static final class ChannelOutput extends OutputStream {
    private final SocketChannel channel;

    ChannelOutput(SocketChannel channel) {
      this.channel = channel;
    }

    @Override
    public void write(int value) throws IOException {
      write(new byte[] {(byte) value}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
      ByteBuffer left = ByteBuffer.wrap(bytes, offset, length);
      while (left.hasRemaining()) {
        channel.write(left);
      }
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }
}
