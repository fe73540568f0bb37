/* Shared by the C cases: one printable outcome per call, so that two runs compare as text.
 *
 * A program of this folder is a table of named cases; `main` runs the one that its first argument names.
 */
#ifndef CASE_H
#define CASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct named_case {
    const char *name;
    void (*run)(int argc, char **argv);
};

/* strerrorname_np needs glibc 2.32; a number alone would make a failed comparison hard to read. */
static const char *errno_text(int number)
{
    static char text[64];
    const char *name = strerrorname_np(number);
    snprintf(text, sizeof text, "%s", name ? name : "E?");
    return text;
}

/* Prints `what: ok` or `what: ERRNO`; returns whether the call failed. */
__attribute__((unused)) static int failed(const char *what, long result)
{
    if (result < 0) {
        printf("%s: %s\n", what, errno_text(errno));
        return 1;
    }
    printf("%s: ok\n", what);
    return 0;
}

/* Names are bytes: everything outside printable ASCII is shown as \xNN. */
static void show_bytes(const char *label, const char *bytes, size_t length)
{
    printf("%s: ", label);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c < 0x7f && c != '\\')
            putchar(c);
        else
            printf("\\x%02x", c);
    }
    putchar('\n');
}

__attribute__((unused)) static void show(const char *label, const char *text)
{
    if (text)
        show_bytes(label, text, strlen(text));
    else
        printf("%s: NULL %s\n", label, errno_text(errno));
}

static int run_case(const struct named_case *table, int argc, char **argv)
{
    if (argc < 2)
        return 64;
    for (; table->name; table++) {
        if (strcmp(table->name, argv[1]) == 0) {
            table->run(argc - 2, argv + 2);
            fflush(stdout);
            return ferror(stdout) ? 74 : 0;
        }
    }
    return 64;
}

#endif
