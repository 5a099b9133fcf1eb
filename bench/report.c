// SPDX-License-Identifier: Apache-2.0
//
// JSON of measurements.

#include "bench/report.h"

#include <math.h>

#include "tools/output.h"

#define DIGITS 6

double
report_gbps(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0.0 : (double)bytes / (double)ns;
}

void
report_real(json_t *object, const char *name, double value)
{
    json_t *number = isfinite(value) ? json_real(value) : json_null();

    output_need(json_object_set_new(object, name, number) == 0);
}

void
report_child(json_t *object, const char *name, json_t *child)
{
    output_need(json_object_set_new(object, name, child) == 0);
}

void
report_line(json_t *object, FILE *stream)
{
    output_need(json_dumpf(object, stream,
                           JSON_COMPACT | JSON_REAL_PRECISION(DIGITS)) == 0 ||
                ferror(stream));
    (void)fputc('\n', stream);
    json_decref(object);
}
