"""Builds the small programs once per session into a folder that the machine and the target both see.

Called by `conftest`. A missing tool is no failure: its cases are skipped with the tool's name.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from .catalogue import Language

PROGRAMS = pathlib.Path(__file__).parent / "programs"
_BUILD_SECONDS = 120
_SEARCH = "/usr/local/bin:/usr/bin:/bin:/usr/local/go/bin"


def find_tool(name: str) -> "str | None":
    """A tool of the machine, not of a virtual environment: the target sees the same path."""
    return shutil.which(name, path=_SEARCH) or shutil.which(name)


class Stage:
    """The built programs. `command` gives the argument vector that starts one of them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.problems: "dict[Language, str]" = {}
        for name in ("python", "node"):
            shutil.copytree(PROGRAMS / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self._build_c()
        self._build_java()
        self._build_rust()
        for language, tool in ((Language.NODE, "node"), (Language.JAVA, "java")):
            if find_tool(tool) is None:
                self.problems[language] = f"`{tool}` is not installed"

    def command(self, language: Language, program: str, *arguments: str) -> "list[str]":
        """How `program` is started; shell programs are tools of the machine."""
        if language is Language.SHELL:
            return [program, *arguments]
        if language is Language.PYTHON:
            return [self.python, str(self.folder / "python" / f"{program}.py"), *arguments]
        if language is Language.NODE:
            return [find_tool("node") or "node", str(self.folder / "node" / f"{program}.js"), *arguments]
        if language is Language.JAVA:
            java = find_tool("java") or "java"
            quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
            return [java, *quick, "-cp", str(self.folder / "java"), program, *arguments]
        return [str(self.folder / language.value / program), *arguments]

    @property
    def python(self) -> str:
        """The machine's interpreter: a virtual environment's would need its folder in the target too."""
        return find_tool("python3") or sys.executable

    def static_program(self) -> "str | None":
        """A statically linked C program, or None without a static libc."""
        target = self.folder / "static"
        built = self._run([find_tool("cc") or "cc", "-static", "-o", str(target), str(PROGRAMS / "c/hello.c")])
        return None if built else str(target)

    def go_program(self) -> "str | None":
        """A pure Go program, or None without Go."""
        go = find_tool("go")
        if go is None:
            return None
        target = self.folder / "gohello"
        # Without a home there is no place for Go's build cache; with one, its cache saves half a minute.
        caches = {} if "HOME" in os.environ else {"GOCACHE": str(self.folder / "go-cache")}
        built = self._run([go, "build", "-o", str(target), str(PROGRAMS / "go/hello.go")], CGO_ENABLED="0", **caches)
        return None if built else str(target)

    def _build_c(self) -> None:
        (self.folder / "c").mkdir()
        compiler = find_tool("cc")
        if compiler is None:
            self.problems[Language.C] = "no C compiler (`cc`)"
            return
        for source in sorted((PROGRAMS / "c").glob("*.c")):
            target = str(self.folder / "c" / source.stem)
            flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-pthread")
            problem = self._run([compiler, *flags, "-o", target, str(source), "-lresolv"])
            if problem:
                raise AssertionError(f"failed to compile {source.name}: {problem}")

    def _build_java(self) -> None:
        compiler = find_tool("javac")
        if compiler is None:
            self.problems[Language.JAVA] = "`javac` is not installed"
            return
        sources = [str(source) for source in sorted((PROGRAMS / "java").glob("*.java"))]
        problem = self._run([compiler, "-d", str(self.folder / "java"), *sources])
        if problem:
            raise AssertionError(f"failed to compile the Java programs: {problem}")

    def _build_rust(self) -> None:
        (self.folder / "rust").mkdir()
        compiler = shutil.which("rustc")
        if compiler is None:
            self.problems[Language.RUST] = "`rustc` is not installed"
            return
        for source in sorted((PROGRAMS / "rust").glob("*.rs")):
            target = str(self.folder / "rust" / source.stem)
            problem = self._run([compiler, "--edition", "2021", "-o", target, str(source)])
            if problem:
                raise AssertionError(f"failed to compile {source.name}: {problem}")

    def _run(self, command: "list[str]", **environment: str) -> "str | None":
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=_BUILD_SECONDS,
                env={**os.environ, **environment},
                check=False,
            )
        except FileNotFoundError as problem:
            return str(problem)
        return done.stderr.decode("utf-8", "replace") if done.returncode else None
