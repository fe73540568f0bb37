"""The data path, in Rust: one session's listeners, remote root and link to the agent.

Every blocking call releases the interpreter. Errors are `ProxyError`; nothing else leaves this module.
"""

from collections.abc import Callable
from typing import final

from typing_extensions import Self

__all__ = ["Event", "Keys", "Program", "ProxyError", "Session", "Target", "__version__", "explain", "inspect_program"]

__version__: str

class ProxyError(Exception):
    """A failed operation: `args == (kind, message)`.

    `kind` is stable: `session`, `files`, `link`, `refused`, `tls`, `timeout`, `settings`, `program`.
    """

    kind: str
    message: str

@final
class Keys:
    """A fresh session CA with one leaf for each end; made in memory, never written by this module."""

    def __new__(cls) -> Self: ...
    def agent_secret(self) -> str:
        """PEM text for the agent's `MIRRORD_AGENT_KEYS`: CA certificate, agent certificate, agent key. A secret."""

@final
class Target:
    """What the agent told of the target when the link was made."""

    pid: int
    hostname: bytes
    uid: int
    gid: int
    cwd: bytes
    environment: bytes
    """As in `/proc/PID/environ`: NUL-terminated `NAME=value`."""
    agent_version: str

@final
class Program:
    """What an executable file is, read from its first bytes and its ELF headers."""

    kind: str
    """`dynamic`, `static`, `go`, `script`, `privileged`, `foreign` or `unknown`."""
    interpreter: bytes | None
    """The ELF interpreter, or the program of a script's first line."""
    detail: str
    """One sentence that says how it was recognised."""

@final
class Event:
    """Something that happened in the session.

    `kind` is one of `hello` (the layer is active in a process), `listening` (a port of the target comes here),
    `released` (it went back), `notice` (a warning to show), `lost` (the agent is gone; `text` says why).
    """

    kind: str
    text: str
    port: int
    pid: int

@final
class Session:
    """One session: folder, listeners and remote root first, the link second, the program last.

    `settings` is JSON, the `Settings` of crates/policy. `directory` is the session's folder: it is created with mode
    0700 and removed by `close`, and by the kernel-held child when this process is killed. `holder` is shown to others
    in a conflict (`user@host`).
    """

    def __new__(cls, settings: str, keys: Keys, directory: str, holder: str) -> Self: ...
    @property
    def files_provider(self) -> str:
        """`fuse`, or `none` when the remote root is not available here."""
    @property
    def files_problem(self) -> str | None:
        """Why `files_provider` is `none`, as one sentence, and what to do."""
    def connect_fd(self, fd: int, timeout: float) -> Target:
        """Speak over a connected unix stream socket (ownership moves here). `timeout` in seconds."""
    def connect_port_forward(
        self,
        url: str,
        port: int,
        headers: Callable[[], list[tuple[str, str]]],
        timeout: float,
        ca: bytes | None = None,
        certificate: bytes | None = None,
        key: bytes | None = None,
        insecure: bool = False,
        server_name: str | None = None,
        proxy: str | None = None,
    ) -> Target:
        """Speak through the API server's port-forward of a pod.

        `url` is `https://HOST[:PORT][/PREFIX]/api/v1/namespaces/NS/pods/POD/portforward`; `ca`, `certificate` and
        `key` are PEM. `headers` gives fresh request headers (bearer token, impersonation) at each call.
        """
    def start(self, layer: str) -> dict[str, str]:
        """Write the policy image, open the doors; returns the environment to add (`LD_PRELOAD`, `MIRRORD_SESSION`)."""
    def next_event(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds, or when woken."""
    def wake(self) -> None:
        """Make a waiting `next_event` return None at once."""
    def summary(self) -> dict[str, int]:
        """Counters: connections, accepted, names, files, bytes_in, bytes_out."""
    def close(self) -> None:
        """End the session and remove everything local. Idempotent."""

def inspect_program(path: bytes) -> Program:
    """What the executable at `path` is. Raises `ProxyError` (`program`) when it cannot be read."""

def explain(settings: str, name: str) -> tuple[str, str]:
    """(`local` | `remote` | `not found`, reason) for a path, `HOST:PORT`, `:PORT` (listen) or host name."""
