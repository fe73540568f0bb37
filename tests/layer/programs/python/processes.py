"""Children by Python's own doors; each prints a file of the target."""

import multiprocessing
import os
import subprocess
import sys


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.readline()


def child(path: str) -> None:
    print(subprocess.run(["cat", path], capture_output=True, check=True).stdout)
    print(subprocess.run(["/bin/cat", path], capture_output=True, check=True, env={}).stdout)
    print(subprocess.run(f"cat {path} | tr a-z A-Z", shell=True, capture_output=True, check=True).stdout)
    print(subprocess.run(["/bin/cat", path], capture_output=True, close_fds=False, start_new_session=True).stdout)


def spawned(path: str) -> None:
    sys.stdout.flush()
    pid = os.posix_spawn("/bin/cat", ["cat", path], {})
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def workers(path: str) -> None:
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(_first_line, [path] * 4))


def status(_path: str) -> None:
    print(subprocess.run(["sh", "-c", "exit 7"]).returncode, subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
    sys.exit(42)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
