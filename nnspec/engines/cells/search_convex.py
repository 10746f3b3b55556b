"""The tree search over activation patterns for any convex loss and penalty (numba).

Every neuron's output weight has a fixed sign here, so a pattern's networks are the z of a polyhedron and the network's
outputs are rows times z. At depth t all neurons have a piece for each of t samples. Two bounds are taken:

    min (loss of these samples + penalty)     and     min (loss of these samples) + rest,

each over the z that the boxes and the pattern's own inequalities allow; rest is a proven lower bound of loss plus
penalty on untouched samples alone, in which the penalty is counted already. Of the pattern's inequalities only those
that are facets of the neurons' polytopes (`traverse`) enter: the others follow from them.

The largest error is an unknown e, the last of z, with two rows e >= +-r for each sample; it is what is minimised. Rest
is 0 then.

Squares are kept in a triangular factor L that grows by a row a level. A bound b taken there at z comes with the
remainder |L'(z' - z)|^2 (`interior`), so the next sample raises it by r^2 / (1 + |L^-1 row|^2), r its residual at z:
children are bounded before they are entered.

Squares alone are minimised by `quadratic`, piecewise-linear losses alone by `linear`, all else by `interior`.

The next sample is chosen at each node: the one whose children promise the smallest subtrees. It is swapped into place
t of all arrays, and back when the node is left.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells import quadratic as qp
from nnspec.engines.cells.arrays import Found, Frame, Path, Price, Room, Rows
from nnspec.engines.cells.children import LISTED, best_square, children_of
from nnspec.engines.cells.interior import CUT, KEPT, STUCK, minimise
from nnspec.engines.cells.linear import ANCHOR, Simplex, inherit, pivoted, put_kept, simplex
from nnspec.engines.cells.network import network_loss, penalty, snap, tidy, within
from nnspec.engines.cells.node import put_facets, put_largest, put_sample
from nnspec.engines.cells.quadratic import ActiveSet, absorb, active_set, bounded, invert
from nnspec.engines.cells.traverse import Cones, enter_piece, locate
from nnspec.engines.compiled import bare

DONE, BUDGET = 0, 1

RIDGE = 1e-9
"""What the triangular factor starts from, see docs/cells.md."""

LEAF_GOAL = 1e-9
"""Relative gap to which the convex problem of a leaf is solved: a thousandth of the usual gap of the whole."""

OUTSIDE = 1e-8
"""By how much an iterate may be outside of a box, in normalised units; the network that is reported is moved inside and
evaluated again. Interior-point iterates end at some 1e-9."""

NODE_GOAL = -0.02
"""An inner node's problem is left once a value below the cut-off is known and the bound is within so much of it."""


@bare
def cutoff_of(found: Found, frame: Frame) -> float:
    """A bound that reaches it closes a node: the gap below the incumbent, and what rounding may have added."""
    cutoff = found.incumbent[0] - max(frame.gap * found.incumbent[0], frame.gap_absolute)
    return cutoff + frame.margin[0] + frame.margin[1] * np.sqrt(max(cutoff, 0.0))


@bare
def inside(n: int, k: int, pieces: int, chosen: np.ndarray, cones: Cones, strict: float, direction: np.ndarray) -> bool:
    """Whether every sample is on its sides by `strict` at some vertices of the polytope of home k; then `direction` is
    the mean of those, which has all samples on their sides (the relaxations eps are far below strict / n)."""
    r = direction.shape[0]
    owner, depth, slot = locate(k, n, pieces, cones)
    for j in range(r):
        direction[j] = 0.0
    for other in range(k, cones.last[k] + 1):
        if cones.home[other] != k:
            continue
        for i in range(n):
            s = 1.0 if chosen[i, other] > 0 else -1.0
            most = -np.inf
            best = 0
            for v in range(cones.counts[owner, depth, slot]):
                value = 0.0
                for j in range(r):
                    value += s * cones.cuts[other, i, 0, j] * cones.vertices[owner, depth, slot, v, j]
                if value > most:
                    most = value
                    best = v
            if most < strict:
                return False
            for j in range(r):
                direction[j] += cones.vertices[owner, depth, slot, best, j] / n
    return True


@bare
def exchange(rows: Rows, cones: Cones, a: int, b: int) -> None:
    """Samples a and b change places."""
    if a == b:
        return
    for k in range(rows.features.shape[0]):
        for s in range(rows.features.shape[1]):
            for j in range(rows.features.shape[3]):
                f = rows.features[k, s]
                f[a, j], f[b, j] = f[b, j], f[a, j]
        for s in range(rows.cuts.shape[2]):
            for j in range(rows.cuts.shape[3]):
                rows.cuts[k, a, s, j], rows.cuts[k, b, s, j] = rows.cuts[k, b, s, j], rows.cuts[k, a, s, j]
    for j in range(rows.base.shape[1]):
        rows.base[a, j], rows.base[b, j] = rows.base[b, j], rows.base[a, j]
    rows.y[a], rows.y[b] = rows.y[b], rows.y[a]
    rows.lo[a], rows.lo[b] = rows.lo[b], rows.lo[a]
    rows.hi[a], rows.hi[b] = rows.hi[b], rows.hi[a]
    rows.kappa[a], rows.kappa[b] = rows.kappa[b], rows.kappa[a]
    rows.ids[a], rows.ids[b] = rows.ids[b], rows.ids[a]
    rows.group[a], rows.group[b] = rows.group[b], rows.group[a]
    rows.suffix[a], rows.suffix[b] = rows.suffix[b], rows.suffix[a]
    for c in range(cones.cuts.shape[2]):
        cones.eps[a, c], cones.eps[b, c] = cones.eps[b, c], cones.eps[a, c]
        for k in range(cones.cuts.shape[0]):
            for j in range(cones.cuts.shape[3]):
                cones.cuts[k, a, c, j], cones.cuts[k, b, c, j] = cones.cuts[k, b, c, j], cones.cuts[k, a, c, j]


def search_convex(rows: Rows, cones: Cones, price: Price, frame: Frame, prefix: np.ndarray, budget: int,
                  control: np.ndarray, found: Found) -> int:  # fmt: skip
    """Explore the subtree below `prefix` (t0, H + 1), whose last column names the samples. BUDGET if nodes are left
    open, else DONE. `rows` and `cones` are changed in the order of their samples."""
    kappas = np.concatenate([rows.kappa, price.box_kappa])
    linear = not (frame.squared or len(price.blocks) or len(price.p_rows) or np.any(kappas))
    neurons, pieces, n, size = rows.features.shape
    combos = pieces**neurons
    path = Path(np.zeros((n + 1, size, size)), np.zeros((n + 1, size, size)), np.zeros((n + 1, size)), np.zeros(n + 1),
                np.zeros((n + 1, size)),
                np.zeros(n + 1), np.zeros(n + 1), np.zeros((n + 1, size)), np.full(n + 1, -np.inf),
                np.zeros((n + 1, size)), np.full(n + 1, n), np.zeros((n + 1, neurons), dtype=np.int8),
                np.zeros((n + 1, neurons), dtype=np.bool_))  # fmt: skip
    count_p = price.p_rows.shape[0]
    per = 2 if rows.largest else 1
    anchors = size if linear else 0
    first = anchors + count_p + price.boxes.shape[0] + per - 1
    most = first + per * n + neurons * n * min(2, pieces - 1) + anchors
    numbers = rows.cuts.shape[3]
    room = Room(
        np.zeros((n + 1, combos), dtype=np.int64), np.zeros((n + 1, combos)), np.zeros(n + 1, dtype=np.int64),
        np.zeros(n + 1, dtype=np.int64), np.zeros(n + 1, dtype=np.int64), np.full(n + 2, -1),
        np.zeros((n + 1, n), dtype=np.bool_), np.zeros(combos), np.ones((neurons, pieces), dtype=np.bool_),
        np.zeros(size), np.zeros(size), np.zeros(neurons, dtype=np.int64), np.zeros((most, size)), np.zeros(most),
        np.zeros(most), np.zeros(most), np.zeros(most), np.zeros(n * (pieces - 1) + 1, dtype=np.bool_),
        np.zeros(numbers), np.zeros(numbers), np.zeros((neurons, cones.cuts.shape[3])), np.zeros(most),
        np.zeros((price.blocks.shape[0], price.blocks.shape[1])), np.zeros(n),
        np.zeros((neurons + 1, pieces, size)), np.zeros((neurons + 1, pieces, 2)), np.zeros(LISTED),
        np.zeros(LISTED, dtype=np.int64),
    )  # fmt: skip
    for i in range(anchors):
        room.a_rows[i, i] = 1.0
        room.a_lo[i], room.a_hi[i] = -ANCHOR, ANCHOR
    fixed = anchors + count_p
    room.a_rows[anchors:fixed] = price.p_rows
    room.a_y[anchors:fixed] = price.p_y
    room.a_lo[anchors:fixed] = -np.inf
    room.a_hi[anchors:fixed] = np.inf
    room.a_kappa[anchors:fixed] = price.p_kappa
    boxes = fixed + len(price.boxes)
    room.a_rows[fixed:boxes] = price.boxes
    room.a_y[fixed:boxes] = price.box_rhs
    room.a_lo[fixed:boxes] = np.where(price.box_kappa > 0.0, -np.inf, 0.0)
    room.a_hi[fixed:boxes] = price.box_hi
    room.a_kappa[fixed:boxes] = price.box_kappa
    if rows.largest:
        put_largest(room.a_rows, room.a_lo, room.a_hi, first - 1)
    for j in range(size):
        path.lower[0, j, j] = RIDGE
    path.equal[0, :] = True
    active, program = active_set(size, most), simplex(size, n if linear else 0, first + per * n, most)
    return int(walk(rows, cones, price, frame, prefix, budget, control, found, path, room, linear, active, program))


@bare
def walk(rows: Rows, cones: Cones, price: Price, frame: Frame, prefix: np.ndarray, budget: int, control: np.ndarray,
         found: Found, path: Path, room: Room, linear: bool, active: ActiveSet, program: Simplex) -> int:  # fmt: skip
    """`search_convex` in these arrays; linear: all losses are piecewise linear, and there is no penalty."""
    neurons, pieces, n, size = rows.features.shape
    penalised = price.blocks.shape[0] + price.p_rows.shape[0] > 0
    plain = frame.squared and not penalised  # then the active-set method does, and is faster
    for i in range(price.boxes.shape[0]):
        plain = plain and price.box_kappa[i] == 0.0
    reach = 0.0
    for j in range(size):
        reach += price.reach[j] ** 2
    reach = np.sqrt(reach)
    chosen = path.chosen
    child, child_bound, children, position, swapped = (
        room.child, room.child_bound, room.children, room.position, room.swapped)  # fmt: skip
    full, listed, keys, allowed, row, work, piece = (
        room.full, room.listed, room.keys, room.allowed, room.row, room.work, room.piece)  # fmt: skip
    a_rows, a_y, a_lo, a_hi, a_kappa = room.a_rows, room.a_y, room.a_lo, room.a_hi, room.a_kappa
    network, trial, decided, u, g, losses = room.network, room.trial, room.decided, room.u, room.g, room.losses
    count_p = price.p_rows.shape[0]
    per = 2 if rows.largest else 1
    anchors = size if linear else 0
    first = anchors + count_p + price.boxes.shape[0] + per - 1
    r = cones.cuts.shape[3]
    t0 = prefix.shape[0]
    t = t0 - t0  # not 0, as whose type numba would compile every function that takes it once more
    nodes = 0
    expanded = False
    while True:
        if not expanded:
            swapped[t] = t
            if t < t0:  # replay the prefix: its nodes have exactly one child
                while rows.ids[swapped[t]] != prefix[t, neurons]:
                    swapped[t] += 1
                code = 0
                for k in range(neurons - 1, -1, -1):
                    code = code * pieces + prefix[t, k]
                child[t, 0] = code
                child_bound[t, 0] = 0.0
                children[t] = 1
                full[t] = -1
            elif t == n:
                children[t] = 0
            else:
                cutoff = cutoff_of(found, frame)
                full[t] = full[t - 1] if t > 0 else -1
                if t >= cones.basis and frame.squared:
                    swapped[t] = best_square(t, pieces, penalised, cutoff, rows, cones, frame, path, allowed, piece,
                                             room.parts, room.dots, full, listed, room.efforts,
                                             room.leaders)  # fmt: skip
                elif t >= cones.basis:
                    least = np.inf
                    for i in range(t, n):
                        count, effort = children_of(t, i, pieces, penalised, cutoff, rows, cones, frame, path, allowed,
                                                    piece, row, work, child[t], child_bound[t], keys)  # fmt: skip
                        if effort < least:
                            least = effort
                            swapped[t] = i
                        if count == 0:
                            break
                children[t], _ = children_of(t, swapped[t], pieces, penalised, cutoff, rows, cones, frame, path,
                                             allowed, piece, row, work, child[t], child_bound[t], keys)  # fmt: skip
            if t < n:
                exchange(rows, cones, t, swapped[t])
            position[t] = 0
            expanded = True
        if position[t] >= children[t]:
            if t < n:
                exchange(rows, cones, t, swapped[t])
            t -= 1
            if t < t0:
                break
            continue
        if nodes >= budget or control[0] != 0:
            count = 0
            for depth in range(t0, t + 1):
                for i in range(position[depth], children[depth]):
                    if count >= found.open_depth.shape[0]:
                        return -1
                    for a in range(depth + 1):
                        for k in range(neurons):
                            found.open_prefix[count, a, k] = chosen[a, k]
                        found.open_prefix[count, a, neurons] = rows.ids[a]
                    code = child[depth, i]
                    for k in range(neurons):
                        found.open_prefix[count, depth, k] = code % pieces
                        code //= pieces
                    found.open_depth[count] = depth + 1
                    found.open_bound[count] = child_bound[depth, i]
                    count += 1
            found.counts[0] += nodes
            found.counts[4] = count
            return BUDGET
        code = child[t, position[t]]
        bound = child_bound[t, position[t]]
        position[t] += 1
        cutoff = cutoff_of(found, frame)
        if bound >= cutoff:
            continue
        if t >= t0:
            nodes += 1
        entered = True
        for j in range(size):
            row[j] = rows.base[t, j]
        for k in range(neurons):
            m = code % pieces
            code //= pieces
            chosen[t, k] = m
            path.equal[t + 1, k] = k > 0 and path.equal[t, k] and m == chosen[t, k - 1]
            if not enter_piece(t, t, k, m, pieces, chosen, cones):
                entered = False
                break
            for j in range(size):
                row[j] += rows.features[k, m, t, j]
        if not entered:
            continue
        for j in range(size):
            for k in range(j + 1):
                path.lower[t + 1, j, k] = path.lower[t, j, k]
            path.q[t + 1, j] = path.q[t, j]
            path.z[t + 1, j] = path.z[t, j]
        path.rss[t + 1] = path.rss[t]
        path.left[t + 1] = min(path.left[t], rows.suffix[t] - 1)
        rest = frame.proven[path.left[t + 1]]
        m = first
        norm = np.inf
        if frame.squared:
            remains = absorb(path.lower[t + 1], path.q[t + 1], row, rows.y[t])
            path.rss[t + 1] += remains * remains
            norm = invert(path.lower[t + 1], path.inverse[t + 1])
        else:
            m = put_sample(a_rows, a_y, a_lo, a_hi, a_kappa, first + per * t, row, rows, t)
            if linear:
                inherit(t, m - per, per, program)
        path.below[t + 1] = bound
        path.own[t + 1] = -np.inf
        path.free[t + 1] = -np.inf
        if t < t0 and t + 1 < n:
            t += 1
            expanded = False
            continue
        leaf = t + 1 == n
        stay = m
        z = path.z[t + 1]
        every = False
        left_over = 0.0 if penalised else rest
        while True:
            if linear:
                m = put_kept(t + 1, stay, program, a_rows, a_y, a_lo, a_hi, a_kappa)
            total = m  # the cuts of step and sign neurons say nothing of z
            if frame.strict == 0.0:
                total = put_facets(t + 1, neurons, pieces, every, rows.cuts, chosen, cones, room.seen, a_rows, a_y,
                                   a_lo, a_hi, a_kappa, m)  # fmt: skip
            found.counts[2] += 1
            status = STUCK
            known = -np.inf
            if plain:
                result, value = bounded(path.lower[t + 1], path.inverse[t + 1], norm, path.q[t + 1], path.rss[t + 1],
                                        a_rows, a_y, total, reach, cutoff - left_over, leaf, z, active)  # fmt: skip
                if value >= cutoff - left_over:
                    status = CUT
                elif result == qp.SOLVED:
                    status = KEPT
                    for j in range(size):
                        path.centre[t + 1, j] = z[j]
                known = value
            if linear:
                optimal, value = pivoted(t + 1, stay, total, a_rows, a_y, a_lo, a_hi, a_kappa, price.reach,
                                         cutoff - left_over, z, program)  # fmt: skip
                if value >= cutoff - left_over:
                    status = CUT
                elif value > -np.inf:
                    known = value
                    if optimal or not leaf:
                        status = KEPT
            if status == STUCK or (plain and leaf and status == KEPT):
                status, value = minimise(size, path.lower[t + 1], path.q[t + 1], path.rss[t + 1], a_rows[anchors:],
                                         a_y[anchors:], a_lo[anchors:], a_hi[anchors:], a_kappa[anchors:],
                                         total - anchors, price.blocks, price.nu, price.reach, cutoff - left_over,
                                         LEAF_GOAL if leaf else NODE_GOAL, z, u, g, path.centre[t + 1])  # fmt: skip
                value = max(value, known)
            if status == CUT or not leaf or every:
                break
            worst = 0.0  # the polytope may lack facets where it outgrew its memory
            for k in range(neurons):
                for i in range(n):
                    for c in range(max(chosen[i, k] - 1, 0), min(chosen[i, k] + 1, pieces - 1)):
                        s = 0.0
                        for j in range(size):
                            s += rows.cuts[k, i, c, j] * z[j]
                        worst = max(worst, -s if chosen[i, k] > c else s)
            if worst <= 1e-8:
                break
            every = True
        if status == CUT:
            continue
        path.own[t + 1] = value
        path.below[t + 1] = max(bound, value + left_over)
        if leaf:
            found.counts[1] += 1
            for j in range(size):
                network[j] = z[j]
            snap(price, network)
            if frame.strict > 0.0:
                thin = False
                for k in range(neurons):
                    if cones.home[k] != k:
                        continue
                    thin = thin or not inside(n, k, pieces, chosen, cones, frame.strict, decided[k])
                    for j in range(r):
                        network[size + k * r + j] = decided[k, j]
                if thin:  # outside of the claim: see docs/cells.md
                    continue
            loss = network_loss(rows, network, losses) + penalty(price, network)
            loss = tidy(rows, price, network, loss, losses, trial)
            if loss < found.incumbent[0] and within(price, network, OUTSIDE):
                found.incumbent[0] = loss
                found.incumbent[1] = 1.0
                for j in range(network.shape[0]):
                    found.z[j] = network[j]
                cutoff = cutoff_of(found, frame)
            if value < cutoff:
                found.counts[3] += 1
                found.floor[0] = min(found.floor[0], value)
            continue
        if penalised and rest > 0.0:  # without the penalty, which the rest counts
            found.counts[2] += 1
            status, value = minimise(size, path.lower[t + 1], path.q[t + 1], path.rss[t + 1], a_rows[count_p:],
                                     a_y[count_p:], a_lo[count_p:], a_hi[count_p:], a_kappa[count_p:], total - count_p,
                                     price.blocks[:0], price.nu[:0], price.reach, cutoff - rest, NODE_GOAL, work, u,
                                     g[:0], path.centre_free[t + 1])  # fmt: skip
            if status == CUT:
                continue
            path.free[t + 1] = value
            path.below[t + 1] = max(path.below[t + 1], value + rest)
        t += 1
        expanded = False
    found.counts[0] += nodes
    found.counts[4] = 0
    return DONE
