"""The catalogue of the layer tier, by subject: a case is a name and a command line of something in `programs`.

A table's sections say what the rows after them are: the language (`bash`: the rest of the row is a script), then what
the machine must have (`files`, `ipv6`), whose result is right (`machine`; else the target's), and `same` where target
and machine need not differ.
"""

import dataclasses
import shlex

from mirrord.demo.inside import content
from mirrord.demo.inside.content import (
    DATABASE_PORT,
    DOMAIN,
    POD_V6,
    STALLED_PORT,
    STALLED_V4,
    WEB_PORT,
    WEB_V4,
    WEB_V6,
)

from .catalogue import Case, Language, Need, Oracle

TIER = "/data/tier"
"""The tree of odd files that `programs/python/target_files.py` lays out; the others are the demo's own."""
FILE, BIG, LINES, MANY = "/data/hello.txt", "/data/blob.bin", "/data/lines.txt", "/data/many"
SETTINGS = "/app/config/settings.json"
POD = content.POD_V4
ECHO, DIGEST, CLOSES_FIRST, LAST_RECEIVED, CLIENT, RESET, UNUSED = 7007, 7008, 7009, 7010, 7011, 7013, 7999
"""Ports of `programs/python/target_services.py`, and one where nobody listens."""
WEB, DATABASE = f"catalog.{DOMAIN}", f"db.{DOMAIN}"
WEB_URL = f"http://{WEB}:{WEB_PORT}/"
UNROUTED, UNROUTED_V6 = "198.51.100.9", "2001:db8:9::9"
UNKNOWN = f"no-such-name.{DOMAIN}"
VARIABLES = "SHOP_NAME SHOP_REGION GREETING MULTI_LINE WITH_EQUALS EMPTY HOSTNAME"


def _parse(table: str) -> "list[Case]":
    cases: "list[Case]" = []
    words: "list[str]" = []
    for line in filter(None, table.splitlines()):
        if line.startswith("["):
            words = line.strip("[]").split()
            continue
        name, _, command = line.partition(": ")
        is_script = words[0] == "bash"
        language = Language.SHELL if is_script else Language(words[0])
        program, *arguments = ["bash", "-c", command] if is_script else shlex.split(command)
        cases.append(
            Case(
                f"{language.value}-{name}",
                language,
                program,
                tuple(arguments),
                Oracle.MACHINE if "machine" in words else Oracle.TARGET,
                "same" not in words,
                frozenset(need for need in Need if need.value in words),
            )
        )
    return cases


ENVIRONMENT = _parse(
    f"""
[c]
env-values: environment values {VARIABLES}
env-bytes: environment values LATIN1_NAME
env-names-once: environment block {VARIABLES} LATIN1_NAME
[c machine]
env-path-and-home-stay-local: environment values PATH HOME
env-start-up-hooks-stay-away: environment values PYTHONPATH
env-own-variable: environment values CASE_OWN
[python]
env: environment {VARIABLES} LATIN1_NAME
[node]
env: case environment {VARIABLES}
[java]
env: Case environment SHOP_NAME WITH_EQUALS EMPTY
[rust]
env: case environment {VARIABLES} LATIN1_NAME
[shell]
printenv: printenv SHOP_NAME MULTI_LINE LATIN1_NAME
[bash]
bash-variable: echo "$SHOP_NAME in $SHOP_REGION"
"""
)

OPENING = _parse(
    f"""
[c files]
open: files open {FILE} {TIER}/file {TIER}/nothing '{TIER}/odd/with space'
open-flags: files flags {TIER}/file
open-flags-on-a-link: files flags {TIER}/absolute
open-flags-on-a-folder: files flags {TIER}/dir
open-below-a-descriptor: files dirfd {TIER}/dir inner
open-path-only: files path-only {TIER}/file
fopen-and-freopen: files stdio {LINES} {TIER}/file
pread-lseek-preadv: files positions {TIER}/numbers
mmap: files mmap {BIG}
sendfile-and-splice: files sendfile {TIER}/numbers
open-errors: files errors {TIER}
open-long-names: files long-names {TIER}
open-without-permission: files denied /data/secret.key
remote-file-as-stdin-across-exec: files inherit {TIER}/file
"""
)

LOOKING = _parse(
    f"""
[c files]
stat: attributes stat {FILE} {TIER}/file {TIER}/dir {TIER}/absolute {TIER}/no-such-name
stat-of-links: attributes stat {TIER}/loop {TIER}/dangling {TIER}/chain {TIER}/above
stat-owner: attributes owner {FILE} {TIER}/dir
statx: attributes statx {FILE} {TIER}/absolute {TIER}/dir {TIER}/no-such-name
stat-identity: attributes identity {TIER}/file {TIER}/numbers
access: attributes access {FILE} {TIER}/dir/sub/deeper/last.txt {TIER}/dir {TIER}/dangling
readlink: attributes links {TIER}/absolute {TIER}/dir/up {TIER}/above {TIER}/file
readlink-of-root-and-etc: attributes links {TIER}/to-root {TIER}/to-etc {TIER}/odd/link
realpath: attributes realpath {TIER}/chain {TIER}/dirlink/../dir/up {TIER}/dangling {TIER}
realpath-above-root: attributes realpath /../..{TIER}/above {TIER}/loop /data/../../data
xattr: attributes xattr {TIER}/file
statfs: attributes statfs {TIER}
"""
)

WALKING = _parse(
    f"""
[c files]
readdir: directories read /data {TIER}/odd {TIER}/empty {TIER}/file
readdir-of-1500: directories read {TIER}/crowd
telldir-and-seekdir: directories positions {TIER}/crowd
fdopendir-and-fstatat: directories fdopendir {TIER}
scandir: directories scandir {TIER}
ftw-and-nftw: directories walk {TIER}/dir
fts: directories fts {TIER}/dir
wordexp: directories wordexp '{TIER}/*' '{TIER}/d*/s*/*.txt' '{TIER}/no-such-*'
glob: directories glob '{TIER}/*' '{TIER}/d*/s*/*.txt' '{TIER}/no-such-*'
chdir-and-getcwd: directories cwd {TIER} {TIER}/file
dotdot-above-the-root: directories above-root {FILE}
"""
)

FILES_OF_RUNTIMES = _parse(
    f"""
[python files]
open: files read {FILE} {BIG} {TIER}/numbers
text: files text {LINES}
stat: files describe {FILE} {TIER}/absolute {TIER}/loop {TIER}/dir {TIER}/no-such-name
scandir-and-listdir: files scan {TIER}/odd
walk: files walk /data
glob-and-rglob: files patterns /data
links-and-resolve: files links /data
mmap: files mapped {BIG}
shutil-copy: files copied {TIER}/file
shutil-copytree: files tree /data/deep
chdir-and-dir-fd: files working_directory /data
errors: files errors /data
[node files]
read-and-stream: case read {FILE} {BIG}
readdir-and-opendir: case list /data
stat-lstat-access: case stat {FILE} {TIER}/absolute {TIER}/dir {TIER}/loop {TIER}/none
readlink-and-realpath: case links {TIER}/absolute {TIER}/above {TIER}/dangling
copy: case copy {TIER}/numbers
file-handle: case handle {TIER}/numbers
[java files]
read-and-map: Case read {FILE} {BIG}
list-and-walk: Case list {TIER}/dir
attributes: Case stat {FILE} {TIER}/chain {TIER}/dir {TIER}/no-such-name {TIER}/loop
[rust files]
read: case read {LINES} {BIG} {TIER}/no-such-name
read-dir: case list {TIER}/odd
metadata-and-canonicalize: case stat {FILE} {TIER}/chain {TIER}/dir {TIER}/loop
"""
)

FILES_OF_TOOLS = _parse(
    f"""
[shell files]
cat: cat {SETTINGS} {FILE} {TIER}/no-such-name
sha256sum: sha256sum {BIG} {TIER}/numbers {FILE}
ls-long: ls -la --time-style=full-iso {TIER}/dir {TIER}/odd
ls-recursive: ls -1RF {TIER}/dir {MANY}
stat-tool: stat -c '%n %A %s %Y %F %h' {FILE} {TIER}/absolute {TIER}/file
diff: diff {FILE} {TIER}/file
du: du -ab --apparent-size {TIER}/dir/sub
dash-and-env-i: sh -c 'env -i /bin/cat {FILE}; cat {MANY}/00?.txt | wc -l'
perl: perl -e 'open F, shift or die $!; print <F>; print map {{ -s }} glob shift' {FILE} '{MANY}/00*.txt'
hosts-and-resolv-conf-are-remote: cat /etc/hosts /etc/resolv.conf /etc/hostname
[bash files]
head-and-tail: head -c 20 {BIG} | od -An -tx1; tail -n 3 {LINES}; tail -c 7 {TIER}/numbers
find: find {TIER} -not -path '*crowd*' -printf '%P %y %m %l\\n' | LC_ALL=C sort
find-exec: find {MANY} -name '*.txt' -newermt 2000-01-01 -exec wc -c {{}} + | LC_ALL=C sort | tail -n 5
grep-recursive: grep -rl lea {TIER}/dir /data/deep | sort; grep -c line {LINES}
sed-awk-cut-sort: sed -n 5,7p {LINES}; awk '{{s+=$2}} END {{print s}}' {LINES}; sort -r {LINES} | head -2
cp-and-cmp: d=$(mktemp -d) && cp {BIG} "$d/x" && cmp "$d/x" {BIG} && echo same; rm -r "$d"
cp-archive: d=$(mktemp -d) && cp -r {TIER}/dir "$d/x" && (cd "$d/x" && find . | sort); rm -r "$d"
tar: tar -C {TIER} -cf - dir odd absolute | tar -tvf - | tr -s ' ' | cut -d' ' -f1,3- | sort
readlink-and-realpath: readlink {TIER}/absolute; readlink -f {TIER}/chain; realpath {TIER}/above
bash-file-into-variable: x=$(< {SETTINGS}); echo "<$x>"; mapfile -t lines < {LINES}; echo ${{#lines[@]}}
bash-globs-and-tests: echo {MANY}/00*.txt {TIER}/d*; test -f {FILE} -a -L {TIER}/loop && echo yes
bash-cd-and-pwd: cd {TIER}/dirlink && pwd && pwd -P && cat ../file && cd .. && pwd && ls -d dir
bash-redirections: exec 3< {FILE}; cat <&3; while read -r a b; do echo $b; done < {LINES} | tail -2
xargs: printf '%s\\n' {FILE} {SETTINGS} | xargs -n1 -P2 cat | sort
"""
)

LOCAL_FILES = _parse(
    f"""
[python machine same]
own-script-is-local: files own_script -
[shell machine same]
etc-and-usr-are-local: sha256sum /etc/passwd /usr/bin/env /bin/sh
[bash machine same]
temporary-files-are-local: f=$(mktemp) && echo own > "$f" && cat "$f" && rm "$f"
[c same]
open-bad-address: files bad-address
[c files machine]
writes-stay-local: files create-local {TIER}/created
[shell files machine]
nsswitch-is-local: cat /etc/nsswitch.conf
[bash files machine]
shell-script-is-local: cat /data/script.sh || echo none
"""
)

OUTGOING = _parse(
    f"""
[c]
connect: outgoing blocking 127.0.0.1 {ECHO}
connect-half-close: outgoing blocking {POD} {DIGEST}
connect-source-address: outgoing blocking {POD} {CLIENT}
connect-poll: outgoing poll {POD} {ECHO}
connect-epoll: outgoing epoll {POD} {ECHO}
connect-select: outgoing select {POD} {ECHO}
connect-mapped: outgoing mapped {POD} {ECHO}
connect-options-dup-fork: outgoing options {POD} {ECHO}
connect-again-after-refusal: outgoing retry {POD} {UNUSED} {ECHO}
server-closes-first: outgoing server-closes-first 127.0.0.1 {CLOSES_FIRST} {LAST_RECEIVED}
connect-reset: outgoing reset 127.0.0.1 {RESET}
refused: outgoing limited {WEB_V4} 81
refused-poll: outgoing poll {WEB_V4} 81
stalled: outgoing stalled {STALLED_V4} {STALLED_PORT}
[c ipv6]
connect-v6: outgoing blocking ::1 {ECHO}
connect-v6-poll: outgoing poll {POD_V6} {DIGEST}
[c same]
unreachable: outgoing limited {UNROUTED} 80
unreachable-poll: outgoing poll {UNROUTED} 80
refused-on-loopback: outgoing blocking 127.0.0.1 {UNUSED}
own-listener-stays-local: outgoing own-listener 127.0.0.1
unix-socket-stays-local: outgoing unix /tmp/mirrord-case.sock
connect-bad-arguments: outgoing bad-arguments 127.0.0.1 {UNUSED}
[c ipv6 same]
own-listener-v6-stays-local: outgoing own-listener ::1
unreachable-v6: outgoing limited {UNROUTED_V6} 80
[python]
urlopen: outgoing get {WEB_URL}
http-client-twice: outgoing connection {WEB_V4} {WEB_PORT}
server-greets-first: outgoing greeting {DATABASE} {DATABASE_PORT}
asyncio: outgoing streams {POD} {ECHO}
asyncio-50-at-once: outgoing many {POD} {ECHO}
16-mib-both-ways: outgoing bulk {POD} {ECHO}
selectors: outgoing selected {POD} {ECHO}
failures: outgoing failures {WEB_V4}/81 {UNROUTED}/80 {UNKNOWN}/80
[python ipv6]
http-client-v6: outgoing connection {WEB_V6} {WEB_PORT}
[node]
http-get: case get {WEB_URL}
fetch: case fetch {WEB_URL}
net-half-close: case exchange {POD} {DIGEST}
net-refused: case exchange {WEB_V4} 81
[java]
http-client: Case get {WEB_URL}
socket: Case exchange {POD} {DIGEST}
socket-channel: Case channel {WEB} {WEB_PORT}
socket-channel-refused: Case channel {WEB_V4} 81
refused: Case refused {WEB_V4} 81
[java same]
loopback-stays-local: Case loopback
[rust]
tcp-stream: case exchange {POD}:{ECHO}
tcp-stream-by-name: case exchange legacy-db:{DATABASE_PORT}
refused: case refused {WEB_V4}:81 {UNROUTED}:80
[rust same]
loopback-stays-local: case loopback
[shell]
curl: curl -sS --max-time 20 {WEB_URL}
curl-write-out: curl -sS -o /dev/null -w '%{{http_code}} %{{remote_ip}} %{{remote_port}}' http://v4only:{WEB_PORT}/
curl-refused: curl -s --max-time 5 http://{WEB_V4}:81/
[bash]
bash-dev-tcp: exec 3<>/dev/tcp/{DATABASE}/{DATABASE_PORT} && head -n 1 <&3
"""
)

NAMES = _parse(
    f"""
[shell same]
curl-unknown-name: curl -s --max-time 20 http://{UNKNOWN}/
[c]
getaddrinfo-families: names families {WEB} {DATABASE} catalog legacy-db
getaddrinfo-hints: names hints {WEB}
getaddrinfo-alias-and-single-family: names families www.{DOMAIN} v4only v6only
getaddrinfo-alias-canonical: names hints www.{DOMAIN}
getaddrinfo-60-addresses: names hints many.{DOMAIN}
getaddrinfo-trailing-dot-and-case: names families {WEB}. CATALOG.Shop.Internal
gethostbyname-family: names hostent {WEB}
gethostbyname-of-hosts-file: names hostent legacy-db
getnameinfo-and-gethostbyaddr: names reverse {WEB}
res-query-search-send: names queries {WEB} {UNKNOWN}
gethostname-and-uname: names machine
[c same]
getaddrinfo-numeric: names numeric
getaddrinfo-unknown: names unknown {UNKNOWN}
[python]
getaddrinfo: names addresses {WEB} {DATABASE} legacy-db {UNKNOWN}
gethostbyname-ex: names extended {WEB}
gethostname: names machine
first-address: names first {WEB} {DATABASE}
asyncio-getaddrinfo: names several {WEB} {DATABASE} legacy-db
[node]
dns-lookup: case names {WEB} catalog {UNKNOWN}
dns-lookup-service: case service {WEB_V4}
hostname: case machine
[java]
inet-address: Case names {WEB} {DATABASE} {UNKNOWN}
[rust]
to-socket-addrs: case names {WEB} catalog {UNKNOWN}
[shell]
getent-hosts: getent ahostsv4 {WEB}
hostname: hostname
uname-node: uname -n
"""
)

PROCESSES = _parse(
    f"""
[c files]
fork-and-exec: processes fork {FILE}
fork-without-exec: processes fork-without-exec {FILE}
vfork-and-execve: processes vfork {FILE}
posix-spawn: processes spawn {FILE}
posix-spawn-opens-a-remote-file: processes spawn-open {FILE}
system-and-popen: processes shell {FILE}
threads-and-forks: processes threads {FILE}
descriptors: processes descriptors {FILE}
exec-execve: processes exec {FILE} execve
exec-execv: processes exec {FILE} execv
exec-execvp: processes exec {FILE} execvp
exec-execvpe: processes exec {FILE} execvpe
exec-execl: processes exec {FILE} execl
exec-execle: processes exec {FILE} execle
exec-execlp: processes exec {FILE} execlp
exec-fexecve: processes exec {FILE} fexecve
exec-execveat: processes exec {FILE} execveat
[c same]
children-and-signals: processes children
[python files]
subprocess: processes child {FILE}
posix-spawn-with-empty-environment: processes spawned {FILE}
multiprocessing: processes workers {FILE}
[python same]
exit-status: processes status -
[node files]
child-process: case children {FILE}
[java files]
process-builder: Case children {FILE}
[rust files]
command: case children {FILE}
[bash files]
nested-shells: (sh -c 'bash -c "cat {FILE}"'); exit 5
"""
)


GAPS: "dict[str, str]" = {
    "c-fts": "fts_open works inside libc, and is not covered yet",
    "c-wordexp": "wordexp works inside libc, and is not covered yet",
    "python-first-address": "addresses come in the order of the DNS answer, not in that of the pod's routes",
}
"""What is known not to work: expected to fail, and a failure of the tier once it does work. See docs/limitations.md."""

_TABLES = (
    *ENVIRONMENT, *OPENING, *LOOKING, *WALKING, *FILES_OF_RUNTIMES, *FILES_OF_TOOLS, *LOCAL_FILES,
    *OUTGOING, *NAMES, *PROCESSES,
)  # fmt: skip
ALL = [dataclasses.replace(case, gap=GAPS.get(case.id)) for case in _TABLES]
