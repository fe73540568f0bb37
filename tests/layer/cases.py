"""The catalogue of the layer tier, by subject: a case is a name and a command line of something in `programs`."""

import shlex

from mirrord.demo.inside import content
from mirrord.demo.inside.content import DATABASE_PORT, POD_V6, STALLED_PORT, STALLED_V4, WEB_PORT, WEB_V4, WEB_V6

from .catalogue import Case, Language, Need, Oracle

TIER = "/data/tier"
"""The tree of odd files that `programs/python/target_files.py` lays out; the others are the demo's own."""
FILE, FOLDER, BIG = "/data/hello.txt", "/data", "/data/blob.bin"
LINES, SETTINGS, MANY = "/data/lines.txt", "/app/config/settings.json", "/data/many"
POD = content.POD_V4
ECHO, DIGEST, CLOSES_FIRST, LAST_RECEIVED, CLIENT, RESET, UNUSED = 7007, 7008, 7009, 7010, 7011, 7013, 7999
"""Ports of `programs/python/target_services.py`, and one where nobody listens."""
WEB, DATABASE = "catalog.shop.internal", "db.shop.internal"
WEB_URL = f"http://{WEB}:{WEB_PORT}/"
UNROUTED, UNROUTED_V6 = "198.51.100.9", "2001:db8:9::9"
UNKNOWN = "no-such-name.shop.internal"
VARIABLES = "SHOP_NAME SHOP_REGION GREETING MULTI_LINE WITH_EQUALS EMPTY HOSTNAME"

_FILES = frozenset({Need.FILES})
_IPV6 = frozenset({Need.IPV6})
_NONE: "frozenset[Need]" = frozenset()


def _group(
    language: Language,
    needs: "frozenset[Need]",
    rows: "list[tuple[str, str]]",
    *,
    oracle: Oracle = Oracle.TARGET,
    differs: bool = True,
) -> "list[Case]":
    """Rows are a name and a command line: the program, then its arguments."""
    cases = []
    for name, line in rows:
        program, *arguments = shlex.split(line)
        cases.append(Case(f"{language.value}-{name}", language, program, tuple(arguments), oracle, differs, needs))
    return cases


def _scripts(
    needs: "frozenset[Need]", rows: "list[tuple[str, str]]", *, oracle: Oracle = Oracle.TARGET, differs: bool = True
) -> "list[Case]":
    """Rows are a name and a script for bash."""
    return [
        Case(f"shell-{name}", Language.SHELL, "bash", ("-c", script), oracle, differs, needs) for name, script in rows
    ]


ENVIRONMENT = [
    *_group(
        Language.C,
        _NONE,
        [
            ("env-values", f"environment values {VARIABLES}"),
            ("env-bytes", "environment values LATIN1_NAME"),
            ("env-names-once", f"environment block {VARIABLES} LATIN1_NAME"),
        ],
    ),
    *_group(
        Language.C,
        _NONE,
        [
            ("env-path-and-home-stay-local", "environment values PATH HOME"),
            ("env-start-up-hooks-stay-away", "environment values PYTHONPATH"),
            ("env-own-variable", "environment values CASE_OWN"),
        ],
        oracle=Oracle.MACHINE,
    ),
    *_group(
        Language.PYTHON,
        _NONE,
        [
            ("env", f"environment {VARIABLES} LATIN1_NAME"),
        ],
    ),
    *_group(
        Language.NODE,
        _NONE,
        [
            ("env", f"case environment {VARIABLES}"),
        ],
    ),
    *_group(
        Language.JAVA,
        _NONE,
        [
            ("env", "Case environment SHOP_NAME WITH_EQUALS EMPTY"),
        ],
    ),
    *_group(
        Language.RUST,
        _NONE,
        [
            ("env", f"case environment {VARIABLES} LATIN1_NAME"),
        ],
    ),
    *_group(
        Language.SHELL,
        _NONE,
        [
            ("printenv", "printenv SHOP_NAME MULTI_LINE LATIN1_NAME"),
        ],
    ),
    *_scripts(
        _NONE,
        [
            ("bash-variable", 'echo "$SHOP_NAME in $SHOP_REGION"'),
        ],
    ),
]

OPENING = [
    *_group(
        Language.C,
        _FILES,
        [
            ("open", f"files open {FILE} {TIER}/file {TIER}/nothing '{TIER}/odd/with space'"),
            ("open-flags", f"files flags {TIER}/file"),
            ("open-flags-on-a-link", f"files flags {TIER}/absolute"),
            ("open-flags-on-a-folder", f"files flags {TIER}/dir"),
            ("open-below-a-descriptor", f"files dirfd {TIER}/dir inner"),
            ("open-path-only", f"files path-only {TIER}/file"),
            ("fopen-and-freopen", f"files stdio {LINES} {TIER}/file"),
            ("pread-lseek-preadv", f"files positions {TIER}/numbers"),
            ("mmap", f"files mmap {BIG}"),
            ("sendfile-and-splice", f"files sendfile {TIER}/numbers"),
            ("open-errors", f"files errors {TIER}"),
            ("open-without-permission", "files denied /data/secret.key"),
            ("remote-file-as-stdin-across-exec", f"files inherit {TIER}/file"),
        ],
    ),
]

LOOKING = [
    *_group(
        Language.C,
        _FILES,
        [
            ("stat", f"attributes stat {FILE} {TIER}/file {TIER}/dir {TIER}/absolute {TIER}/no-such-name"),
            ("stat-of-links", f"attributes stat {TIER}/loop {TIER}/dangling {TIER}/chain {TIER}/above"),
            ("stat-owner", f"attributes owner {FILE} {TIER}/dir"),
            ("statx", f"attributes statx {FILE} {TIER}/absolute {TIER}/dir {TIER}/no-such-name"),
            ("stat-identity", f"attributes identity {TIER}/file {TIER}/numbers"),
            ("access", f"attributes access {FILE} {TIER}/dir/sub/deeper/last.txt {TIER}/dir {TIER}/dangling"),
            ("readlink", f"attributes links {TIER}/absolute {TIER}/dir/up {TIER}/above {TIER}/file"),
            ("readlink-of-root-and-etc", f"attributes links {TIER}/to-root {TIER}/to-etc {TIER}/odd/link"),
            ("realpath", f"attributes realpath {TIER}/chain {TIER}/dirlink/../dir/up {TIER}/dangling {TIER}"),
            ("realpath-above-root", f"attributes realpath /../..{TIER}/above {TIER}/loop /data/../../data"),
            ("xattr", f"attributes xattr {TIER}/file"),
            ("statfs", f"attributes statfs {TIER}"),
        ],
    ),
]

WALKING = [
    *_group(
        Language.C,
        _FILES,
        [
            ("readdir", f"directories read /data {TIER}/odd {TIER}/empty {TIER}/file"),
            ("readdir-of-1500", f"directories read {TIER}/crowd"),
            ("telldir-and-seekdir", f"directories positions {TIER}/crowd"),
            ("fdopendir-and-fstatat", f"directories fdopendir {TIER}"),
            ("scandir", f"directories scandir {TIER}"),
            ("ftw-and-nftw", f"directories walk {TIER}/dir"),
            ("fts", f"directories fts {TIER}/dir"),
            ("glob-and-wordexp", f"directories glob '{TIER}/*' '{TIER}/d*/s*/*.txt' '{TIER}/no-such-*'"),
            ("chdir-and-getcwd", f"directories cwd {TIER} {TIER}/file"),
            ("dotdot-above-the-root", f"directories above-root {FILE}"),
        ],
    ),
]

FILES_OF_RUNTIMES = [
    *_group(
        Language.PYTHON,
        _FILES,
        [
            ("open", f"files read {FILE} {BIG} {TIER}/numbers"),
            ("text", f"files text {LINES}"),
            ("stat", f"files describe {FILE} {TIER}/absolute {TIER}/loop {TIER}/dir {TIER}/no-such-name"),
            ("scandir-and-listdir", f"files scan {TIER}/odd"),
            ("walk", "files walk /data"),
            ("glob-and-rglob", "files patterns /data"),
            ("links-and-resolve", "files links /data"),
            ("mmap", f"files mapped {BIG}"),
            ("shutil-copy", f"files copied {TIER}/file"),
            ("shutil-copytree", "files tree /data/deep"),
            ("chdir-and-dir-fd", "files working_directory /data"),
            ("errors", "files errors /data"),
        ],
    ),
    *_group(
        Language.NODE,
        _FILES,
        [
            ("read-and-stream", f"case read {FILE} {BIG}"),
            ("readdir-and-opendir", "case list /data"),
            ("stat-lstat-access", f"case stat {FILE} {TIER}/absolute {TIER}/dir {TIER}/loop {TIER}/none"),
            ("readlink-and-realpath", f"case links {TIER}/absolute {TIER}/above {TIER}/dangling"),
            ("copy", f"case copy {TIER}/numbers"),
            ("file-handle", f"case handle {TIER}/numbers"),
        ],
    ),
    *_group(
        Language.JAVA,
        _FILES,
        [
            ("read-and-map", f"Case read {FILE} {BIG}"),
            ("list-and-walk", f"Case list {TIER}/dir"),
            ("attributes", f"Case stat {FILE} {TIER}/chain {TIER}/dir {TIER}/no-such-name {TIER}/loop"),
        ],
    ),
    *_group(
        Language.RUST,
        _FILES,
        [
            ("read", f"case read {LINES} {BIG} {TIER}/no-such-name"),
            ("read-dir", f"case list {TIER}/odd"),
            ("metadata-and-canonicalize", f"case stat {FILE} {TIER}/chain {TIER}/dir {TIER}/loop"),
        ],
    ),
]

FILES_OF_TOOLS = [
    *_group(
        Language.SHELL,
        _FILES,
        [
            ("cat", f"cat {SETTINGS} {FILE} {TIER}/no-such-name"),
            ("sha256sum", f"sha256sum {BIG} {TIER}/numbers {FILE}"),
            ("ls-long", f"ls -la --time-style=full-iso {TIER}/dir {TIER}/odd"),
            ("ls-recursive", f"ls -1RF {TIER}/dir {MANY}"),
            ("stat-tool", f"stat -c '%n %A %s %Y %F %h' {FILE} {TIER}/absolute {TIER}/file"),
            ("diff", f"diff {FILE} {TIER}/file"),
            ("du", f"du -ab --apparent-size {TIER}/dir/sub"),
            ("dash-and-env-i", f"sh -c 'env -i /bin/cat {FILE}; cat {MANY}/00?.txt | wc -l'"),
            (
                "perl",
                f"perl -e 'open F, shift or die $!; print <F>; print map {{ -s }} glob shift' {FILE} '{MANY}/00*.txt'",
            ),
            ("hosts-and-resolv-conf-are-remote", "cat /etc/hosts /etc/resolv.conf /etc/hostname"),
        ],
    ),
    *_scripts(
        _FILES,
        [
            ("head-and-tail", f"head -c 20 {BIG} | od -An -tx1; tail -n 3 {LINES}; tail -c 7 {TIER}/numbers"),
            ("find", f"find {TIER} -not -path '*crowd*' -printf '%P %y %m %l\\n' | LC_ALL=C sort"),
            (
                "find-exec",
                f"find {MANY} -name '*.txt' -newermt 2000-01-01 -exec wc -c {{}} + | LC_ALL=C sort | tail -n 5",
            ),
            ("grep-recursive", f"grep -rl lea {TIER}/dir /data/deep | sort; grep -c line {LINES}"),
            (
                "sed-awk-cut-sort",
                f"sed -n 5,7p {LINES}; awk '{{s+=$2}} END {{print s}}' {LINES}; sort -r {LINES} | head -2",
            ),
            ("cp-and-cmp", f'd=$(mktemp -d) && cp {BIG} "$d/x" && cmp "$d/x" {BIG} && echo same; rm -r "$d"'),
            ("cp-archive", f'd=$(mktemp -d) && cp -r {TIER}/dir "$d/x" && (cd "$d/x" && find . | sort); rm -r "$d"'),
            ("tar", f"tar -C {TIER} -cf - dir odd absolute | tar -tvf - | tr -s ' ' | cut -d' ' -f1,3- | sort"),
            ("readlink-and-realpath", f"readlink {TIER}/absolute; readlink -f {TIER}/chain; realpath {TIER}/above"),
            (
                "bash-file-into-variable",
                f'x=$(< {SETTINGS}); echo "<$x>"; mapfile -t lines < {LINES}; echo ${{#lines[@]}}',
            ),
            (
                "bash-globs-and-tests",
                f"echo {MANY}/00*.txt {TIER}/d*; test -f {FILE} -a -L {TIER}/loop && echo yes",
            ),
            ("bash-cd-and-pwd", f"cd {TIER}/dirlink && pwd && pwd -P && cat ../file && cd .. && pwd && ls -d dir"),
            ("bash-redirections", f"exec 3< {FILE}; cat <&3; while read -r a b; do echo $b; done < {LINES} | tail -2"),
            ("xargs", f"printf '%s\\n' {FILE} {SETTINGS} | xargs -n1 -P2 cat | sort"),
        ],
    ),
]

LOCAL_FILES = [
    *_group(
        Language.PYTHON,
        _NONE,
        [
            ("own-script-is-local", "files own_script -"),
        ],
        oracle=Oracle.MACHINE,
        differs=False,
    ),
    *_group(
        Language.SHELL,
        _NONE,
        [
            ("etc-and-usr-are-local", "sha256sum /etc/passwd /usr/bin/env /bin/sh"),
        ],
        oracle=Oracle.MACHINE,
        differs=False,
    ),
    *_scripts(
        _NONE,
        [
            ("temporary-files-are-local", 'f=$(mktemp) && echo own > "$f" && cat "$f" && rm "$f"'),
        ],
        oracle=Oracle.MACHINE,
        differs=False,
    ),
    *_group(
        Language.C,
        _FILES,
        [
            ("writes-stay-local", f"files create-local {TIER}/created"),
        ],
        oracle=Oracle.MACHINE,
    ),
    *_group(
        Language.SHELL,
        _FILES,
        [
            ("nsswitch-is-local", "cat /etc/nsswitch.conf"),
        ],
        oracle=Oracle.MACHINE,
    ),
    *_scripts(
        _FILES,
        [
            ("shell-script-is-local", "cat /data/script.sh || echo none"),
        ],
        oracle=Oracle.MACHINE,
    ),
]

OUTGOING = [
    *_group(
        Language.C,
        _NONE,
        [
            ("connect", f"outgoing blocking 127.0.0.1 {ECHO}"),
            ("connect-half-close", f"outgoing blocking {POD} {DIGEST}"),
            ("connect-source-address", f"outgoing blocking {POD} {CLIENT}"),
            ("connect-poll", f"outgoing poll {POD} {ECHO}"),
            ("connect-epoll", f"outgoing epoll {POD} {ECHO}"),
            ("connect-select", f"outgoing select {POD} {ECHO}"),
            ("connect-mapped", f"outgoing mapped {POD} {ECHO}"),
            ("connect-options-dup-fork", f"outgoing options {POD} {ECHO}"),
            ("connect-again-after-refusal", f"outgoing retry {POD} {UNUSED} {ECHO}"),
            ("server-closes-first", f"outgoing server-closes-first {POD} {CLOSES_FIRST} {LAST_RECEIVED}"),
            ("connect-reset", f"outgoing reset {POD} {RESET}"),
            ("refused", f"outgoing limited {WEB_V4} 81"),
            ("refused-poll", f"outgoing poll {WEB_V4} 81"),
            ("stalled", f"outgoing stalled {STALLED_V4} {STALLED_PORT}"),
        ],
    ),
    *_group(
        Language.C,
        _IPV6,
        [
            ("connect-v6", f"outgoing blocking ::1 {ECHO}"),
            ("connect-v6-poll", f"outgoing poll {POD_V6} {DIGEST}"),
        ],
    ),
    *_group(
        Language.C,
        _NONE,
        [
            ("unreachable", f"outgoing limited {UNROUTED} 80"),
            ("unreachable-poll", f"outgoing poll {UNROUTED} 80"),
            ("refused-on-loopback", f"outgoing blocking 127.0.0.1 {UNUSED}"),
            ("own-listener-stays-local", "outgoing own-listener 127.0.0.1"),
            ("unix-socket-stays-local", "outgoing unix /tmp/mirrord-case.sock"),
            ("connect-bad-arguments", f"outgoing bad-arguments 127.0.0.1 {UNUSED}"),
        ],
        differs=False,
    ),
    *_group(
        Language.C,
        _IPV6,
        [
            ("own-listener-v6-stays-local", "outgoing own-listener ::1"),
            ("unreachable-v6", f"outgoing limited {UNROUTED_V6} 80"),
        ],
        differs=False,
    ),
    *_group(
        Language.PYTHON,
        _NONE,
        [
            ("urlopen", f"outgoing get {WEB_URL}"),
            ("http-client-twice", f"outgoing connection {WEB_V4} {WEB_PORT}"),
            ("server-greets-first", f"outgoing greeting {DATABASE} {DATABASE_PORT}"),
            ("asyncio", f"outgoing streams {POD} {ECHO}"),
            ("asyncio-50-at-once", f"outgoing many {POD} {ECHO}"),
            ("16-mib-both-ways", f"outgoing bulk {POD} {ECHO}"),
            ("selectors", f"outgoing selected {POD} {ECHO}"),
            ("failures", f"outgoing failures {WEB_V4}/81 {UNROUTED}/80 {UNKNOWN}/80"),
        ],
    ),
    *_group(
        Language.PYTHON,
        _IPV6,
        [
            ("http-client-v6", f"outgoing connection {WEB_V6} {WEB_PORT}"),
        ],
    ),
    *_group(
        Language.NODE,
        _NONE,
        [
            ("http-get", f"case get {WEB_URL}"),
            ("fetch", f"case fetch {WEB_URL}"),
            ("net-half-close", f"case exchange {POD} {DIGEST}"),
            ("net-refused", f"case exchange {WEB_V4} 81"),
        ],
    ),
    *_group(
        Language.JAVA,
        _NONE,
        [
            ("http-client", f"Case get {WEB_URL}"),
            ("socket", f"Case exchange {POD} {DIGEST}"),
            ("socket-channel", f"Case channel {WEB} {WEB_PORT}"),
            ("socket-channel-refused", f"Case channel {WEB_V4} 81"),
            ("refused", f"Case refused {WEB_V4} 81"),
        ],
    ),
    *_group(
        Language.JAVA,
        _NONE,
        [
            ("loopback-stays-local", "Case loopback"),
        ],
        differs=False,
    ),
    *_group(
        Language.RUST,
        _NONE,
        [
            ("tcp-stream", f"case exchange {POD}:{ECHO}"),
            ("tcp-stream-by-name", f"case exchange {DATABASE}:{DATABASE_PORT}"),
            ("refused", f"case refused {WEB_V4}:81 {UNROUTED}:80"),
        ],
    ),
    *_group(
        Language.RUST,
        _NONE,
        [
            ("loopback-stays-local", "case loopback"),
        ],
        differs=False,
    ),
    *_group(
        Language.SHELL,
        _NONE,
        [
            ("curl", f"curl -sS --max-time 20 {WEB_URL}"),
            ("curl-write-out", f"curl -sS -o /dev/null -w '%{{http_code}} %{{remote_ip}} %{{remote_port}}' {WEB_URL}"),
            ("curl-refused", f"curl -s --max-time 5 http://{WEB_V4}:81/"),
        ],
    ),
    *_scripts(
        _NONE,
        [
            ("bash-dev-tcp", f"exec 3<>/dev/tcp/{DATABASE}/{DATABASE_PORT} && head -n 1 <&3"),
        ],
    ),
]

NAMES = [
    *_group(
        Language.SHELL,
        _NONE,
        [
            ("curl-unknown-name", f"curl -s --max-time 20 http://{UNKNOWN}/"),
        ],
        differs=False,
    ),
    *_group(
        Language.C,
        _NONE,
        [
            ("getaddrinfo-families", f"names families {WEB} {DATABASE} catalog legacy-db"),
            ("getaddrinfo-hints", f"names hints {WEB}"),
            ("getaddrinfo-alias-and-single-family", "names families www.shop.internal v4only v6only"),
            ("getaddrinfo-alias-canonical", "names hints www.shop.internal"),
            ("getaddrinfo-60-addresses", "names hints many.shop.internal"),
            ("getaddrinfo-trailing-dot-and-case", f"names families {WEB}. CATALOG.Shop.Internal"),
            ("gethostbyname-family", f"names hostent {WEB}"),
            ("gethostbyname-of-hosts-file", "names hostent legacy-db"),
            ("getnameinfo-and-gethostbyaddr", f"names reverse {WEB}"),
            ("res-query-search-send", f"names queries {WEB} {UNKNOWN}"),
            ("gethostname-and-uname", "names machine"),
        ],
    ),
    *_group(
        Language.C,
        _NONE,
        [
            ("getaddrinfo-numeric", "names numeric"),
            ("getaddrinfo-unknown", f"names unknown {UNKNOWN}"),
        ],
        differs=False,
    ),
    *_group(
        Language.PYTHON,
        _NONE,
        [
            ("getaddrinfo", f"names addresses {WEB} {DATABASE} legacy-db {UNKNOWN}"),
            ("gethostbyname-ex", f"names extended {WEB}"),
            ("gethostname", "names machine"),
            ("asyncio-getaddrinfo", f"names several {WEB} {DATABASE} legacy-db"),
        ],
    ),
    *_group(
        Language.NODE,
        _NONE,
        [
            ("dns-lookup", f"case names {WEB} catalog {UNKNOWN}"),
            ("dns-lookup-service", f"case service {WEB_V4}"),
            ("hostname", "case machine"),
        ],
    ),
    *_group(
        Language.JAVA,
        _NONE,
        [
            ("inet-address", f"Case names {WEB} {DATABASE} {UNKNOWN}"),
        ],
    ),
    *_group(
        Language.RUST,
        _NONE,
        [
            ("to-socket-addrs", f"case names {WEB} catalog {UNKNOWN}"),
        ],
    ),
    *_group(
        Language.SHELL,
        _NONE,
        [
            ("getent-hosts", f"getent ahostsv4 {WEB}"),
            ("hostname", "hostname"),
            ("uname-node", "uname -n"),
        ],
    ),
]

PROCESSES = [
    *_group(
        Language.C,
        _FILES,
        [
            ("fork-and-exec", f"processes fork {FILE}"),
            ("fork-without-exec", f"processes fork-without-exec {FILE}"),
            ("vfork-and-execve", f"processes vfork {FILE}"),
            ("posix-spawn", f"processes spawn {FILE}"),
            ("system-and-popen", f"processes shell {FILE}"),
            ("threads-and-forks", f"processes threads {FILE}"),
            ("descriptors", f"processes descriptors {FILE}"),
            ("exec-execve", f"processes exec {FILE} execve"),
            ("exec-execv", f"processes exec {FILE} execv"),
            ("exec-execvp", f"processes exec {FILE} execvp"),
            ("exec-execvpe", f"processes exec {FILE} execvpe"),
            ("exec-execl", f"processes exec {FILE} execl"),
            ("exec-execle", f"processes exec {FILE} execle"),
            ("exec-execlp", f"processes exec {FILE} execlp"),
            ("exec-fexecve", f"processes exec {FILE} fexecve"),
            ("exec-execveat", f"processes exec {FILE} execveat"),
        ],
    ),
    *_group(
        Language.C,
        _NONE,
        [
            ("children-and-signals", "processes children"),
        ],
        differs=False,
    ),
    *_group(
        Language.PYTHON,
        _FILES,
        [
            ("subprocess", f"processes child {FILE}"),
            ("posix-spawn-with-empty-environment", f"processes spawned {FILE}"),
            ("multiprocessing", f"processes workers {FILE}"),
        ],
    ),
    *_group(
        Language.PYTHON,
        _NONE,
        [
            ("exit-status", "processes status -"),
        ],
        differs=False,
    ),
    *_group(
        Language.NODE,
        _FILES,
        [
            ("child-process", f"case children {FILE}"),
        ],
    ),
    *_group(
        Language.JAVA,
        _FILES,
        [
            ("process-builder", f"Case children {FILE}"),
        ],
    ),
    *_group(
        Language.RUST,
        _FILES,
        [
            ("command", f"case children {FILE}"),
        ],
    ),
    *_scripts(
        _FILES,
        [
            ("nested-shells", f"(sh -c 'bash -c \"cat {FILE}\"'); exit 5"),
        ],
    ),
]


ALL: "list[Case]" = [
    *ENVIRONMENT,
    *OPENING,
    *LOOKING,
    *WALKING,
    *FILES_OF_RUNTIMES,
    *FILES_OF_TOOLS,
    *LOCAL_FILES,
    *OUTGOING,
    *NAMES,
    *PROCESSES,
]
