"""`python -m benches [--cluster] [--json FILE]`: run every subject, print the table, keep it as JSON.

The exit status is 0 whether promises are met or not: a shared machine must not fail a build. `--strict` makes it 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import sys
from collections.abc import Iterator

from . import build, demo, files, incoming, memory, outgoing, startup, table
from .figure import Figure
from .place import Place, Programs


def main() -> int:
    options = _options()
    groups: dict[str, list[Figure]] = {}
    for path in build.unoptimised():
        print(f"development build, not what is promised: {path}")
    with Programs() as programs:
        groups["command line"] = startup.command_line()
        _show("command line", groups)
        with demo.opened(programs) as place:
            groups["demo target"] = [*startup.demo(programs), *startup.at_place(place), *_subjects(place)]
        _show("demo target", groups)
        if options.cluster or os.environ.get("KUBECONFIG"):
            with _cluster(programs) as figures:
                groups["cluster"] = figures
            _show("cluster", groups)
    _write(pathlib.Path(options.json), groups)
    missed = [figure.name for figures in groups.values() for figure in figures if figure.is_met is False]
    print(f"\n{len(missed)} promises not met: {', '.join(missed)}" if missed else "\nAll promises met")
    return 1 if missed and options.strict else 0


def _subjects(place: Place, tunnel: dict[str, float] | None = None) -> list[Figure]:
    network = outgoing.measure(place, tunnel)
    return [
        *files.remote(place, network.round_trip, network.stream),
        *network.figures,
        *incoming.measure(place),
        *files.overhead(place),
        *memory.measure(place),
    ]


@contextlib.contextmanager
def _cluster(programs: Programs) -> Iterator[list[Figure]]:
    # Imported here: it needs the tests' cluster script, which an installed package does not have.
    from . import cluster

    with cluster.opened(programs) as place:
        floor = place.ready_time()
        yield [*startup.at_place(place, floor, "bare pod to Ready"), *_subjects(place, place.tunnel())]


def _show(title: str, groups: dict[str, list[Figure]]) -> None:
    print(table.render(title, groups[title]) + "\n", flush=True)


def _write(path: pathlib.Path, groups: dict[str, list[Figure]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": {"system": platform.platform(), "python": platform.python_version(), "processors": os.cpu_count()},
        "unoptimised": build.unoptimised(),
        "groups": {title: [figure.as_json() for figure in figures] for title, figures in groups.items()},
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="also on the cluster that tests/cluster makes")
    parser.add_argument("--json", default="target/bench.json", metavar="FILE", help="where the record goes")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a promise is not met")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
