"""Answers each connection to a port with one line, `local PEER LINE`, until its input ends."""

import os
import socket
import sys
import threading

listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print(f"listening {os.getpid()}", flush=True)


def serve() -> None:
    while True:
        connection, peer = listener.accept()
        with connection, connection.makefile("rw") as stream:
            line = stream.readline().rstrip("\n")
            stream.write(f"local {peer[0]} {line}\n")


threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
