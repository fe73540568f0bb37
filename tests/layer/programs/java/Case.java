// Files, names, connections and children by Java's own doors; the first argument names the case.
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;

public final class Case {
    private static String sha(byte[] data) throws Exception {
        StringBuilder text = new StringBuilder();
        for (byte part : MessageDigest.getInstance("SHA-256").digest(data)) {
            text.append(String.format("%02x", part));
        }
        return text.toString();
    }

    private static void read(String... names) throws Exception {
        for (String name : names) {
            Path path = Path.of(name);
            System.out.println(Files.size(path) + " " + sha(Files.readAllBytes(path)));
            try (RandomAccessFile file = new RandomAccessFile(name, "r")) {
                file.seek(10);
                System.out.println(file.length() + " " + file.read());
            }
            try (FileChannel channel = FileChannel.open(path)) {
                ByteBuffer view = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
                byte[] copy = new byte[view.remaining()];
                view.get(copy);
                System.out.println(sha(copy));
            }
        }
    }

    private static void list(String folder) throws Exception {
        try (Stream<Path> entries = Files.list(Path.of(folder))) {
            System.out.println(entries.count());
        }
        try (Stream<Path> entries = Files.walk(Path.of(folder))) {
            List<String> names = entries.map(Path::toString).sorted().collect(Collectors.toList());
            System.out.println(String.join("\n", names));
        }
    }

    private static void stat(String... names) {
        for (String name : names) {
            try {
                BasicFileAttributes info =
                    Files.readAttributes(Path.of(name), BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
                System.out.println(name + " " + info.isRegularFile() + " " + info.isSymbolicLink() + " "
                    + info.lastModifiedTime() + " " + Path.of(name).toFile().length());
                System.out.println(Path.of(name).toRealPath());
            } catch (Exception problem) {
                System.out.println(name + " " + problem.getClass().getSimpleName());
            }
        }
    }

    private static void get(String url) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(20)).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20)).build();
        HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
    }

    private static void exchange(String host, int port) throws Exception {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), 20_000);
            System.out.println(socket.getInetAddress().getHostAddress() + " " + socket.getPort());
            socket.getOutputStream().write("hello".getBytes(StandardCharsets.US_ASCII));
            socket.shutdownOutput();
            System.out.println(new String(socket.getInputStream().readAllBytes(), StandardCharsets.US_ASCII));
        }
    }

    private static void channel(String host, int port) throws Exception {
        try (SocketChannel socket = SocketChannel.open(); Selector selector = Selector.open()) {
            socket.configureBlocking(false);
            socket.register(selector, SelectionKey.OP_CONNECT);
            boolean done = socket.connect(new InetSocketAddress(host, port));
            while (!done && selector.select(20_000) > 0) {
                selector.selectedKeys().clear();
                done = socket.finishConnect();
            }
            System.out.println(done + " " + ((InetSocketAddress) socket.getRemoteAddress()).getPort());
        } catch (Exception problem) {
            System.out.println(problem.getClass().getSimpleName());
        }
    }

    private static void refused(String host, int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), 5_000);
            System.out.println("connected");
        } catch (Exception problem) {
            System.out.println(problem.getClass().getSimpleName());
        }
    }

    private static void names(String... names) throws Exception {
        for (String name : names) {
            try {
                System.out.println(name + " " + Arrays.stream(InetAddress.getAllByName(name))
                    .map(InetAddress::getHostAddress).sorted().collect(Collectors.toList()));
            } catch (UnknownHostException problem) {
                System.out.println(name + " unknown");
            }
        }
        System.out.println(InetAddress.getLocalHost().getHostName());
    }

    private static void loopback() throws Exception {
        try (ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
             Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
             Socket accepted = server.accept()) {
            client.getOutputStream().write('x');
            System.out.println((char) accepted.getInputStream().read());
            System.out.println(accepted.getPort() == client.getLocalPort());
        }
    }

    private static void environment(String... names) {
        for (String name : names) {
            System.out.println(name + " " + System.getenv(name));
        }
    }

    private static void children(String path) throws Exception {
        for (boolean clean : new boolean[] {false, true}) {
            ProcessBuilder builder = new ProcessBuilder("/bin/cat", path).redirectErrorStream(true);
            if (clean) {
                builder.environment().clear();
            }
            Process process = builder.start();
            try (InputStream output = process.getInputStream()) {
                System.out.print(new String(output.readAllBytes(), StandardCharsets.UTF_8));
            }
            System.out.println(process.waitFor(20, TimeUnit.SECONDS) + " " + process.exitValue());
        }
    }

    public static void main(String[] arguments) throws Exception {
        String[] rest = Arrays.copyOfRange(arguments, 1, arguments.length);
        switch (arguments[0]) {
            case "read" -> read(rest);
            case "list" -> list(rest[0]);
            case "stat" -> stat(rest);
            case "get" -> get(rest[0]);
            case "exchange" -> exchange(rest[0], Integer.parseInt(rest[1]));
            case "channel" -> channel(rest[0], Integer.parseInt(rest[1]));
            case "refused" -> refused(rest[0], Integer.parseInt(rest[1]));
            case "names" -> names(rest);
            case "loopback" -> loopback();
            case "environment" -> environment(rest);
            case "children" -> children(rest[0]);
            default -> System.exit(64);
        }
    }
}
