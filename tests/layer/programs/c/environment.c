/* The environment as bytes: values that are not UTF-8, and the block itself beside getenv. */
#include "case.h"

extern char **environ;

static void case_values(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *value = getenv(argv[i]);
        if (value)
            show(argv[i], value);
        else
            printf("%s: not set\n", argv[i]);
    }
}

static void case_block(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        int copies = 0;
        size_t length = strlen(argv[i]);
        for (char **entry = environ; *entry; entry++)
            copies += strncmp(*entry, argv[i], length) == 0 && (*entry)[length] == '=';
        printf("%s: %d\n", argv[i], copies);
    }
}

int main(int argc, char **argv)
{
    static const struct named_case table[] = {{"values", case_values}, {"block", case_block}, {NULL, NULL}};
    return run_case(table, argc, argv);
}
