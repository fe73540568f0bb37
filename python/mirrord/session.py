"""One session from its configuration to the program's end. Called by `mirrord exec`.

    main thread          │ look up and inspect the program ─ wait ─ connect ─ environment ─ run the program ─ wait
    thread "target"      │     log in, resolve, create the agent (or start it here)
    thread "proxy"       │     listeners and remote root
    thread "events"      │                                    what the proxy reports, as lines on stderr

Everything that was made is removed on every way out, in the reverse order; signals are held back meanwhile.
"""

from __future__ import annotations

import gc
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from mirrord import environment, native, output, program, signals
from mirrord.child import Child, Command, Outcome
from mirrord.config.schema import Config
from mirrord.config.settings import Surroundings, settings
from mirrord.errors import AGENT_LINK, CONFIG_CONFLICT, NESTED, SESSION_START, MirrordError
from mirrord.events import Events
from mirrord.targets import Demo, Process, Target, Targetless
from mirrord.task import Task

if TYPE_CHECKING:
    from mirrord import proxy

CLOSE_SECONDS = 5.0
LINK_END_SECONDS = 3.0

Result = TypeVar("Result")


class Carrier(Protocol):
    """An agent somewhere, and the way to it."""

    @property
    def description(self) -> str: ...
    def prepare(self) -> None: ...
    def connect(self, session: proxy.Session) -> proxy.Target: ...
    def failure_now(self) -> MirrordError | None: ...
    def close(self) -> list[str]: ...


@dataclass(frozen=True)
class Run:
    """What to run, as whom."""

    config: Config
    target: Target
    words: tuple[bytes, ...]
    quiet: bool = False


def execute(run: Run) -> Outcome:
    """Run the program in the target's context. Raises `MirrordError` or `Interrupted` before it has started."""
    _check(run)
    is_local = isinstance(run.target, Process | Demo)
    if not is_local:
        # The slowest import; it needs nothing that the user typed.
        Task("import", _import_kubernetes)
    variables = dict(os.environb)
    found = program.inspect(program.find(run.words[0], variables), variables)
    layer = native.layer()
    progress = output.Progress(quiet=run.quiet)
    with (
        signals.interruptible(),
        closing(progress),
        _opened(run, found, progress) as (session, carrier, remote),
    ):
        taken = _taken(run, remote, progress)
        session_variables = _started(session, str(layer))
        whole = environment.compose(variables, taken, run.config.feature.env, session_variables)
        command = Command(found.path, run.words, whole)
        is_skipped = os.path.basename(os.fsdecode(found.path)) in run.config.skip_processes
        with Events(session, expects_layer=not is_skipped, quiet=run.quiet) as events:
            gc.enable()
            progress.ready(f"`{os.fsdecode(run.words[0])}` runs as {carrier.description}")
            outcome = Child(command).run(lambda _pid: events.started(), events.descendants_left)
            events.ended()
        return outcome


@contextmanager
def _opened(
    run: Run, found: program.Program, progress: output.Progress
) -> Iterator[tuple[proxy.Session, Carrier, proxy.Target]]:
    from mirrord import proxy

    keys = proxy.Keys()
    holder = f"{_user()}@{socket.gethostname()}"
    carrier = _carrier(run, keys.agent_secret(), holder, progress)
    text = settings(run.config, _surroundings(found), has_target=not isinstance(run.target, Targetless))
    preparing = Task("target", carrier.prepare, keeps_thread=True)
    starting = Task("proxy", lambda: proxy.Session(text, keys, _folder(), holder), keeps_thread=True)
    linking: Task[proxy.Target] | None = None
    try:
        session = _proxy_errors(starting.result)
        _report_files(session, run)
        preparing.result()
        progress.step("connecting to the agent")
        linking = Task("link", lambda: carrier.connect(session))
        try:
            remote = linking.result()
        except proxy.ProxyError as problem:
            raise carrier.failure_now() or MirrordError(
                AGENT_LINK, "No link to the agent could be made", f"{problem.kind}: {problem.message}"
            ) from problem
        yield session, carrier, remote
    finally:
        # Bounded; a second Ctrl-C would only leave things behind.
        signals.ignore()
        removing = Task("close", carrier.close)
        if linking is not None:
            # Without its agent a half-made link fails soon; closing the session under it would be no clean end.
            linking.value_within(LINK_END_SECONDS)
        opened = starting.value_within(CLOSE_SECONDS)
        if opened is not None:
            opened.close()
        for leftover in removing.value_within(4 * CLOSE_SECONDS) or []:
            output.warning(f"could not remove {leftover}")


def _check(run: Run) -> None:
    from mirrord.local import check

    if os.environ.get("MIRRORD_SESSION") or os.environ.get("MIRRORD_RESOLVED_CONFIG"):
        raise MirrordError(NESTED, "This shell runs inside a mirrord session already")
    if isinstance(run.target, Process | Demo):
        check(run.target)
    if isinstance(run.target, Targetless) and run.config.feature.network.incoming.mode == "steal":
        raise MirrordError(
            CONFIG_CONFLICT,
            "Stealing needs a target, and `feature.network.incoming.mode` is `steal`",
            hint="Name one with `--target`, like `deployment/shop`",
        )


def _carrier(run: Run, keys: str, holder: str, progress: output.Progress) -> Carrier:
    agent = run.config.agent
    if isinstance(run.target, Process | Demo):
        from mirrord.local import LocalAgent

        return LocalAgent(run.target, keys, agent.communication_timeout, agent.startup_timeout, agent.log_level)
    from mirrord.kube.carrier import ClusterAgent

    return ClusterAgent(run.config, run.target, keys, holder, progress.step, output.warning)


def _taken(run: Run, remote: proxy.Target, progress: output.Progress) -> dict[bytes, bytes]:
    if isinstance(run.target, Targetless):
        return {}  # what the agent has is its own, not a target's
    variables, guarded = environment.take(environment.parse(remote.environment), run.config.feature.env)
    if guarded:
        names = ", ".join(f"`{name}`" for name in guarded)
        progress.say(f"not taken from the target, because they run code here: {names}")
    return variables


def _started(session: proxy.Session, layer: str) -> dict[str, str]:
    return _proxy_errors(lambda: session.start(layer))


def _proxy_errors(call: Callable[[], Result]) -> Result:
    from mirrord.proxy import ProxyError

    try:
        return call()
    except ProxyError as problem:
        raise MirrordError(
            SESSION_START, "The session could not be started on this machine", f"{problem.kind}: {problem.message}"
        ) from problem


def _report_files(session: proxy.Session, run: Run) -> None:
    if session.files_provider == "none" and run.config.feature.fs.mode != "local":
        problem, _, advice = (session.files_problem or "").partition("\n")
        output.warning(f"the target's files are not available: {problem}", " ".join(advice.split()))


def _surroundings(found: program.Program) -> Surroundings:
    return Surroundings(
        cwd=_working_directory(),
        home=os.path.expanduser("~"),
        temp=_temporary(),
        program_prefixes=found.prefixes,
    )


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"  # it was deleted under our feet, which forbids the program nothing


def _temporary() -> str:
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - the folder itself, nothing is opened


def _folder() -> str:
    """Where the session's folder goes: short, because a socket's path may have 107 bytes only."""
    base = os.environ.get("XDG_RUNTIME_DIR") or _temporary()
    if len(base) > 60 or not os.access(base, os.W_OK):
        base = "/tmp"  # noqa: S108 - the proxy creates the folder with mode 0700 or fails
    return f"{base}/mirrord-{os.getpid()}-{secrets.token_hex(4)}"


def _user() -> str:
    with suppress(KeyError, OSError):
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())


def _import_kubernetes() -> None:
    from mirrord.kube.package import parts

    parts()
