"""What a program sees through the layer, one sentence per test. Run: `pytest crates/layer/tests/python` after
`cargo build -p mirrord-layer --lib --example make_image`. Needs no cluster, no root and no FUSE."""

from __future__ import annotations

import errno
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Session

PEER = ("203.0.113.5", 5555)


class Greeter(socketserver.BaseRequestHandler):
    """Says hello and returns one line."""

    def handle(self) -> None:
        self.request.sendall(b"hello " + self.request.recv(100))


@pytest.fixture
def web(session: Session) -> Iterator[Session]:
    """A session whose `10.9.9.9:80`, named `web.shop`, answers; port 81 refuses."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        session.tables.routes[("10.9.9.9", 80)] = ("127.0.0.1", server.server_address[1])
        session.tables.routes[("10.9.9.9", 81)] = errno.ECONNREFUSED
        session.tables.names["web.shop"] = ["10.9.9.9"]
        session.tables.reverse["10.9.9.9"] = "web.shop"
        yield session
        server.shutdown()


def test_remote_file_is_read(session: Session) -> None:
    assert session.run("cat", "/app/hello.txt").stdout == "from the target\n"


def test_write_stays_local_in_read_mode(session: Session) -> None:
    code = "import os\ntry: os.open('/app/hello.txt', os.O_RDWR)\nexcept OSError as e: print(e.errno)"
    assert session.python(code) == str(errno.ENOENT)


def test_listed_not_found_does_not_exist(session: Session) -> None:
    (session.root / "app" / "hidden").write_text("secret")
    assert session.python("import os; print(os.path.exists('/app/hidden'))") == "False"


def test_bad_addresses_and_long_names_are_the_kernels_errors(session: Session) -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
paths = [ctypes.c_void_p(1), ctypes.c_void_p(-1), b'/app/' + b'n' * 300, b'/app' + b'/' * 5000]
for path in paths: print(libc.open(path, 0), ctypes.get_errno())
print(libc.connect(-1, ctypes.c_void_p(1), 16), libc.stat(ctypes.c_void_p(8), ctypes.c_void_p(0)))
"""
    failures = [errno.EFAULT, errno.EFAULT, errno.ENAMETOOLONG, errno.ENAMETOOLONG]
    assert session.python(code).splitlines() == [f"-1 {failure}" for failure in failures] + ["-1 -1"]


def test_file_actions_of_a_spawn_open_remote_files(session: Session) -> None:
    code = """
import os
actions = [(os.POSIX_SPAWN_OPEN, 0, '/app/hello.txt', os.O_RDONLY, 0)]
os.waitpid(os.posix_spawn('/bin/cat', ['cat'], {}, file_actions=actions), 0)
"""
    assert session.python(code) == "from the target"


def test_folder_is_listed_walked_and_globbed(session: Session) -> None:
    assert session.python("import os; print(sorted(os.listdir('/app/data')))") == "['a.json', 'b.json']"
    assert session.run("bash", "-c", "echo /app/data/*").stdout == "/app/data/a.json /app/data/b.json\n"
    assert sorted(session.run("find", "/app/data", "-type", "f").stdout.split()) == [
        "/app/data/a.json",
        "/app/data/b.json",
    ]


def test_links_show_the_text_of_the_pod(session: Session) -> None:
    assert session.run("readlink", "/app/link").stdout == "/app/hello.txt\n"
    assert session.run("realpath", "/app/./data/../link").stdout == "/app/hello.txt\n"
    assert session.run("cat", "/app/link").stdout == "from the target\n"


def test_path_above_the_root_stops_at_the_root(session: Session) -> None:
    assert session.run("cat", "/app/../../../etc/hosts").stdout == "10.0.0.9 target\n"


def test_working_folder_may_be_remote(session: Session) -> None:
    script = "cd /app/data; pwd; /bin/pwd; cat a.json ../hello.txt ../../../../etc/hosts; cd ../../..; /bin/pwd"
    ran = session.run("bash", "-c", script)
    assert ran.stdout == "/app/data\n/app/data\n{}from the target\n10.0.0.9 target\n/\n", ran.stderr


def test_names_relative_to_a_descriptor_stay_on_its_side(session: Session) -> None:
    code = """
import os
folder = os.open('/app', os.O_RDONLY)
print(os.read(os.open('hello.txt', os.O_RDONLY, dir_fd=folder), 8), os.stat('../etc/hosts', dir_fd=folder).st_size)
"""
    assert session.python(code) == "b'from the' 16"


def test_rename_is_a_write_and_stays_local(session: Session) -> None:
    code = "import os\ntry: os.rename('/app/hello.txt', '/tmp/x')\nexcept OSError as e: print(e.errno)"
    assert session.python(code) == str(errno.ENOENT)


def test_host_name_is_the_targets(session: Session) -> None:
    assert session.run("uname", "-n").stdout == "target-pod\n"
    assert session.python("import socket; print(socket.gethostname())") == "target-pod"


def test_connection_reaches_the_target_and_shows_its_ends(web: Session) -> None:
    code = """
import socket
s = socket.create_connection(('web.shop', 80), 5)
s.sendall(b'layer')
print(s.recv(100), s.getpeername(), s.getsockname())
"""
    assert web.python(code) == "b'hello layer' ('10.9.9.9', 80) ('10.7.7.7', 40000)"


def test_ipv6_socket_reaches_an_ipv4_target(web: Session) -> None:
    code = """
import socket
s = socket.socket(socket.AF_INET6)
s.connect(('::ffff:10.9.9.9', 80))
s.sendall(b'x')
print(s.recv(100), s.getpeername()[:2])
"""
    assert web.python(code) == "b'hello x' ('::ffff:10.9.9.9', 80)"


@pytest.mark.parametrize("timeout", ["None", "5"])
def test_refused_connection_leaves_the_socket_usable(web: Session, timeout: str) -> None:
    code = f"""
import socket
s = socket.socket()
s.settimeout({timeout})
print(s.connect_ex(('10.9.9.9', 81)), s.connect_ex(('10.9.9.9', 80)))
s.sendall(b'x')
print(s.recv(100))
"""
    assert web.python(code) == f"{errno.ECONNREFUSED} 0\nb'hello x'"


def test_connection_in_progress_fails_with_the_remote_reason(web: Session) -> None:
    web.tables.delay = 0.01
    web.tables.routes[("10.9.9.9", 82)] = errno.EHOSTUNREACH
    code = """
import select, socket
s = socket.socket()
s.setblocking(False)
print(s.connect_ex(('10.9.9.9', 82)))
select.select([], [s], [], 10)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
"""
    assert web.python(code) == f"{errno.EINPROGRESS}\n{errno.EHOSTUNREACH}"


def test_signal_ends_the_wait_of_a_connect(web: Session) -> None:
    web.tables.delay = 1.0
    code = """
import signal, socket, time
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.2)
start = time.monotonic()
try: socket.socket().connect(('10.9.9.9', 81))
except Alarm: print('alarm')
except OSError as error: print(error)
"""
    assert web.python(code) in ("alarm", "[Errno 111] Connection refused")


def test_names_are_the_targets(web: Session) -> None:
    web.tables.names["six.shop"] = ["fd00::9"]
    code = """
import socket
print(socket.gethostbyname('web.shop'), socket.gethostbyaddr('10.9.9.9')[0], socket.getnameinfo(('10.9.9.9', 80), 0)[0])
print(socket.getaddrinfo('six.shop', 80, type=socket.SOCK_STREAM)[0][4][0])
for name in ('absent.shop', 'slow.shop'):
    try: socket.getaddrinfo(name, 80)
    except socket.gaierror as error: print(error.errno)
"""
    expected = ["10.9.9.9 web.shop web.shop", "fd00::9", str(socket.EAI_NONAME), str(socket.EAI_AGAIN)]
    assert web.python(code).splitlines() == expected


SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
connection, peer = s.accept()
print(s.getsockname()[:2], peer[:2], connection.getpeername()[:2], connection.getsockname()[:2])
"""


def free_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return int(probe.getsockname()[1])


def serve(session: Session, host: str, port: int) -> str:
    command = [sys.executable, "-S", "-c", SERVER, host, str(port)]
    with subprocess.Popen(command, env=session.environment(), cwd="/tmp", text=True, stdout=subprocess.PIPE) as server:
        session.proxy.deliver((host, port), PEER).close()
        return server.communicate(timeout=10)[0].strip()


def test_listener_sees_the_true_client(session: Session) -> None:
    port = free_port()
    assert serve(session, "0.0.0.0", port) == f"('0.0.0.0', {port}) {PEER} {PEER} ('10.7.7.7', {port})"


def test_ipv6_listener_sees_the_client_mapped(session: Session) -> None:
    port = free_port()
    mapped = ("::ffff:203.0.113.5", 5555)
    assert serve(session, "::", port) == f"('::', {port}) {mapped} {mapped} ('::ffff:10.7.7.7', {port})"


def test_taken_port_is_served_elsewhere_and_shown_as_asked(session: Session) -> None:
    with socket.create_server(("0.0.0.0", 0)) as holder:
        port = int(holder.getsockname()[1])
        assert serve(session, "0.0.0.0", port) == f"('0.0.0.0', {port}) {PEER} {PEER} ('10.7.7.7', {port})"
    assert "bound" in session.kinds()


def test_address_of_the_pod_can_be_bound(session: Session) -> None:
    port = free_port()
    assert serve(session, "10.3.3.3", port).startswith(f"('10.3.3.3', {port})")


def test_listener_on_any_port_is_left_alone(session: Session) -> None:
    session.python("import socket; socket.create_server(('0.0.0.0', 0)); socket.socket().listen()")
    assert "listen" not in session.kinds()


def test_cleaned_environment_keeps_the_session(session: Session) -> None:
    assert session.run("env", "-i", "cat", "/app/hello.txt").stdout == "from the target\n"
    code = "import subprocess; print(subprocess.check_output(['/bin/cat', '/app/hello.txt'], env={}))"
    assert session.python(code) == repr(b"from the target\n")
    code = "import os, sys; os.environ.clear(); sys.exit(os.system('/bin/cat /app/hello.txt'))"
    assert session.python(code) == "from the target"


def test_static_program_is_refused_with_a_notice(session: Session, tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is missing")
    subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", tmp_path / "static"], input=b"int main(void) { return 0; }", check=True
    )
    assert session.run("bash", "-c", f"{tmp_path}/static").returncode == 126
    notices = [question for question in session.proxy.log if question.kind == "notice"]
    assert [notice.fields["notice"] for notice in notices] == [1]


def test_without_a_session_the_program_runs_and_says_so(session: Session) -> None:
    environment = session.environment()
    del environment["MIRRORD_SESSION"]
    ran = subprocess.run(["/bin/echo", "works"], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "works\n"
    assert ran.stderr.startswith("mirrord: this process runs outside the session")


def test_closed_standard_input_is_not_taken(web: Session) -> None:
    code = (
        "import os, socket; os.close(0); socket.create_connection(('web.shop', 80)); print(os.listdir('/proc/self/fd'))"
    )
    shown = web.python(code)
    assert "'800'" not in shown


def test_few_descriptors_are_enough(web: Session) -> None:
    code = """
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
for _ in range(100):
    s = socket.create_connection(('web.shop', 80)); s.close()
print('done')
"""
    assert web.python(code) == "done"


def test_threads_and_forks_do_not_disturb_each_other(web: Session) -> None:
    code = """
import os, socket, subprocess, threading
def work():
    for _ in range(15):
        assert open('/app/hello.txt').read() == 'from the target\\n'
        assert socket.gethostbyname('web.shop') == '10.9.9.9'
        with socket.create_connection(('web.shop', 80)) as s:
            s.sendall(b'x'); assert s.recv(10) == b'hello x'
        assert subprocess.check_output(['cat', '/app/hello.txt']) == b'from the target\\n'
        pid = os.fork()
        if pid == 0:
            os._exit(0 if open('/app/hello.txt').read() and socket.gethostbyname('web.shop') else 1)
        assert os.waitpid(pid, 0)[1] == 0
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print('done')
"""
    assert web.python(code) == "done"
