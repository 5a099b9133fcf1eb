// SPDX-License-Identifier: Apache-2.0
//
// A live store for the tests of the command: opens what the environment says,
// puts the blocks "held" and "also", flushes, says "ready", and holds the store
// until its standard input ends. With an argument it ends there as if killed. For each
// byte that it reads meanwhile it puts the block "late" and says "put".

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cascade/cascade.h"

static int
fail(const char *what)
{
    (void)fprintf(stderr, "hold_store: %s: %s\n", what,
                  cascade_error_message());
    return 1;
}

static enum cascade_status
put(struct cascade *store, const char *text)
{
    const struct cascade_key key = {text, strlen(text)};
    const struct cascade_const_span span = {.data = text,
                                            .bytes = strlen(text)};

    return cascade_put(store, key, &span, 1, NULL, NULL);
}

int
main(int argc, char **argv)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store;
    char letter;

    (void)argv;
    if (options == NULL ||
        cascade_options_load_environment(options) != CASCADE_OK ||
        cascade_open(options, &store) != CASCADE_OK) {
        return fail("open");
    }
    cascade_options_destroy(options);
    if (put(store, "held") != CASCADE_OK || put(store, "also") != CASCADE_OK ||
        cascade_flush(store, NULL) != CASCADE_OK) {
        return fail("put");
    }
    (void)puts("ready");
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &letter, 1) > 0) {
        if (put(store, "late") != CASCADE_OK) {
            return fail("put");
        }
        (void)puts("put");
        (void)fflush(stdout);
    }
    if (argc > 1) {
        _exit(0);
    }
    return cascade_close(store) == CASCADE_OK ? 0 : fail("close");
}
