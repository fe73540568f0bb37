/* Listing and walking directories, and standing in one. Order is the file system's own, so lists are sorted. */
#include "case.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <fts.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wordexp.h>

enum { MOST = 4096 };
static char *names[MOST];
static size_t count;

static void remember(const char *prefix, const char *name)
{
    if (count < MOST && asprintf(&names[count], "%s%s", prefix, name) >= 0)
        count++;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_sorted(const char *label)
{
    qsort(names, count, sizeof *names, by_bytes);
    printf("%s: %zu\n", label, count);
    for (size_t i = 0; i < count && i < 64; i++) {
        show(" ", names[i]);
        free(names[i]);
    }
    count = 0;
}

static void case_read(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!directory) {
            printf("opendir: %s\n", errno_text(errno));
            continue;
        }
        for (struct dirent *entry; (entry = readdir(directory));) {
            char kind[8];
            snprintf(kind, sizeof kind, "%d ", entry->d_type);
            remember(kind, entry->d_name);
        }
        print_sorted("readdir");
        rewinddir(directory);
        size_t again = 0;
        while (readdir(directory))
            again++;
        printf("after rewind: %zu\n", again);
        closedir(directory);
    }
}

static void case_positions(int argc, char **argv)
{
    (void)argc;
    DIR *directory = opendir(argv[0]);
    if (!directory) {
        printf("opendir: %s\n", errno_text(errno));
        return;
    }
    readdir(directory);
    readdir(directory);
    long where = telldir(directory);
    struct dirent *entry = readdir(directory);
    char third[256];
    snprintf(third, sizeof third, "%s", entry ? entry->d_name : "");
    while (readdir(directory)) {
    }
    seekdir(directory, where);
    entry = readdir(directory);
    printf("same after seekdir: %d\n", entry && strcmp(third, entry->d_name) == 0);
    closedir(directory);
}

static void case_fdopendir(int argc, char **argv)
{
    (void)argc;
    int fd = open(argv[0], O_RDONLY | O_DIRECTORY);
    if (failed("open", fd))
        return;
    DIR *directory = fdopendir(fd);
    if (!directory) {
        printf("fdopendir: %s\n", errno_text(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat info;
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            remember(S_ISLNK(info.st_mode) ? "l " : S_ISDIR(info.st_mode) ? "d " : "f ", entry->d_name);
    }
    print_sorted("fdopendir");
    closedir(directory);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void case_scandir(int argc, char **argv)
{
    (void)argc;
    struct dirent **list;
    int found = scandir(argv[0], &list, visible, alphasort);
    if (failed("scandir", found))
        return;
    for (int i = 0; i < found; i++)
        show(" ", list[i]->d_name);
    found = scandirat(AT_FDCWD, argv[0], &list, visible, alphasort);
    printf("scandirat: %d\n", found);
    failed("missing", scandir("/data/tier/no-such-name", &list, NULL, NULL));
}

static int old_visit(const char *path, const struct stat *info, int flag)
{
    char kind[32];
    snprintf(kind, sizeof kind, "%d %lld ", flag, S_ISREG(info->st_mode) ? (long long)info->st_size : 0LL);
    remember(kind, path);
    return 0;
}

static int new_visit(const char *path, const struct stat *info, int flag, struct FTW *place)
{
    (void)info;
    char kind[32];
    snprintf(kind, sizeof kind, "%d level %d base %d ", flag, place->level, place->base);
    remember(kind, path);
    return 0;
}

static void case_walk(int argc, char **argv)
{
    (void)argc;
    failed("ftw", ftw(argv[0], old_visit, 8));
    print_sorted("ftw");
    failed("nftw", nftw(argv[0], new_visit, 8, FTW_PHYS));
    print_sorted("nftw");
    failed("nftw chdir", nftw(argv[0], new_visit, 8, FTW_PHYS | FTW_CHDIR | FTW_DEPTH));
    print_sorted("nftw chdir");
}

static void case_fts(int argc, char **argv)
{
    (void)argc;
    char *roots[] = {argv[0], NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL, NULL);
    if (!walk) {
        printf("fts_open: %s\n", errno_text(errno));
        return;
    }
    for (FTSENT *entry; (entry = fts_read(walk));) {
        char kind[32];
        snprintf(kind, sizeof kind, "%d ", entry->fts_info);
        remember(kind, entry->fts_path);
    }
    print_sorted("fts");
    fts_close(walk);
}

static void case_glob(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        glob_t found;
        int result = glob(argv[i], GLOB_MARK, NULL, &found);
        printf("glob: %d\n", result);
        for (size_t j = 0; result == 0 && j < found.gl_pathc; j++)
            show(" ", found.gl_pathv[j]);
    }
}

static void case_wordexp(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        wordexp_t words;
        int result = wordexp(argv[i], &words, WRDE_NOCMD);
        printf("wordexp: %d\n", result);
        for (size_t j = 0; result == 0 && j < words.we_wordc; j++)
            show(" ", words.we_wordv[j]);
    }
}

static void where(const char *label)
{
    char *text = getcwd(NULL, 0);
    show(label, text);
    free(text);
}

static void first_line(const char *path)
{
    char line[128];
    FILE *stream = fopen(path, "r");
    show(path, stream ? fgets(line, sizeof line, stream) : NULL);
    if (stream)
        fclose(stream);
}

static void case_cwd(int argc, char **argv)
{
    (void)argc;
    if (failed("chdir", chdir(argv[0])))
        return;
    where("getcwd");
    first_line("file");
    failed("chdir dir", chdir("dir"));
    where("getcwd");
    failed("chdir ..", chdir(".."));
    where("getcwd");
    first_line("dir/../file");
    char small[4];
    printf("small buffer: %s\n", getcwd(small, sizeof small) ? "fits" : errno_text(errno));
    char *text = get_current_dir_name();
    show("get_current_dir_name", text);
    free(text);
    int fd = open("dir/sub", O_RDONLY | O_DIRECTORY);
    failed("fchdir", fchdir(fd));
    where("getcwd");
    failed("chdir file", chdir(argv[1]));
    failed("chdir missing", chdir("no-such-name"));
    where("getcwd");
}

static void case_above_root(int argc, char **argv)
{
    (void)argc;
    char path[512];
    snprintf(path, sizeof path, "/../../..%s", argv[0]);
    first_line(path);
    snprintf(path, sizeof path, "/data/../../../..%s", argv[0]);
    first_line(path);
    failed("chdir", chdir("/data"));
    snprintf(path, sizeof path, "../../../../..%s", argv[0]);
    first_line(path);
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"read", case_read}, {"positions", case_positions}, {"fdopendir", case_fdopendir}, {"scandir", case_scandir},
        {"walk", case_walk}, {"fts", case_fts}, {"glob", case_glob}, {"wordexp", case_wordexp}, {"cwd", case_cwd},
        {"above-root", case_above_root}, {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
