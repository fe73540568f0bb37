"""Connects to an address once for each line of its input and says how it went; ends with status 9 when it fails."""

import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
try:
    for _line in iter(sys.stdin.readline, ""):
        with socket.create_connection((host, port), timeout=30):
            print("connected", flush=True)
except OSError as problem:
    print(f"lost {type(problem).__name__} {problem.errno}", flush=True)
    sys.exit(9)
