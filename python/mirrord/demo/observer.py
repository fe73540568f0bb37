"""An ordinary program that says what it sees: variables, a file, a name, two services, and a request that it answers.

`mirrord demo` runs it twice, plain and in the context of the demo target; there is nothing of mirrord in it. It prints
one JSON object per line: what was tried, whether it worked, and what came of it. Its only argument is the port to
listen on.
"""

import json
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable

PATIENCE = 5.0
SERVICE = "catalog.shop.internal"


def variable() -> str:
    return f"{os.environ['SHOP_NAME']}: {os.environ['GREETING']}"


def file() -> str:
    with open("/app/config/settings.json", encoding="utf-8") as settings:
        return settings.read().strip()


def name() -> str:
    found = socket.getaddrinfo(SERVICE, 8080, type=socket.SOCK_STREAM)
    return " ".join(sorted({str(address[0]) for *_, address in found}))


def web_service() -> str:
    return get(f"http://{SERVICE}:8080/")


def database() -> str:
    with socket.create_connection(("db.shop.internal", 5432), PATIENCE) as connection:
        return connection.makefile("r").readline().strip()


def incoming() -> str:
    """Listen, have somebody in the cluster ask the target's port 80, and answer it from here."""
    listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))  # noqa: S104 - as a web server would
    listener.settimeout(PATIENCE)
    clients: list[str] = []
    threading.Thread(target=answer_one, args=(listener, clients), daemon=True).start()
    got = get("http://control.shop.internal:9000/ask/")
    return f"{clients[0] if clients else 'somebody'} asked the target, and got: {got}"


def answer_one(listener: socket.socket, clients: list[str]) -> None:
    with listener:
        connection, client = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        clients.append(client[0])
        connection.recv(4096)
        body = b"hello from your machine"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


def get(url: str) -> str:
    # Never by a proxy that this machine's environment names: the question is what is reachable from here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode().strip())


def attempt(look: Callable[[], str]) -> tuple[bool, str]:
    """What `look` gives, or why it gives nothing; bounded, because a machine's resolver can take its time."""
    outcome = [(False, f"no answer within {PATIENCE:.0f} s")]

    def run() -> None:
        try:
            outcome.append((True, look()))
        except KeyError as missing:
            outcome.append((False, f"{missing.args[0]} is not set"))
        except OSError as problem:
            outcome.append((False, str(getattr(problem, "reason", None) or problem.strerror or problem)))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE + 1)
    return outcome[-1]


def main() -> None:
    for look in (variable, file, name, web_service, database, incoming):
        worked, text = attempt(look)
        print(json.dumps({"what": look.__name__, "worked": worked, "text": text}), flush=True)


if __name__ == "__main__":
    main()
