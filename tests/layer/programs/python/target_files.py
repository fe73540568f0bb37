"""Lays out, inside the target, the tree that the file cases look at; run once by the tests through the sandbox.

Everything here is odd on purpose; the ordinary files are the demo's own, below /data and /app.
"""

import contextlib
import os
import sys

root = os.fsencode(sys.argv[1])


def write(name: bytes, data: bytes, mode: int = 0o644) -> None:
    with open(root + b"/" + name, "wb") as stream:
        stream.write(data)
    os.chmod(root + b"/" + name, mode)


for folder in (b"dir/sub/deeper", b"empty", b"crowd", b"odd"):
    os.makedirs(root + b"/" + folder)
write(b"file", b"first line\nsecond line\n")
write(b"dir/inner", b"inner\n", 0o600)
write(b"dir/sub/leaf.txt", b"leaf\n", 0o444)
write(b"dir/sub/deeper/last.txt", b"last\n", 0o755)
write(b"numbers", b"".join(b"%d\n" % number for number in range(200_000)))
write(b"nothing", b"")
write(b"odd/caf\xe9", b"latin-1\n")
write(b"odd/with space", b"space\n")
write(b"odd/new\nline", b"newline\n")
write(b"odd/" + b"n" * 255, b"longest\n")
write(b"odd/-dash", b"dash\n")
write(b"odd/Fran\xc3\xa7ois", b"utf-8\n")
for number in range(1500):
    write(b"crowd/entry-%04d" % number, b"%d" % number)
for name, text in {
    b"absolute": root + b"/file",
    b"dirlink": root + b"/dir",
    b"dir/up": b"../file",
    b"loop": b"loop",
    b"dangling": b"no-such-name",
    b"chain": b"absolute",
    b"above": b"../../../../../.." + root + b"/file",
    b"to-root": b"/",
    b"to-etc": b"/etc/hostname",
    b"odd/link": b"caf\xe9",
}.items():
    os.symlink(text, root + b"/" + name)
os.utime(root + b"/file", ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
os.utime(root + b"/dir", ns=(1, 1_234_567_890_000_000_001))
# Without extended attributes on the target's file system, the case compares how that is said.
with contextlib.suppress(OSError):
    os.setxattr(root + b"/file", "user.colour", b"gr\xfcn")
