"""Requests against a small server: what is tried again, and which words a refusal becomes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from mirrord.errors import (
    KUBE_ADMISSION,
    KUBE_API,
    KUBE_FORBIDDEN,
    KUBE_QUOTA,
    KUBE_UNAUTHORIZED,
    KUBE_UNREACHABLE,
    Kind,
    MirrordError,
)
from mirrord.kube.access import Access
from mirrord.kube.api import Api
from mirrord.kube.package import parts

POD = "/api/v1/namespaces/shop/pods/x"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"


class Server(ThreadingHTTPServer):
    """Gives the answers of a list, one per request, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, body))
        status, value = self.server.answers.pop(0)
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 - the base class asks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    configuration = parts().configuration.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    configuration.retries = 1
    api = Api(Access(configuration, "shop"))
    yield api
    api._rest.close()


def test_objects_come_back_and_404_is_an_answer(server: Server, api: Api) -> None:
    server.answers = [(200, {"a": 1}), (404, {"message": "no"}), (404, {"message": "no"})]
    assert api.find(POD) == {"a": 1}
    assert api.find(POD) is None
    assert api.delete(POD, {}) is False


def test_reads_are_tried_again_and_writes_only_when_nothing_was_done(server: Server, api: Api) -> None:
    server.answers = [(500, b"oops"), (200, {"a": 1}), (429, {}), (201, {"b": 2}), (500, {"message": "dead"})]
    assert api.get(POD) == {"a": 1}
    assert api.create(JOBS, {"x": 1}) == {"b": 2}
    with pytest.raises(MirrordError):
        api.create(JOBS, {})
    assert len(server.asked) == 5
    assert json.loads(server.asked[3][2]) == {"x": 1}


@pytest.mark.parametrize(
    ("status", "message", "kind", "part"),
    [
        (401, "Unauthorized", KUBE_UNAUTHORIZED, "does not know us"),
        (403, 'jobs.batch is forbidden: User "dev" cannot create', KUBE_FORBIDDEN, "`jobs` in namespace `shop`"),
        (403, "exceeded quota: q", KUBE_QUOTA, "`jobs`"),
        (400, 'admission webhook "w" denied the request', KUBE_ADMISSION, "`jobs`"),
        (422, "spec is wrong", KUBE_API, "`jobs`"),
    ],
)
def test_refusals_have_their_own_words(
    server: Server, api: Api, status: int, message: str, kind: Kind, part: str
) -> None:
    server.answers = [(status, {"message": message})]
    with pytest.raises(MirrordError) as caught:
        api.create(JOBS, {})
    assert caught.value.kind is kind
    assert part in caught.value.message
    assert any(message in cause for cause in caught.value.causes)


def test_forbidden_names_the_missing_verb(server: Server, api: Api) -> None:
    server.answers = [(403, {"message": "no"})]
    with pytest.raises(MirrordError) as caught:
        api.create(JOBS, {})
    assert "the verb `create` on `jobs` in namespace `shop`" in str(caught.value.hint)


def test_page_of_a_proxy_is_quoted_not_parsed(server: Server, api: Api) -> None:
    server.answers = [(403, b"<html>log in first</html>")]
    with pytest.raises(MirrordError) as caught:
        api.get(POD)
    assert "log in first" in caught.value.causes[0]


def test_watch_gives_events_as_they_are_cut(server: Server, api: Api) -> None:
    server.answers = [(200, b'{"type":"ADDED","object":{}}\n\n{"type":"MODIFIED","object":{"a":1}}\n')]
    assert [change["type"] for change in api.watch(POD, 1)] == ["ADDED", "MODIFIED"]
    assert "watch=1" in server.asked[0][1]


def test_server_that_is_not_there_is_named(server: Server) -> None:
    configuration = parts().configuration.Configuration(host="http://127.0.0.1:1")
    configuration.retries = 0
    with pytest.raises(MirrordError) as caught:
        Api(Access(configuration, "shop")).get(POD)
    assert caught.value.kind is KUBE_UNREACHABLE
    assert "`http://127.0.0.1:1`" in caught.value.message
