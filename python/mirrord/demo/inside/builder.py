"""The process that makes a sandbox, holds it while its creator lives, and takes it down.

Started by `mirrord.demo.sandbox` as `python -I -S -c … FD PARENT [SHARED…]`; FD is a socket to the creator. Theory of
operation:

    creator ── FD ── builder (machine's PID namespace, no network or files of its own left)
                       ├─ PID 1 of the sandbox: root file system, then the cluster's services
                       ├─ target: exec'ed with the target's environment, no capabilities, serves port 80
                       └─ customer: in a network namespace of its own

The builder enters new user, mount, network, UTS, IPC and PID namespaces before it forks, so its children's process ids
are known as the machine sees them. Whatever happens to the creator closes FD; then the builder kills PID 1, and the
kernel ends everything in the sandbox with it. If the builder is killed, PID 1 gets the parent-death signal. Nothing of
the sandbox has a name outside its namespaces, so nothing can be left behind.

The answer on FD is one line, `ready TARGET CUSTOMER` (process ids) or `failed STEP ERRNO TEXT`.
"""

import os
import select
import signal
import socket
import sys
from typing import NoReturn

from . import content, customer, linux, root, services
from .network import Network, has_ipv6

_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID
_STEP_SECONDS = 20.0


class _StepError(Exception):
    """A step that did not work: `args == (step, errno, text)`."""


def main() -> None:
    creator = socket.socket(fileno=int(sys.argv[1]))
    creator.set_inheritable(False)
    parent, shared = int(sys.argv[2]), sys.argv[3:]
    os.umask(0o022)
    try:
        init, target, customer_process = _build(shared, creator)
    except _StepError as failure:
        creator.sendall("failed {} {} {}\n".format(*failure.args).encode())
        sys.exit(1)
    try:
        creator.sendall(f"ready {target} {customer_process}\n".encode())
        _wait_for_end(creator, parent)
    finally:
        os.kill(init, signal.SIGKILL)
        _reap_all()


def _build(shared: "list[str]", creator: socket.socket) -> "tuple[int, int, int]":
    code = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with _Step("namespaces"):
        _enter_namespaces()
    with _Step("network"):
        network = Network()
    here, there = socket.socketpair()
    init = os.fork()
    if init == 0:
        _as_child(here, creator)
        _become_init(there, shared, code)
    there.close()
    try:
        with _Step("network"):
            network.configure()
        here.settimeout(_STEP_SECONDS)
        with _Step("files"):
            # If PID 1 has failed already, what it said is still there to be read.
            _tell(here, b"n")
            answer = here.recv(4096)
        if answer != b"ready":
            raise _StepError(*(answer.decode(errors="replace") or "files 0 PID 1 of the sandbox died").split(" ", 2))
        os.chdir("/")
        with _Step("processes"):
            target = _start_target(here, creator)
            customer_process = _start_customer(here, creator, network.customer_namespace)
    except BaseException:
        os.kill(init, signal.SIGKILL)
        _reap_all()
        raise
    # `here` must stay open as long as this process lives: its other end is what PID 1 watches.
    here.detach()
    return init, target, customer_process


class _Step:
    """Turns an OSError into a `_StepError` that names the step."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        if isinstance(error, OSError):
            raise _StepError(self._name, error.errno or 0, error.strerror or str(error)) from error


def _enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER | _NAMESPACES)
    except OSError:
        if user != 0:
            raise
        # User namespaces are switched off, but this user needs none.
        linux.unshare(_NAMESPACES)
    else:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    linux.set_host_name(content.HOST_NAME)


def _as_child(*ends_of_parent: socket.socket) -> None:
    linux.die_with_parent(signal.SIGKILL)
    for end in ends_of_parent:
        end.close()


def _become_init(builder: socket.socket, shared: "list[str]", code: str) -> NoReturn:
    # PID 1: whatever is orphaned in the sandbox becomes its child, and is reaped by nobody else.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        linux.die_with_parent(signal.SIGKILL)
        where = root.build(shared, code, before_entering=lambda: _wait_for_network(builder))
        sys.path[0] = where
        listeners = services.bind()
        builder.sendall(b"ready")
        services.run(listeners, builder.fileno())
    except OSError as error:
        builder.sendall(f"files {error.errno or 0} {error.strerror or error}".encode())
    finally:
        os._exit(1)


def _wait_for_network(builder: socket.socket) -> None:
    builder.settimeout(_STEP_SECONDS)
    if builder.recv(1) != b"n":
        os._exit(1)
    builder.setblocking(False)


def _tell(end: socket.socket, word: bytes) -> None:
    try:
        end.sendall(word)
    except BrokenPipeError:
        return


def _start_target(*ends: socket.socket) -> int:
    listeners = [_pod_listener(socket.AF_INET, "0.0.0.0")]
    if has_ipv6():
        listeners.append(_pod_listener(socket.AF_INET6, "::"))
    started, starts = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _as_child(*ends)
            os.set_inheritable(starts, True)
            linux.drop_capabilities_at_exec()
            for listener in listeners:
                listener.set_inheritable(True)
            numbers = [str(listener.fileno()) for listener in listeners]
            program = os.path.realpath(sys.executable)
            os.chdir("/app")
            os.execve(program, [program, "-I", "-S", "/app/shop.py", str(starts), *numbers], content.ENVIRONMENT)
        finally:
            os._exit(127)
    for listener in listeners:
        listener.close()
    os.close(starts)
    _wait_for_target(started)
    os.close(started)
    return child


def _wait_for_target(started: int) -> None:
    # Until it has become its own program, /proc shows the builder's environment for it.
    readable, _, _ = select.select([started], [], [], _STEP_SECONDS)
    if not readable or not os.read(started, 1):
        raise _StepError("processes", 0, "the target process did not start")


def _pod_listener(family: int, every: str) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((every, content.POD_PORT))
    listener.listen(512)
    return listener


def _start_customer(builder: socket.socket, creator: socket.socket, namespace: int) -> int:
    orders = socket.socket(socket.AF_UNIX)
    orders.bind(content.CUSTOMER_SOCKET)
    orders.listen(64)
    child = os.fork()
    if child == 0:
        try:
            _as_child(builder, creator)
            linux.setns(namespace, linux.CLONE_NEWNET)
            customer.serve(orders)
        finally:
            os._exit(1)
    orders.close()
    os.close(namespace)
    return child


def _wait_for_end(creator: socket.socket, parent: int) -> None:
    """Return when the creator closes its end or is dead, however it died."""
    watch = select.poll()
    watch.register(creator, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        # A fork of the creator may still hold the other end of the socket when the creator is long gone.
        try:
            watch.register(os.pidfd_open(parent), select.POLLIN)
        except OSError:
            return
    watch.poll()


def _reap_all() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return
