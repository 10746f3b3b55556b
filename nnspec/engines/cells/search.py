"""Depth-first branch-and-bound over the joint activation patterns for squared losses (numba).

At depth t every neuron has a piece for each of the first t samples of the order. The bound is

    (least-squares residual of these t samples)  +  rest[t],

where rest[t] is a proven lower bound of the optimum on the other samples alone (Russian dolls). Each child's residual
comes from the parent's triangular factor by one forward substitution; the factor itself is updated only for children
that are entered. Every `strong` levels the residual is minimised under the pattern's own inequalities, once for each
combination of output signs that is still alive; combinations that pass the cut-off die for the whole subtree.

At a leaf the same constrained problem is solved to the end; its solution is a network, whose true loss is what becomes
the incumbent. docs/cells.md derives the bound and the rounding margins.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.quadratic import CUT, FAILED, INFEASIBLE, SOLVED, absorb, constrained, increment
from nnspec.engines.cells.traverse import enter_piece, pieces_allowed
from nnspec.engines.compiled import compiled

RIDGE = 1e-9
"""Square root of the ridge that keeps the triangular factor regular; the bound pays RIDGE^2 reach^2 for it."""

LEAF_RIDGE = 1e-7
"""The same in constrained problems, where the factor is inverted; centred at theta0 it costs the bound
2 LEAF_RIDGE^2 |theta - theta0| 2 reach."""

DONE, BUDGET = 0, 1


@compiled
def sign_rows(t: int, signs: int, neurons: int, pieces: int, signed: bool, cuts: np.ndarray, chosen: np.ndarray,
              box: np.ndarray, box_rhs: np.ndarray, output_box: np.ndarray, rows: np.ndarray, rhs: np.ndarray
              ) -> int:  # fmt: skip
    """The inequalities of a pattern on the first t samples, of the boxes and of the output bias; their number.

    `signs` has bit k set if neuron k's output weight is negative. Rows over (theta_1, ..., theta_H, c).
    """
    p = box.shape[3]
    last = rows.shape[1] - 1
    m = 0
    for k in range(neurons):
        negative = (signs >> k) & 1
        direction = -1.0 if signed and negative else 1.0
        for i in range(t):
            piece = chosen[i, k]
            for c in range(max(piece - 1, 0), min(piece + 1, pieces - 1)):
                s = direction if piece > c else -direction
                rows[m, :] = 0.0
                for j in range(p):
                    rows[m, k * p + j] = s * cuts[i, c, j]
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
        if output_box[i] != -np.inf:
            rows[m, :] = 0.0
            rows[m, last] = 1.0 if i == 0 else -1.0
            rhs[m] = output_box[i]
            m += 1
    return m


@compiled
def true_loss(theta: np.ndarray, signs: int, neurons: int, pieces: int, signed: bool, features: np.ndarray,
              cuts: np.ndarray, constant: np.ndarray, y: np.ndarray) -> float:  # fmt: skip
    """The squared loss of the network itself: each neuron takes the piece that its cuts say."""
    n, p = y.shape[0], features.shape[2]
    total = 0.0
    for i in range(n):
        residual = y[i] - constant[i] * theta[neurons * p]
        for k in range(neurons):
            direction = -1.0 if signed and (signs >> k) & 1 else 1.0
            piece = 0
            for c in range(pieces - 1):
                value = 0.0
                for j in range(p):
                    value += cuts[i, c, j] * theta[k * p + j]
                if direction * value >= 0:
                    piece = c + 1
            for j in range(p):
                residual -= features[piece, i, j] * theta[k * p + j]
        total += residual * residual
    return total


@compiled
def search(features: np.ndarray, cuts: np.ndarray, cone: np.ndarray, eps: np.ndarray, constant: np.ndarray,
           y: np.ndarray, inverse: np.ndarray, fixed: int, basis: int, rest: np.ndarray, neurons: int, signed: bool,
           symmetric: bool, flip: bool, box: np.ndarray, box_rhs: np.ndarray, output_box: np.ndarray, sign_mask: int,
           reach: float, gap: float, gap_absolute: float, margin: np.ndarray, incumbent: np.ndarray,
           theta_best: np.ndarray, prefix: np.ndarray, strong: int, budget: int, control: np.ndarray, room: int,
           open_prefix: np.ndarray, open_depth: np.ndarray, open_bound: np.ndarray, statistics: np.ndarray
           ) -> int:  # fmt: skip
    """Explore the subtree below `prefix` (t0, neurons). See the module's docstring.

    features (S, n, p), cuts (n, S-1, p), the same in coordinates of the cones (n, S-1, r), eps (n, S-1), constant
    and y (n,), rest (n + 1,).
    margin: (a, b), the rounding margin of a bound is a + b sqrt(bound).
    incumbent[0]: the loss to beat, [1]: its sign combination. theta_best (P,).
    When `budget` nodes are spent or control[0] is set, the open nodes go to open_* and BUDGET is returned.
    statistics: nodes, leaves, solved leaves, failed leaves; float: [4] least bound of a failed leaf.
    """
    pieces, n, p = features.shape
    size = neurons * p + 1
    r = inverse.shape[0]
    combos = pieces**neurons
    sign_combos = 2**neurons if signed else 1

    chosen = np.zeros((n + 1, neurons), dtype=np.int8)
    vertices = np.empty((neurons, n + 2, pieces, room, r))
    facets = np.empty((neurons, n + 2, pieces, room, r - 1), dtype=np.int32)
    counts = np.zeros((neurons, n + 2, pieces), dtype=np.int64)
    pointer = np.zeros((neurons, n + 2), dtype=np.int64)
    scratch_v = np.empty((room, r))
    scratch_f = np.empty((room, r - 1), dtype=np.int32)
    values = np.empty(room)
    signs = np.empty(r)
    allowed = np.ones((neurons, pieces), dtype=np.bool_)
    lower = np.zeros((n + 1, size, size))
    q = np.zeros((n + 1, size))
    rss = np.zeros(n + 1)
    equal = np.zeros((n + 1, neurons), dtype=np.bool_)
    mask = np.zeros(n + 1, dtype=np.int64)
    child = np.zeros((n + 1, combos), dtype=np.int64)
    child_bound = np.zeros((n + 1, combos))
    children = np.zeros(n + 1, dtype=np.int64)
    position = np.zeros(n + 1, dtype=np.int64)
    row = np.zeros(size)
    z = np.zeros(size)
    piece = np.zeros(neurons, dtype=np.int64)
    room_rows = neurons * (n * min(2, pieces - 1) + box.shape[2]) + 2
    rows = np.zeros((room_rows, size))
    rhs = np.zeros(room_rows)
    theta = np.zeros(size)
    multipliers = np.zeros(size + 1)
    active = np.zeros(size + 1, dtype=np.int64)
    work_lower = np.zeros((size, size))
    work_q = np.zeros(size)
    centre = np.zeros(size)

    for j in range(size):
        lower[0, j, j] = RIDGE
    equal[0, :] = True
    mask[0] = sign_mask
    t0 = prefix.shape[0]
    t = 0
    nodes = 0
    expanded = False
    while True:
        # replay the prefix first: its nodes have exactly one child
        if not expanded:
            if t < t0:
                code = 0
                for k in range(neurons - 1, -1, -1):
                    code = code * pieces + prefix[t, k]
                child[t, 0] = code
                child_bound[t, 0] = 0.0
                children[t] = 1
            elif t == n:
                children[t] = 0
            else:
                cutoff = incumbent[0] - max(gap * incumbent[0], gap_absolute)
                cutoff += margin[0] + margin[1] * np.sqrt(max(cutoff, 0.0))
                for k in range(neurons):
                    pieces_allowed(t, k, basis, pieces, cone, eps, vertices, counts, pointer, allowed)
                count = 0
                for code in range(combos):
                    rest_code = code
                    ok = True
                    for k in range(neurons):
                        m = rest_code % pieces
                        rest_code //= pieces
                        piece[k] = m
                        if not allowed[k, m] or (flip and t == 0 and m == 0):
                            ok = False
                            break
                        if symmetric and k > 0 and equal[t, k] and m > piece[k - 1]:
                            ok = False
                            break
                    if not ok:
                        continue
                    for k in range(neurons):
                        for j in range(p):
                            row[k * p + j] = features[piece[k], t, j]
                    row[size - 1] = constant[t]
                    bound = rss[t] + increment(lower[t], q[t], row, y[t], z) + rest[t + 1]
                    if bound >= cutoff:
                        continue
                    i = count
                    while i > 0 and child_bound[t, i - 1] > bound:
                        child_bound[t, i] = child_bound[t, i - 1]
                        child[t, i] = child[t, i - 1]
                        i -= 1
                    child_bound[t, i] = bound
                    child[t, i] = code
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
            # hand the open nodes back
            count = 0
            for depth in range(t0, t + 1):
                for i in range(position[depth], children[depth]):
                    if count >= open_depth.shape[0]:
                        return -1
                    for a in range(depth):
                        for k in range(neurons):
                            open_prefix[count, a, k] = chosen[a, k]
                    code = child[depth, i]
                    for k in range(neurons):
                        open_prefix[count, depth, k] = code % pieces
                        code //= pieces
                    open_depth[count] = depth + 1
                    open_bound[count] = child_bound[depth, i]
                    count += 1
            statistics[0] += nodes
            statistics[5] = count
            return BUDGET
        code = child[t, position[t]]
        bound = child_bound[t, position[t]]
        position[t] += 1
        cutoff = incumbent[0] - max(gap * incumbent[0], gap_absolute)
        cutoff += margin[0] + margin[1] * np.sqrt(max(cutoff, 0.0))
        if bound >= cutoff:
            continue
        if t >= t0:
            nodes += 1
        entered = True
        for k in range(neurons):
            m = code % pieces
            code //= pieces
            chosen[t, k] = m
            equal[t + 1, k] = k > 0 and equal[t, k] and m == chosen[t, k - 1]
            if not enter_piece(t, k, m, basis, fixed, pieces, cone, eps, inverse, chosen, vertices, facets, counts,
                               pointer, scratch_v, scratch_f, values, signs):  # fmt: skip
                entered = False
                break
            for j in range(p):
                row[k * p + j] = features[m, t, j]
        if not entered:
            continue
        row[size - 1] = constant[t]
        lower[t + 1] = lower[t]
        q[t + 1] = q[t]
        left = absorb(lower[t + 1], q[t + 1], row, y[t])
        rss[t + 1] = rss[t] + left * left
        mask[t + 1] = mask[t]
        leaf = t + 1 == n
        if leaf:
            statistics[1] += 1
        if leaf or (strong > 0 and (t + 1) % strong == 0 and t >= t0 and t + 1 > basis):
            for s in range(sign_combos):
                if not (mask[t + 1] >> s) & 1:
                    continue
                m = sign_rows(t + 1, s, neurons, pieces, signed, cuts, chosen, box, box_rhs, output_box, rows, rhs)
                centre[:] = 0.0
                for _ in range(3):
                    work_lower[:, :] = lower[t + 1]
                    work_q[:] = q[t + 1]
                    base = rss[t + 1]
                    for j in range(size):
                        row[:] = 0.0
                        row[j] = LEAF_RIDGE
                        left = absorb(work_lower, work_q, row, LEAF_RIDGE * centre[j])
                        base += left * left
                    status, value, count = constrained(work_lower, work_q, base, rows, rhs, m, cutoff - rest[t + 1],
                                                       theta, 20 * size + 200, multipliers, active)  # fmt: skip
                    away = 0.0
                    for j in range(size):
                        away += (theta[j] - centre[j]) ** 2
                    value -= 4 * LEAF_RIDGE**2 * np.sqrt(away) * reach
                    if not leaf or status in (INFEASIBLE, FAILED) or value >= cutoff:
                        break
                    # a second round about the solution makes the price of the ridge vanish
                    centre[:] = theta
                if status == CUT and value + rest[t + 1] >= cutoff:
                    mask[t + 1] &= ~(1 << s)
                    continue
                if not leaf:
                    continue
                statistics[2] += 1
                if status == SOLVED:
                    loss = true_loss(theta, s, neurons, pieces, signed, features, cuts, constant, y)
                    if loss < incumbent[0]:
                        incumbent[0] = loss
                        incumbent[1] = s
                        theta_best[:] = theta
                        cutoff = incumbent[0] - max(gap * incumbent[0], gap_absolute)
                        cutoff += margin[0] + margin[1] * np.sqrt(max(cutoff, 0.0))
                    if value < cutoff:
                        statistics[4] = min(statistics[4], value)
                else:
                    statistics[3] += 1
                    statistics[4] = min(statistics[4], min(value, cutoff))
            if leaf or mask[t + 1] == 0:
                continue
        t += 1
        expanded = False
    statistics[0] += nodes
    statistics[5] = 0
    return DONE
