// SPDX-License-Identifier: Apache-2.0
//
// Pages made from tables. One thread.

#include "support/generated.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void
write_page(const struct generated *page)
{
    FILE *file = fopen(page->path, "w");

    check(file != NULL);
    check(fwrite(page->text, 1, page->used, file) == page->used);
    check(fclose(file) == 0);
}

static void
compare_page(const struct generated *page)
{
    static char found[GENERATED_BYTES];
    FILE *file = fopen(page->path, "r");
    size_t bytes = 0;

    if (file != NULL) {
        bytes = fread(found, 1, sizeof(found), file);
        (void)fclose(file);
    }
    if (bytes != page->used || memcmp(found, page->text, bytes) != 0) {
        (void)fprintf(stderr,
                      "%s is not what the table says; run this test with "
                      "CASCADE_WRITE_TABLES=1\n",
                      page->path);
        exit(1);
    }
}

void
generated_begin(struct generated *page, const char *name)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");

    page->used = 0;
    page->path[0] = '\0';
    if (source != NULL && source[0] != '\0') {
        (void)snprintf(page->path, sizeof(page->path), "%s/%s", source, name);
    }
}

void
generated_print(struct generated *page, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    page->used += (size_t)vsnprintf(page->text + page->used,
                                    GENERATED_BYTES - page->used, format,
                                    arguments);
    va_end(arguments);
    check(page->used < GENERATED_BYTES);
}

void
generated_cell(struct generated *page, const char *text)
{
    if (text[0] == '\0') {
        generated_print(page, "empty");
        return;
    }
    generated_print(page, "`");
    for (; *text != '\0'; text++) {
        generated_print(page, "%s%c", *text == '|' ? "\\" : "", *text);
    }
    generated_print(page, "`");
}

void
generated_end(struct generated *page)
{
    if (page->path[0] == '\0') {
        return;
    }
    if (getenv("CASCADE_WRITE_TABLES") != NULL) {
        write_page(page);
    } else {
        compare_page(page);
    }
}
