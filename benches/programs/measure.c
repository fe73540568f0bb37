/* What is measured, as one program that runs the same natively in the target, here, and in context.
 *
 * Each subcommand prints `NAME VALUE` lines; times are in microseconds, throughput in MB/s (10^6 bytes). Medians, so
 * that one unlucky wake-up does not decide.
 */
#define _GNU_SOURCE
#include "sha256.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20, BLOCK = 1 << 20 };
static double samples[MOST];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void fail(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, int count)
{
    qsort(samples, (size_t)count, sizeof *samples, by_value);
    printf("%s-p50 %.4f\n%s-p99 %.4f\n", name, samples[count / 2], name, samples[count * 99 / 100]);
}

static int number(const char *text)
{
    int value = atoi(text);
    return value < 1 ? 1 : value > MOST ? MOST : value;
}

/* One stat is close to the clock's own cost, so a sample is the mean of a hundred. */
static void run_stat(char **argv)
{
    struct stat info;
    int count = number(argv[1]);
    if (stat(argv[0], &info) < 0)
        fail(argv[0]);
    for (int i = 0; i < count; i++) {
        double begin = now();
        for (int j = 0; j < 100; j++)
            stat(argv[0], &info);
        samples[i] = (now() - begin) / 100;
    }
    report("stat", count);
}

/* Each name once: argv[0] is a format with one %d. */
static void run_stat_each(char **argv)
{
    struct stat info;
    int first = atoi(argv[1]), count = number(argv[2]);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%04d", argv[0], first + i);
        double begin = now();
        if (stat(path, &info) < 0)
            fail(path);
        samples[i] = now() - begin;
    }
    report("stat-each", count);
}

static void run_read_each(char **argv)
{
    char buffer[8192];
    int first = atoi(argv[1]), count = number(argv[2]);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%04d", argv[0], first + i);
        double begin = now();
        int fd = open(path, O_RDONLY);
        if (fd < 0 || read(fd, buffer, sizeof buffer) < 0)
            fail(path);
        close(fd);
        samples[i] = now() - begin;
    }
    report("read-each", count);
}

static void run_read(char **argv)
{
    char *buffer = malloc(BLOCK);
    double begin = now(), total = 0;
    int fd = open(argv[0], O_RDONLY);
    ssize_t length;
    if (fd < 0)
        fail(argv[0]);
    while ((length = read(fd, buffer, BLOCK)) > 0)
        total += (double)length;
    if (length < 0)
        fail("read");
    printf("read-bytes %.0f\nread-rate %.2f\n", total, total / (now() - begin));
}

static void run_open_close(char **argv)
{
    int count = number(argv[1]);
    for (int turn = 0; turn < 5; turn++) {
        double begin = now();
        for (int i = 0; i < count; i++) {
            int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                fail(argv[0]);
            close(fd);
        }
        samples[turn] = (now() - begin) / count;
    }
    report("open-close", 5);
}

static int dial(char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (inet_pton(AF_INET, argv[0], &address.sin_addr) != 1 || fd < 0)
        fail(argv[0]);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void run_connect(char **argv)
{
    int count = number(argv[2]);
    for (int i = 0; i < count; i++) {
        double begin = now();
        int fd = dial(argv);
        samples[i] = now() - begin;
        close(fd);
    }
    report("connect", count);
}

static void run_round_trip(char **argv)
{
    int count = number(argv[2]), fd = dial(argv);
    char byte = 'x';
    for (int i = 0; i < count; i++) {
        double begin = now();
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
            fail("round trip");
        samples[i] = now() - begin;
    }
    report("round-trip", count);
}

static void fill(unsigned char *data, size_t size)
{
    uint64_t state = 88172645463325252ULL;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(data + i, &state, 8);
    }
}

/* Hashing is after the clock: it would be measured instead of the stream. */
static void run_down(char **argv)
{
    size_t size = (size_t)atoll(argv[2]), used = 0;
    unsigned char *data = malloc(size);
    char digest[65];
    if (!data)
        fail("memory");
    memset(data, 0, size);
    int fd = dial(argv);
    double begin = now();
    ssize_t length;
    while (used < size && (length = recv(fd, data + used, size - used, 0)) > 0)
        used += (size_t)length;
    double spent = now() - begin;
    sha256_text(data, used, digest);
    printf("down-bytes %zu\ndown-rate %.2f\ndown-digest %s\n", used, (double)used / spent, digest);
}

static void run_up(char **argv)
{
    size_t size = (size_t)atoll(argv[2]), sent = 0;
    unsigned char *data = malloc(size);
    char digest[65], answer[80] = "";
    if (!data)
        fail("memory");
    fill(data, size);
    int fd = dial(argv);
    double begin = now();
    while (sent < size) {
        ssize_t length = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
        if (length < 0)
            fail("send");
        sent += (size_t)length;
    }
    /* No half-close: kubectl's port-forward, which is measured too, does not carry one. The sink knows the size. */
    if (recv(fd, answer, 1, 0) != 1)
        fail("answer");
    double spent = now() - begin;
    if (recv(fd, answer, 64, MSG_WAITALL) != 64)
        fail("digest");
    sha256_text(data, size, digest);
    printf("up-bytes %zu\nup-rate %.2f\nup-digest %s\nup-received %s\n", size, (double)size / spent, digest, answer);
}

static void run_resolve(char **argv)
{
    int count = number(argv[1]);
    for (int i = 0; i < count; i++) {
        struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
        double begin = now();
        if (getaddrinfo(argv[0], "80", &hints, &list) != 0)
            fail(argv[0]);
        samples[i] = now() - begin;
        freeaddrinfo(list);
    }
    report("resolve", count);
}

/* The first instruction that is the program's own, and what of its memory is not shared with others. */
static void run_instant(double begin)
{
    printf("instant %.0f\n", begin);
}

static void run_memory(void)
{
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        long value;
        if (sscanf(line, "VmRSS: %ld", &value) == 1)
            printf("memory %ld\n", value);
    }
    fflush(stdout);
    while (getchar() != EOF) {
    }
    printf("instant %.0f\n", now());
}

/* Answers HTTP requests, one connection each, until killed. */
static void run_serve(char **argv)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nstolen\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[0]))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
        fail("listen");
    printf("listening 1\n");
    fflush(stdout);
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        char request[4096];
        if (client < 0)
            continue;
        if (recv(client, request, sizeof request, 0) > 0)
            send(client, reply, sizeof reply - 1, MSG_NOSIGNAL);
        close(client);
    }
}

int main(int argc, char **argv)
{
    double begin = now();
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **);
    } table[] = {
        {"stat", 2, run_stat}, {"stat-each", 3, run_stat_each}, {"read-each", 3, run_read_each}, {"read", 1, run_read},
        {"open-close", 2, run_open_close}, {"connect", 3, run_connect}, {"round-trip", 3, run_round_trip},
        {"down", 3, run_down}, {"up", 3, run_up}, {"resolve", 2, run_resolve}, {"serve", 1, run_serve},
    };
    if (argc == 2 && strcmp(argv[1], "instant") == 0)
        run_instant(begin);
    else if (argc == 2 && strcmp(argv[1], "memory") == 0)
        run_memory();
    else {
        size_t count = sizeof table / sizeof *table, i = 0;
        while (i < count && (argc < 2 || strcmp(table[i].name, argv[1]) != 0 || argc - 2 != table[i].arguments))
            i++;
        if (i == count)
            return 64;
        table[i].run(argv + 2);
    }
    return fflush(stdout) ? 74 : 0;
}
