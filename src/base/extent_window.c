// SPDX-License-Identifier: Apache-2.0
//
// A window slides over the extents in address order: it grows at its high end
// and gives up at its low end whatever it does not need. Costs are not
// negative, so the cheapest window is one of those that need all they have.

#include "base/extent_window.h"

struct window {
    struct extent low;
    uint64_t bytes;
    double cost;
    uint32_t extents;
    uint32_t used;
};

static double
cost_of(const struct extent_window_question *question,
        const struct extent *extent)
{
    return extent->used ? question->cost(question->context, extent) : 0;
}

static void
take_in(const struct extent_window_question *question,
        const struct extent *extent, struct window *window)
{
    if (window->extents == 0) {
        window->low = *extent;
        window->cost = 0; // what sums of fractions left behind
    }
    window->bytes += extent->bytes;
    window->cost += cost_of(question, extent);
    window->used += extent->used ? 1 : 0;
    window->extents++;
}

static void
give_up_low(const struct extent_map *map,
            const struct extent_window_question *question,
            struct window *window)
{
    window->bytes -= window->low.bytes;
    window->cost -= cost_of(question, &window->low);
    window->used -= window->low.used ? 1 : 0;
    window->extents--;
    if (window->extents > 0) {
        (void)extent_next(map, window->low.number, &window->low);
    }
}

static bool
has_too_much(const struct extent_window_question *question,
             const struct window *window)
{
    return window->used > question->used_max ||
           (window->extents > 0 &&
            window->bytes - window->low.bytes >= question->bytes);
}

bool
extent_window_find(const struct extent_map *map,
                   const struct extent_window_question *question,
                   struct extent_window *window)
{
    struct window now = {.extents = 0};
    struct extent extent;
    bool found = false;

    for (bool more = extent_first(map, &extent); more;
         more = extent_next(map, extent.number, &extent)) {
        if (extent.used && !question->may_go(question->context, &extent)) {
            now = (struct window){.extents = 0};
            continue;
        }
        take_in(question, &extent, &now);
        while (has_too_much(question, &now)) {
            give_up_low(map, question, &now);
        }
        if (now.bytes >= question->bytes &&
            (!found || now.cost < window->cost)) {
            found = true;
            *window = (struct extent_window){
                .first = now.low.number,
                .extents = now.extents,
                .used = now.used,
                .cost = now.cost,
            };
        }
    }
    return found;
}
