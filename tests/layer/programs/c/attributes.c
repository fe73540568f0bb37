/* Looking at names without opening them: the stat family, access, links, extended attributes, file systems. */
#include "case.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static void print_stat(const struct stat *info)
{
    printf("  mode %o links %lu size %lld mtime %lld.%09ld\n", info->st_mode, (unsigned long)info->st_nlink,
           S_ISDIR(info->st_mode) ? -1LL : (long long)info->st_size, (long long)info->st_mtim.tv_sec,
           info->st_mtim.tv_nsec);
}

static void case_stat(int argc, char **argv)
{
    struct stat info;
    for (int i = 0; i < argc; i++) {
        if (!failed("stat", stat(argv[i], &info)))
            print_stat(&info);
        if (!failed("lstat", lstat(argv[i], &info)))
            print_stat(&info);
        if (!failed("fstatat nofollow", fstatat(AT_FDCWD, argv[i], &info, AT_SYMLINK_NOFOLLOW)))
            print_stat(&info);
    }
}

static void case_owner(int argc, char **argv)
{
    struct stat info;
    for (int i = 0; i < argc; i++)
        if (!failed("stat", stat(argv[i], &info)))
            printf("  uid %u gid %u\n", info.st_uid, info.st_gid);
}

static void print_statx(const struct statx *info)
{
    printf("  mode %o size %llu mtime %lld.%09u basic %d\n", info->stx_mode,
           S_ISDIR(info->stx_mode) ? 0ULL : (unsigned long long)info->stx_size, (long long)info->stx_mtime.tv_sec,
           info->stx_mtime.tv_nsec, (info->stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
}

static void case_statx(int argc, char **argv)
{
    struct statx info;
    for (int i = 0; i < argc; i++) {
        if (!failed("statx", statx(AT_FDCWD, argv[i], 0, STATX_BASIC_STATS, &info)))
            print_statx(&info);
        long result = syscall(SYS_statx, AT_FDCWD, argv[i], AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &info);
        if (!failed("syscall(SYS_statx)", result))
            print_statx(&info);
    }
}

/* Numbers of files differ between kernels and runs; that two looks agree does not. */
static void case_identity(int argc, char **argv)
{
    (void)argc;
    struct stat by_name, again, by_fd, other;
    int fd = open(argv[0], O_RDONLY);
    if (failed("open", fd) || failed("stat", stat(argv[0], &by_name)) || failed("stat", stat(argv[0], &again)) ||
        failed("fstat", fstat(fd, &by_fd)) || failed("other", stat(argv[1], &other)))
        return;
    printf("same twice: %d\n", by_name.st_ino == again.st_ino && by_name.st_dev == again.st_dev);
    printf("same by descriptor: %d\n", by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev);
    printf("other file: %d\n", by_name.st_ino == other.st_ino && by_name.st_dev == other.st_dev);
}

static void case_access(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        failed("F_OK", access(argv[i], F_OK));
        failed("R_OK", access(argv[i], R_OK));
        failed("X_OK", access(argv[i], X_OK));
        failed("eaccess", eaccess(argv[i], R_OK));
    }
}

static void case_links(int argc, char **argv)
{
    char text[256];
    for (int i = 0; i < argc; i++) {
        ssize_t length = readlink(argv[i], text, sizeof text);
        if (!failed("readlink", length))
            show_bytes("  text", text, (size_t)length);
        memset(text, '#', sizeof text);
        length = readlink(argv[i], text, 5);
        if (!failed("short buffer", length))
            show_bytes("  text", text, 8);
    }
}

static void case_realpath(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        char *text = realpath(argv[i], NULL);
        show("realpath", text);
        free(text);
        text = canonicalize_file_name(argv[i]);
        show("canonicalize", text);
        free(text);
    }
}

static void case_xattr(int argc, char **argv)
{
    (void)argc;
    char value[256];
    ssize_t length = getxattr(argv[0], "user.colour", value, sizeof value);
    if (!failed("getxattr", length))
        show_bytes("  value", value, (size_t)length);
    length = lgetxattr(argv[0], "user.none", value, sizeof value);
    failed("absent", length);
    length = listxattr(argv[0], value, sizeof value);
    if (!failed("listxattr", length))
        printf("  has user.colour: %d\n", memmem(value, (size_t)length, "user.colour", 12) != NULL);
    printf("size only: %zd\n", getxattr(argv[0], "user.colour", NULL, 0));
    failed("too small", getxattr(argv[0], "user.colour", value, 1));
}

/* Free space moves while the test runs; the geometry does not. */
static void case_statfs(int argc, char **argv)
{
    (void)argc;
    struct statfs info;
    struct statvfs portable;
    if (!failed("statfs", statfs(argv[0], &info)))
        printf("  block %ld names %ld blocks %llu\n", (long)info.f_bsize, (long)info.f_namelen,
               (unsigned long long)info.f_blocks);
    if (!failed("statvfs", statvfs(argv[0], &portable)))
        printf("  block %lu names %lu\n", portable.f_bsize, portable.f_namemax);
    failed("missing", statfs("/data/tier/no-such-name", &info));
    printf("pathconf: %ld\n", pathconf(argv[0], _PC_NAME_MAX));
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"stat", case_stat}, {"owner", case_owner}, {"statx", case_statx}, {"identity", case_identity},
        {"access", case_access}, {"links", case_links}, {"realpath", case_realpath}, {"xattr", case_xattr},
        {"statfs", case_statfs}, {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
