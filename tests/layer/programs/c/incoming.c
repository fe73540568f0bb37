/* Servers: each takes one HTTP request on the port that argv[1] names, tells what the socket says, and ends.
 *
 * `listening` on stdout is the event that the test waits for. The body of the answer is `stolen PEER`.
 */
#include "case.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void text_of(const union address *address, char *out, size_t room)
{
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        port = ntohs(address->v4.sin_port);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        port = ntohs(address->v6.sin6_port);
    }
    snprintf(out, room, "%s %u", host, port);
}

static void say(const char *label, const char *text)
{
    printf("%s %s\n", label, text);
    fflush(stdout);
}

static int listener(int family, const char *port)
{
    union address address = {0};
    socklen_t length = family == AF_INET ? sizeof address.v4 : sizeof address.v6;
    char text[80];
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, zero = 0;
    address.any.sa_family = (sa_family_t)family;
    address.v4.sin_port = htons((unsigned short)atoi(port)); /* at the same place in both families */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, &address.any, length) < 0) {
        say("bind", errno_text(errno));
        exit(1);
    }
    if (getsockname(fd, &address.any, &length) == 0) {
        text_of(&address, text, sizeof text);
        say("bound", text);
    }
    if (listen(fd, 16) < 0) {
        say("listen", errno_text(errno));
        exit(1);
    }
    length = sizeof address;
    if (getsockname(fd, &address.any, &length) == 0) {
        text_of(&address, text, sizeof text);
        say("listening", text);
    }
    return fd;
}

static void answer(int fd, const union address *peer)
{
    union address ends;
    socklen_t length = sizeof ends;
    char request[4096], text[80] = "", reply[256], host[80];
    size_t used = 0;
    ssize_t part;
    while (used < sizeof request - 1 && (part = recv(fd, request + used, sizeof request - 1 - used, 0)) > 0) {
        used += (size_t)part;
        request[used] = 0;
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    if (getsockname(fd, &ends.any, &length) == 0) {
        text_of(&ends, text, sizeof text);
        say("own", text);
    }
    length = sizeof ends;
    if (getpeername(fd, &ends.any, &length) == 0) {
        text_of(&ends, text, sizeof text);
        if (peer) {
            char accepted[80];
            text_of(peer, accepted, sizeof accepted);
            say("accept and getpeername agree:", strcmp(accepted, text) == 0 ? "yes" : accepted);
        }
    }
    snprintf(host, sizeof host, "stolen %.*s\n", (int)strcspn(text, " "), text);
    int size = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        strlen(host), host);
    send(fd, reply, (size_t)size, MSG_NOSIGNAL);
    close(fd);
}

static void take_one(int fd, int flags)
{
    union address peer;
    socklen_t length = sizeof peer;
    int accepted = flags ? accept4(fd, &peer.any, &length, flags) : accept(fd, &peer.any, &length);
    if (accepted < 0) {
        say("accept", errno_text(errno));
        exit(1);
    }
    answer(accepted, &peer);
}

static void case_accept(int argc, char **argv)
{
    (void)argc;
    take_one(listener(AF_INET, argv[0]), 0);
}

static void case_accept4(int argc, char **argv)
{
    (void)argc;
    take_one(listener(AF_INET, argv[0]), SOCK_CLOEXEC);
}

static void case_dual_stack(int argc, char **argv)
{
    (void)argc;
    take_one(listener(AF_INET6, argv[0]), 0);
}

static void case_no_address(int argc, char **argv)
{
    (void)argc;
    answer(accept(listener(AF_INET, argv[0]), NULL, NULL), NULL);
}

static void case_epoll(int argc, char **argv)
{
    (void)argc;
    int fd = listener(AF_INET, argv[0]), queue = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event);
    if (epoll_wait(queue, &event, 1, 25000) != 1)
        exit(1);
    take_one(fd, SOCK_CLOEXEC);
}

static void case_forked(int argc, char **argv)
{
    (void)argc;
    pid_t child = fork();
    if (child == 0) {
        take_one(listener(AF_INET, argv[0]), 0);
        fflush(stdout);
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    if (status)
        exit(1);
}

/* Prefork servers: the parent listens, a child accepts. */
static void case_prefork(int argc, char **argv)
{
    (void)argc;
    int fd = listener(AF_INET, argv[0]);
    pid_t child = fork();
    if (child == 0) {
        take_one(fd, 0);
        fflush(stdout);
        _exit(0);
    }
    close(fd);
    int status = 1;
    waitpid(child, &status, 0);
    if (status)
        exit(1);
}

static void case_restart(int argc, char **argv)
{
    (void)argc;
    int fd = listener(AF_INET, argv[0]);
    take_one(fd, 0);
    close(fd);
    fd = listener(AF_INET, argv[0]);
    take_one(fd, 0);
}

/* The connection must outlive its listener. */
static void case_close_before_answer(int argc, char **argv)
{
    (void)argc;
    int fd = listener(AF_INET, argv[0]);
    union address peer;
    socklen_t length = sizeof peer;
    int accepted = accept(fd, &peer.any, &length);
    close(fd);
    answer(accepted, &peer);
}

/* Gives the port back while the program lives on, until its stdin ends. */
static void case_close_and_stay(int argc, char **argv)
{
    (void)argc;
    int fd = listener(AF_INET, argv[0]);
    take_one(fd, 0);
    close(fd);
    say("closed", "");
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

/* Listens, accepts nobody, and ends with its stdin: also when nobody is left who could end it. */
static void case_hold(int argc, char **argv)
{
    (void)argc;
    listener(AF_INET, argv[0]);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"accept", case_accept}, {"accept4", case_accept4}, {"dual-stack", case_dual_stack},
        {"no-address", case_no_address}, {"epoll", case_epoll}, {"forked", case_forked}, {"prefork", case_prefork},
        {"restart", case_restart}, {"close-before-answer", case_close_before_answer},
        {"close-and-stay", case_close_and_stay}, {"hold", case_hold}, {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
