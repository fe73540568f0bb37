"""Servers by Python's own doors: one request on the given port, then the end. `listening` is the test's event."""

import asyncio
import http.server
import socket
import socketserver
import sys


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"stolen {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Standard output and error belong to the test."""


def http_server(port: str) -> None:
    with http.server.HTTPServer(("0.0.0.0", int(port)), _Handler) as server:
        print("listening", flush=True)
        server.handle_request()


def forking(port: str) -> None:
    class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
        """A child for the connection."""

    with Server(("", int(port)), _Handler) as server:
        print("listening", flush=True)
        server.handle_request()


def raw(port: str) -> None:
    with socket.create_server(("", int(port))) as server:
        print("listening", server.getsockname(), flush=True)
        client, peer = server.accept()
        with client, client.makefile("rb") as lines:
            while lines.readline() not in (b"\r\n", b""):
                pass
            print("own", *client.getsockname())
            body = f"stolen {peer[0]}\n".encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def _serve(port: str) -> None:
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"stolen {writer.get_extra_info('peername')[0]}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set()

    server = await asyncio.start_server(handle, "0.0.0.0", int(port))
    print("listening", flush=True)
    await done.wait()
    server.close()
    await server.wait_closed()


def streams(port: str) -> None:
    asyncio.run(asyncio.wait_for(_serve(port), 25))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
