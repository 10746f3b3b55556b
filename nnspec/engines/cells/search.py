"""Depth-first branch-and-bound over the joint activation patterns (numba): one traversal for all classes of losses.

At depth t every neuron has a piece for each of the t samples of the path. The bound is

    (least loss on these t samples, relaxed)  joined with  rest[t],

where rest[t] is a proven lower bound of the optimum on the other samples alone (Russian dolls), and joining is addition
or, for the largest error, the maximum. Between two subsets with a proven bound, the sample that comes next is chosen
anew at every node (see `choose`). The first part comes from a *bound* (see `loss`): a cheap value per child that
orders and cuts the children, one per entered node, and every `strong` levels one under the pattern's own inequalities,
for each combination of output signs that is still alive; combinations that pass the cut-off die for the whole subtree.

At a leaf the constrained problem is solved to the end; its solution is a network, whose true loss is what becomes the
incumbent. docs/cells.md derives the bound and the rounding margins.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnspec.engines.cells.loss import (
    CUT,
    SOLVED,
    Samples,
    begin,
    child,
    enter,
    inner,
    join,
    margin,
    needed,
    network_loss,
)
from nnspec.engines.cells.traverse import Cones, enter_piece, pieces_allowed
from nnspec.engines.compiled import compiled

DONE, BUDGET = 0, 1


class Frame(NamedTuple):
    """What holds in the whole tree.

    rest (n + 1,); block (n,): before step t the samples of the steps t .. block[t] - 1 may change places; box
    (H, 2, m, p) and box_rhs (H, 2, m): rows over theta_k for a positive and a negative output weight, -inf where there
    is none; output_box (2,); sign_mask: which combinations of signs are allowed (bit k of a combination: neuron k's
    output weight is negative); symmetric: neurons may be exchanged; flip: the first sample may be taken to be in the
    upper piece of every neuron.
    """

    rest: np.ndarray
    block: np.ndarray
    box: np.ndarray
    box_rhs: np.ndarray
    output_box: np.ndarray
    sign_mask: int
    symmetric: bool
    flip: bool
    gap: float
    gap_absolute: float
    strong: int


class Found(NamedTuple):
    """What `explore` writes.

    incumbent: the loss to beat, the sign combination of theta. open_prefix, open_order, open_depth, open_bound: the
    nodes left open when the budget is spent, counts[4] of them. counts: nodes, leaves, solved leaves, failed leaves,
    open nodes. floor (1,): least bound of a leaf that could not be resolved.
    """

    incumbent: np.ndarray
    theta: np.ndarray
    open_prefix: np.ndarray
    open_order: np.ndarray
    open_depth: np.ndarray
    open_bound: np.ndarray
    counts: np.ndarray
    floor: np.ndarray


@compiled
def sign_rows(t: int, signs: int, neurons: int, pieces: int, cuts: np.ndarray, chosen: np.ndarray,
              order: np.ndarray, frame: Frame, rows: np.ndarray, rhs: np.ndarray) -> int:  # fmt: skip
    """The inequalities of a pattern on the first t samples, of the boxes and of the output bias; their number.

    `signs` has bit k set if neuron k's output weight is negative. Rows over (theta_1, ..., theta_H, c).
    """
    box, box_rhs = frame.box, frame.box_rhs
    p = box.shape[3]
    last = rows.shape[1] - 1
    m = 0
    for k in range(neurons):
        negative = (signs >> k) & 1
        direction = -1.0 if negative else 1.0
        for i in range(t):
            piece = chosen[i, k]
            for c in range(max(piece - 1, 0), min(piece + 1, pieces - 1)):
                s = direction if piece > c else -direction
                rows[m, :] = 0.0
                for j in range(p):
                    rows[m, k * p + j] = s * cuts[order[i], c, j]
                rhs[m] = 0.0
                m += 1
        for i in range(box.shape[2]):
            if box_rhs[k, negative, i] == -np.inf:
                continue
            rows[m, :] = 0.0
            for j in range(p):
                rows[m, k * p + j] = box[k, negative, i, j]
            rhs[m] = box_rhs[k, negative, i]
            m += 1
    for i in range(2):
        if frame.output_box[i] != -np.inf:
            rows[m, :] = 0.0
            rows[m, last] = 1.0 if i == 0 else -1.0
            rhs[m] = frame.output_box[i]
            m += 1
    return m


def inequalities(n: int, neurons: int, pieces: int, box: np.ndarray) -> int:
    """Most rows that `sign_rows` can write for n samples."""
    return int(neurons * (n * min(2, pieces - 1) + box.shape[2]) + 2)


@compiled
def hand_back(first: int, t: int, position: np.ndarray, children: np.ndarray, child_code: np.ndarray,
              child_bound: np.ndarray, chosen: np.ndarray, order: np.ndarray, pieces: int, bound: Any, found: Found
              ) -> int:  # fmt: skip
    """Write the nodes that are still open on the current path; their number."""
    neurons = chosen.shape[1]
    count = 0
    for depth in range(first, t + 1):
        for i in range(position[depth], children[depth]):
            for a in range(depth):
                for k in range(neurons):
                    found.open_prefix[count, a, k] = chosen[a, k]
            code = child_code[depth, i]
            for k in range(neurons):
                found.open_prefix[count, depth, k] = code % pieces
                code //= pieces
            found.open_order[count, : depth + 1] = order[: depth + 1]
            found.open_depth[count] = depth + 1
            found.open_bound[count] = child_bound[depth, i] - margin(bound, child_bound[depth, i])
            count += 1
    return count


@compiled
def cutoff_of(bound: Any, frame: Frame, incumbent: float) -> float:
    """A computed bound that reaches this proves that a node holds nothing better than the incumbent, up to the gap."""
    value = incumbent - max(frame.gap * incumbent, frame.gap_absolute)
    return value + margin(bound, value)


@compiled
def choose(t: int, pieces: int, samples: Samples, cones: Cones, frame: Frame, bound: Any, cutoff: float,
           order: np.ndarray, equal: np.ndarray, allowed: np.ndarray, piece: np.ndarray, row: np.ndarray
           ) -> int:  # fmt: skip
    """The position of the sample to branch on next, among those of the block.

    The one with the fewest children below the cut-off; among those the one whose best child has the largest rank.
    -1: one of them has no such child.
    """
    neurons, p = allowed.shape[0], samples.features.shape[2]
    best, fewest, largest = t, pieces**neurons + 1, -np.inf
    for at in range(t, frame.block[t]):
        i = order[at]
        for k in range(neurons):
            pieces_allowed(t, i, k, pieces, 0.0, cones, allowed)
        count, least = 0, np.inf
        for code in range(pieces**neurons):
            left, ok = code, True
            for k in range(neurons):
                m = left % pieces
                left //= pieces
                piece[k] = m
                if not allowed[k, m] or (frame.symmetric and k > 0 and equal[k] and m > piece[k - 1]):
                    ok = False
                    break
            if not ok:
                continue
            for k in range(neurons):
                for j in range(p):
                    row[k * p + j] = samples.features[piece[k], i, j]
            row[neurons * p] = samples.constant[i]
            value, rank = child(bound, t, i, row, samples.y[i])
            if join(bound.loss, value, frame.rest[t + 1]) < cutoff:
                count += 1
                least = min(least, rank)
        if count == 0:
            return -1
        if count < fewest or (count == fewest and least > largest):
            best, fewest, largest = at, count, least
            if count == 1:
                break
    return best


@compiled
def explore(bound: Any, samples: Samples, cones: Cones, frame: Frame, prefix: np.ndarray, budget: int,
            control: np.ndarray, order: np.ndarray, found: Found) -> int:  # fmt: skip
    """Explore the subtree below `prefix` (t0, H). See the module's docstring.

    order (n,): the samples, those of the prefix first; it changes from branch to branch.

    When `budget` nodes are spent or control[0] is set, the open nodes are handed back and BUDGET is returned.
    """
    pieces, n, p = samples.features.shape
    neurons = prefix.shape[1]
    size = neurons * p + 1
    combos = pieces**neurons
    incumbent, rest = found.incumbent, frame.rest

    chosen = np.zeros((n + 1, neurons), dtype=np.int8)
    allowed = np.ones((neurons, pieces), dtype=np.bool_)
    equal = np.zeros((n + 1, neurons), dtype=np.bool_)
    mask = np.zeros(n + 1, dtype=np.int64)
    child_code = np.zeros((n + 1, combos), dtype=np.int64)
    child_bound = np.zeros((n + 1, combos))
    child_rank = np.zeros(combos)
    children = np.zeros(n + 1, dtype=np.int64)
    position = np.zeros(n + 1, dtype=np.int64)
    row = np.zeros(size)
    piece = np.zeros(neurons, dtype=np.int64)
    room_rows = neurons * (n * min(2, pieces - 1) + frame.box.shape[2]) + 2
    rows = np.zeros((room_rows, size))
    rhs = np.zeros(room_rows)

    begin(bound)
    cones.pointer[:] = 0
    equal[0, :] = True
    mask[0] = frame.sign_mask
    t0 = prefix.shape[0]
    t = 0
    nodes = 0
    expanded = False
    while True:
        if not expanded:
            if t < t0:  # replay the prefix first: its nodes have exactly one child
                code = 0
                for k in range(neurons - 1, -1, -1):
                    code = code * pieces + prefix[t, k]
                child_code[t, 0] = code
                child_bound[t, 0] = 0.0
                children[t] = 1
            elif t == n:
                children[t] = 0
            else:
                cutoff = cutoff_of(bound, frame, incumbent[0])
                if frame.block[t] > t + 1:
                    at = choose(t, pieces, samples, cones, frame, bound, cutoff, order, equal[t], allowed, piece, row)
                    if at < 0:
                        children[t] = position[t] = 0
                        expanded = True
                        continue
                    order[t], order[at] = order[at], order[t]
                for k in range(neurons):
                    pieces_allowed(t, order[t], k, pieces, 0.0, cones, allowed)
                count = 0
                for code in range(combos):
                    left = code
                    ok = True
                    for k in range(neurons):
                        m = left % pieces
                        left //= pieces
                        piece[k] = m
                        if not allowed[k, m] or (frame.flip and t == 0 and m == 0):
                            ok = False
                            break
                        if frame.symmetric and k > 0 and equal[t, k] and m > piece[k - 1]:
                            ok = False
                            break
                    if not ok:
                        continue
                    for k in range(neurons):
                        for j in range(p):
                            row[k * p + j] = samples.features[piece[k], order[t], j]
                    row[size - 1] = samples.constant[order[t]]
                    value, rank = child(bound, t, order[t], row, samples.y[order[t]])
                    value = join(bound.loss, value, rest[t + 1])
                    if value >= cutoff:
                        continue
                    i = count
                    while i > 0 and child_rank[i - 1] > rank:
                        child_rank[i] = child_rank[i - 1]
                        child_bound[t, i] = child_bound[t, i - 1]
                        child_code[t, i] = child_code[t, i - 1]
                        i -= 1
                    child_rank[i] = rank
                    child_bound[t, i] = value
                    child_code[t, i] = code
                    count += 1
                children[t] = count
            position[t] = 0
            expanded = True
        if position[t] >= children[t]:
            t -= 1
            if t < t0:
                break
            continue
        if nodes >= budget or control[0] != 0:
            count = hand_back(t0, t, position, children, child_code, child_bound, chosen, order, pieces, bound, found)
            found.counts[0] += nodes
            found.counts[4] = count
            return BUDGET
        code = child_code[t, position[t]]
        value = child_bound[t, position[t]]
        position[t] += 1
        cutoff = cutoff_of(bound, frame, incumbent[0])
        if value >= cutoff:
            continue
        if t >= t0:
            nodes += 1
        entered = True
        for k in range(neurons):
            m = code % pieces
            code //= pieces
            chosen[t, k] = m
            equal[t + 1, k] = k > 0 and equal[t, k] and m == chosen[t, k - 1]
            if not enter_piece(t, order[t], k, m, pieces, chosen, cones):
                entered = False
                break
            for j in range(p):
                row[k * p + j] = samples.features[m, order[t], j]
        if not entered:
            continue
        row[size - 1] = samples.constant[order[t]]
        limit = needed(bound.loss, cutoff, rest[t + 1])
        if enter(bound, t, order[t], row, samples.y[order[t]], limit) >= limit:
            continue
        mask[t + 1] = mask[t]
        leaf = t + 1 == n
        if leaf:
            found.counts[1] += 1
        if leaf or (frame.strong > 0 and (t + 1) % frame.strong == 0 and t >= t0 and t + 1 > cones.basis):
            for s in range(2**neurons):
                if not (mask[t + 1] >> s) & 1:
                    continue
                m = sign_rows(t + 1, s, neurons, pieces, samples.cuts, chosen, order, frame, rows, rhs)
                status, value = inner(bound, t + 1, rows, rhs, m, limit, leaf)
                if status == CUT:
                    mask[t + 1] &= ~(1 << s)
                    continue
                if not leaf:
                    continue
                found.counts[2] += 1
                if status == SOLVED:
                    loss = network_loss(bound.loss, samples, bound.theta, s, neurons)
                    if loss < incumbent[0]:
                        incumbent[0] = loss
                        incumbent[1] = s
                        found.theta[:] = bound.theta
                        cutoff = cutoff_of(bound, frame, loss)
                        limit = needed(bound.loss, cutoff, rest[t + 1])
                    if value < cutoff:
                        found.floor[0] = min(found.floor[0], value - margin(bound, value))
                else:
                    found.counts[3] += 1
                    value = min(value, cutoff)
                    found.floor[0] = min(found.floor[0], value - margin(bound, value))
            if leaf or mask[t + 1] == 0:
                continue
        t += 1
        expanded = False
    found.counts[0] += nodes
    found.counts[4] = 0
    return DONE
