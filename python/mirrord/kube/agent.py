"""The life of one agent in the cluster: created, watched until it runs, and removed whatever happens.

Called by the session, from its own thread; `close` may come from another thread at any moment.

The Secret, the Job and the watches are asked for at the same time: each is a round trip, and none needs the other's
answer. The watch of the pods reports every change, the watch of the Job's events is there for what has no pod: an
admission or quota refusal. `close` takes the lock that `create` holds while a request is on its way, so that an
interrupted start never leaves a Job that the server accepted a moment later. Should this process be killed, the agent
ends by itself after its grace time, the Job's time to live removes it, and the Secret goes with the Job that owns it.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from mirrord.config.schema import Agent
from mirrord.errors import AGENT_CRASHED, AGENT_TIMEOUT, KUBE_UNREACHABLE, MirrordError
from mirrord.kube import job as objects
from mirrord.kube.api import Api, Json
from mirrord.kube.trouble import Trouble, has_started, is_running, of_job_event, of_pod, warnings_of

_Report = tuple[str, Any]


class AgentJob:
    """One agent's Secret, Job and pod."""

    def __init__(
        self, api: Api, namespace: str, options: Agent, placement: objects.Placement, keys: str, holder: str
    ) -> None:
        self.namespace = namespace
        self.session = secrets.token_hex(5)
        self.name = f"mirrord-agent-{self.session}"
        self.pod: str | None = None
        self.access = api.access
        self._api = api
        self._options = options
        self._secret = objects.secret(self.name, self.session, keys)
        self._job = objects.job(self.name, self.session, holder, options, placement)
        self._creating = threading.Lock()
        self._made: set[str] = set()
        self._closed = threading.Event()
        self._reports: queue.Queue[_Report] = queue.Queue()

    def create(self) -> None:
        """Ask for everything at once. Raises what the Job's or the Secret's creation was refused with."""
        seconds = float(self._options.startup_timeout)
        selector = urlencode({"labelSelector": f"{objects.SESSION_LABEL}={self.session}"})
        with self._creating:
            if self._closed.is_set():
                return
            self._in_background(lambda: self._follow("pod", f"{self._path('pods')}?{selector}", seconds))
            secret = self._in_background(lambda: self._create("secrets", self._secret))
            made = self._create("jobs", self._job)
            secret.join()
        self._follow_events("Job", self.name)
        self._in_background(lambda: self._own_secret(made["metadata"]["uid"]))

    def wait_until_running(self, say: Callable[[str], None]) -> None:
        """Return once the agent's process runs. Raises why it does not."""
        deadline = time.monotonic() + self._options.startup_timeout
        trouble: Trouble | None = None
        doom = deadline
        while True:
            try:
                kind, value = self._reports.get(timeout=max(0.0, min(deadline, doom) - time.monotonic()))
            except queue.Empty:
                raise self._with_log(trouble.failure) if trouble else self._timed_out() from None
            if kind == "failed":
                raise value
            if has_started(value) if kind == "event" else self._is_running(value, say):
                return
            found = of_job_event(value, self.namespace) if kind == "event" else of_pod(value, objects.CONTAINER)
            if found is not None:
                if trouble is None or found.failure.kind is not trouble.failure.kind:
                    doom = deadline
                doom = min(doom, time.monotonic() + found.patience)
                trouble = found
            elif kind == "pod":
                trouble, doom = None, deadline

    def _is_running(self, pod: Json, say: Callable[[str], None]) -> bool:
        if self.pod is None:
            self.pod = str(pod["metadata"]["name"])
            # A pod's status is a second late, because the kubelet looks once a second; its event is not.
            self._follow_events("Pod", self.pod)
        node = pod["spec"].get("nodeName")
        say(f"starting the agent on node `{node}`" if node else "waiting for a node for the agent")
        return is_running(pod, objects.CONTAINER)

    def _follow_events(self, kind: str, name: str) -> None:
        involved = urlencode({"fieldSelector": f"involvedObject.kind={kind},involvedObject.name={name}"})
        path = f"{self._path('events')}?{involved}"
        self._in_background(lambda: self._follow("event", path, float(self._options.startup_timeout)))

    def failure_now(self) -> MirrordError | None:
        """Why the agent that ran a moment ago does not answer, if its pod tells."""
        if self.pod is None:
            return None
        pod = self._api.find(f"{self._path('pods')}/{quote(self.pod)}")
        if pod is None:
            return MirrordError(AGENT_CRASHED, f"The agent's pod `{self.pod}` is gone")
        found = of_pod(pod, objects.CONTAINER)
        return self._with_log(found.failure) if found else None

    def port_forward_url(self) -> str:
        """Where the pod's port-forward is."""
        return f"{self._api.access.url}{self._path('pods')}/{quote(self.pod or '')}/portforward"

    def close(self) -> list[str]:
        """Remove Job, pod and Secret; returns what could not be removed and why. Idempotent."""
        self._closed.set()
        problems: list[str] = []
        # Bounded: a request has its own time limit, which is shorter.
        is_locked = self._creating.acquire(timeout=20)
        try:
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
            work = [
                self._in_background(partial(self._remove, kind, options, problems), reports=False)
                for kind in sorted(self._made)
            ]
            for thread in work:
                thread.join()
        finally:
            if is_locked:
                self._creating.release()
        return problems

    def _remove(self, kind: str, options: Json, problems: list[str]) -> None:
        try:
            self._api.delete(f"{self._path(kind)}/{self.name}", options)
        except MirrordError as problem:
            problems.append(f"`{kind}/{self.name}` in namespace `{self.namespace}`: {problem.message}")

    def _create(self, kind: str, body: Json) -> Json:
        self._made.add(kind)
        try:
            return self._api.create(self._path(kind), body)
        except MirrordError as problem:
            # Refused is refused; only a request whose answer got lost may have made something.
            if problem.kind is not KUBE_UNREACHABLE:
                self._made.discard(kind)
            raise

    def _own_secret(self, job_uid: str) -> None:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": self.name, "uid": job_uid}
        try:
            self._api.patch(f"{self._path('secrets')}/{self.name}", {"metadata": {"ownerReferences": [owner]}})
        except MirrordError:
            # Only a second safety net: `close` deletes the Secret itself, and a role may lack `patch`.
            return

    def _follow(self, kind: str, path: str, seconds: float) -> None:
        try:
            for change in self._changes(path, seconds):
                self._reports.put((kind, change))
        except MirrordError:
            # Reading events is a courtesy of the role; without it the pod's status has to do.
            if kind != "event":
                raise

    def _changes(self, path: str, seconds: float) -> Iterator[Json]:
        end = time.monotonic() + seconds
        while not self._closed.is_set() and (left := end - time.monotonic()) > 0:
            for change in self._api.watch(path, left):
                if self._closed.is_set():
                    return
                if change.get("type") in ("ADDED", "MODIFIED"):
                    yield change["object"]
                elif change.get("type") == "ERROR":
                    break  # the history is gone (410): a new watch begins with what exists

    def _with_log(self, failure: MirrordError) -> MirrordError:
        if self.pod is None or failure.kind is not AGENT_CRASHED:
            return failure
        query = urlencode({"container": objects.CONTAINER, "tailLines": 10})
        try:
            log = self._api.text(f"{self._path('pods')}/{quote(self.pod)}/log?{query}").strip()
        except MirrordError:
            return failure
        causes = [*failure.causes, *(f"log: {line}" for line in log.splitlines()[-10:])]
        return MirrordError(failure.kind, failure.message, *causes, hint=failure.hint)

    def _timed_out(self) -> MirrordError:
        seconds = self._options.startup_timeout
        causes: list[str] = []
        try:
            field = urlencode({"fieldSelector": f"involvedObject.name={self.pod or self.name}"})
            causes = warnings_of(self._api.get(f"{self._path('events')}?{field}").get("items") or [])
        except MirrordError as problem:
            causes = [problem.message]
        return MirrordError(
            AGENT_TIMEOUT,
            f"The agent did not start within `{seconds}` seconds in namespace `{self.namespace}`",
            *causes,
        )

    def _path(self, kind: str) -> str:
        group = "apis/batch/v1" if kind == "jobs" else "api/v1"
        return f"/{group}/namespaces/{quote(self.namespace)}/{kind}"

    def _in_background(self, work: Callable[[], object], *, reports: bool = True) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except Exception as problem:  # noqa: BLE001 - belongs to the thread that waits
                if reports and not self._closed.is_set():
                    self._reports.put(("failed", problem))

        thread = threading.Thread(target=run, name="mirrord-agent-job", daemon=True)
        thread.start()
        return thread
