/* Starting children: each way must keep the context, shown by a child that prints a file of the target. */
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void ended(const char *label, pid_t child)
{
    int status = 0;
    fflush(stdout);
    /* The child writes to the same place: only after its end is the order of lines certain. */
    pid_t waited = child < 0 ? -1 : waitpid(child, &status, 0);
    if (failed(label, child) || failed("  wait", waited))
        return;
    printf("  exited %d status %d\n", WIFEXITED(status), WEXITSTATUS(status));
}

static void case_fork(int argc, char **argv)
{
    (void)argc;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/cat", "cat", argv[0], (char *)NULL);
        _exit(127);
    }
    ended("fork", child);
}

static void case_fork_without_exec(int argc, char **argv)
{
    (void)argc;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        FILE *stream = fopen(argv[0], "r");
        char line[128] = "";
        show("child reads", stream ? fgets(line, sizeof line, stream) : NULL);
        fflush(stdout);
        _exit(0);
    }
    ended("fork", child);
}

static void case_vfork(int argc, char **argv)
{
    (void)argc;
    static char *const clean[] = {NULL};
    char *const arguments[] = {"cat", argv[0], NULL};
    for (volatile int i = 0; i < 20; i++) {
        fflush(stdout);
        pid_t child = vfork();
        if (child == 0) {
            execve("/bin/cat", arguments, i % 2 ? environ : clean);
            _exit(127);
        }
        ended("vfork", child);
    }
}

static void case_spawn(int argc, char **argv)
{
    (void)argc;
    char *const arguments[] = {"cat", argv[0], NULL};
    static char *const clean[] = {NULL};
    pid_t child = -1;
    fflush(stdout);
    int result = posix_spawn(&child, "/bin/cat", NULL, NULL, arguments, environ);
    ended("child", child);
    printf("posix_spawn: %d\n", result);
    fflush(stdout);
    result = posix_spawnp(&child, "cat", NULL, NULL, arguments, clean);
    ended("child", child);
    printf("posix_spawnp: %d\n", result);
    printf("missing: %s\n", errno_text(posix_spawn(&child, "/bin/no-such-program", NULL, NULL, arguments, environ)));
}

static void case_spawn_open(int argc, char **argv)
{
    (void)argc;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, argv[0], O_RDONLY, 0);
    char *const arguments[] = {"cat", NULL};
    pid_t child = -1;
    fflush(stdout);
    int result = posix_spawn(&child, "/bin/cat", &actions, NULL, arguments, environ);
    printf("posix_spawn: %s\n", result ? errno_text(result) : "ok");
    if (result == 0)
        ended("child", child);
}

static void case_shell(int argc, char **argv)
{
    (void)argc;
    char command[512], line[256];
    snprintf(command, sizeof command, "cat %s; exit 3", argv[0]);
    fflush(stdout);
    printf("system: %d\n", WEXITSTATUS(system(command)));
    FILE *stream = popen(command, "r");
    while (stream && fgets(line, sizeof line, stream))
        show("popen", line);
    printf("pclose: %d\n", stream ? WEXITSTATUS(pclose(stream)) : -1);
}

/* argv[1] chooses the member of the exec family; the program is replaced, so one case per member. */
static void case_exec(int argc, char **argv)
{
    (void)argc;
    static char *const clean[] = {NULL};
    char *const arguments[] = {"cat", argv[0], NULL};
    const char *member = argv[1];
    if (strcmp(member, "execve") == 0)
        execve("/bin/cat", arguments, clean);
    else if (strcmp(member, "execv") == 0)
        execv("/bin/cat", arguments);
    else if (strcmp(member, "execvp") == 0)
        execvp("cat", arguments);
    else if (strcmp(member, "execvpe") == 0)
        execvpe("cat", arguments, clean);
    else if (strcmp(member, "execl") == 0)
        execl("/bin/cat", "cat", argv[0], (char *)NULL);
    else if (strcmp(member, "execle") == 0)
        execle("/bin/cat", "cat", argv[0], (char *)NULL, clean);
    else if (strcmp(member, "execlp") == 0)
        execlp("cat", "cat", argv[0], (char *)NULL);
    else if (strcmp(member, "fexecve") == 0)
        fexecve(open("/bin/cat", O_RDONLY | O_CLOEXEC), arguments, clean);
    else if (strcmp(member, "execveat") == 0)
        execveat(AT_FDCWD, "/bin/cat", arguments, clean, 0);
    printf("%s: %s\n", member, errno_text(errno));
}

static void *read_often(void *path)
{
    long good = 0;
    for (int i = 0; i < 200; i++) {
        int fd = open(path, O_RDONLY);
        char byte;
        good += fd >= 0 && read(fd, &byte, 1) == 1;
        close(fd);
    }
    return (void *)good;
}

static void case_threads(int argc, char **argv)
{
    (void)argc;
    pthread_t threads[8];
    long good = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, read_often, argv[0]);
    int children = 0;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(open(argv[0], O_RDONLY) < 0);
        int status = -1;
        waitpid(child, &status, 0);
        children += status == 0;
    }
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        good += (long)result;
    }
    printf("reads %ld children %d\n", good, children);
}

/* Descriptors that the program counts on: the lowest free number is its own, and none appears by itself. */
static void case_descriptors(int argc, char **argv)
{
    (void)argc;
    int first = open(argv[0], O_RDONLY);
    close(first);
    for (int i = 0; i < 100; i++)
        close(open(argv[0], O_RDONLY));
    int second = open(argv[0], O_RDONLY);
    printf("same number after a hundred opens: %d\n", first == second);
    close(second);
    close(0);
    int lowest = open(argv[0], O_RDONLY);
    printf("lowest free: %d\n", lowest);
    int ends[2];
    if (lowest < 0 || failed("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends)))
        return;
    struct iovec part = {"x", 1};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &lowest, sizeof lowest);
    printf("sendmsg: %zd\n", sendmsg(ends[0], &message, 0));
    char byte;
    part.iov_base = &byte;
    message.msg_controllen = sizeof control.room;
    printf("recvmsg: %zd\n", recvmsg(ends[1], &message, 0));
    int received;
    memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
    char line[32] = "";
    printf("read: %zd ", pread(received, line, sizeof line - 1, 0));
    show("", line);
}

static void case_children(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    failed("no child of its own", waitpid(-1, NULL, WNOHANG));
    printf("exit by signal: ");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        abort();
    int status = 0;
    waitpid(child, &status, 0);
    printf("%d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"fork", case_fork}, {"fork-without-exec", case_fork_without_exec}, {"vfork", case_vfork},
        {"spawn", case_spawn}, {"spawn-open", case_spawn_open}, {"shell", case_shell}, {"exec", case_exec}, {"threads", case_threads},
        {"descriptors", case_descriptors}, {"children", case_children}, {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
