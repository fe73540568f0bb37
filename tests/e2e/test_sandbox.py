"""The demo target itself, without mirrord: what is inside, and that nothing stays."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from mirrord.demo.inside import content
from mirrord.demo.sandbox import Sandbox, SandboxError

from .traces import Traces


@pytest.fixture(scope="module")
def sandbox() -> "Iterator[Sandbox]":
    sandbox = Sandbox()
    try:
        sandbox.start()
    except SandboxError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    try:
        yield sandbox
    finally:
        sandbox.close()


def inside(sandbox: Sandbox, *argv: str) -> bytes:
    done = sandbox.run(argv, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return bytes(done.stdout)


def test_target_process_has_the_demo_environment(sandbox: Sandbox) -> None:
    with open(f"/proc/{sandbox.pid}/environ", "rb") as file:
        entries = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if entry)
    assert entries == content.ENVIRONMENT
    assert entries[b"LATIN1_NAME"] == b"caf\xe9"


def test_host_name_and_hosts_are_the_pods(sandbox: Sandbox) -> None:
    assert inside(sandbox, "cat", "/proc/sys/kernel/hostname").strip().decode() == content.HOST_NAME
    assert inside(sandbox, "cat", "/etc/hosts") == content.HOSTS


def test_binary_file_is_the_same_each_time(sandbox: Sandbox) -> None:
    assert inside(sandbox, "cat", "/data/blob.bin") == content.binary()
    assert len(content.binary()) == content.BINARY_SIZE


def test_links_lead_where_they_say(sandbox: Sandbox) -> None:
    for link in ("absolute-link", "relative-link", "deep/er/est/up-link"):
        assert inside(sandbox, "cat", f"/data/{link}") == b"hello from the target\n"


def test_secret_file_is_unreadable_for_the_target(sandbox: Sandbox) -> None:
    done = sandbox.run(["cat", "/data/secret.key"], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b"Permission denied" in done.stderr


def test_machines_folders_are_read_only_inside(sandbox: Sandbox) -> None:
    done = sandbox.run(["touch", "/usr/bin/written"], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b"Read-only" in done.stderr


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("catalog.shop.internal", "AF_INET", [content.WEB_V4]),
        ("catalog.shop.internal", "AF_INET6", [content.WEB_V6]),
        ("db", "AF_INET", [content.DATABASE_V4]),
        ("WWW.Shop.Internal", "AF_INET", [content.WEB_V4]),
        ("v4only.shop.internal", "AF_INET6", "No address associated with hostname"),
        ("missing.shop.internal", "AF_INET", "Name or service not known"),
        ("legacy-db.example", "AF_INET", [content.DATABASE_V4]),
        ("many.shop.internal", "AF_INET", sorted(f"10.77.1.{number}" for number in range(1, 61))),
    ],
)
def test_names_resolve_as_in_the_cluster(sandbox: Sandbox, name: str, family: str, expected: object) -> None:
    code = f"""
import json, socket
try:
    found = socket.getaddrinfo({name!r}, 80, socket.{family}, socket.SOCK_STREAM)
    print(json.dumps(sorted(address[0] for *_, address in found)))
except socket.gaierror as error:
    print(json.dumps(error.strerror))
"""
    assert json.loads(inside(sandbox, os.path.realpath(sys.executable), "-I", "-S", "-c", code)) == expected


def test_addresses_have_names(sandbox: Sandbox) -> None:
    code = f"import socket; print(socket.gethostbyaddr({content.WEB_V6!r})[0])"
    found = inside(sandbox, os.path.realpath(sys.executable), "-I", "-S", "-c", code)
    assert found.strip() == b"catalog.shop.internal"


def test_database_speaks_first(sandbox: Sandbox) -> None:
    code = """
import socket
for address in ("10.77.0.3", "fd00:77::3"):
    with socket.create_connection((address, 5432), 5) as connection:
        lines = connection.makefile("rwb")
        print(lines.readline())
        lines.write(b"GET pear\\n"); lines.flush()
        print(lines.readline())
"""
    seen = inside(sandbox, os.path.realpath(sys.executable), "-I", "-S", "-c", code).decode().splitlines()
    assert seen == [repr(content.DATABASE_GREETING), repr(b"+4\r\n")] * 2


def test_customer_reaches_the_pod_from_its_own_address(sandbox: Sandbox) -> None:
    assert sandbox.request() == content.POD_BODY
    assert sandbox.request("/client") == content.CUSTOMER_V4.encode() + b"\n"


def test_control_service_makes_the_customer_ask(sandbox: Sandbox) -> None:
    code = """
import urllib.request
print(urllib.request.urlopen("http://control.shop.internal:9000/ask/client", timeout=10).read())
"""
    seen = inside(sandbox, os.path.realpath(sys.executable), "-I", "-S", "-c", code)
    assert seen.strip() == repr(content.CUSTOMER_V4.encode() + b"\n").encode()


def test_stalled_port_neither_answers_nor_refuses(sandbox: Sandbox) -> None:
    code = """
import socket
try:
    socket.create_connection(("stalled.shop.internal", 7777), 0.3)
except TimeoutError:
    print("in progress")
"""
    assert inside(sandbox, os.path.realpath(sys.executable), "-I", "-S", "-c", code) == b"in progress\n"


def test_services_are_out_of_reach_from_outside(sandbox: Sandbox) -> None:
    heard = b""
    # What this machine's own network does with such an address is its own affair.
    with (
        contextlib.suppress(OSError),
        socket.create_connection((content.DATABASE_V4, content.DATABASE_PORT), 0.5) as it,
    ):
        heard = it.recv(100)
    assert heard != content.DATABASE_GREETING


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9)])
def test_run_ends_as_the_program_ends(sandbox: Sandbox, script: str, status: int) -> None:
    assert sandbox.run(["sh", "-c", script], timeout=20).returncode == status


def test_shared_folder_is_shown_inside(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "note").write_text("from the machine")
    try:
        with Sandbox(share=[str(folder)]) as sandbox:
            assert inside(sandbox, "cat", f"{folder}/note") == b"from the machine"
    except SandboxError as error:
        pytest.skip(f"{error.message}: {error.hint}")


def test_close_leaves_nothing(sandbox: Sandbox) -> None:
    other = Sandbox()
    other.start()
    assert other._builder is not None
    with Traces(other._builder.pid) as traces:
        assert len(traces.processes) == 4
        other.close()
        assert traces.left() == []


@pytest.mark.parametrize("victim", ["creator", "builder"])
def test_kill_leaves_nothing(sandbox: Sandbox, victim: str) -> None:
    code = """
import signal
from mirrord.demo.sandbox import Sandbox
sandbox = Sandbox()
sandbox.start()
print(sandbox._builder.pid, flush=True)
signal.pause()
"""
    creator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert creator.stdout is not None
        builder = int(creator.stdout.readline())
        with Traces(builder) as traces:
            os.kill(creator.pid if victim == "creator" else builder, signal.SIGKILL)
            if victim == "creator":
                creator.wait(10)
                assert traces.left() == []
            else:
                # The builder itself stays as a zombie until its creator looks after it; the rest must be gone.
                os.close(traces.processes.pop(builder))
                assert traces.left() == []
    finally:
        creator.kill()
        creator.wait()
        assert creator.stdout is not None
        creator.stdout.close()


def test_denied_namespaces_are_explained() -> None:
    """Inside a namespace that allows no further ones, as on machines that forbid them."""
    code = """
import sys
from mirrord.demo.sandbox import Sandbox, SandboxError
try:
    Sandbox().start()
except SandboxError as error:
    print(error.message, error.hint, sep="|")
"""
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_mnt_namespaces"
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        f'{forbid} && exec "$0" -c "$1"',
        sys.executable,
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if "max_user_namespaces" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"namespaces cannot be forbidden here for the test: {done.stderr.strip()}")
    message, _, hint = done.stdout.strip().partition("|")
    assert "user namespaces" in message
    assert "sysctl user.max_user_namespaces" in hint
