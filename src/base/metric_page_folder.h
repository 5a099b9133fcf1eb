// SPDX-License-Identifier: Apache-2.0
//
// The folders in which pages of metrics lie. For metric_page*.c only. Stateless;
// no lock.

#ifndef BASE_METRIC_PAGE_FOLDER_H
#define BASE_METRIC_PAGE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct metric_page_place;

#define METRIC_PAGE_MAGIC "CASCMETR" // eight bytes, no terminator in the file
#define METRIC_PAGE_SUFFIX ".metrics"
#define METRIC_PAGE_FOLDER_BYTES 4096

// The folder to try at that turn: the one given, or the usual ones in order.
// False when there is no more.
bool
metric_page_folder_path(const struct metric_page_place *place, unsigned turn,
                        char *path, size_t size);

// Opens the folder, made if asked. PERMISSION: it is not this user's, or others
// may write in it. NOT_FOUND, IO.
enum cascade_status
metric_page_folder_open(const struct metric_page_place *place, const char *path,
                        bool make, int *folder) MUST_USE;

#endif
