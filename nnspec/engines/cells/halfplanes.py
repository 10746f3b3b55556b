"""0-1 loss with one or two step or sign neurons on the plane (T8).

Two such neurons and an affine output with enough room in its box decide by any threshold function of two half-planes,
and up to complements of the half-planes that is their union or (exchange the classes) their intersection. So the
optimum is the least number of errors of a union A or B of two half-planes, over both roles of the classes; a single
half-plane and the constants are unions too.

A half-plane matters only through its false positives F and its true positives T, of weights f and t. If F(A) contains
F(B) and T(B) contains T(A), A can be replaced by B in every union. So only half-planes that are maximal in this order
remain, and pairs of them are enumerated with counts first and bit sets second. Of P positives a pair gets at least

    P - t(A) - t(B) + max(f(A), f(B))  >=  P + ((f - 2 t)(A) + (f - 2 t)(B)) / 2

wrong. So they are taken by f - 2 t, least first: what is left costs at least P + f - 2 t of the next one.

Half-planes: the boundary of each can be moved until it passes through a sample, so they are found by turning a line
about each sample. Samples that the line meets at the same angle, up to ANGLE, may enter and leave in either order:
all the orders' sets are generated that exchange neighbours, and collinear samples are moved in one by one, so nothing
that a line can separate is lost. A set that no line separates may be among them; it is found out when the winner's
weights are computed (a linear program with a margin), struck off, and the enumeration repeated.
"""

# mypy: disable-error-code="arg-type,call-arg,assignment"
from __future__ import annotations

import numpy as np

from nnspec.engines.cells.polytope import ones
from nnspec.engines.compiled import compiled

ANGLE = 1e-12
"""Angles closer than this may be in the wrong order after rounding."""


@compiled
def half_planes(x: np.ndarray, positive: np.ndarray, weights: np.ndarray, keys: np.ndarray, limit: float,
                room: int, out_f: np.ndarray, out_t: np.ndarray, out_hf: np.ndarray, out_ht: np.ndarray,
                out_bits: np.ndarray, control: np.ndarray) -> int:  # fmt: skip
    """Write all half-planes with false positives of weight <= limit that end at a positive sample; their number.

    out_*: weights of false and true positives, hashes of the two sets, the set as bits. -1 if `room` is too small;
    those found so far if control[0] is set.
    """
    n = x.shape[0]
    angles = np.empty(2 * n)
    owner = np.empty(2 * n, dtype=np.int64)
    inside = np.empty(n, dtype=np.bool_)
    words = out_bits.shape[1]
    current = np.empty(words, dtype=np.uint64)  # `inside` as bits
    own = np.empty(words, dtype=np.uint64)  # the pivot and its duplicates
    written = 0
    for p in range(n):
        if control[0] != 0:
            break
        current[:] = np.uint64(0)
        own[:] = np.uint64(0)
        m = 0
        f = t = 0.0
        hf = ht = np.uint64(0)
        for i in range(n):
            dx = x[i, 0] - x[p, 0]
            dy = x[i, 1] - x[p, 1]
            inside[i] = False
            if dx == 0.0 and dy == 0.0:
                own[i >> 6] |= np.uint64(1) << np.uint64(i & 63)
                continue
            a = np.arctan2(dy, dx)
            if a < 0:
                a += 2 * np.pi
            if a >= 2 * np.pi:
                a = 0.0
            # the half-plane to the left of direction phi holds i while a - pi < phi < a
            angles[m] = a  # leaves
            owner[m] = i
            enter = a - np.pi if a >= np.pi else a + np.pi
            angles[m + 1] = enter
            owner[m + 1] = i
            m += 2
            if 0.0 < a <= np.pi:
                inside[i] = True
        order = np.argsort(angles[:m])
        for i in range(n):
            if inside[i]:
                current[i >> 6] |= np.uint64(1) << np.uint64(i & 63)
                if positive[i]:
                    t += weights[i]
                    ht ^= keys[i]
                else:
                    f += weights[i]
                    hf ^= keys[i]
        better = np.zeros(m + 1, dtype=np.bool_)  # better[e]: a neighbour of the set after event e - 1 dominates it
        for e in range(m):
            gap = angles[order[(e + 1) % m]] - angles[order[e]]
            before = angles[order[e]] - angles[order[e - 1]]
            gap += 2 * np.pi if gap < 0 else 0.0
            before += 2 * np.pi if before < 0 else 0.0
            # event e turns the set before it into the set after it; both exist only if their intervals are real
            i = owner[order[e]]
            leaves = order[e] % 2 == 0
            grows = leaves != positive[i]  # a positive enters or a negative leaves
            if grows and gap > 2 * ANGLE:
                better[e] = True
                if e == 0:
                    better[m] = True
            if not grows and before > 2 * ANGLE:
                better[e + 1] = True
                if e == m - 1:
                    better[0] = True
        for e in range(-1, m):
            swaps = 1
            if e >= 0 and e + 1 < m and angles[order[e + 1]] - angles[order[e]] < ANGLE:
                swaps = 2  # also the set in which the next one has moved and this one has not
            for variant in range(swaps - 1, -1, -1):
                if e >= 0:
                    i = owner[order[e + variant]]
                    current[i >> 6] ^= np.uint64(1) << np.uint64(i & 63)
                    if inside[i]:
                        inside[i] = False
                        sign = -1.0
                    else:
                        inside[i] = True
                        sign = 1.0
                    if positive[i]:
                        t += sign * weights[i]
                        ht ^= keys[i]
                    else:
                        f += sign * weights[i]
                        hf ^= keys[i]
                # the pivot and its duplicates belong to it, or not; a positive one is only worth including
                for with_pivot in range(2):
                    ff, tt, hff, htt = f, t, hf, ht
                    if with_pivot:
                        for i in range(n):
                            if x[i, 0] == x[p, 0] and x[i, 1] == x[p, 1]:
                                if positive[i]:
                                    tt += weights[i]
                                    htt ^= keys[i]
                                else:
                                    ff += weights[i]
                                    hff ^= keys[i]
                    if with_pivot != positive[p] or (better[e + 1] and swaps == 1):
                        continue
                    if ff > limit + 1e-9 or tt == 0.0:
                        continue
                    if written >= room:
                        return -1
                    out_f[written] = ff
                    out_t[written] = tt
                    out_hf[written] = hff
                    out_ht[written] = htt
                    for word in range(words):
                        out_bits[written, word] = current[word] | own[word] if with_pivot else current[word]
                    written += 1
                if e >= 0 and variant == 1:  # undo the exchange
                    i = owner[order[e + 1]]
                    current[i >> 6] ^= np.uint64(1) << np.uint64(i & 63)
                    inside[i] = not inside[i]
                    sign = 1.0 if inside[i] else -1.0
                    if positive[i]:
                        t += sign * weights[i]
                        ht ^= keys[i]
                    else:
                        f += sign * weights[i]
                        hf ^= keys[i]
    return written


@compiled
def maximal(bits: np.ndarray, f: np.ndarray, t: np.ndarray, positives: np.ndarray, kept: np.ndarray, m: int, first: int,
            budget: int, control: np.ndarray) -> tuple[int, int]:  # fmt: skip
    """Which of the sets no other one dominates: their numbers are written to `kept`, which holds m of those before
    `first`. Sorted by f ascending, then t descending.

    Looks at `budget` sets, fewer if control[0] is set: (m, the next one).
    """
    count, words = bits.shape
    last = min(count, first + budget)
    for i in range(first, last):
        if control[0] != 0:
            return m, i
        keep = True
        for j in range(m):
            k = kept[j]
            if t[k] < t[i]:
                continue
            dominated = True
            for w in range(words):
                # more true positives of i than k has, or false positives of k that i has not
                if (bits[i, w] & ~bits[k, w] & positives[w]) | (bits[k, w] & ~bits[i, w] & ~positives[w]):
                    dominated = False
                    break
            if dominated:
                keep = False
                break
        if keep:
            kept[m] = i
            m += 1
    return m, last


@compiled
def best_pair(bits: np.ndarray, f: np.ndarray, t: np.ndarray, all_positives: float, weights: np.ndarray,
              positive_words: np.ndarray, uniform: bool, limit: float, order: np.ndarray, first: int, budget: int,
              control: np.ndarray) -> tuple[float, int, int, int]:  # fmt: skip
    """The union of two sets (or one, j = i) with the least errors below `limit`: (errors, i, j, next), i = -1 if none.

    Each pair is met at the set of the two that comes first in `order`, which is by f - 2 t. Looks at the
    pairs of `budget` sets from order[first] on, fewer if control[0] is set.
    """
    count, words = bits.shape
    best = limit
    bi = bj = -1
    union = np.empty(words, dtype=np.uint64)
    last = min(count, first + budget)
    for a in range(first, last):
        i = order[a]
        if control[0] != 0:
            return best, bi, bj, a
        if all_positives + f[i] - 2.0 * t[i] >= best:
            return best, bi, bj, count
        if f[i] >= best:
            continue
        for b in range(a, count):
            j = order[b]
            if all_positives + 0.5 * (f[i] + f[j]) - t[i] - t[j] >= best:
                break
            if all_positives - t[i] - t[j] + max(f[i], f[j]) >= best:
                continue
            wrong = 0.0
            if uniform:
                for w in range(words):
                    wrong += ones((bits[i, w] | bits[j, w]) ^ positive_words[w])
                if wrong < best:
                    best = wrong
                    bi, bj = i, j
                continue
            for w in range(words):
                union[w] = (bits[i, w] | bits[j, w]) ^ positive_words[w]
                word = union[w]
                while word:
                    low = word & (~word + np.uint64(1))
                    position = 0
                    for s in (32, 16, 8, 4, 2, 1):
                        if low >> np.uint64(s):
                            low = low >> np.uint64(s)
                            position += s
                    wrong += weights[64 * w + position]
                    word &= word - np.uint64(1)
                if wrong >= best:
                    break
            if wrong < best:
                best = wrong
                bi, bj = i, j
    return best, bi, bj, last
