#!/usr/bin/env python3
"""Resolves a name of the cluster."""

import socket

addresses = {entry[4][0] for entry in socket.getaddrinfo("catalog.shop.internal", 8080, socket.AF_INET)}
print(*sorted(addresses))
