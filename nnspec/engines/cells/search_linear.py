"""The tree search of `search` for piecewise-linear losses: bounds from the dual simplex method of `linear` (numba).

A sample is a row of the linear program, a child inherits its parent's basis and multipliers, so its value starts at its
parent's and needs a few pivots. For the largest error the objective is one more column e with rows e >= |r_i|, and
bounds of disjoint subsets combine by their maximum instead of their sum. Otherwise everything is as in `search`.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.linear import ANCHOR, solve
from nnspec.engines.cells.search import BUDGET, DONE, sign_rows
from nnspec.engines.cells.traverse import enter_piece, pieces_allowed
from nnspec.engines.compiled import compiled

DRIFT = 1e-12
"""Bound on |A'u| after the pivots of one path, from rounding; its price is DRIFT * reach."""


@compiled
def linear_loss(theta: np.ndarray, signs: int, neurons: int, pieces: int, features: np.ndarray, cuts: np.ndarray,
                constant: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, largest: bool
                ) -> float:  # fmt: skip
    """The loss of the network itself."""
    n, p = y.shape[0], features.shape[2]
    total = 0.0
    for i in range(n):
        residual = y[i] - constant[i] * theta[neurons * p]
        for k in range(neurons):
            direction = -1.0 if (signs >> k) & 1 else 1.0
            piece = 0
            for c in range(pieces - 1):
                value = 0.0
                for j in range(p):
                    value += cuts[i, c, j] * theta[k * p + j]
                if direction * value >= 0:
                    piece = c + 1
            for j in range(p):
                residual -= features[piece, i, j] * theta[k * p + j]
        loss = max(lo[i] * residual, hi[i] * residual)
        total = max(total, loss) if largest else total + loss
    return total


@compiled
def search_linear(features: np.ndarray, cuts: np.ndarray, cone: np.ndarray, eps: np.ndarray, constant: np.ndarray,
                  y: np.ndarray, lo: np.ndarray, hi: np.ndarray, largest: bool, inverse: np.ndarray, fixed: int,
                  basis: int, rest: np.ndarray, neurons: int, symmetric: bool, flip: bool, box: np.ndarray,
                  box_rhs: np.ndarray, output_box: np.ndarray, sign_mask: int, reach: float, gap: float,
                  gap_absolute: float, incumbent: np.ndarray, theta_best: np.ndarray,
                  prefix: np.ndarray, strong: int, budget: int, control: np.ndarray, room: int,
                  open_prefix: np.ndarray, open_depth: np.ndarray, open_bound: np.ndarray, statistics: np.ndarray
                  ) -> int:  # fmt: skip
    """Explore the subtree below `prefix`; arguments and results are those of `search`.

    lo and hi (n,) are the slopes of the samples' losses; `largest`: the largest of them instead of their sum. The
    rounding margin is part of every value here (`price`).
    """
    pieces, n, p = features.shape
    size = neurons * p + 1
    r = inverse.shape[0]
    combos = pieces**neurons
    sign_combos = 2**neurons

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
    columns = size + 1 if largest else size
    first = columns + 1 if largest else columns  # rows before the samples: artificial ones and the objective's
    per_sample = 2 if largest else 1
    room_rows = neurons * (n * min(2, pieces - 1) + box.shape[2]) + 2
    count_rows = first + per_sample * n + room_rows
    a = np.zeros((count_rows, columns))
    target = np.zeros(count_rows)
    low = np.zeros(count_rows)
    high = np.zeros(count_rows)
    residual = np.zeros(count_rows)
    for j in range(columns):
        a[j, j] = 1.0
        low[j] = -ANCHOR
        high[j] = ANCHOR
    if largest:
        a[columns, columns - 1] = 1.0
        low[columns] = -1.0
    u = np.zeros((n + 1, count_rows))
    is_basic = np.zeros((n + 1, count_rows), dtype=np.bool_)
    basic = np.zeros((n + 1, columns), dtype=np.int64)
    inv = np.zeros((n + 1, columns, columns))
    solution = np.zeros((n + 1, columns))
    lp_value = np.zeros(n + 1)
    work_u = np.zeros(count_rows)
    work_is_basic = np.zeros(count_rows, dtype=np.bool_)
    work_basic = np.zeros(columns, dtype=np.int64)
    work_inv = np.zeros((columns, columns))
    work_theta = np.zeros(columns)
    price = ANCHOR * np.sqrt(columns) * reach + DRIFT * reach
    equal = np.zeros((n + 1, neurons), dtype=np.bool_)
    mask = np.zeros(n + 1, dtype=np.int64)
    child = np.zeros((n + 1, combos), dtype=np.int64)
    child_bound = np.zeros((n + 1, combos))
    child_guess = np.zeros(combos)
    children = np.zeros(n + 1, dtype=np.int64)
    position = np.zeros(n + 1, dtype=np.int64)
    row = np.zeros(size)
    piece = np.zeros(neurons, dtype=np.int64)
    rows = np.zeros((room_rows, size))
    rhs = np.zeros(room_rows)

    for j in range(columns):
        basic[0, j] = j
        is_basic[0, j] = True
        inv[0, j, j] = 1.0
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
                    wrong = y[t]
                    for j in range(size):
                        wrong -= row[j] * solution[t, j]
                    base = lp_value[t]
                    bound = max(base, rest[t + 1]) if largest else base + rest[t + 1]
                    if bound >= cutoff:
                        continue
                    i = count
                    guess = max(lo[t] * wrong, hi[t] * wrong)  # children that the current solution fits come first
                    while i > 0 and child_guess[i - 1] > guess:
                        child_guess[i] = child_guess[i - 1]
                        child[t, i] = child[t, i - 1]
                        i -= 1
                    child_guess[i] = guess
                    child_bound[t, count] = bound
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
        b = first + per_sample * t
        if largest:
            for side in range(2):
                s = 1.0 if side == 0 else -1.0
                a[b + side, :size] = s * row
                a[b + side, size] = 1.0
                target[b + side] = s * y[t]
                low[b + side] = 0.0
                high[b + side] = np.inf
        else:
            a[b, :size] = row
            target[b] = y[t]
            low[b] = lo[t]
            high[b] = hi[t]
        m0 = b + per_sample
        u[t + 1, :b] = u[t, :b]
        is_basic[t + 1, :b] = is_basic[t, :b]
        u[t + 1, b:m0] = 0.0
        is_basic[t + 1, b:m0] = False
        basic[t + 1] = basic[t]
        inv[t + 1] = inv[t]
        limit = cutoff + price if largest else cutoff - rest[t + 1] + price
        _, value = solve(a, target, low, high, m0, basic[t + 1], is_basic[t + 1], inv[t + 1], u[t + 1], solution[t + 1],
                         residual, limit, 50 * columns + 200)  # fmt: skip
        lp_value[t + 1] = max(value - price, 0.0)
        if value >= limit:
            continue
        mask[t + 1] = mask[t]
        leaf = t + 1 == n
        if leaf:
            statistics[1] += 1
        if leaf or (strong > 0 and (t + 1) % strong == 0 and t >= t0 and t + 1 > basis):
            for s in range(sign_combos):
                if not (mask[t + 1] >> s) & 1:
                    continue
                m = sign_rows(t + 1, s, neurons, pieces, True, cuts, chosen, box, box_rhs, output_box, rows, rhs)
                for i in range(m):
                    a[m0 + i, :size] = rows[i]
                    if largest:
                        a[m0 + i, size] = 0.0
                    target[m0 + i] = rhs[i]
                    low[m0 + i] = 0.0
                    high[m0 + i] = np.inf
                work_u[:m0] = u[t + 1, :m0]
                work_u[m0 : m0 + m] = 0.0
                work_is_basic[:m0] = is_basic[t + 1, :m0]
                work_is_basic[m0 : m0 + m] = False
                work_basic[:] = basic[t + 1]
                work_inv[:, :] = inv[t + 1]
                optimal, value = solve(a, target, low, high, m0 + m, work_basic, work_is_basic, work_inv, work_u,
                                       work_theta, residual, limit, 100 * columns + 400)  # fmt: skip
                if value >= limit:
                    mask[t + 1] &= ~(1 << s)
                    continue
                if not leaf:
                    continue
                statistics[2] += 1
                value -= price
                if optimal:
                    loss = linear_loss(work_theta, s, neurons, pieces, features, cuts, constant, y, lo, hi, largest)
                    if loss < incumbent[0]:
                        incumbent[0] = loss
                        incumbent[1] = s
                        theta_best[:] = work_theta[:size]
                        cutoff = incumbent[0] - max(gap * incumbent[0], gap_absolute)
                        limit = cutoff + price if largest else cutoff - rest[t + 1] + price
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
