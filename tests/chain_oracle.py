"""Every memory-persistent schedule of a chain, searched one action at a time.

It knows nothing of recurrences: a state is what is live, a move is one action of the memory model
of INTERFACE.md, and what is stored stays until its own backward. An output that was just computed
may be run on from and dropped; once it is stored it may not. Of a stage with several ways the state
says in which one it is saved: SAVED and the number of the way.
"""

import heapq
import itertools

NOTHING, OUTPUT, SAVED = 0, 1, 2


def frontier(chain):
    """``(peak, cost)`` of every schedule that none beats in both, by rising peak."""
    n = len(chain)
    # What is stored of the stages 0..n, the stage just computed and not stored, the gradient.
    start = ((OUTPUT, *[NOTHING] * n), None, n)
    count = itertools.count()
    queue = [(0, chain.sizes[0] + chain.sizes[n], next(count), start)]
    least_peak, found = {}, []
    while queue:
        cost, peak, _, state = heapq.heappop(queue)  # by cost, then by peak
        if peak >= least_peak.get(state, float("inf")):
            continue
        least_peak[state] = peak
        if state[2] == 0:
            if not found or peak < found[-1][0]:
                found.append((peak, cost))
            continue
        for price, high, after in _moves(chain, state):
            label = max(peak, high)
            if label < least_peak.get(after, float("inf")):
                heapq.heappush(queue, (cost + price, label, next(count), after))
    return found[::-1]


def _moves(chain, state):
    stored, fresh, gradient = state
    n = len(chain)
    live = chain.sizes[gradient] + sum(chain.retained_bytes[gradient:])
    live += sum(chain.sizes[s] for s in range(n + 1) if stored[s] == OUTPUT or s == fresh)
    live += sum(
        _ways(chain, s)[stored[s] - SAVED][0] for s in range(1, n + 1) if stored[s] >= SAVED
    )

    def put(*changes):
        new = list(stored)
        for stage, value in changes:
            new[stage] = value
        return tuple(new)

    for stage in range(1, gradient + 1):
        before = stage - 1
        if stored[stage] or fresh == stage or not (stored[before] or fresh == before):
            continue
        if fresh is not None and fresh != before:
            continue  # what was just computed is run on from, or stored, before anything else
        price = chain.forward_cost[stage - 1]
        high = live + chain.sizes[stage] + chain.forward_workspace[stage - 1]
        keep = put((before, OUTPUT)) if fresh == before else stored
        yield price, high, (keep, stage, gradient)
        if fresh == before:  # its input may go
            yield price, high, (stored, stage, gradient)
        for number, (kept, workspace, _, _) in enumerate(_ways(chain, stage)):
            saved = (*keep[:stage], SAVED + number, *keep[stage + 1 :])
            yield price, live + kept + workspace, (saved, None, gradient)
    if fresh is None and stored[gradient] >= SAVED and stored[gradient - 1]:
        below = gradient - 1
        left = chain.retained_bytes[below]
        kept, _, workspace, price = _ways(chain, gradient)[stored[gradient] - SAVED]
        high = live + workspace + left
        after = put((gradient, NOTHING))
        gone = kept + chain.sizes[gradient]
        if stored[below] == OUTPUT:
            after = (*after[:below], NOTHING, *after[gradient:])
            gone += chain.sizes[below]
        high = max(high, live - gone + chain.sizes[below] + left)
        yield price, high, (after, None, below)


def _ways(chain, stage):
    """What each way keeps, its workspace, that of its backward, the cost of its backward."""
    place = stage - 1
    kept, workspace = chain.saved_bytes[place], chain.saving_workspace[place]
    first = (kept, workspace, chain.backward_workspace[place], chain.backward_cost[place])
    others = [
        (way.saved_bytes, way.saving_workspace, way.backward_workspace, way.backward_cost)
        for way in chain.ways[place]
    ]
    return [first, *others]
