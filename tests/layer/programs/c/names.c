/* Names to addresses and back, by every door of glibc. Lists are sorted: glibc orders them by the local routes. */
#include "case.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

static char *lines[128];
static int count;

static void remember(const char *text)
{
    if (count < 128)
        lines[count++] = strdup(text);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_sorted(void)
{
    qsort(lines, (size_t)count, sizeof *lines, by_bytes);
    for (int i = 0; i < count; i++) {
        printf("  %s\n", lines[i]);
        free(lines[i]);
    }
    count = 0;
}

static const char *eai_text(int code)
{
    switch (code) {
    case 0: return "ok";
    case EAI_NONAME: return "EAI_NONAME";
    case EAI_NODATA: return "EAI_NODATA";
    case EAI_AGAIN: return "EAI_AGAIN";
    case EAI_FAIL: return "EAI_FAIL";
    case EAI_FAMILY: return "EAI_FAMILY";
    case EAI_SERVICE: return "EAI_SERVICE";
    case EAI_SOCKTYPE: return "EAI_SOCKTYPE";
    case EAI_BADFLAGS: return "EAI_BADFLAGS";
    case EAI_ADDRFAMILY: return "EAI_ADDRFAMILY";
    default: return "EAI_?";
    }
}

static void lookup(const char *name, const char *service, int family, int kind, int flags)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = kind, .ai_flags = flags}, *list = NULL;
    int code = getaddrinfo(name, service, &hints, &list);
    printf("getaddrinfo %s %s family %d kind %d flags %d: %s\n", name ? name : "-", service ? service : "-", family,
           kind, flags, eai_text(code));
    if (code)
        return;
    if (flags & AI_CANONNAME)
        show("  canonical", list->ai_canonname);
    for (struct addrinfo *item = list; item; item = item->ai_next) {
        char host[INET6_ADDRSTRLEN] = "", line[256];
        unsigned port;
        if (item->ai_family == AF_INET) {
            struct sockaddr_in *v4 = (struct sockaddr_in *)item->ai_addr;
            inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
            port = ntohs(v4->sin_port);
        } else {
            struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)item->ai_addr;
            inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
            port = ntohs(v6->sin6_port);
        }
        snprintf(line, sizeof line, "%d/%d/%d %s %u", item->ai_family, item->ai_socktype, item->ai_protocol, host,
                 port);
        remember(line);
    }
    print_sorted();
    freeaddrinfo(list);
}

static void case_families(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        lookup(argv[i], "8080", AF_UNSPEC, SOCK_STREAM, 0);
        lookup(argv[i], "8080", AF_INET, SOCK_STREAM, 0);
        lookup(argv[i], "8080", AF_INET6, SOCK_STREAM, 0);
    }
}

static void case_hints(int argc, char **argv)
{
    (void)argc;
    lookup(argv[0], NULL, AF_INET, 0, 0);
    lookup(argv[0], "http", AF_INET, SOCK_STREAM, 0);
    lookup(argv[0], "https", AF_INET, 0, 0);
    lookup(argv[0], "domain", AF_INET, SOCK_DGRAM, 0);
    lookup(argv[0], "no-such-service", AF_INET, SOCK_STREAM, 0);
    lookup(argv[0], "8080", AF_INET, SOCK_STREAM, AI_CANONNAME);
    lookup(argv[0], "8080", AF_INET, SOCK_STREAM, AI_NUMERICHOST);
    lookup(argv[0], "http", AF_INET, SOCK_STREAM, AI_NUMERICSERV);
    lookup(argv[0], "8080", AF_INET6, SOCK_STREAM, AI_V4MAPPED);
}

static void case_numeric(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    lookup("192.0.2.7", "80", AF_UNSPEC, SOCK_STREAM, 0);
    lookup("2001:db8::7", "80", AF_UNSPEC, SOCK_STREAM, AI_NUMERICHOST);
    lookup("192.0.2.7", "80", AF_INET6, SOCK_STREAM, 0);
    lookup(NULL, "80", AF_INET, SOCK_STREAM, AI_PASSIVE);
    lookup(NULL, "80", AF_INET6, SOCK_STREAM, 0);
    lookup(NULL, NULL, AF_UNSPEC, SOCK_STREAM, 0);
}

static void case_unknown(int argc, char **argv)
{
    (void)argc;
    lookup(argv[0], "80", AF_UNSPEC, SOCK_STREAM, 0);
    lookup(argv[0], "80", AF_INET, SOCK_STREAM, AI_CANONNAME);
    struct hostent *host = gethostbyname(argv[0]);
    printf("gethostbyname: %s h_errno %d\n", host ? "found" : "none", host ? 0 : h_errno);
}

static void show_host(const char *label, const struct hostent *host, int code)
{
    if (!host) {
        printf("%s: none h_errno %d\n", label, code);
        return;
    }
    printf("%s: family %d length %d\n", label, host->h_addrtype, host->h_length);
    show("  name", host->h_name);
    for (char **item = host->h_addr_list; *item; item++) {
        char text[INET6_ADDRSTRLEN];
        remember(inet_ntop(host->h_addrtype, *item, text, sizeof text));
    }
    print_sorted();
}

static void case_hostent(int argc, char **argv)
{
    (void)argc;
    show_host("gethostbyname", gethostbyname(argv[0]), h_errno);
    show_host("gethostbyname2", gethostbyname2(argv[0], AF_INET), h_errno);
    struct hostent room, *found = NULL;
    char buffer[1024], tiny[8];
    int code = 0;
    int result = gethostbyname_r(argv[0], &room, buffer, sizeof buffer, &found, &code);
    printf("gethostbyname_r: %d\n", result);
    show_host("  result", found, code);
    result = gethostbyname_r(argv[0], &room, tiny, sizeof tiny, &found, &code);
    printf("tiny buffer: %s\n", errno_text(result));
    result = gethostbyname2_r(argv[0], AF_INET, &room, buffer, sizeof buffer, &found, &code);
    printf("gethostbyname2_r: %d\n", result);
    show_host("  result", found, code);
}

static void case_reverse(int argc, char **argv)
{
    (void)argc;
    struct hostent *forward = gethostbyname(argv[0]);
    if (!forward) {
        printf("gethostbyname: none h_errno %d\n", h_errno);
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
    memcpy(&address.sin_addr, forward->h_addr_list[0], 4);
    struct hostent *back = gethostbyaddr(&address.sin_addr, 4, AF_INET);
    show("gethostbyaddr", back ? back->h_name : "none");
    char host[256], service[64];
    int code = getnameinfo((struct sockaddr *)&address, sizeof address, host, sizeof host, service, sizeof service, 0);
    printf("getnameinfo: %s\n", eai_text(code));
    if (code == 0) {
        show("  host", host);
        show("  service", service);
    }
    code = getnameinfo((struct sockaddr *)&address, sizeof address, host, sizeof host, service, sizeof service,
                       NI_NUMERICHOST | NI_NUMERICSERV);
    printf("numeric: %s\n", eai_text(code));
    show("  host", host);
    show("  service", service);
    inet_pton(AF_INET, "192.0.2.77", &address.sin_addr);
    code = getnameinfo((struct sockaddr *)&address, sizeof address, host, sizeof host, NULL, 0, NI_NAMEREQD);
    printf("unknown: %s\n", eai_text(code));
}

static void show_packet(const char *label, const unsigned char *packet, int length)
{
    ns_msg message;
    if (length < 0) {
        printf("%s: h_errno %d\n", label, h_errno);
        return;
    }
    if (ns_initparse(packet, length, &message) < 0) {
        printf("%s: not a DNS answer\n", label);
        return;
    }
    printf("%s: code %d answers %d\n", label, ns_msg_getflag(message, ns_f_rcode), ns_msg_count(message, ns_s_an));
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        ns_rr record;
        char line[1200], text[INET6_ADDRSTRLEN] = "";
        if (ns_parserr(&message, ns_s_an, i, &record) < 0)
            continue;
        if (ns_rr_type(record) == ns_t_a)
            inet_ntop(AF_INET, ns_rr_rdata(record), text, sizeof text);
        snprintf(line, sizeof line, "%s type %d %s", ns_rr_name(record), ns_rr_type(record), text);
        remember(line);
    }
    print_sorted();
}

static void case_queries(int argc, char **argv)
{
    (void)argc;
    unsigned char answer[4096], query[512];
    show_packet("res_query", answer, res_query(argv[0], ns_c_in, ns_t_a, answer, sizeof answer));
    show_packet("res_search", answer, res_search(argv[0], ns_c_in, ns_t_a, answer, sizeof answer));
    show_packet("res_query unknown", answer, res_query(argv[1], ns_c_in, ns_t_a, answer, sizeof answer));
    int length = res_mkquery(ns_o_query, argv[0], ns_c_in, ns_t_a, NULL, 0, NULL, query, sizeof query);
    show_packet("res_send", answer, res_send(query, length, answer, sizeof answer));
}

static void case_machine(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    char name[256] = "";
    struct utsname system;
    failed("gethostname", gethostname(name, sizeof name));
    show("  name", name);
    memset(name, '#', sizeof name);
    failed("short", gethostname(name, 3));
    show_bytes("  bytes", name, 5);
    failed("uname", uname(&system));
    show("  node", system.nodename);
    show("  system", system.sysname);
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {
        {"families", case_families}, {"hints", case_hints}, {"numeric", case_numeric}, {"unknown", case_unknown},
        {"hostent", case_hostent}, {"reverse", case_reverse}, {"queries", case_queries}, {"machine", case_machine},
        {NULL, NULL},
    };
    return run_case(table, argc, argv);
}
