"""A pod for the agent's tests: a TCP service, a name server, and a client that the test drives by lines on stdin.

Run in namespaces of its own by `tests/common/mod.rs`. Every command is answered by one line; the first line of all says
that the services are up.
"""

import socket
import struct
import sys
import threading

NAMES = {b"db.shop.svc.": ("10.9.8.7", "fd00::7"), b"only4.": ("10.9.8.8", None)}


def serve_tcp(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=echo, args=(client,), daemon=True).start()


def echo(client: socket.socket) -> None:
    client.sendall(b"pod\n")
    while data := client.recv(65536):
        client.sendall(data)
    client.close()


def read_name(packet: bytes) -> tuple[bytes, int]:
    name, at = b"", 12
    while length := packet[at]:
        name += packet[at + 1 : at + 1 + length].lower() + b"."
        at += 1 + length
    return name, at + 1


def answer(packet: bytes) -> bytes:
    name, end = read_name(packet)
    kind = struct.unpack("!H", packet[end : end + 2])[0]
    question = packet[12 : end + 4]
    records, code = b"", 0
    if name == b"big.":
        return packet[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + question
    if name not in NAMES:
        code = 3
    else:
        v4, v6 = NAMES[name]
        data = {1: v4 and socket.inet_aton(v4), 28: v6 and socket.inet_pton(socket.AF_INET6, v6)}.get(kind)
        if data:
            records = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 30, len(data)) + data
    header = packet[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if records else 0, 0, 0)
    return header + question + records


def serve_names(server: socket.socket) -> None:
    while True:
        packet, peer = server.recvfrom(65536)
        if read_name(packet)[0] == b"silent.":
            continue
        server.sendto(answer(packet), peer)


def serve_names_by_tcp(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        length = struct.unpack("!H", client.recv(2))[0]
        packet = client.recv(length)
        _, end = read_name(packet)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 30, 4) + b"\x03big"
        reply = packet[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + packet[12 : end + 4] + record
        client.sendall(struct.pack("!H", len(reply)) + reply)
        client.close()


def listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(16)
    return server


def command(words: list[str], clients: list[socket.socket]) -> str:
    if words[0] == "connect":
        clients.append(socket.create_connection((words[1], int(words[2])), timeout=5))
        return clients[-1].recv(100).decode().strip()
    client = clients[int(words[1])]
    client.sendall(words[2].encode())
    return client.recv(100).decode().strip()


def main() -> None:
    service = listen("::", 8080)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    names_by_tcp = listen("127.0.0.1", 53)
    for target, server in ((serve_tcp, service), (serve_names, names), (serve_names_by_tcp, names_by_tcp)):
        threading.Thread(target=target, args=(server,), daemon=True).start()
    clients: list[socket.socket] = []
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(command(line.split(), clients), flush=True)
        except OSError as error:
            print(f"error {error.errno}", flush=True)


main()
