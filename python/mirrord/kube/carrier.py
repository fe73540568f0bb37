"""An agent in the cluster as the session sees it: prepared, connected to, closed. A carrier of `session`.

`prepare` runs on its own thread: log in, resolve the target, create the agent, wait until its process runs. `connect`
goes through the API server's port-forward, in Rust; a refused connection in the first moments only means that the
process has not called `listen` yet.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mirrord.config.schema import Config
from mirrord.errors import AGENT_LINK, MirrordError
from mirrord.kube.access import connect as log_in
from mirrord.kube.agent import AgentJob
from mirrord.kube.api import Api
from mirrord.kube.job import PORT, Placement
from mirrord.targets import Targetless, Unqualified, Workload
from mirrord.targets.resolve import resolve

if TYPE_CHECKING:
    from mirrord.proxy import ProxyError, Session
    from mirrord.proxy import Target as LinkedTarget

LISTEN_SECONDS = 5.0
"""How long a running agent may take until it listens."""

RETRY_SECONDS = 0.05


class ClusterAgent:
    """The agent for one target of one cluster."""

    def __init__(
        self,
        config: Config,
        target: Workload | Unqualified | Targetless,
        keys: str,
        holder: str,
        step: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._config = config
        self._target = target
        self._keys = keys
        self._holder = holder
        self._step = step
        self._warn = warn
        self._job: AgentJob | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self.description = f"`{target}`"

    def prepare(self) -> None:
        """Everything up to the agent's running process."""
        config = self._config
        if config.accept_invalid_certificates:
            self._warn("the API server's certificate is not checked")
        access = log_in(
            config.kubeconfig,
            config.kube_context,
            accept_invalid_certificates=config.accept_invalid_certificates,
        )
        api = Api(access)
        namespace = config.target.namespace or access.namespace
        placement = self._place(api, namespace)
        with self._lock:
            if self._is_closed:
                return
            agent_namespace = config.agent.namespace or namespace
            job = AgentJob(api, agent_namespace, config.agent, placement, self._keys, self._holder)
            self._job = job
        self._step(f"creating the agent in namespace `{agent_namespace}`")
        job.create()
        job.wait_until_running(self._step)

    def connect(self, session: Session) -> LinkedTarget:
        """Make the link through the port-forward."""
        from mirrord.proxy import ProxyError

        job = self._job
        if job is None:
            raise RuntimeError("connect before prepare")
        access = job.access
        deadline = time.monotonic() + LISTEN_SECONDS
        pause = threading.Event()
        while True:
            try:
                return session.connect_port_forward(
                    job.port_forward_url(),
                    PORT,
                    access.headers,
                    float(self._config.agent.startup_timeout),
                    **access.transport(),
                )
            except ProxyError as problem:  # noqa: PERF203 - a retry
                if not _may_pass(problem) or time.monotonic() > deadline:
                    raise self._no_link(problem) from problem
                failure = job.failure_now()
                if failure is not None:
                    raise failure from problem
                # There is no event for `listen` inside a pod.
                pause.wait(RETRY_SECONDS)

    def failure_now(self) -> MirrordError | None:
        """Why the agent does not answer, if the cluster tells."""
        return self._job.failure_now() if self._job is not None else None

    def close(self) -> list[str]:
        """Remove everything from the cluster; returns what could not be removed. Idempotent."""
        with self._lock:
            self._is_closed = True
            job, self._job = self._job, None
        return job.close() if job is not None else []

    def _place(self, api: Api, namespace: str) -> Placement:
        if isinstance(self._target, Targetless):
            return Placement(node=None, container_id=None)
        self._step(f"looking for `{self._target}` in namespace `{namespace}`")
        chosen = resolve(api, self._target, namespace)
        for warning in chosen.warnings:
            self._warn(warning)
        self.description = f"`{chosen.pod}`, container `{chosen.container}` ({chosen.reason})"
        return Placement(node=chosen.node, container_id=chosen.container_id)

    @staticmethod
    def _no_link(problem: BaseException) -> MirrordError:
        kind, message = problem.args
        hint = None
        if kind == "refused" and "403" in message:
            hint = "Ask for a role with the verbs `get, create` on `pods/portforward`"
        return MirrordError(
            AGENT_LINK, "The agent runs, but no link to it could be made", f"{kind}: {message}", hint=hint
        )


def _may_pass(problem: ProxyError) -> bool:
    """Is this what a process looks like that runs but does not listen yet? A refusal by the API server is not."""
    if problem.kind == "refused":
        return re.search(r"\b4\d\d\b", problem.message) is None
    return problem.kind == "link"
