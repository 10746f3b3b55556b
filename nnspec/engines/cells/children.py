"""The children of a node, and which sample promises the fewest of them (numba).

A node that a sample decides has a child for each piece of each neuron that the polytopes and the symmetries allow and
whose bound is below the cut-off. See `search_convex` for the bounds.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.arrays import Frame, Path, Rows
from nnspec.engines.cells.interior import row_value
from nnspec.engines.cells.traverse import Cones, pieces_allowed
from nnspec.engines.compiled import bare

LISTED, EVERY = 10, 3
"""Squares: the next samples of EVERY levels are chosen among the LISTED best ones of the first of them: a quarter less
time, and no more nodes."""


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
