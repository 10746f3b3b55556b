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

from typing import NamedTuple

import numpy as np

from nnspec.engines.cells import quadratic as qp
from nnspec.engines.cells.interior import CUT, KEPT, STUCK, minimise, row_value
from nnspec.engines.cells.linear import ANCHOR, Simplex, inherit, pivoted, put_kept, simplex
from nnspec.engines.cells.quadratic import ActiveSet, absorb, active_set, bounded, invert
from nnspec.engines.cells.traverse import Cones, enter_piece, locate, pieces_allowed
from nnspec.engines.compiled import bare

DONE, BUDGET = 0, 1

RIDGE = 1e-9
"""What the triangular factor starts from, see docs/cells.md."""

LEAF_GOAL = 1e-9
"""Relative gap to which the convex problem of a leaf is solved: a thousandth of the usual gap of the whole."""

OUTSIDE = 1e-8
"""By how much an iterate may be outside of a box, in normalised units; the network that is reported is moved inside and
evaluated again. Interior-point iterates end at some 1e-9."""

LISTED, EVERY = 10, 3
"""Squares: the next samples of EVERY levels are chosen among the LISTED best ones of the first of them: a quarter less
time, and no more nodes."""

NODE_GOAL = -0.02
"""An inner node's problem is left once a value below the cut-off is known and the bound is within so much of it."""


class Rows(NamedTuple):
    """The samples. A pattern's output is (base + sum of the neurons' features) z; see `interior` for the losses.

    features (H, S, n, P), base (n, P), cuts (H, n, S - 1, Q), y, lo, hi, kappa (n,), ids (n,): the samples' names.
    largest: the loss is the largest of the samples' instead of their sum.
    group (n,): equal for samples with equal inputs, which no network treats differently.
    suffix (n,): a sample is in the subset of m samples that proven[m] bounds if suffix <= m.

    A network has Q >= P numbers: its first P are z, the others (step, sign) only say which side each sample is on.
    """

    features: np.ndarray
    base: np.ndarray
    cuts: np.ndarray
    y: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    kappa: np.ndarray
    ids: np.ndarray
    group: np.ndarray
    suffix: np.ndarray
    largest: bool


class Price(NamedTuple):
    """Norms |blocks[b] z| times nu[b], squares of rows p_y - p_rows z. Boxes: boxes z >= box_rhs, with multipliers of
    at most box_hi, or boxes z = box_rhs where box_kappa > 0 (see `form`).

    inverses (b, P, w): those of the blocks, so that z - inverses[b] blocks[b] z has no norm b.
    """

    blocks: np.ndarray
    inverses: np.ndarray
    nu: np.ndarray
    p_rows: np.ndarray
    p_y: np.ndarray
    p_kappa: np.ndarray
    boxes: np.ndarray
    box_rhs: np.ndarray
    box_hi: np.ndarray
    box_kappa: np.ndarray
    reach: np.ndarray


class Frame(NamedTuple):
    """What holds in the whole tree. alike (H,): neuron k may be exchanged with k - 1; flip: the first sample may be
    taken to be above every neuron's first cut; twins: there are samples with equal inputs; strict: samples count as on
    a side only if they can be there by so much (0: by -eps); margin (2,): rounding of sums of squares, a + b
    sqrt(value)."""

    squared: bool
    proven: np.ndarray
    alike: np.ndarray
    flip: bool
    twins: bool
    strict: float
    gap: float
    gap_absolute: float
    margin: np.ndarray


class Found(NamedTuple):
    """What `search_convex` writes: the value to beat and 1 once it is beaten, by the network z; nodes left open when
    the budget is spent, counts[4] of them (the last column of a prefix names the samples); counts: nodes, leaves,
    problems minimised, leaves below the cut-off; floor (1,): their least bound."""

    incumbent: np.ndarray
    z: np.ndarray
    open_prefix: np.ndarray
    open_depth: np.ndarray
    open_bound: np.ndarray
    counts: np.ndarray
    floor: np.ndarray


class Path(NamedTuple):
    """One state per depth: the factor and its inverse (`quadratic.invert`), the last solution z; `below` the best
    bound; `own` the first bound with its centre, `free` the second one without the rest; `left` the largest untouched
    subset."""

    lower: np.ndarray
    inverse: np.ndarray
    q: np.ndarray
    rss: np.ndarray
    z: np.ndarray
    below: np.ndarray
    own: np.ndarray
    centre: np.ndarray
    free: np.ndarray
    centre_free: np.ndarray
    left: np.ndarray
    chosen: np.ndarray
    equal: np.ndarray


class Room(NamedTuple):
    """Arrays for one search. Per depth: the children's codes and bounds, their number, the position among them, the
    sample that is swapped into place, and what `best_square` remembers. a_rows to a_kappa: the rows of a node's
    problem."""

    child: np.ndarray
    child_bound: np.ndarray
    children: np.ndarray
    position: np.ndarray
    swapped: np.ndarray
    full: np.ndarray
    listed: np.ndarray
    keys: np.ndarray
    allowed: np.ndarray
    row: np.ndarray
    work: np.ndarray
    piece: np.ndarray
    a_rows: np.ndarray
    a_y: np.ndarray
    a_lo: np.ndarray
    a_hi: np.ndarray
    a_kappa: np.ndarray
    seen: np.ndarray
    network: np.ndarray
    trial: np.ndarray
    decided: np.ndarray
    u: np.ndarray
    g: np.ndarray
    losses: np.ndarray
    parts: np.ndarray
    dots: np.ndarray
    efforts: np.ndarray
    leaders: np.ndarray


@bare
def piece_of(cuts: np.ndarray, z: np.ndarray) -> int:
    """The piece that a network gives a neuron at a sample with these cuts (S - 1, Q): after the last that is >= 0."""
    piece = 0
    for c in range(cuts.shape[0]):
        value = 0.0
        for j in range(z.shape[0]):
            value += cuts[c, j] * z[j]
        if value >= 0.0:
            piece = c + 1
    return piece


@bare
def within(price: Price, z: np.ndarray, slack: float) -> bool:
    """Whether z is in all boxes but for `slack`."""
    for i in range(price.boxes.shape[0]):
        value = slack - price.box_rhs[i]
        for j in range(price.boxes.shape[1]):
            value += price.boxes[i, j] * z[j]
        if not value >= 0.0 or (price.box_kappa[i] > 0.0 and value > 2.0 * slack):
            return False
    return True


@bare
def snap(price: Price, z: np.ndarray) -> None:
    """Move z onto fixed weights (rows of size 1, orthogonal to each other), which are steep squares in its problem."""
    for i in range(price.boxes.shape[0]):
        if price.box_kappa[i] > 0.0:
            value = price.box_rhs[i]
            for j in range(price.boxes.shape[1]):
                value -= price.boxes[i, j] * z[j]
            for j in range(price.boxes.shape[1]):
                z[j] += value * price.boxes[i, j]


@bare
def penalty(price: Price, z: np.ndarray) -> float:
    """The penalty at z."""
    total = 0.0
    for b in range(price.blocks.shape[0]):
        norm = 0.0
        for i in range(price.blocks.shape[1]):
            value = 0.0
            for j in range(price.blocks.shape[2]):
                value += price.blocks[b, i, j] * z[j]
            norm += value * value
        total += price.nu[b] * np.sqrt(norm)
    for i in range(price.p_rows.shape[0]):
        value = price.p_y[i]
        for j in range(price.p_rows.shape[1]):
            value -= price.p_rows[i, j] * z[j]
        total += row_value(value, -np.inf, np.inf, price.p_kappa[i])
    return total


@bare
def network_loss(rows: Rows, z: np.ndarray, losses: np.ndarray) -> float:
    """The loss of the network z itself, each sample's into `losses`: neurons take the pieces that their cuts say."""
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    total = 0.0
    for i in range(n):
        residual = rows.y[i]
        for j in range(size):
            residual -= rows.base[i, j] * z[j]
        for k in range(neurons):
            piece = piece_of(rows.cuts[k, i], z)
            for j in range(size):
                residual -= rows.features[k, piece, i, j] * z[j]
        losses[i] = row_value(residual, rows.lo[i], rows.hi[i], rows.kappa[i])
        total = max(total, losses[i]) if rows.largest else total + losses[i]
    return total


@bare
def put_sample(rows: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray, m: int,
               row: np.ndarray, samples: Rows, i: int) -> int:  # fmt: skip
    """Put sample i, with this row of its pieces, into the rows from m on; the number of rows then."""
    size = row.shape[0]
    for side in range(2 if samples.largest else 1):
        s = 1.0 if side == 0 else -1.0
        for j in range(size):
            rows[m, j] = s * row[j]
        y[m] = s * samples.y[i]
        lo[m] = samples.lo[i]
        hi[m] = samples.hi[i]
        kappa[m] = samples.kappa[i]
        if samples.largest:  # row z + e >= y, e - row z >= -y
            rows[m, size - 1] = 1.0
            lo[m] = 0.0
            hi[m] = np.inf
            kappa[m] = 0.0
        m += 1
    return m


@bare
def put_largest(rows: np.ndarray, lo: np.ndarray, hi: np.ndarray, m: int) -> None:
    """Row m minimises max(e, 0)."""
    rows[m, rows.shape[1] - 1] = -1.0
    lo[m] = 0.0
    hi[m] = 1.0


@bare
def tidy(rows: Rows, price: Price, z: np.ndarray, value: float, losses: np.ndarray, trial: np.ndarray) -> float:
    """Set norms of z to 0 that hardly differ from it, where that does not raise loss plus penalty `value`; the new one.

    The interior-point method ends next to a norm's kink, not on it.
    """
    size = price.blocks.shape[2]
    for b in range(price.blocks.shape[0]):
        for j in range(z.shape[0]):
            trial[j] = z[j]
        norm = 0.0
        for i in range(price.blocks.shape[1]):
            part = 0.0
            for j in range(size):
                part += price.blocks[b, i, j] * z[j]
            norm += part * part
            for j in range(size):
                trial[j] -= price.inverses[b, j, i] * part
        if norm > 1e-6:
            continue
        new = network_loss(rows, trial, losses) + penalty(price, trial)
        if new <= value:
            value = new
            for j in range(z.shape[0]):
                z[j] = trial[j]
    return value


@bare
def leverage(lower: np.ndarray, row: np.ndarray, work: np.ndarray) -> float:
    """1 + |x|^2 with L x = row."""
    total = 1.0
    for j in range(row.shape[0]):
        value = row[j]
        for i in range(j):
            value -= lower[j, i] * work[i]
        value /= lower[j, j]
        work[j] = value
        total += value * value
    return total


@bare
def cutoff_of(found: Found, frame: Frame) -> float:
    """A bound that reaches it closes a node: the gap below the incumbent, and what rounding may have added."""
    cutoff = found.incumbent[0] - max(frame.gap * found.incumbent[0], frame.gap_absolute)
    return cutoff + frame.margin[0] + frame.margin[1] * np.sqrt(max(cutoff, 0.0))


@bare
def put_facets(t: int, neurons: int, pieces: int, every: bool, cuts: np.ndarray, chosen: np.ndarray, cones: Cones,
               seen: np.ndarray, rows: np.ndarray, rhs: np.ndarray, lo: np.ndarray, hi: np.ndarray, kappa: np.ndarray,
               m: int) -> int:  # fmt: skip
    """Append the inequalities of the patterns on t samples to the rows from m on; the number of rows then.

    Those of the polytopes' facets, or all of them (`every`, and before there are polytopes).
    """
    size = rows.shape[1]
    each = pieces - 1
    r = cones.inverse.shape[1]
    whole = every or t < cones.basis
    for k in range(neurons):
        for i in range(t * each):
            seen[i] = whole
        if not whole:
            owner, depth, slot = locate(k, t, pieces, cones)
            for v in range(cones.counts[owner, depth, slot]):
                for a in range(r - 1):
                    f = cones.facets[owner, depth, slot, v, a]
                    if f >= r:
                        seen[f - r] = True
                    elif f >= cones.fixed[k]:
                        seen[(f - cones.fixed[k]) * each] = True
        for i in range(t):
            piece = chosen[i, k]
            for c in range(max(piece - 1, 0), min(piece + 1, each)):
                if not seen[i * each + c]:
                    continue
                s = 1.0 if piece > c else -1.0
                norm = 0.0
                for j in range(size):
                    rows[m, j] = s * cuts[k, i, c, j]
                    norm += rows[m, j] ** 2
                if norm == 0.0:  # a sample at the origin
                    continue
                rhs[m] = 0.0
                lo[m] = 0.0
                hi[m] = np.inf
                kappa[m] = 0.0
                m += 1
    return m


@bare
def same_pieces(t: int, i: int, group: np.ndarray, chosen: np.ndarray, allowed: np.ndarray) -> None:
    """Leave in `allowed` only the pieces that a sample with the inputs of sample i has among the first t, if there is
    one. Polytopes are a little too large to tell, and the problem of such a pattern has no interior."""
    for s in range(t):
        if group[s] == group[i]:
            for k in range(allowed.shape[0]):
                for m in range(allowed.shape[1]):
                    allowed[k, m] = allowed[k, m] and m == chosen[s, k]
            return


@bare
def children_of(t: int, i: int, pieces: int, penalised: bool, cutoff: float, rows: Rows, cones: Cones, frame: Frame,
                path: Path, allowed: np.ndarray, piece: np.ndarray, row: np.ndarray, work: np.ndarray,
                codes: np.ndarray, bounds: np.ndarray, keys: np.ndarray) -> tuple[int, float]:  # fmt: skip
    """The children if sample i comes next, least residual first: (their number, estimated work below them)."""
    neurons, size = rows.features.shape[0], row.shape[0]
    combos = pieces**neurons
    for k in range(neurons):
        pieces_allowed(t, i, k, pieces, frame.strict, cones, allowed)
    if frame.twins:
        same_pieces(t, i, rows.group, path.chosen, allowed)
    rest = frame.proven[min(path.left[t], rows.suffix[i] - 1)]
    count = 0
    effort = 0.0
    room = max(cutoff - path.below[t], 1e-300)
    for code in range(combos):
        rest_code = code
        ok = True
        for k in range(neurons):
            m = rest_code % pieces
            rest_code //= pieces
            piece[k] = m
            if not allowed[k, m] or (frame.flip and t == 0 and m == 0):
                ok = False
                break
            if k > 0 and frame.alike[k] and path.equal[t, k] and m > piece[k - 1]:
                ok = False
                break
        if not ok:
            continue
        wrong = rows.y[i]
        wrong_own = rows.y[i]
        wrong_free = rows.y[i]
        for j in range(size):
            row[j] = rows.base[i, j]
            for k in range(neurons):
                row[j] += rows.features[k, piece[k], i, j]
            wrong -= row[j] * path.z[t, j]
            wrong_own -= row[j] * path.centre[t, j]
            wrong_free -= row[j] * path.centre_free[t, j]
        bound = path.below[t]
        key = row_value(wrong, rows.lo[i], rows.hi[i], rows.kappa[i])
        guess = bound + 0.5 * (max(key - bound, 0.0) if rows.largest else key)
        if frame.squared:
            # from each bound and its centre, the sample's square raises the minimum as in least squares
            grown = leverage(path.lower[t], row, work)
            bound = max(bound, path.own[t] + wrong_own * wrong_own / grown + (0.0 if penalised else rest))
            bound = max(bound, path.free[t] + wrong_free * wrong_free / grown + rest)
            guess = bound
        if bound >= cutoff:
            continue
        effort += np.exp(5.0 * (max(cutoff - guess, 0.0) / room - 1.0))
        a = count
        while a > 0 and keys[a - 1] > key:
            keys[a] = keys[a - 1]
            bounds[a] = bounds[a - 1]
            codes[a] = codes[a - 1]
            a -= 1
        keys[a] = key
        bounds[a] = bound
        codes[a] = code
        count += 1
    return count, effort


@bare
def best_square(t: int, pieces: int, penalised: bool, cutoff: float, rows: Rows, cones: Cones, frame: Frame,
                path: Path, allowed: np.ndarray, piece: np.ndarray, parts: np.ndarray, dots: np.ndarray,
                full: np.ndarray, listed: np.ndarray, efforts: np.ndarray, leaders: np.ndarray
                ) -> int:  # fmt: skip
    """The sample whose children promise the least work, for squares.

    As `children_of` estimates it, but with the factor's inverse: a child's row is a sum of one part for each neuron, so
    few products serve all children. No node is cut here, so rounding does not matter.
    """
    neurons, n, size = rows.features.shape[0], rows.y.shape[0], rows.features.shape[3]
    combos = pieces**neurons
    features, base, y, suffix = rows.features, rows.base, rows.y, rows.suffix
    inverse, centre, centre_free, equal = path.inverse[t], path.centre, path.centre_free, path.equal
    proven, alike, strict, twins = frame.proven, frame.alike, frame.strict, frame.twins
    group, chosen = rows.group, path.chosen
    cuts, eps, vertices, counts = cones.cuts, cones.eps, cones.vertices, cones.counts
    pointer, home, depths = cones.pointer, cones.home, cones.pointer.shape[1]
    below, own_bound, free_bound, left = path.below[t], path.own[t], path.free[t], path.left[t]
    two = free_bound > -np.inf
    ids = rows.ids
    room = max(cutoff - below, 1e-300)
    best = t
    least = np.inf
    # all samples, or those that were best at a node above
    since = full[t]
    left_listed = 0
    if since >= 0:
        for i in range(t, n):
            if listed[since, ids[i]]:
                left_listed += 1
    everything = since < 0 or t - since >= EVERY or 2 * left_listed < LISTED
    if everything:
        full[t] = t
        for i in range(n):
            listed[t, i] = False
    number = 0
    for i in range(t, n):
        if not everything and not listed[since, ids[i]]:
            continue
        for k in range(neurons):  # as `pieces_allowed`; a call would count references to every array it hands over
            owner, slot = divmod(pointer[home[k], t], pieces)
            owner, depth = divmod(owner, depths)
            for m in range(pieces):
                allowed[k, m] = True
            for c in range(pieces - 1):
                need = strict if strict > 0.0 else -eps[i, c]
                low_side, high_side = False, False
                for v in range(counts[owner, depth, slot]):
                    value = 0.0
                    for j in range(cuts.shape[3]):
                        value += cuts[k, i, c, j] * vertices[owner, depth, slot, v, j]
                    high_side = high_side or value >= need
                    low_side = low_side or value <= -need
                    if high_side and low_side:
                        break
                for m in range(pieces):
                    if (m > c and not high_side) or (m <= c and not low_side):
                        allowed[k, m] = False
        if twins:
            same_pieces(t, i, group, chosen, allowed)
        rest = proven[min(left, suffix[i] - 1)]
        for k in range(neurons + 1):
            for m in range(pieces if k < neurons else 1):
                if k < neurons and not allowed[k, m]:
                    continue
                for a in range(size):
                    parts[k, m, a] = 0.0
                own, free = 0.0, 0.0
                for c in range(size):
                    f = features[k, m, i, c] if k < neurons else base[i, c]
                    if f == 0.0:
                        continue
                    for a in range(c, size):
                        parts[k, m, a] += f * inverse[c, a]
                    own += f * centre[t, c]
                    if two:
                        free += f * centre_free[t, c]
                dots[k, m, 0] = own
                dots[k, m, 1] = free
        effort = 0.0
        count = 0
        for code in range(combos):
            rest_code = code
            ok = True
            for k in range(neurons):
                m = rest_code % pieces
                rest_code //= pieces
                piece[k] = m
                if not allowed[k, m] or (k > 0 and alike[k] and equal[t, k] and m > piece[k - 1]):
                    ok = False
                    break
            if not ok:
                continue
            wrong_own = y[i] - dots[neurons, 0, 0]
            wrong_free = y[i] - dots[neurons, 0, 1]
            for k in range(neurons):
                wrong_own -= dots[k, piece[k], 0]
                wrong_free -= dots[k, piece[k], 1]
            grown = 1.0
            for a in range(size):
                value = parts[neurons, 0, a]
                for k in range(neurons):
                    value += parts[k, piece[k], a]
                grown += value * value
            bound = max(below, own_bound + wrong_own * wrong_own / grown + (0.0 if penalised else rest))
            if two:
                bound = max(bound, free_bound + wrong_free * wrong_free / grown + rest)
            if bound < cutoff:
                part = (cutoff - bound) / room
                part *= part
                effort += 0.01 + part * part
                count += 1
        if effort < least:
            least = effort
            best = i
            if count == 0:
                break
        if everything and (number < LISTED or effort < efforts[number - 1]):
            a = min(number, LISTED - 1)
            number = a + 1
            while a > 0 and efforts[a - 1] > effort:
                efforts[a] = efforts[a - 1]
                leaders[a] = leaders[a - 1]
                a -= 1
            efforts[a] = effort
            leaders[a] = ids[i]
    for a in range(number):
        listed[t, leaders[a]] = True
    return best


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
