/* The other end of the network figures, inside the target: echo on PORT, a source on PORT+1, a sink on PORT+2.
 *
 * The source sends BYTES bytes that look random; the sink reads BYTES bytes, answers `k` at once and the SHA-256 of what
 * it got afterwards. Prints `ready` and goes on in the background; ends when its parent namespace does, or on SIGTERM.
 */
#define _GNU_SOURCE
#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char *pattern;
static size_t pattern_size;

static void echo(int fd)
{
    char buffer[65536];
    ssize_t length;
    while ((length = recv(fd, buffer, sizeof buffer, 0)) > 0)
        if (send(fd, buffer, (size_t)length, MSG_NOSIGNAL) != length)
            return;
}

static void source(int fd)
{
    size_t sent = 0;
    while (sent < pattern_size) {
        ssize_t length = send(fd, pattern + sent, pattern_size - sent, MSG_NOSIGNAL);
        if (length < 0)
            return;
        sent += (size_t)length;
    }
}

static void sink(int fd)
{
    size_t room = pattern_size, used = 0;
    unsigned char *data = malloc(room);
    char digest[65];
    ssize_t length;
    if (!data)
        return;
    while (used < room && (length = recv(fd, data + used, room - used, 0)) > 0)
        used += (size_t)length;
    send(fd, "k", 1, MSG_NOSIGNAL);
    sha256_text(data, used, digest);
    send(fd, digest, 64, MSG_NOSIGNAL);
}

static int listener(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) {
        perror("services");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    static void (*const serve[3])(int) = {echo, source, sink};
    struct pollfd waiting[3];
    uint64_t state = 88172645463325252ULL;
    if (argc != 3)
        return 64;
    pattern_size = (size_t)atoll(argv[2]);
    pattern = malloc(pattern_size);
    if (!pattern)
        return 1;
    for (size_t i = 0; i + 8 <= pattern_size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(pattern + i, &state, 8);
    }
    for (int i = 0; i < 3; i++)
        waiting[i] = (struct pollfd){listener(atoi(argv[1]) + i), POLLIN, 0};
    signal(SIGCHLD, SIG_IGN);
    if (fork() != 0)
        return 0;
    setsid();
    if (write(1, "ready\n", 6) != 6)
        return 1;
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    for (;;) {
        if (poll(waiting, 3, -1) < 0)
            continue;
        for (int i = 0; i < 3; i++) {
            if (!(waiting[i].revents & POLLIN))
                continue;
            int client = accept4(waiting[i].fd, NULL, NULL, SOCK_CLOEXEC), one = 1;
            if (client < 0)
                continue;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            if (fork() == 0) {
                serve[i](client);
                _exit(0);
            }
            close(client);
        }
    }
}
