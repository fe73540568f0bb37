"""The catalogue of the layer tier, by subject. One line per case; what a program does is in `programs`."""

from collections.abc import Iterable

from mirrord.demo.inside import content

from .catalogue import Case, Language, Need, Oracle

TIER = "/data/tier"
FILE, FOLDER, BIG = "/data/hello.txt", "/data", "/data/blob.bin"
LINES, SETTINGS, MANY = "/data/lines.txt", "/app/config/settings.json", "/data/many"
LOOPBACK, LOOPBACK_V6, POD = "127.0.0.1", "::1", content.POD_V4
ECHO, DIGEST, CLOSES_FIRST, LAST_RECEIVED, CLIENT, RESET, UNUSED = "7007", "7008", "7009", "7010", "7011", "7013", "7999"
WEB, DATABASE = "catalog.shop.internal", "db.shop.internal"
WEB_URL = f"http://{WEB}:{content.WEB_PORT}/"
UNROUTED, UNROUTED_V6 = "198.51.100.9", "2001:db8:9::9"
UNKNOWN = "no-such-name.shop.internal"
VARIABLES = ("SHOP_NAME", "SHOP_REGION", "GREETING", "MULTI_LINE", "WITH_EQUALS", "EMPTY", "HOSTNAME")

_FILES = frozenset({Need.FILES})
_IPV6 = frozenset({Need.IPV6})
_NONE: "frozenset[Need]" = frozenset()


def _group(
    needs: "frozenset[Need]",
    language: Language,
    rows: "Iterable[tuple[str, ...]]",
    *,
    oracle: Oracle = Oracle.TARGET,
    differs: bool = True,
) -> "list[Case]":
    """Rows are (id, program, *arguments)."""
    return [
        Case(f"{language.value}-{name}", language, program, tuple(args), oracle, differs, needs)
        for name, program, *args in rows
    ]


ENVIRONMENT = [
    *_group(
        _NONE,
        Language.C,
        [("env-values", "environment", "values", *VARIABLES), ("env-bytes", "environment", "values", "LATIN1_NAME")],
    ),
    *_group(
        _NONE,
        Language.C,
        [("env-names-once", "environment", "block", *VARIABLES, "LATIN1_NAME")],
    ),
    *_group(
        _NONE,
        Language.C,
        [
            ("env-path-and-home-stay-local", "environment", "values", "PATH", "HOME"),
            ("env-start-up-hooks-stay-away", "environment", "values", "PYTHONPATH"),
        ],
        oracle=Oracle.MACHINE,
    ),
    *_group(_NONE, Language.C, [("env-own-variable", "environment", "values", "CASE_OWN")], oracle=Oracle.MACHINE),
    *_group(_NONE, Language.PYTHON, [("env", "environment", *VARIABLES, "LATIN1_NAME")]),
    *_group(_NONE, Language.NODE, [("env", "case", "environment", *VARIABLES)]),
    *_group(_NONE, Language.JAVA, [("env", "Case", "environment", "SHOP_NAME", "WITH_EQUALS", "EMPTY")]),
    *_group(_NONE, Language.RUST, [("env", "case", "environment", *VARIABLES, "LATIN1_NAME")]),
    *_group(_NONE, Language.SHELL, [("printenv", "printenv", "SHOP_NAME", "MULTI_LINE", "LATIN1_NAME")]),
    *_group(_NONE, Language.SHELL, [("bash-variable", "bash", "-c", 'echo "$SHOP_NAME in $SHOP_REGION"')]),
]

OPENING = _group(
    _FILES,
    Language.C,
    [
        ("open", "files", "open", FILE, f"{TIER}/file", f"{TIER}/nothing", f"{TIER}/odd/with space"),
        ("open-flags", "files", "flags", f"{TIER}/file"),
        ("open-flags-on-a-link", "files", "flags", f"{TIER}/absolute"),
        ("open-flags-on-a-folder", "files", "flags", f"{TIER}/dir"),
        ("open-below-a-descriptor", "files", "dirfd", f"{TIER}/dir", "inner"),
        ("open-path-only", "files", "path-only", f"{TIER}/file"),
        ("fopen-and-freopen", "files", "stdio", LINES, f"{TIER}/file"),
        ("pread-lseek-preadv", "files", "positions", f"{TIER}/numbers"),
        ("mmap", "files", "mmap", BIG),
        ("sendfile-and-splice", "files", "sendfile", f"{TIER}/numbers"),
        ("open-errors", "files", "errors", TIER),
        ("open-without-permission", "files", "denied", "/data/secret.key"),
        ("remote-file-as-stdin-across-exec", "files", "inherit", f"{TIER}/file"),
    ],
)

LOOKING = _group(
    _FILES,
    Language.C,
    [
        ("stat", "attributes", "stat", FILE, f"{TIER}/file", f"{TIER}/dir", f"{TIER}/absolute", f"{TIER}/no-such-name"),
        ("stat-of-links", "attributes", "stat", f"{TIER}/loop", f"{TIER}/dangling", f"{TIER}/chain", f"{TIER}/above"),
        ("stat-owner", "attributes", "owner", FILE, f"{TIER}/dir"),
        ("statx", "attributes", "statx", FILE, f"{TIER}/absolute", f"{TIER}/dir", f"{TIER}/no-such-name"),
        ("stat-identity", "attributes", "identity", f"{TIER}/file", f"{TIER}/numbers"),
        ("access", "attributes", "access", FILE, f"{TIER}/dir/sub/deeper/last.txt", f"{TIER}/dir", f"{TIER}/dangling"),
        ("readlink", "attributes", "links", f"{TIER}/absolute", f"{TIER}/dir/up", f"{TIER}/above", f"{TIER}/file"),
        ("readlink-of-root-and-etc", "attributes", "links", f"{TIER}/to-root", f"{TIER}/to-etc", f"{TIER}/odd/link"),
        ("realpath", "attributes", "realpath", f"{TIER}/chain", f"{TIER}/dirlink/../dir/up", f"{TIER}/dangling", TIER),
        ("realpath-above-root", "attributes", "realpath", f"/../..{TIER}/above", f"{TIER}/loop", "/data/../../data"),
        ("xattr", "attributes", "xattr", f"{TIER}/file"),
        ("statfs", "attributes", "statfs", TIER),
    ],
)

WALKING = _group(
    _FILES,
    Language.C,
    [
        ("readdir", "directories", "read", FOLDER, f"{TIER}/odd", f"{TIER}/empty", f"{TIER}/file"),
        ("readdir-of-1500", "directories", "read", f"{TIER}/crowd"),
        ("telldir-and-seekdir", "directories", "positions", f"{TIER}/crowd"),
        ("fdopendir-and-fstatat", "directories", "fdopendir", TIER),
        ("scandir", "directories", "scandir", TIER),
        ("ftw-and-nftw", "directories", "walk", f"{TIER}/dir"),
        ("fts", "directories", "fts", f"{TIER}/dir"),
        ("glob-and-wordexp", "directories", "glob", f"{TIER}/*", f"{TIER}/d*/s*/*.txt", f"{TIER}/no-such-*"),
        ("chdir-and-getcwd", "directories", "cwd", TIER, f"{TIER}/file"),
        ("dotdot-above-the-root", "directories", "above-root", FILE),
    ],
)

FILES_OF_RUNTIMES = [
    *_group(
        _FILES,
        Language.PYTHON,
        [
            ("open", "files", "read", FILE, BIG, f"{TIER}/numbers"),
            ("text", "files", "text", LINES),
            ("stat", "files", "describe", FILE, f"{TIER}/absolute", f"{TIER}/loop", f"{TIER}/dir", f"{TIER}/no-such-name"),
            ("scandir-and-listdir", "files", "scan", f"{TIER}/odd"),
            ("walk", "files", "walk", FOLDER),
            ("glob-and-rglob", "files", "patterns", FOLDER),
            ("links-and-resolve", "files", "links", FOLDER),
            ("mmap", "files", "mapped", BIG),
            ("shutil-copy", "files", "copied", f"{TIER}/file"),
            ("shutil-copytree", "files", "tree", FOLDER + "/deep"),
            ("chdir-and-dir-fd", "files", "working_directory", FOLDER),
            ("errors", "files", "errors", FOLDER),
        ],
    ),
    *_group(
        _FILES,
        Language.NODE,
        [
            ("read-and-stream", "case", "read", FILE, BIG),
            ("readdir-and-opendir", "case", "list", FOLDER),
            ("stat-lstat-access", "case", "stat", FILE, f"{TIER}/absolute", f"{TIER}/dir", f"{TIER}/loop", f"{TIER}/none"),
            ("readlink-and-realpath", "case", "links", f"{TIER}/absolute", f"{TIER}/above", f"{TIER}/dangling"),
            ("copy", "case", "copy", f"{TIER}/numbers"),
            ("file-handle", "case", "handle", f"{TIER}/numbers"),
        ],
    ),
    *_group(
        _FILES,
        Language.JAVA,
        [
            ("read-and-map", "Case", "read", FILE, BIG),
            ("list-and-walk", "Case", "list", f"{TIER}/dir"),
            ("attributes", "Case", "stat", FILE, f"{TIER}/chain", f"{TIER}/dir", f"{TIER}/no-such-name", f"{TIER}/loop"),
        ],
    ),
    *_group(
        _FILES,
        Language.RUST,
        [
            ("read", "case", "read", LINES, BIG, f"{TIER}/no-such-name"),
            ("read-dir", "case", "list", f"{TIER}/odd"),
            ("metadata-and-canonicalize", "case", "stat", FILE, f"{TIER}/chain", f"{TIER}/dir", f"{TIER}/loop"),
        ],
    ),
]

FILES_OF_TOOLS = _group(
    _FILES,
    Language.SHELL,
    [
        ("cat", "cat", SETTINGS, FILE, f"{TIER}/no-such-name"),
        ("head-and-tail", "bash", "-c", f"head -c 20 {BIG} | od -An -tx1; tail -n 3 {LINES}; tail -c 7 {TIER}/numbers"),
        ("sha256sum", "sha256sum", BIG, f"{TIER}/numbers", FILE),
        ("ls-long", "ls", "-la", "--time-style=full-iso", f"{TIER}/dir", f"{TIER}/odd"),
        ("ls-recursive", "ls", "-1RF", f"{TIER}/dir", MANY),
        ("stat-tool", "stat", "-c", "%n %A %s %Y %F %h", FILE, f"{TIER}/absolute", f"{TIER}/file"),
        ("find", "bash", "-c", f"find {TIER} -not -path '*crowd*' -printf '%P %y %m %l\\n' | LC_ALL=C sort"),
        ("find-exec", "bash", "-c", f"find {MANY} -name '*.txt' -newermt 2000-01-01 -exec wc -c {{}} + | LC_ALL=C sort | tail -n 5"),
        ("grep-recursive", "bash", "-c", f"grep -rl lea {TIER}/dir {FOLDER}/deep | sort; grep -c line {LINES}"),
        ("sed-awk-cut-sort", "bash", "-c", f"sed -n '5,7p' {LINES}; awk '{{s+=$2}} END {{print s}}' {LINES}; sort -r {LINES} | head -2"),
        ("cp-and-cmp", "bash", "-c", f'd=$(mktemp -d) && cp {BIG} "$d/x" && cmp "$d/x" {BIG} && echo same; rm -r "$d"'),
        ("cp-archive", "bash", "-c", f'd=$(mktemp -d) && cp -r {TIER}/dir "$d/x" && (cd "$d/x" && find . | sort); rm -r "$d"'),
        ("tar", "bash", "-c", f"tar -C {TIER} --numeric-owner -cf - dir odd absolute | tar -tvf - | sed 's/ [0-9]*\\/[0-9]* / /' | sort"),
        ("diff", "diff", FILE, f"{TIER}/file"),
        ("readlink-and-realpath", "bash", "-c", f"readlink {TIER}/absolute; readlink -f {TIER}/chain; realpath {TIER}/above"),
        ("du", "du", "-ab", "--apparent-size", f"{TIER}/dir/sub"),
        ("bash-file-into-variable", "bash", "-c", f'x=$(< {SETTINGS}); echo "<$x>"; mapfile -t lines < {LINES}; echo ${{#lines[@]}}'),
        ("bash-globs-and-tests", "bash", "-c", f"echo {MANY}/00*.txt {TIER}/d*; [ -f {FILE} ] && [ -d {TIER} ] && [ -L {TIER}/loop ] && echo yes"),
        ("bash-cd-and-pwd", "bash", "-c", f"cd {TIER}/dirlink && pwd && pwd -P && cat ../file && cd .. && pwd && ls -d dir"),
        ("bash-redirections", "bash", "-c", f"exec 3< {FILE}; cat <&3; while read -r a b; do echo $b; done < {LINES} | tail -2; wc -l < {LINES}"),
        ("dash-and-env-i", "sh", "-c", f"env -i /bin/cat {FILE}; cat {MANY}/00?.txt | wc -l"),
        ("perl", "perl", "-e", f"open(F, '<', '{FILE}') or die $!; print <F>; print join(',', map {{ -s $_ }} sort glob('{MANY}/00*.txt')), qq(\\n)"),
        ("xargs", "bash", "-c", f"printf '%s\\n' {FILE} {SETTINGS} | xargs -n1 -P2 cat | sort"),
        ("hosts-and-resolv-conf-are-remote", "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"),
    ],
)

LOCAL_FILES = [
    *_group(_NONE, Language.PYTHON, [("own-script-is-local", "files", "own_script", "-")], oracle=Oracle.MACHINE, differs=False),
    *_group(
        _NONE,
        Language.SHELL,
        [
            ("etc-and-usr-are-local", "sha256sum", "/etc/passwd", "/usr/bin/env", "/bin/sh"),
            ("temporary-files-are-local", "bash", "-c", 'f=$(mktemp) && echo own > "$f" && cat "$f" && rm "$f"'),
        ],
        oracle=Oracle.MACHINE,
        differs=False,
    ),
    *_group(
        _FILES,
        Language.C,
        [("writes-stay-local", "files", "create-local", f"{TIER}/created")],
        oracle=Oracle.MACHINE,
    ),
    *_group(
        _FILES,
        Language.SHELL,
        [
            ("nsswitch-is-local", "cat", "/etc/nsswitch.conf"),
            ("shell-script-is-local", "bash", "-c", "cat /data/script.sh || echo none"),
        ],
        oracle=Oracle.MACHINE,
    ),
]

OUTGOING = [
    *_group(
        _NONE,
        Language.C,
        [
            ("connect", "outgoing", "blocking", LOOPBACK, ECHO),
            ("connect-half-close", "outgoing", "blocking", POD, DIGEST),
            ("connect-source-address", "outgoing", "blocking", POD, CLIENT),
            ("connect-poll", "outgoing", "poll", POD, ECHO),
            ("connect-epoll", "outgoing", "epoll", POD, ECHO),
            ("connect-select", "outgoing", "select", POD, ECHO),
            ("connect-mapped", "outgoing", "mapped", POD, ECHO),
            ("connect-options-dup-fork", "outgoing", "options", POD, ECHO),
            ("connect-again-after-refusal", "outgoing", "retry", POD, UNUSED, ECHO),
            ("server-closes-first", "outgoing", "server-closes-first", POD, CLOSES_FIRST, LAST_RECEIVED),
            ("connect-reset", "outgoing", "reset", POD, RESET),
            ("refused", "outgoing", "limited", content.WEB_V4, "81"),
            ("refused-poll", "outgoing", "poll", content.WEB_V4, "81"),
                        ("stalled", "outgoing", "stalled", content.STALLED_V4, str(content.STALLED_PORT)),
        ],
    ),
    *_group(
        _IPV6,
        Language.C,
        [
            ("connect-v6", "outgoing", "blocking", LOOPBACK_V6, ECHO),
            ("connect-v6-poll", "outgoing", "poll", content.POD_V6, DIGEST),
        ],
    ),
    *_group(
        _NONE,
        Language.C,
        [
            ("unreachable", "outgoing", "limited", UNROUTED, "80"),
            ("unreachable-poll", "outgoing", "poll", UNROUTED, "80"),
            ("refused-on-loopback", "outgoing", "blocking", LOOPBACK, UNUSED),
            ("own-listener-stays-local", "outgoing", "own-listener", LOOPBACK),
            ("unix-socket-stays-local", "outgoing", "unix", "/tmp/mirrord-case.sock"),
            ("connect-bad-arguments", "outgoing", "bad-arguments", LOOPBACK, UNUSED),
        ],
        differs=False,
    ),
    *_group(
        _IPV6,
        Language.C,
        [
            ("own-listener-v6-stays-local", "outgoing", "own-listener", LOOPBACK_V6),
            ("unreachable-v6", "outgoing", "limited", UNROUTED_V6, "80"),
        ],
        differs=False,
    ),
    *_group(
        _NONE,
        Language.PYTHON,
        [
            ("urlopen", "outgoing", "get", WEB_URL),
            ("http-client-twice", "outgoing", "connection", content.WEB_V4, str(content.WEB_PORT)),
            ("server-greets-first", "outgoing", "greeting", DATABASE, str(content.DATABASE_PORT)),
            ("asyncio", "outgoing", "streams", POD, ECHO),
            ("asyncio-50-at-once", "outgoing", "many", POD, ECHO),
            ("16-mib-both-ways", "outgoing", "bulk", POD, ECHO),
            ("selectors", "outgoing", "selected", POD, ECHO),
            ("failures", "outgoing", "failures", f"{content.WEB_V4}/81", f"{UNROUTED}/80", f"{UNKNOWN}/80"),
        ],
    ),
    *_group(_IPV6, Language.PYTHON, [("http-client-v6", "outgoing", "connection", content.WEB_V6, str(content.WEB_PORT))]),
    *_group(
        _NONE,
        Language.NODE,
        [
            ("http-get", "case", "get", WEB_URL),
            ("fetch", "case", "fetch", WEB_URL),
            ("net-half-close", "case", "exchange", POD, DIGEST),
            ("net-refused", "case", "exchange", content.WEB_V4, "81"),
        ],
    ),
    *_group(
        _NONE,
        Language.JAVA,
        [
            ("http-client", "Case", "get", WEB_URL),
            ("socket", "Case", "exchange", POD, DIGEST),
            ("socket-channel", "Case", "channel", WEB, str(content.WEB_PORT)),
            ("socket-channel-refused", "Case", "channel", content.WEB_V4, "81"),
            ("refused", "Case", "refused", content.WEB_V4, "81"),
        ],
    ),
    *_group(_NONE, Language.JAVA, [("loopback-stays-local", "Case", "loopback")], differs=False),
    *_group(
        _NONE,
        Language.RUST,
        [
            ("tcp-stream", "case", "exchange", f"{POD}:{ECHO}"),
            ("tcp-stream-by-name", "case", "exchange", f"{DATABASE}:{content.DATABASE_PORT}"),
            ("refused", "case", "refused", f"{content.WEB_V4}:81", f"{UNROUTED}:80"),
        ],
    ),
    *_group(_NONE, Language.RUST, [("loopback-stays-local", "case", "loopback")], differs=False),
    *_group(
        _NONE,
        Language.SHELL,
        [
            ("curl", "curl", "-sS", "--max-time", "20", WEB_URL),
            ("curl-write-out", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{remote_ip} %{remote_port}", WEB_URL),
            ("curl-refused", "curl", "-s", "--max-time", "5", f"http://{content.WEB_V4}:81/"),
            ("bash-dev-tcp", "bash", "-c", f"exec 3<>/dev/tcp/{DATABASE}/{content.DATABASE_PORT} && head -n 1 <&3"),
        ],
    ),
]

NAMES = [
    *_group(
        _NONE,
        Language.SHELL,
        [("curl-unknown-name", "curl", "-s", "--max-time", "20", f"http://{UNKNOWN}/")],
        differs=False,
    ),
    *_group(
        _NONE,
        Language.C,
        [
            ("getaddrinfo-families", "names", "families", WEB, DATABASE, "catalog", "legacy-db"),
            ("getaddrinfo-hints", "names", "hints", WEB),
            ("getaddrinfo-alias-and-single-family", "names", "families", "www.shop.internal", "v4only", "v6only"),
            ("getaddrinfo-alias-canonical", "names", "hints", "www.shop.internal"),
            ("getaddrinfo-60-addresses", "names", "hints", "many.shop.internal"),
            ("getaddrinfo-trailing-dot-and-case", "names", "families", "catalog.shop.internal.", "CATALOG.Shop.Internal"),
            ("gethostbyname-family", "names", "hostent", WEB),
            ("gethostbyname-of-hosts-file", "names", "hostent", "legacy-db"),
            ("getnameinfo-and-gethostbyaddr", "names", "reverse", WEB),
            ("res-query-search-send", "names", "queries", WEB, UNKNOWN),
            ("gethostname-and-uname", "names", "machine"),
        ],
    ),
    *_group(
        _NONE,
        Language.C,
        [("getaddrinfo-numeric", "names", "numeric"), ("getaddrinfo-unknown", "names", "unknown", UNKNOWN)],
        differs=False,
    ),
    *_group(
        _NONE,
        Language.PYTHON,
        [
            ("getaddrinfo", "names", "addresses", WEB, DATABASE, "legacy-db", UNKNOWN),
            ("gethostbyname-ex", "names", "extended", WEB),
            ("gethostname", "names", "machine"),
            ("asyncio-getaddrinfo", "names", "several", WEB, DATABASE, "legacy-db"),
        ],
    ),
    *_group(
        _NONE,
        Language.NODE,
        [
            ("dns-lookup", "case", "names", WEB, "catalog", UNKNOWN),
            ("dns-lookup-service", "case", "service", content.WEB_V4),
            ("hostname", "case", "machine"),
        ],
    ),
    *_group(_NONE, Language.JAVA, [("inet-address", "Case", "names", WEB, DATABASE, UNKNOWN)]),
    *_group(_NONE, Language.RUST, [("to-socket-addrs", "case", "names", WEB, "catalog", UNKNOWN)]),
    *_group(
        _NONE,
        Language.SHELL,
        [
            ("getent-hosts", "getent", "ahostsv4", WEB),
            ("hostname", "hostname"),
            ("uname-node", "uname", "-n"),
        ],
    ),
]

_EXEC_MEMBERS = ("execve", "execv", "execvp", "execvpe", "execl", "execle", "execlp", "fexecve", "execveat")
PROCESSES = [
    *_group(
        _FILES,
        Language.C,
        [
            ("fork-and-exec", "processes", "fork", FILE),
            ("fork-without-exec", "processes", "fork-without-exec", FILE),
            ("vfork-and-execve", "processes", "vfork", FILE),
            ("posix-spawn", "processes", "spawn", FILE),
            ("system-and-popen", "processes", "shell", FILE),
            ("threads-and-forks", "processes", "threads", FILE),
            ("descriptors", "processes", "descriptors", FILE),
            *((f"exec-{member}", "processes", "exec", FILE, member) for member in _EXEC_MEMBERS),
        ],
    ),
    *_group(_NONE, Language.C, [("children-and-signals", "processes", "children")], differs=False),
    *_group(
        _FILES,
        Language.PYTHON,
        [
            ("subprocess", "processes", "child", FILE),
            ("posix-spawn-with-empty-environment", "processes", "spawned", FILE),
            ("multiprocessing", "processes", "workers", FILE),
        ],
    ),
    *_group(_NONE, Language.PYTHON, [("exit-status", "processes", "status", "-")], differs=False),
    *_group(_FILES, Language.NODE, [("child-process", "case", "children", FILE)]),
    *_group(_FILES, Language.JAVA, [("process-builder", "Case", "children", FILE)]),
    *_group(_FILES, Language.RUST, [("command", "case", "children", FILE)]),
    *_group(_FILES, Language.SHELL, [("nested-shells", "bash", "-c", f"(sh -c 'bash -c \"cat {FILE}\"'); exit 5")]),
]

ALL: "list[Case]" = [
    *ENVIRONMENT, *OPENING, *LOOKING, *WALKING, *FILES_OF_RUNTIMES, *FILES_OF_TOOLS, *LOCAL_FILES,
    *OUTGOING, *NAMES, *PROCESSES,
]  # fmt: skip
