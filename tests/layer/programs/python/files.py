"""Files by Python's own doors. One function per case; the first argument names it, the rest are paths."""

import glob
import hashlib
import mmap
import os
import pathlib
import shutil
import stat
import sys
import tempfile


def read(*paths: str) -> None:
    for path in paths:
        with open(path, "rb") as stream:
            print(len(stream.read()), hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest())


def text(path: str) -> None:
    with open(path, encoding="utf-8") as stream:
        for line in list(stream)[:3]:
            print(repr(line))


def describe(*paths: str) -> None:
    for path in paths:
        for follow in (True, False):
            try:
                info = os.stat(path, follow_symlinks=follow)
            except OSError as problem:  # noqa: PERF203 - each failure is a result
                print(path, follow, type(problem).__name__, problem.errno, problem.filename)
            else:
                size = info.st_size if stat.S_ISREG(info.st_mode) else -1
                print(path, follow, oct(info.st_mode), size, info.st_mtime_ns, info.st_nlink)


def scan(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            print(ascii(entry.name), entry.is_file(), entry.is_dir(), entry.is_symlink())
    print(len(os.listdir(os.fsencode(folder))), [name for name in os.listdir(os.fsencode(folder)) if b"\xe9" in name])


def walk(folder: str) -> None:
    for parent, folders, files in sorted(os.walk(folder)):
        print(ascii(parent), sorted(folders), len(files))


def patterns(folder: str) -> None:
    print(sorted(glob.glob(f"{folder}/*.txt"))[:20])
    print(sorted(str(path) for path in pathlib.Path(folder).rglob("leaf*")))
    print(glob.glob(f"{folder}/no-such-*"))


def links(folder: str) -> None:
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            print(ascii(name), os.readlink(path), os.path.realpath(path), os.path.exists(path))
    print(pathlib.Path(folder, "absolute-link").resolve())


def mapped(path: str) -> None:
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        print(len(view), hashlib.sha256(view).hexdigest(), view[4096:4104].hex())


def copied(source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = shutil.copy2(source, folder)
        print(os.path.getsize(target), hashlib.sha256(pathlib.Path(target).read_bytes()).hexdigest())
        print(os.stat(target).st_mtime_ns == os.stat(source).st_mtime_ns)


def tree(source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(source, f"{folder}/copy", symlinks=True)
        for parent, _folders, files in sorted(os.walk(copy)):
            print(os.path.relpath(parent, copy), sorted(files)[:8], len(files))


def working_directory(folder: str) -> None:
    os.chdir(folder)
    print(os.getcwd(), pathlib.Path.cwd(), os.path.abspath("x"))
    print(sorted(os.listdir("."))[:5], os.path.isfile("hello.txt"))
    descriptor = os.open(".", os.O_RDONLY)
    try:
        print(os.stat("hello.txt", dir_fd=descriptor).st_size, len(os.listdir(descriptor)))
    finally:
        os.close(descriptor)


def errors(folder: str) -> None:
    for path in ("no-such-name", "hello.txt/below", "loop-link", "broken-link", ""):
        try:
            open(os.path.join(folder, path), "rb").close()
        except OSError as problem:  # noqa: PERF203 - each failure is a result
            print(repr(path), type(problem).__name__, problem.errno)
        else:
            print(repr(path), "opened")


def own_script(_path: str) -> None:
    """The program's own file and its imports are the machine's; a copy in the target would be another file."""
    print(os.path.isfile(__file__), pathlib.Path(__file__).read_bytes().startswith(b'"""Files by'))
    print(os.path.samefile("/proc/self/exe", sys.executable), os.path.isdir("/proc/self/fd"))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
