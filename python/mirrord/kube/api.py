"""Requests to the API server with plain JSON bodies. Called by `agent` and by `mirrord.targets.resolve`.

Every refusal becomes a `MirrordError` that names the verb, the resource and what to do; 404 is an answer, not a
failure (`find`). Each request has a time limit. Reads are tried again when the server asks for it or is gone for a
moment; writes only when the server says that it did nothing (429).
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

from mirrord.errors import (
    KUBE_ADMISSION,
    KUBE_API,
    KUBE_CERTIFICATE,
    KUBE_FORBIDDEN,
    KUBE_QUOTA,
    KUBE_UNAUTHORIZED,
    KUBE_UNREACHABLE,
    MirrordError,
)
from mirrord.kube.access import Access
from mirrord.kube.package import parts

Json = dict[str, Any]

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
ATTEMPTS = 3
MAX_LINE = 8 << 20


class Refused(Exception):  # noqa: N818 - an answer; `MirrordError` is the error
    """The server answered with an error status."""

    def __init__(self, status: int, reason: str, message: str, wait: float) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.wait = wait


class Api:
    """The API server of one `Access`. Safe to use from several threads."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._rest = parts().rest.RESTClientObject(access.configuration)
        self._stopped = threading.Event()

    def get(self, path: str) -> Json:
        """GET; everything but success is a failure."""
        return self._retried("GET", path)

    def find(self, path: str) -> Json | None:
        """GET; None when there is no such object."""
        try:
            return self._retried("GET", path, quiet=(404,))
        except Refused:
            return None

    def create(self, path: str, body: Json) -> Json:
        """POST."""
        return self._retried("POST", path, body)

    def patch(self, path: str, body: Json) -> Json:
        """PATCH, as a merge."""
        return self._retried("PATCH", path, body)

    def delete(self, path: str, body: Json) -> bool:
        """DELETE; False when it was gone already."""
        try:
            self._retried("DELETE", path, body, quiet=(404, 409))
        except Refused:
            return False
        return True

    def text(self, path: str) -> str:
        """GET of something that is no JSON, such as a log."""
        try:
            return self._once("GET", path, None).decode(errors="replace")
        except Refused as refusal:
            raise self._explain("GET", path, refusal) from refusal

    def watch(self, path: str, seconds: float) -> Iterator[Json]:
        """The events of a watch, until the server or the time limit ends it."""
        join = "&" if "?" in path else "?"
        path = f"{path}{join}watch=1&timeoutSeconds={max(1, int(seconds))}"
        try:
            response = self._open("GET", path, None, (CONNECT_SECONDS, seconds + READ_SECONDS))
        except Refused as refusal:
            raise self._explain("WATCH", path, refusal) from refusal
        buffer = b""
        try:
            for chunk in response.stream(1 << 16, decode_content=True):
                *lines, buffer = (buffer + chunk).split(b"\n")
                if len(buffer) > MAX_LINE:
                    raise MirrordError(KUBE_API, f"The API server sent an event of more than {MAX_LINE} bytes")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except self._transport_errors() as problem:
            raise self._unreachable(problem) from problem
        finally:
            response.close()

    def _retried(self, method: str, path: str, body: Json | None = None, quiet: tuple[int, ...] = ()) -> Json:
        for attempt in range(ATTEMPTS):
            try:
                content = self._once(method, path, body)
                return json.loads(content) if content else {}
            except Refused as refusal:  # noqa: PERF203 - a retry
                if refusal.status in quiet:
                    raise
                again = refusal.status == 429 or (method == "GET" and refusal.status >= 500)
                if not again or attempt == ATTEMPTS - 1:
                    raise self._explain(method, path, refusal) from refusal
                # Jitter, so that many clients refused at once do not come back at once.
                self._stopped.wait(min(refusal.wait or 0.3 * 2**attempt, 5.0) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            except ValueError as problem:
                raise MirrordError(
                    KUBE_API, f"The API server `{self.access.url}` gave an answer that is no JSON", str(problem)
                ) from problem
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: Json | None) -> bytes:
        response = self._open(method, path, body, (CONNECT_SECONDS, READ_SECONDS))
        try:
            return bytes(response.read())
        except self._transport_errors() as problem:
            raise self._unreachable(problem) from problem
        finally:
            response.release_conn()

    def _open(self, method: str, path: str, body: Json | None, timeout: tuple[float, float]) -> Any:
        headers = {**dict(self.access.headers()), "Accept": "application/json, */*"}
        if body is not None:
            is_patch = method == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if is_patch else "application/json"
        try:
            response = self._rest.request(
                method, self.access.url + path, headers=headers, body=body, _request_timeout=timeout
            ).response
            if response.status < 400:
                return response
            raise _refusal(response)
        except self._transport_errors() as problem:
            raise self._unreachable(problem) from problem

    def _transport_errors(self) -> tuple[type[BaseException], ...]:
        import urllib3

        return (urllib3.exceptions.HTTPError, parts().exceptions.ApiException, OSError)

    def _unreachable(self, problem: BaseException) -> MirrordError:
        reason = getattr(problem, "reason", None) or problem
        text = " ".join(str(reason).split())
        if "CERTIFICATE" in text.upper() or "SSL" in type(reason).__name__:
            kind, message = KUBE_CERTIFICATE, f"The certificate of the API server `{self.access.url}` is not accepted"
        else:
            kind, message = KUBE_UNREACHABLE, f"The API server `{self.access.url}` cannot be reached"
        return MirrordError(kind, message, text.partition("): ")[2] or text)

    def _explain(self, method: str, path: str, refusal: Refused) -> MirrordError:
        where = _resource(path)
        verb = {"GET": "read", "POST": "create", "PATCH": "change", "DELETE": "delete", "WATCH": "watch"}[method]
        message = f"Could not {verb} {where}"
        if refusal.status == 401:
            return MirrordError(
                KUBE_UNAUTHORIZED, f"The API server `{self.access.url}` does not know us", refusal.message
            )
        if "exceeded quota" in refusal.message:
            return MirrordError(KUBE_QUOTA, message, refusal.message)
        if "admission webhook" in refusal.message or "violates PodSecurity" in refusal.message:
            return MirrordError(KUBE_ADMISSION, message, refusal.message)
        if refusal.status == 403:
            needed = {"GET": "get, list", "POST": "create", "WATCH": "watch"}.get(method, verb)
            return MirrordError(
                KUBE_FORBIDDEN,
                message,
                refusal.message,
                hint=f"Ask for a role with the verb `{needed}` on {where}, or choose another namespace",
            )
        if method == "POST" and refusal.status == 404:
            return MirrordError(KUBE_API, message, refusal.message, hint="Choose a namespace that exists")
        return MirrordError(KUBE_API, message, f"status `{refusal.status}`: {refusal.message}")


def _refusal(response: Any) -> Refused:
    content = response.read(1 << 16)
    response.release_conn()
    try:
        status = json.loads(content)
        reason, message = status.get("reason") or "", status.get("message") or ""
    except (ValueError, AttributeError):
        # A proxy's page instead of the API's own words.
        reason, message = "", content[:200].decode(errors="replace")
    try:
        wait = float(response.headers.get("Retry-After") or 0)
    except ValueError:
        wait = 0.0
    return Refused(response.status, reason, " ".join(str(message).split()) or str(response.reason), wait)


def _resource(path: str) -> str:
    parts_ = path.partition("?")[0].strip("/").split("/")
    if "namespaces" in parts_:
        index = parts_.index("namespaces")
        namespace, rest = parts_[index + 1], parts_[index + 2 :]
        name = "/".join(rest[:1] + rest[2:]) if len(rest) > 2 else rest[0]
        return f"`{name}` in namespace `{namespace}`"
    return f"`{'/'.join(parts_)}`"
