"""Prints the addresses of a name, sorted, one a line."""

import socket
import sys

for address in sorted({entry[4][0] for entry in socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)}):
    print(address)
