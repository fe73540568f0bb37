// One request on the given port, then the end; `listening` is the test's event.
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

public final class Incoming {
    public static void main(String[] arguments) throws Exception {
        try (ServerSocket server = new ServerSocket(Integer.parseInt(arguments[0]))) {
            System.out.println("listening " + server.getLocalPort());
            try (Socket client = server.accept()) {
                byte[] buffer = new byte[4096];
                StringBuilder request = new StringBuilder();
                while (request.indexOf("\r\n\r\n") < 0) {
                    int length = client.getInputStream().read(buffer);
                    if (length < 0) {
                        break;
                    }
                    request.append(new String(buffer, 0, length, StandardCharsets.ISO_8859_1));
                }
                System.out.println("own " + client.getLocalAddress().getHostAddress() + " " + client.getLocalPort());
                String body = "stolen " + client.getInetAddress().getHostAddress() + "\n";
                client.getOutputStream().write(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
                    + body.length() + "\r\n\r\n" + body).getBytes(StandardCharsets.ISO_8859_1));
            }
        }
    }
}
