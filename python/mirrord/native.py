"""Where the layer and the agent are: built files that travel in the package. Called by `session`, `local` and `image`.

Both are code that will run with the user's rights (the layer) or a pod's (the agent), so a file that others may write
is refused. Nothing is ever unpacked into a shared folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mirrord.errors import NATIVE_MISSING, NATIVE_UNSAFE, MirrordError

_FOLDER = Path(__file__).parent / "_native"


def layer() -> Path:
    """The library that is preloaded into the program."""
    return _find("layer", "MIRRORD_LAYER_FILE", "libmirrord_layer.so")


def agent() -> Path:
    """The agent's executable."""
    path = _find("agent", "MIRRORD_AGENT_FILE", "mirrord-agent")
    if not os.access(path, os.X_OK):
        raise MirrordError(NATIVE_UNSAFE, f"The agent `{path}` is not executable", hint=f"Run `chmod +x {path}`")
    return path


def _find(what: str, variable: str, name: str) -> Path:
    named = os.environ.get(variable)
    # A variable is an order, not a suggestion: when it names nothing, no other file is taken instead.
    places = [Path(named).absolute()] if named else [_FOLDER / name]
    for path in places:
        if path.is_file():
            _check(what, path)
            return path
    looked = [f"looked at `{path}`" + (f" (variable `{variable}`)" if named else "") for path in places]
    if not named:
        looked.append(f"the variable `{variable}` is not set")
    raise MirrordError(NATIVE_MISSING, f"mirrord's {what} is missing", *looked)


def _check(what: str, path: Path) -> None:
    found = path.stat()
    # The package's own owner is trusted already: that is who wrote the Python code running now.
    trusted = {0, os.geteuid(), Path(__file__).stat().st_uid}
    if found.st_uid not in trusted:
        raise MirrordError(NATIVE_UNSAFE, f"mirrord's {what} `{path}` belongs to the user id `{found.st_uid}`")
    if found.st_mode & stat.S_IWOTH:
        raise MirrordError(NATIVE_UNSAFE, f"mirrord's {what} `{path}` may be written by everybody")
