// SPDX-License-Identifier: Apache-2.0
//
// Choices about space. See the header.

#include "policy/policy_choice.h"

// Of the hottest block's cost, what the coldest one costs.
#define COLDEST_COST 0.02

double
policy_window_cost(uint64_t bytes, double rank)
{
    return (double)bytes * (COLDEST_COST + rank * rank);
}

bool
policy_writer_is_behind(const struct policy_writer_facts *facts)
{
    return facts->refusals > 0 && facts->dirty_bytes > facts->next_bytes / 2;
}

bool
policy_choose_cold(bool writer_is_behind, bool was_used)
{
    return was_used || !writer_is_behind;
}
