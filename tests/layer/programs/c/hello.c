/* For the refusals: linked statically, it is a program that the layer cannot reach. */
#include <stdio.h>

int main(void)
{
    puts("outside the context");
    return 0;
}
