// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over files and over the files of folders: the corpus in
// `make check`, one found input while it is being mended. Needs no fuzzer.

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

#define PATH_BYTES 4096

// An exact copy on the heap, so that a sanitizer sees each byte past its end.
static void
run_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    struct stat facts;
    size_t bytes;
    uint8_t *data;

    FUZZ_REQUIRE(file != NULL && fstat(fileno(file), &facts) == 0);
    bytes = (size_t)facts.st_size;
    data = malloc(bytes + (bytes == 0));
    FUZZ_REQUIRE(data != NULL && fread(data, 1, bytes, file) == bytes);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, bytes);
    free(data);
}

static size_t
run_folder(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    size_t inputs = 0;

    FUZZ_REQUIRE(count >= 0);
    for (int i = 0; i < count; i++) {
        char name[PATH_BYTES];

        if (entries[i]->d_name[0] != '.') {
            (void)snprintf(name, sizeof(name), "%s/%s", path,
                           entries[i]->d_name);
            (void)printf("%s\n", entries[i]->d_name);
            (void)fflush(stdout);
            run_file(name);
            inputs++;
        }
        free(entries[i]);
    }
    free(entries);
    return inputs;
}

int
main(int argc, char **argv)
{
    size_t inputs = 0;

    for (int i = 1; i < argc; i++) {
        struct stat facts;

        FUZZ_REQUIRE(stat(argv[i], &facts) == 0);
        if (S_ISDIR(facts.st_mode)) {
            inputs += run_folder(argv[i]);
        } else {
            run_file(argv[i]);
            inputs++;
        }
    }
    (void)printf("%zu inputs\n", inputs);
    return inputs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
