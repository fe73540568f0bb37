"""What this machine lacks for a case, as one sentence for the list of skipped tests. Looks at the machine alone:
a product that wrongly says "not available" must fail, not skip."""

import functools
import os
import socket
import subprocess

from .catalogue import Case, Language, Need
from .stage import Stage, find_tool


def lacking(case: Case, stage: Stage) -> "str | None":
    """The first thing that `case` needs and this machine does not have."""
    if case.language in stage.problems:
        return stage.problems[case.language]
    if case.language is Language.SHELL and find_tool(case.program) is None:
        return f"`{case.program}` is not installed"
    if Need.FILES in case.needs:
        return no_remote_root()
    if Need.IPV6 in case.needs:
        return no_ipv6()
    return None


@functools.cache
def no_remote_root() -> "str | None":
    """Why a FUSE mount in a user namespace is impossible here."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "`/dev/fuse` is not open to this user"
    tool = find_tool("unshare")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "-Urm", "true"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return "`unshare -Urm true` does not end"
    return "user namespaces are denied here" if done.returncode else None


@functools.cache
def no_ipv6() -> "str | None":
    """Why IPv6 cases cannot run here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as problem:
        return f"no IPv6 on this machine: {problem.strerror}"
    return None
