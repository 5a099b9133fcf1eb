// SPDX-License-Identifier: Apache-2.0
//
// See route.h.

#include "bench/route.h"

#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/random.h"

#define NOBODY UINT16_MAX

static const char *const names[] = {
    [ROUTE_NONE] = "none",
    [ROUTE_AFFINITY] = "affinity",
    [ROUTE_RANDOM] = "random",
};

struct router {
    const struct trace *trace;
    uint16_t rank_count;
    uint64_t *refs;   // given to each rank so far
    uint16_t *latest; // of each block, the rank that served it last
    uint64_t given;
};

static uint16_t
least_loaded(const struct router *router)
{
    uint16_t least = 0;

    for (uint16_t r = 1; r < router->rank_count; r++) {
        if (router->refs[r] < router->refs[least]) {
            least = r;
        }
    }
    return least;
}

// A quarter above the mean, and one request.
static bool
is_overloaded(const struct router *router, uint16_t rank)
{
    uint64_t mean = router->given / router->rank_count;

    return router->refs[rank] >
           mean + mean / 4 + router->trace->refs_per_request_max;
}

// The first block of a prompt is not asked: all prompts of a service begin with
// the same.
static uint16_t
nearest(const struct router *router, const struct trace_request *request)
{
    const uint32_t *blocks = router->trace->refs + request->ref_first;

    for (uint32_t i = request->ref_count; i > 1; i--) {
        uint16_t rank = router->latest[blocks[i - 1]];

        if (rank != NOBODY) {
            return is_overloaded(router, rank) ? least_loaded(router) : rank;
        }
    }
    return least_loaded(router);
}

static void
give(struct router *router, const struct trace_request *request, uint16_t rank)
{
    const uint32_t *blocks = router->trace->refs + request->ref_first;

    for (uint32_t i = 0; i < request->ref_count; i++) {
        router->latest[blocks[i]] = rank;
    }
    router->refs[rank] += request->ref_count;
    router->given += request->ref_count;
}

bool
route_find(const char *name, enum route *route)
{
    for (int i = ROUTE_AFFINITY; i <= ROUTE_RANDOM; i++) {
        if (strcmp(name, names[i]) == 0) {
            *route = (enum route)i;
            return true;
        }
    }
    return false;
}

const char *
route_name(enum route route)
{
    return names[route];
}

enum cascade_status
route_requests(const struct allocator *allocator, const struct trace *trace,
               enum route route, uint16_t rank_count, uint64_t seed,
               uint16_t *ranks)
{
    struct router router = {.trace = trace, .rank_count = rank_count};
    enum cascade_status status = CASCADE_OK;

    router.refs = allocator_array(allocator, rank_count, sizeof(uint64_t));
    router.latest = allocator_array(allocator, trace->id_count,
                                    sizeof(uint16_t));
    if (router.refs == NULL || router.latest == NULL) {
        status = error_set(CASCADE_NO_MEMORY,
                           "no memory to share %zu requests out",
                           trace->request_count);
    } else {
        memset(router.latest, 0xff, trace->id_count * sizeof(uint16_t));
        for (size_t i = 0; i < trace->request_count; i++) {
            ranks[i] = route == ROUTE_AFFINITY
                           ? nearest(&router, &trace->requests[i])
                           : (uint16_t)random_below(&seed, rank_count);
            give(&router, &trace->requests[i], ranks[i]);
        }
    }
    allocator_release(allocator, router.latest);
    allocator_release(allocator, router.refs);
    return status;
}
