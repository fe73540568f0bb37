"""What one case of the layer tier is. The cases themselves are in `cases`, the runner in `conftest`.

A case runs one small program three times: inside the target (the truth), plain on this machine, and in context through
`mirrord exec`. In context it must print and exit as its oracle does. Where the target is another world than this
machine, the case says so (`differs_from_plain`), and that is checked too: otherwise it would pass without mirrord.
"""

import dataclasses
import enum


class Language(enum.Enum):
    """The folder of `programs` and how a program of it is started."""

    C = "c"
    PYTHON = "python"
    NODE = "node"
    JAVA = "java"
    RUST = "rust"
    SHELL = "shell"


class Oracle(enum.Enum):
    """Whose result is right in context."""

    TARGET = "target"
    MACHINE = "machine"


class Need(enum.Enum):
    """What the machine must have, besides the language's own tools."""

    FILES = "files"
    IPV6 = "ipv6"


@dataclasses.dataclass(frozen=True)
class Case:
    """One program with its arguments, and what its result in context is compared with."""

    id: str
    language: Language
    program: str
    args: "tuple[str, ...]" = ()
    oracle: Oracle = Oracle.TARGET
    differs_from_plain: bool = True
    needs: "frozenset[Need]" = frozenset()
    gap: "str | None" = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run showed to the world."""

    status: int
    stdout: bytes
    stderr: bytes = dataclasses.field(compare=False, default=b"")

    def __str__(self) -> str:
        output = self.stdout.decode("utf-8", "backslashreplace")
        errors = self.stderr.decode("utf-8", "backslashreplace")
        return f"status {self.status}\n--- stdout\n{output}--- stderr\n{errors}"
