"""The tree search for the fewest errors (numba).

A node demands that some samples are right, each by one of its options (`options`), and gives up others, which cost
their weight. `separation` keeps the shortest z that does what is demanded, or proves that there is none. A sample that
z gets right without being asked to needs no decision: if all of them are right or given up, z is the best below the
node. Else one that is wrong becomes the next decision.

*Bound.* Let opt(m) be a proven bound for the samples with suffix <= m alone. Whatever is decided, those samples cost at
least opt(m), and the others at least what is given up of them: the largest sum over all m is taken.

*Dominance.* The order in which samples are decided depends on the node only, so neurons that may change places keep
their choices in lexicographic order: at each decision the stabiliser of the ones before sorts the digits.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
# ruff: noqa: NPY002 (compiled code knows the legacy generator only; it is seeded at every call)
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells.separation import EMPTY, FOUND, UNSURE, VIOLATION, Point, approach, begin, copy_point
from nnspec.engines.compiled import compiled

DONE, BUDGET = 0, 1
GIVEN_UP, OPEN = -1, -2


class System(NamedTuple):
    """Options as the kernels read them, see there."""

    first_option: np.ndarray
    first_row: np.ndarray
    side: np.ndarray
    digits: np.ndarray
    rows: np.ndarray
    rhs: np.ndarray
    target: np.ndarray
    common: int
    reach: np.ndarray
    alike: np.ndarray
    flip: bool
    cost: np.ndarray


class Found(NamedTuple):
    """incumbent (2,): the errors to beat, and 1 once they are beaten, by z; open_*: the nodes left when the budget is
    spent, pairs (sample, decision) and bounds; counts: nodes, problems, unsure ones, leaves that could not be resolved,
    open nodes; floor (1,): the least bound of those leaves."""

    incumbent: np.ndarray
    z: np.ndarray
    open_prefix: np.ndarray
    open_depth: np.ndarray
    open_bound: np.ndarray
    counts: np.ndarray
    floor: np.ndarray


@compiled
def shortfall(system: System, o: int, z: np.ndarray) -> float:
    """By how much z misses the rows that make option o right; <= 0: it has them all."""
    worst = -np.inf
    for i in range(system.first_row[o], system.side[o]):
        value = system.rhs[i] - VIOLATION
        for j in range(z.shape[0]):
            value -= system.rows[i, j] * z[j]
        worst = max(worst, value)
    return worst


@compiled
def missed(system: System, i: int, z: np.ndarray) -> float:
    """By how much z fails to get sample i right: the least of its options; <= 0 if it is right."""
    least = np.inf
    for o in range(system.first_option[i], system.first_option[i + 1]):
        least = min(least, shortfall(system, o, z))
        if least <= 0.0:
            break
    return least


@compiled
def errors_of(system: System, members: np.ndarray, z: np.ndarray, misses: np.ndarray) -> float:
    """The weight of the members that z gets wrong; `misses` by how much each is."""
    total = 0.0
    for a in range(members.shape[0]):
        misses[a] = missed(system, members[a], z)
        if misses[a] > 0.0:
            total += system.cost[members[a]]
    return total


@compiled
def bound_of(system: System, members: np.ndarray, proven: np.ndarray, decided: np.ndarray) -> float:
    """The node's bound; members newest first, the one at place a belongs to the subsets of more than n - 1 - a."""
    n = members.shape[0]
    best = 0.0
    total = 0.0
    for a in range(n + 1):
        best = max(best, total + proven[n - a])
        if a < n and decided[a] == GIVEN_UP:
            total += system.cost[members[a]]
    return best


@compiled
def settle(system: System, ids: np.ndarray, m: int, point: Point, work: np.ndarray) -> int:
    """`approach`, if need be from the origin, then for the right-hand sides themselves.

    A point that is UNSURE, or of the last kind, has no active rows: what comes next begins at the origin again.
    """
    status = UNSURE
    if point.count[0] > 0:
        status = approach(system.rows, system.rhs, system.target, system.reach, ids, m, point, work)
    for attempt in range(2):
        if status != UNSURE:
            return status
        point.z[:] = 0.0
        point.count[0] = 0
        target = system.target if attempt == 0 else system.rhs
        status = approach(system.rows, system.rhs, target, system.reach, ids, m, point, work)
    point.count[0] = 0
    if status == UNSURE:
        point.z[:] = 0.0
    return status


@compiled
def demand(system: System, o: int, ids: np.ndarray, m: int) -> int:
    """Append the rows of option o; the new number."""
    for i in range(system.first_row[o], system.first_row[o + 1]):
        ids[m] = i
        m += 1
    return m


@compiled
def search_errors(system: System, members: np.ndarray, proven: np.ndarray, slack: float, gap: float,
                  prefix: np.ndarray, budget: int, control: np.ndarray, found: Found) -> int:  # fmt: skip
    """Explore the subtree below `prefix` (t0, 2): places in `members` and options or GIVEN_UP. BUDGET if nodes are left
    open, else DONE. A node is cut if its bound is not below the incumbent less `slack` or `gap` times it."""
    n, size = members.shape[0], system.rows.shape[1]
    neurons = system.digits.shape[1]
    widest = 1
    longest = 0
    for i in range(system.first_option.shape[0] - 1):
        widest = max(widest, system.first_option[i + 1] - system.first_option[i] + 1)
        for o in range(system.first_option[i], system.first_option[i + 1]):
            longest = max(longest, system.first_row[o + 1] - system.first_row[o])
    points = [begin(size) for _ in range(n + 2)]
    count_common = system.rows.shape[0] - system.common
    ids = np.zeros(count_common + (n + 1) * longest + 1, dtype=np.int64)
    length = np.zeros(n + 2, dtype=np.int64)
    decided = np.full(n, OPEN, dtype=np.int64)
    place = np.zeros(n + 2, dtype=np.int64)
    child = np.zeros((n + 2, widest), dtype=np.int64)
    children = np.zeros(n + 2, dtype=np.int64)
    position = np.zeros(n + 2, dtype=np.int64)
    bounds = np.zeros(n + 2)
    equal = np.ones((n + 2, neurons), dtype=np.bool_)
    turned = np.zeros((n + 2, neurons), dtype=np.bool_)  # the neuron has made a choice between two before
    unsure = np.zeros(n + 2, dtype=np.bool_)
    misses = np.zeros(n)
    keys = np.zeros(widest)
    work = np.zeros(4 * size + 8)
    for i in range(count_common):
        ids[i] = system.common + i
    length[0] = count_common
    t0 = prefix.shape[0]
    t = 0
    nodes = 0
    status = settle(system, ids, length[0], points[0], work)
    if status == EMPTY:
        return DONE
    unsure[0] = status == UNSURE
    entered = True
    while True:
        if entered:  # a new node: z, its errors, the next decision and its children
            entered = False
            children[t] = 0
            position[t] = 0
            z = points[t].z
            if t < t0:
                place[t] = prefix[t, 0]
                child[t, 0] = prefix[t, 1]
                children[t] = 1
            else:
                errors = errors_of(system, members, z, misses)
                if errors < found.incumbent[0] and not unsure[t]:
                    found.incumbent[0] = errors
                    found.incumbent[1] = 1.0
                    found.z[:] = z
                next_one = -1
                for a in range(n):  # the one that z misses most
                    if decided[a] == OPEN and misses[a] > 0.0 and (
                            next_one < 0 or misses[a] > misses[next_one]):
                        next_one = a
                if next_one < 0:
                    if unsure[t]:  # perhaps nothing is wrong but what was given up: nothing more is claimed
                        found.counts[3] += 1
                        found.floor[0] = min(found.floor[0], bounds[t])
                else:
                    place[t] = next_one
                    i = members[next_one]
                    count = 0
                    for o in range(system.first_option[i], system.first_option[i + 1]):
                        allowed = True
                        for k in range(neurons):
                            if k > 0 and system.alike[k] and equal[t, k] and (
                                    system.digits[o, k] > system.digits[o, k - 1]):
                                allowed = False
                        if system.flip:
                            for k in range(neurons):
                                if not turned[t, k] and system.digits[o, k] == 0:
                                    for other in range(system.first_option[i], system.first_option[i + 1]):
                                        if system.digits[other, k] == 1:
                                            allowed = False
                        if not allowed:
                            continue
                        key = shortfall(system, o, z)
                        a = count
                        while a > 0 and keys[a - 1] > key:
                            keys[a] = keys[a - 1]
                            child[t, a] = child[t, a - 1]
                            a -= 1
                        keys[a] = key
                        child[t, a] = o
                        count += 1
                    child[t, count] = GIVEN_UP
                    children[t] = count + 1
        if position[t] >= children[t]:
            if children[t] > 0:
                decided[place[t]] = OPEN
            t -= 1
            if t < t0:
                break
            continue
        cutoff = found.incumbent[0] - max(slack, gap * found.incumbent[0])
        if t >= t0 and (nodes >= budget or control[0] != 0):
            count = 0
            for depth in range(t0, t + 1):
                for a in range(position[depth], children[depth]):
                    if count >= found.open_depth.shape[0]:
                        return -1
                    for b in range(depth):
                        found.open_prefix[count, b, 0] = place[b]
                        found.open_prefix[count, b, 1] = child[b, position[b] - 1]
                    found.open_prefix[count, depth, 0] = place[depth]
                    found.open_prefix[count, depth, 1] = child[depth, a]
                    found.open_depth[count] = depth + 1
                    found.open_bound[count] = bounds[depth]
                    count += 1
            found.counts[0] += nodes
            found.counts[4] = count
            return BUDGET
        o = child[t, position[t]]
        position[t] += 1
        decided[place[t]] = o
        if t >= t0 - 1:  # the prefix ends with a decision that has not been looked at
            nodes += 1
        bounds[t + 1] = max(bounds[t], bound_of(system, members, proven, decided))
        if bounds[t + 1] >= cutoff:
            continue
        copy_point(points[t], points[t + 1])
        length[t + 1] = length[t]
        unsure[t + 1] = unsure[t]
        equal[t + 1] = equal[t]
        turned[t + 1] = turned[t]
        if o >= 0:
            length[t + 1] = demand(system, o, ids, length[t])
            found.counts[1] += 1
            status = settle(system, ids, length[t + 1], points[t + 1], work)
            if status == EMPTY:
                continue
            unsure[t + 1] = status == UNSURE
            i = members[place[t]]
            for k in range(neurons):
                equal[t + 1, k] = k > 0 and equal[t, k] and system.digits[o, k] == system.digits[o, k - 1]
                for other in range(system.first_option[i], system.first_option[i + 1]):
                    if system.digits[other, k] != system.digits[o, k]:
                        turned[t + 1, k] = True
        t += 1
        entered = True
    found.counts[0] += nodes
    found.counts[4] = 0
    return DONE


@compiled
def insert(system: System, members: np.ndarray, order: np.ndarray, point: Point, ids: np.ndarray, work: np.ndarray,
           misses: np.ndarray, control: np.ndarray) -> float:  # fmt: skip
    """Demand the members one after the other in this order, where possible; the errors of the point reached."""
    m = system.rows.shape[0] - system.common
    for i in range(m):
        ids[i] = system.common + i
    point.z[:] = 0.0
    point.count[0] = 0
    if settle(system, ids, m, point, work) != FOUND:
        return np.inf
    trial = begin(point.z.shape[0])
    for place in order:
        if control[0] != 0:
            return np.inf
        i = members[place]
        first, last = system.first_option[i], system.first_option[i + 1]
        tried = -np.inf
        for _ in range(last - first):
            best = np.inf
            o = -1
            for other in range(first, last):  # the options by the amount that they are missed, each once
                key = shortfall(system, other, point.z) + 1e-12 * (other - first)
                if tried < key < best:
                    best = key
                    o = other
            if o < 0:
                break
            tried = best
            copy_point(point, trial)
            longer = demand(system, o, ids, m)
            if settle(system, ids, longer, trial, work) == FOUND:
                copy_point(trial, point)
                m = longer
                break
    return errors_of(system, members, point.z, misses)


@compiled
def multistart_errors(system: System, members: np.ndarray, starts: int, seed: int, best: np.ndarray,
                      incumbent: np.ndarray, control: np.ndarray) -> None:  # fmt: skip
    """Improve `best` and incumbent[0] by greedy insertion: in random orders, and with those samples first that the
    best network misses."""
    np.random.seed(seed)
    n, size = members.shape[0], best.shape[0]
    point = begin(size)
    longest = 0
    for i in range(system.first_row.shape[0] - 1):
        longest = max(longest, system.first_row[i + 1] - system.first_row[i])
    ids = np.zeros(system.rows.shape[0] - system.common + (n + 1) * longest + 1, dtype=np.int64)
    work = np.zeros(4 * size + 8)
    misses = np.zeros(n)
    keys = np.zeros(n)
    for start in range(starts):
        if control[0] != 0:
            return
        errors_of(system, members, best, misses)
        for a in range(n):
            # a wrong one of the best first, then mostly the right ones, then the others; every third start at random
            keys[a] = np.random.random()
            if start % 3 != 0 and misses[a] > 0.0:
                keys[a] = -1.0 if np.random.random() < 1.5 / (1.0 + n * 0.02) * 0.3 else 1.0 + np.random.random()
        value = insert(system, members, np.argsort(keys), point, ids, work, misses, control)
        if value < incumbent[0]:
            incumbent[0] = value
            best[:] = point.z
