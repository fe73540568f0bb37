/* Opening and reading: every way by which glibc turns a path into a descriptor or a stream. */
#include "case.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void dump(const char *label, int fd)
{
    char buffer[256];
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length < 0)
        printf("%s: read %s\n", label, errno_text(errno));
    else
        show_bytes(label, buffer, (size_t)length);
}

static void opened(const char *label, int fd)
{
    if (failed(label, fd))
        return;
    dump("  content", fd);
    close(fd);
}

static void case_open(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        opened("open", open(argv[i], O_RDONLY));
        opened("open64", open64(argv[i], O_RDONLY | O_CLOEXEC));
        opened("openat", openat(AT_FDCWD, argv[i], O_RDONLY));
    }
}

static void case_open_flags(int argc, char **argv)
{
    (void)argc;
    opened("O_NOFOLLOW", open(argv[0], O_RDONLY | O_NOFOLLOW));
    opened("O_DIRECTORY", open(argv[0], O_RDONLY | O_DIRECTORY));
    int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
    printf("cloexec: %d\n", fd < 0 ? -1 : fcntl(fd, F_GETFD) & FD_CLOEXEC);
    printf("access mode: %d\n", fd < 0 ? -1 : fcntl(fd, F_GETFL) & O_ACCMODE);
    close(fd);
}

static void case_dirfd(int argc, char **argv)
{
    (void)argc;
    int directory = open(argv[0], O_RDONLY | O_DIRECTORY);
    if (failed("directory", directory))
        return;
    opened("relative", openat(directory, argv[1], O_RDONLY));
    opened("missing", openat(directory, "no-such-name", O_RDONLY));
    struct stat info;
    if (!failed("fstatat", fstatat(directory, argv[1], &info, 0)))
        printf("size: %lld\n", (long long)info.st_size);
    failed("faccessat", faccessat(directory, argv[1], R_OK, 0));
    char text[256];
    ssize_t length = readlinkat(directory, "up", text, sizeof text);
    if (!failed("readlinkat", length))
        show_bytes("  text", text, (size_t)length);
    close(directory);
}

static void case_path_only(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_PATH);
    if (failed("O_PATH", fd))
        return;
    struct stat info;
    failed("fstat", fstat(fd, &info));
    printf("size: %lld\n", (long long)info.st_size);
    char byte;
    failed("read", read(fd, &byte, 1));
    close(fd);
}

static void case_stdio(int argc, char **argv)
{
    (void)argc;
    FILE *stream = fopen(argv[0], "r");
    if (!stream) {
        printf("fopen: %s\n", errno_text(errno));
        return;
    }
    char line[256];
    for (int i = 0; i < 3 && fgets(line, sizeof line, stream); i++)
        show("line", line);
    stream = freopen(argv[1], "re", stream);
    printf("freopen: %s\n", stream ? "ok" : errno_text(errno));
    if (stream) {
        show("line", fgets(line, sizeof line, stream));
        fseek(stream, 0, SEEK_END);
        printf("size: %ld\n", ftell(stream));
        fclose(stream);
    }
    stream = fopen("/data/tier/no-such-name", "r");
    printf("missing: %s\n", stream ? "opened" : errno_text(errno));
}

static void case_positions(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_RDONLY);
    if (failed("open", fd))
        return;
    char a[8] = {0}, b[8] = {0};
    printf("pread: %zd ", pread(fd, a, 7, 100));
    show("", a);
    printf("read: %zd ", read(fd, b, 7));
    show("", b);
    printf("lseek: %lld\n", (long long)lseek(fd, -5, SEEK_END));
    memset(a, 0, sizeof a);
    printf("tail: %zd ", read(fd, a, 7));
    show("", a);
    struct iovec parts[2] = {{a, 3}, {b, 7}};
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    printf("preadv: %zd ", preadv(fd, parts, 2, 20));
    show("", a);
    show("", b);
    int copy = dup(fd);
    lseek(copy, 11, SEEK_SET);
    printf("shared offset: %lld\n", (long long)lseek(fd, 0, SEEK_CUR));
    close(copy);
    close(fd);
}

/* FNV-1a: enough to tell two byte strings apart without printing them. */
static unsigned long long digest(const unsigned char *bytes, size_t length)
{
    unsigned long long hash = 14695981039346656037ULL;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 1099511628211ULL;
    return hash;
}

static void case_mmap(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_RDONLY);
    struct stat info;
    if (failed("open", fd) || failed("fstat", fstat(fd, &info)))
        return;
    size_t size = (size_t)info.st_size;
    unsigned char *shared = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *private = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    if (shared == MAP_FAILED || private == MAP_FAILED) {
        printf("mmap: %s\n", errno_text(errno));
        return;
    }
    printf("bytes: %zu digest: %llx\n", size, digest(shared, size));
    private[0] ^= 0xff;
    printf("private: %llx shared: %llx\n", digest(private, size), digest(shared, size));
}

static void case_sendfile(int argc, char **argv)
{
    (void)argc;
    int from = open(argv[0], O_RDONLY);
    int to = memfd_create("copy", 0);
    if (failed("open", from) || failed("memfd", to))
        return;
    off_t offset = 10;
    printf("sendfile: %zd\n", sendfile(to, from, &offset, 64));
    printf("offset: %lld\n", (long long)offset);
    lseek(to, 0, SEEK_SET);
    dump("copied", to);
    int ends[2];
    if (!failed("pipe", pipe(ends))) {
        loff_t at = 30;
        printf("splice: %zd\n", splice(from, &at, ends[1], NULL, 32, 0));
        dump("spliced", ends[0]);
    }
}

static void case_errors(int argc, char **argv)
{
    (void)argc;
    char path[512];
    static const char *const tails[] = {
        "no-such-name", "file/below", "loop", "dangling", "dir/../file", "", "dir/sub/../../file", "file/",
    };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(path, sizeof path, "%s/%s", argv[0], tails[i]);
        show("name", tails[i]);
        int fd = open(path, O_RDONLY);
        if (!failed("  open", fd))
            close(fd);
    }
    failed("empty name", open("", O_RDONLY));
}

static void case_long_names(int argc, char **argv)
{
    (void)argc;
    char path[512], name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    snprintf(path, sizeof path, "%s/%s", argv[0], name);
    failed("long name", open(path, O_RDONLY));
    char *deep = calloc(1, 5000);
    memset(deep, '/', 4999);
    memcpy(deep, argv[0], strlen(argv[0]));
    failed("long path", open(deep, O_RDONLY));
    free(deep);
}

static void case_bad_address(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    failed("open", open((const char *)1, O_RDONLY));
}

static void case_denied(int argc, char **argv)
{
    (void)argc;
    failed("open", open(argv[0], O_RDONLY));
    failed("access", access(argv[0], R_OK));
}

static void case_create_local(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_WRONLY | O_CREAT | O_TRUNC, 0640);
    if (failed("create", fd))
        return;
    printf("write: %zd\n", write(fd, "local\n", 6));
    close(fd);
    opened("read back", open(argv[0], O_RDONLY));
    failed("unlink", unlink(argv[0]));
}

static void case_inherit(int argc, char **argv)
{
    (void)argc;
    FILE *first = fopen(argv[0], "r");
    if (!first) {
        printf("fopen: %s\n", errno_text(errno));
        return;
    }
    if (dup2(fileno(first), 0) < 0)
        return;
    fflush(stdout);
    execl("/bin/cat", "cat", (char *)NULL);
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"open", case_open}, {"flags", case_open_flags}, {"dirfd", case_dirfd}, {"path-only", case_path_only},
        {"stdio", case_stdio}, {"positions", case_positions}, {"mmap", case_mmap}, {"sendfile", case_sendfile},
        {"errors", case_errors}, {"bad-address", case_bad_address},
        {"long-names", case_long_names}, {"denied", case_denied}, {"create-local", case_create_local},
        {"inherit", case_inherit}, {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
