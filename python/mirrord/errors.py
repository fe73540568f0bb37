"""Every way in which mirrord itself can fail, as one catalogue of stable ids.

Raised everywhere below `mirrord.cli`, shown only by `mirrord.output`. An id is an interface: scripts and documents
refer to it, so it is never renamed. The exit code says whose turn it is: 2 = the user's input, 1 = an operation
failed, 125 = the program was never started for a technical reason. The program's own status is not an error.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CATALOGUE", "Kind", "MirrordError"]

USAGE: Final = 2
FAILED: Final = 1
NOT_STARTED: Final = 125


class Kind:
    """One entry of the catalogue."""

    __slots__ = ("exit_code", "hint", "id")

    def __init__(self, identifier: str, exit_code: int, hint: str | None = None) -> None:
        self.id = identifier
        self.exit_code = exit_code
        self.hint = hint
        CATALOGUE[identifier] = self

    def __repr__(self) -> str:
        return f"Kind({self.id!r})"


CATALOGUE: Final[dict[str, Kind]] = {}


class MirrordError(Exception):
    """A failure with words for the user: one sentence, what caused it, and one next action.

    `hint` replaces the catalogue's own hint when the place of the failure knows better.
    """

    def __init__(self, kind: Kind, message: str, *causes: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.causes = tuple(cause for cause in causes if cause)
        self.hint = hint if hint is not None else kind.hint

    @property
    def exit_code(self) -> int:
        return self.kind.exit_code


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal asked mirrord to stop before the program ran; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# The user's input.
BAD_USAGE = Kind("usage", USAGE, "See `mirrord exec --help`")
CONFIG_FILE = Kind("config-file", USAGE)
CONFIG_SYNTAX = Kind("config-syntax", USAGE, "Check the file with `mirrord verify-config`")
CONFIG_KEY = Kind("config-key", USAGE)
CONFIG_VALUE = Kind("config-value", USAGE)
CONFIG_CONFLICT = Kind("config-conflict", USAGE)
NOT_SUPPORTED = Kind("not-supported", USAGE, "Remove it, or see the README for what works today")
TARGET_SYNTAX = Kind("target-syntax", USAGE, "Write it like `deployment/shop` or `pod/shop-0/container/app`")
TARGET_AMBIGUOUS = Kind("target-ambiguous", USAGE)
PROGRAM_NOT_FOUND = Kind("program-not-found", USAGE, "Give its path, or check `PATH`")
PROGRAM_UNSUPPORTED = Kind("program-unsupported", USAGE)
NESTED = Kind("nested-session", USAGE, "Start the program without the second `mirrord exec`")

# The cluster.
KUBECONFIG = Kind("kubeconfig", FAILED, "Choose a file with `--kubeconfig` or the variable `KUBECONFIG`")
KUBE_CONTEXT = Kind("kube-context", USAGE, "List the contexts with `kubectl config get-contexts`")
KUBE_UNREACHABLE = Kind("cluster-unreachable", FAILED, "Check that `kubectl get pods` works with the same context")
KUBE_CERTIFICATE = Kind("cluster-certificate", FAILED, "If you trust this server, add `--accept-invalid-certificates`")
KUBE_UNAUTHORIZED = Kind("cluster-unauthorized", FAILED, "Log in again, then try `kubectl get pods`")
KUBE_FORBIDDEN = Kind("cluster-forbidden", FAILED)
KUBE_QUOTA = Kind(
    "cluster-quota", FAILED, "Free some of the quota, or choose another namespace with `--agent-namespace`"
)
KUBE_ADMISSION = Kind(
    "cluster-admission",
    FAILED,
    "Allow privileged pods there, or choose a namespace that allows them with `--agent-namespace`",
)
KUBE_API = Kind("cluster-api", FAILED, "Check what `kubectl` says to the same request")
TARGET_NOT_FOUND = Kind("target-not-found", FAILED, "List what is there with `kubectl get pods,deployments`")
TARGET_NOT_READY = Kind("target-not-ready", FAILED, "See why with `kubectl describe pod`")
CONTAINER_NOT_FOUND = Kind("container-not-found", FAILED)

# The agent.
AGENT_IMAGE = Kind(
    "agent-image",
    FAILED,
    "Load the image into the cluster (`mirrord agent image`), or name another one with `--agent-image`",
)
AGENT_UNSCHEDULABLE = Kind(
    "agent-unschedulable",
    FAILED,
    "Make room on the node, or change `agent.resources`, `agent.tolerations` or `agent.node_selector`",
)
AGENT_CRASHED = Kind(
    "agent-crashed", FAILED, "Check the image (`--agent-image`); `--agent-log-level debug` makes the agent tell more"
)
AGENT_TIMEOUT = Kind("agent-timeout", FAILED, "Allow more time with `--agent-startup-timeout SECONDS`")
AGENT_LINK = Kind(
    "agent-link", FAILED, "Try again; if it stays, add `--agent-log-level debug` and read the agent's log"
)

# Local targets and the session on this machine.
PROCESS_NOT_FOUND = Kind("process-not-found", FAILED, "See what runs with `ps`, then write `process/PID`")
SANDBOX = Kind("sandbox", FAILED)
NATIVE_MISSING = Kind("native-missing", NOT_STARTED, "Install mirrord again, or name the file with the variable shown")
NATIVE_UNSAFE = Kind("native-unsafe", NOT_STARTED, "Make it owned by you or root, and writable by nobody else")
SESSION_START = Kind("session-start", NOT_STARTED, "Check the room and the rights in the temporary folder (`TMPDIR`)")
PROGRAM_START = Kind("program-start", NOT_STARTED, "Try the same command without mirrord")
IMAGE_WRITE = Kind("image-write", FAILED, "Choose a folder that exists and that you may write with `--output`")
INTERNAL = Kind("internal", FAILED, "Set `MIRRORD_DEBUG=1` to see the traceback, and please report it")
