// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite of fabrics, over MPI, as each rank of a job. "on" as
// argument: with a window, whether or not gets are one-sided.

#include <stdlib.h>
#include <string.h>

#include "cluster/cluster.h"
#include "conformance/fabric_suite.h"

int
main(int count, char **names)
{
    bool windows = count > 1 && strcmp(names[1], "on") == 0;
    bool full = count > 1 && strcmp(names[1], "full") == 0;
    struct fabric_module_options options = cluster_options();
    static uint8_t exposed[1 << 20];
    options.memory = exposed;
    options.memory_bytes = sizeof(exposed);
    options.windows = windows ? FABRIC_WINDOWS_ON : FABRIC_WINDOWS_OFF;
    struct fabric fabric = cluster_open(&options);
    struct fabric_suite suite = {
        .name = "mpi",
        .options =
            {
                .allocator = options.allocator,
                .clock = options.clock,
                .fabric = fabric,
            },
        .bulk_bytes_max = full ? 0 : (uint64_t)4 << 20,
        .messages = full ? 3000 : 100,
        .threads = 2,
    };
    int wrong = fabric_suite_run(&suite);
    expect(wrong == 0);
    return 0;
}
