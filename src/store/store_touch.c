// SPDX-License-Identifier: Apache-2.0
//
// Telling the policy which blocks were used. Takes policy_lock.

#include "base/check.h"
#include "store/store_internal.h"

void
store_touch(struct cascade *store, const struct block_place *place)
{
    if (place->tier != CASCADE_TIER_LOCAL_DRAM) {
        return;
    }
    check(pthread_mutex_lock(&store->policy_lock) == 0);
    store->policy->touch(store->policy_state, place->slot);
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
}
