// SPDX-License-Identifier: Apache-2.0
//
// Pages of documentation that are made from tables: a test prints the page and
// this compares it with the file in the source folder ($CASCADE_SOURCE_DIR), or
// writes the file if $CASCADE_WRITE_TABLES is set.

#ifndef SUPPORT_GENERATED_H
#define SUPPORT_GENERATED_H

#include <stddef.h>

#include "base/attributes.h"

#define GENERATED_BYTES ((size_t)1 << 16)

struct generated {
    char path[1024];
    char text[GENERATED_BYTES];
    size_t used;
};

// `name` is relative to the source folder.
void
generated_begin(struct generated *page, const char *name);

void
generated_print(struct generated *page, const char *format, ...)
    PRINTF_LIKE(2, 3);

// Prints a cell of a table as code; `|` is written so that it stays in it.
void
generated_cell(struct generated *page, const char *text);

// Stops the test if the file is not the page. Without a source folder nothing
// is compared.
void
generated_end(struct generated *page);

#endif
