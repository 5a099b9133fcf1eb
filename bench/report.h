// SPDX-License-Identifier: Apache-2.0
//
// Small helpers of the JSON that measurements print: real numbers with as many
// digits as mean something.

#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

// GB/s, of 1e9 bytes; 0 if no time passed.
double
report_gbps(uint64_t bytes, uint64_t ns);

// Adds a number; what is not finite becomes null.
void
report_real(json_t *object, const char *name, double value);

// Adds an object and takes it over.
void
report_child(json_t *object, const char *name, json_t *child);

// Writes the object as one line and drops it.
void
report_line(json_t *object, FILE *stream);

#endif
