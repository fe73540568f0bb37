/* Connecting: every manner in which a program opens a TCP connection, and what the socket then says of itself. */
#include "case.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

static socklen_t parse(union address *out, const char *host, const char *port)
{
    memset(out, 0, sizeof *out);
    if (strchr(host, ':')) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((unsigned short)atoi(port));
        inet_pton(AF_INET6, host, &out->v6.sin6_addr);
        return sizeof out->v6;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((unsigned short)atoi(port));
    inet_pton(AF_INET, host, &out->v4.sin_addr);
    return sizeof out->v4;
}

static void show_address(const char *label, const union address *address, socklen_t length, int with_port)
{
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text);
        port = ntohs(address->v4.sin_port);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text);
        port = ntohs(address->v6.sin6_port);
    }
    printf("%s: family %d length %u %s", label, address->any.sa_family, length, text);
    if (with_port)
        printf(" port %u\n", port);
    else
        printf(" port %s\n", port ? "set" : "zero");
}

static void show_ends(int fd)
{
    union address address;
    socklen_t length = sizeof address;
    if (!failed("getpeername", getpeername(fd, &address.any, &length)))
        show_address("  peer", &address, length, 1);
    length = sizeof address;
    if (!failed("getsockname", getsockname(fd, &address.any, &length)))
        show_address("  own", &address, length, 0);
}

/* Sends one line, closes its own direction, and prints what comes until the other side closes too. */
static void exchange(int fd)
{
    char buffer[256];
    size_t used = 0;
    printf("send: %zd\n", send(fd, "hello\n", 6, MSG_NOSIGNAL));
    failed("shutdown", shutdown(fd, SHUT_WR));
    ssize_t length;
    while (used < sizeof buffer && (length = recv(fd, buffer + used, sizeof buffer - used, 0)) > 0)
        used += (size_t)length;
    if (used < sizeof buffer && length < 0)
        printf("recv: %s\n", errno_text(errno));
    show_bytes("received", buffer, used);
}

static int connected(const char *host, const char *port, int family)
{
    union address address;
    socklen_t length = parse(&address, host, port);
    int fd = socket(family ? family : address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (failed("socket", fd) || failed("connect", connect(fd, &address.any, length))) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static void case_blocking(int argc, char **argv)
{
    (void)argc;
    int fd = connected(argv[0], argv[1], 0);
    if (fd < 0)
        return;
    show_ends(fd);
    exchange(fd);
    close(fd);
}

static int pending(const char *host, const char *port)
{
    union address address;
    socklen_t length = parse(&address, host, port);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    /* A refusal that is known at once is as correct as one that is reported later, so both print the same. */
    if (connect(fd, &address.any, length) < 0 && errno != EINPROGRESS) {
        printf("outcome: %s\n", errno_text(errno));
        close(fd);
        return -1;
    }
    return fd;
}

static void finished(int fd)
{
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("outcome: %s\n", error ? errno_text(error) : "connected");
    if (error == 0) {
        show_ends(fd);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        exchange(fd);
    }
    close(fd);
}

static void case_poll(int argc, char **argv)
{
    (void)argc;
    int fd = pending(argv[0], argv[1]);
    if (fd < 0)
        return;
    struct pollfd wait = {fd, POLLOUT, 0};
    if (poll(&wait, 1, 20000) != 1 || !(wait.revents & POLLOUT))
        printf("poll: not writable\n");
    finished(fd);
}

static void case_epoll(int argc, char **argv)
{
    (void)argc;
    union address address;
    socklen_t length = parse(&address, argv[0], argv[1]);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int queue = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {EPOLLOUT | EPOLLET, {.u32 = 77}};
    /* Registered before connect: the socket must stay the one that the program registered. */
    failed("epoll_ctl", epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event));
    if (connect(fd, &address.any, length) < 0 && errno != EINPROGRESS) {
        printf("outcome: %s\n", errno_text(errno));
        return;
    }
    for (;;) {
        if (epoll_wait(queue, &event, 1, 20000) != 1) {
            printf("epoll_wait: nothing\n");
            return;
        }
        union address peer;
        length = sizeof peer;
        int error = 0;
        socklen_t size = sizeof error;
        /* An unconnected socket is reported writable with HUP by edge-triggered epoll: only a result ends the wait. */
        if (getpeername(fd, &peer.any, &length) == 0)
            break;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            printf("outcome: %s\n", errno_text(error));
            return;
        }
    }
    printf("tag: %u\n", event.data.u32);
    finished(fd);
}

static void case_select(int argc, char **argv)
{
    (void)argc;
    int fd = pending(argv[0], argv[1]);
    if (fd < 0)
        return;
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    struct timeval limit = {20, 0};
    if (select(fd + 1, NULL, &writable, NULL, &limit) != 1)
        printf("select: not writable\n");
    finished(fd);
}

static void case_limited(int argc, char **argv)
{
    (void)argc;
    union address address;
    socklen_t length = parse(&address, argv[0], argv[1]);
    int fd = socket(address.any.sa_family, SOCK_STREAM, 0);
    struct timeval limit = {2, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    failed("connect", connect(fd, &address.any, length));
    close(fd);
}

/* Nobody answers: the socket must truly be in progress, not connected and not failed. */
static void case_stalled(int argc, char **argv)
{
    (void)argc;
    union address address;
    int fd = pending(argv[0], argv[1]), error = -1;
    if (fd < 0)
        return;
    struct pollfd wait = {fd, POLLOUT, 0};
    printf("poll: %d\n", poll(&wait, 1, 1000));
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("error: %d\n", error);
    length = sizeof address;
    failed("getpeername", getpeername(fd, &address.any, &length));
    close(fd);
}

static void case_mapped(int argc, char **argv)
{
    (void)argc;
    char host[64];
    snprintf(host, sizeof host, "::ffff:%s", argv[0]);
    int fd = connected(host, argv[1], AF_INET6);
    if (fd < 0)
        return;
    show_ends(fd);
    exchange(fd);
    close(fd);
}

static void case_options(int argc, char **argv)
{
    (void)argc;
    union address address, own = {.v4 = {.sin_family = AF_INET}};
    socklen_t length = parse(&address, argv[0], argv[1]);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, value = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    failed("bind", bind(fd, &own.any, sizeof own.v4));
    failed("connect", connect(fd, &address.any, length));
    failed("connect again", connect(fd, &address.any, length));
    length = sizeof value;
    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length);
    printf("nodelay: %d\n", value != 0);
    length = sizeof value;
    getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length);
    printf("keepalive: %d\n", value != 0);
    show_ends(fd);
    int copy = dup(fd);
    close(fd);
    show_ends(copy);
    pid_t child = fork();
    if (child == 0) {
        show_ends(copy);
        exchange(copy);
        fflush(stdout);
        _exit(0);
    }
    fflush(stdout);
    waitpid(child, NULL, 0);
    close(copy);
}

static void case_retry(int argc, char **argv)
{
    (void)argc;
    union address address;
    socklen_t length = parse(&address, argv[0], argv[1]);
    int fd = socket(address.any.sa_family, SOCK_STREAM, 0);
    failed("first", connect(fd, &address.any, length));
    length = parse(&address, argv[0], argv[2]);
    if (!failed("second", connect(fd, &address.any, length)))
        exchange(fd);
    close(fd);
}

static void case_server_closes_first(int argc, char **argv)
{
    (void)argc;
    int fd = connected(argv[0], argv[1], 0);
    if (fd < 0)
        return;
    char buffer[64];
    ssize_t length = recv(fd, buffer, sizeof buffer, MSG_WAITALL);
    show_bytes("before its end", buffer, length < 0 ? 0 : (size_t)length);
    printf("send after: %zd\n", send(fd, "late\n", 5, MSG_NOSIGNAL));
    close(fd);
    fd = connected(argv[0], argv[2], 0);
    if (fd < 0)
        return;
    length = recv(fd, buffer, sizeof buffer, MSG_WAITALL);
    show_bytes("it received", buffer, length < 0 ? 0 : (size_t)length);
    close(fd);
}

static void case_reset(int argc, char **argv)
{
    (void)argc;
    int fd = connected(argv[0], argv[1], 0);
    if (fd < 0)
        return;
    char byte;
    printf("send: %zd\n", send(fd, "x", 1, MSG_NOSIGNAL));
    failed("recv", recv(fd, &byte, 1, 0));
    close(fd);
}

static void case_own_listener(int argc, char **argv)
{
    (void)argc;
    union address address;
    socklen_t length = parse(&address, argv[0], "0");
    int family = address.any.sa_family;
    int listener = socket(family, SOCK_STREAM, 0);
    if (failed("bind", bind(listener, &address.any, length)) || failed("listen", listen(listener, 4)))
        return;
    failed("getsockname", getsockname(listener, &address.any, &length));
    int fd = socket(family, SOCK_STREAM, 0);
    failed("connect", connect(fd, &address.any, length));
    union address peer, own;
    length = sizeof peer;
    int accepted = accept4(listener, &peer.any, &length, SOCK_CLOEXEC);
    failed("accept4", accepted);
    length = sizeof own;
    failed("own", getsockname(fd, &own.any, &length));
    printf("same connection: %d\n", memcmp(&peer, &own, length) == 0);
    length = sizeof own;
    failed("peer", getpeername(fd, &own.any, &length));
    printf("same listener: %d\n", memcmp(&address, &own, length) == 0);
    printf("send: %zd\n", send(fd, "loop", 4, 0));
    char buffer[8] = {0};
    printf("recv: %zd ", recv(accepted, buffer, sizeof buffer, 0));
    show("", buffer);
}

static void case_unix(int argc, char **argv)
{
    (void)argc;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[0]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd = socket(AF_UNIX, SOCK_STREAM, 0);
    failed("bind", bind(listener, (struct sockaddr *)&address, sizeof address));
    failed("listen", listen(listener, 1));
    failed("connect", connect(fd, (struct sockaddr *)&address, sizeof address));
    printf("send: %zd\n", send(fd, "unix", 4, 0));
    int accepted = accept(listener, NULL, NULL);
    char buffer[8] = {0};
    printf("recv: %zd ", recv(accepted, buffer, sizeof buffer, 0));
    show("", buffer);
    unlink(argv[0]);
}

static void case_bad_arguments(int argc, char **argv)
{
    union address address;
    (void)argc;
    socklen_t length = parse(&address, argv[0], argv[1]);
    failed("bad descriptor", connect(-1, &address.any, length));
    failed("not a socket", connect(0, &address.any, length));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    failed("short address", connect(fd, &address.any, 4));
    failed("null address", connect(fd, NULL, length));
    union address other;
    length = parse(&other, "::1", argv[1]);
    failed("other family", connect(fd, &other.any, length));
    failed("peer of nothing", getpeername(fd, &other.any, &length));
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"blocking", case_blocking}, {"poll", case_poll}, {"epoll", case_epoll}, {"select", case_select},
        {"limited", case_limited}, {"stalled", case_stalled}, {"mapped", case_mapped}, {"options", case_options}, {"retry", case_retry},
        {"server-closes-first", case_server_closes_first}, {"reset", case_reset},
        {"own-listener", case_own_listener}, {"unix", case_unix}, {"bad-arguments", case_bad_arguments},
        {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
