"""The maximum of several expressions (max pooling, `max`, the best rival class), and which one it is.

With x_t in [l_t, u_t], a binary b_t for each candidate, sum b_t = 1 and U = max u_t:
    y >= x_t,   y <= x_t + (U_t - l_t) (1 - b_t),   U_t = the largest u of the others.
Candidates with u_t <= max l never win and are dropped.
"""

from __future__ import annotations

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.encodings.context import Block, Context, assemble, culprit_of, missing_bounds, words
from nnspec.encodings.registry import encoding
from nnspec.errors import Span
from nnspec.program import Affine, Program
from nnspec.tolerances import STRICT_MARGIN


def maximum_of(context: Context, x: Affine, bounds: Interval, index: np.ndarray, path: str,
               span: Span | None = None) -> Affine:  # fmt: skip
    """For candidates x (N, d) the maxima over each set of columns in `index` (outputs, taps; -1 is none); (N, k)"""
    n = x.shape[0]
    outputs = len(index)
    names = words((n, outputs))
    parts: list[tuple[np.ndarray, Affine]] = []
    template = context.choose("maxpool", path)
    groups: dict[int, list[tuple[int, int, np.ndarray]]] = {}
    for i in range(n):
        for o in range(outputs):
            taps = index[o][index[o] >= 0]
            lo, hi = bounds.lo[i, taps], bounds.hi[i, taps]
            floor = int(np.argmax(lo))
            keep = taps[(hi > lo[floor]) | (np.arange(len(taps)) == floor)]
            groups.setdefault(len(keep), []).append((i, o, keep))
    for size, members in groups.items():
        rows = np.array([[i * x.shape[1] + t for t in keep] for i, _, keep in members])
        entries = np.array([i * outputs + o for i, o, _ in members])
        candidates = x.reshape(-1)[rows]
        if size == 1:
            parts.append((entries, candidates.reshape(-1)))
            continue
        lo, hi = bounds.lo.reshape(-1)[rows], bounds.hi.reshape(-1)[rows]
        if "bounds" in template.needs and not (np.all(np.isfinite(lo)) and np.all(np.isfinite(hi))):
            culprit = culprit_of(context, list(context.problem.networks.values()))
            raise missing_bounds(path, culprit, f"the {template.name} encoding of the maximum in {path}")
        parts.append((entries, template.encode(Block(context, path, candidates, lo, hi, [names[e] for e in entries],
                                                     span=span))))  # fmt: skip
    return assemble(n * outputs, parts).reshape(n, outputs)


def _start(block: Block) -> tuple[Program, Affine, Affine]:
    x, program = block.z, block.program
    n, k = x.shape
    y = program.add_variables(block.path, (n,), block.lo.max(axis=1), block.hi.max(axis=1), labels=(block.words,),
                              span=block.span, complete=lambda v: x.value(v).max(axis=1))  # fmt: skip
    b = program.add_variables(f"{block.path}.largest", (n, k), kind="binary", span=block.span,
                              labels=(block.words, words((k,))),
                              complete=lambda v: np.arange(k) == np.argmax(x.value(v), axis=1)[:, None])  # fmt: skip
    program.add_linear(y.reshape(n, 1) - x, 0.0, np.inf, f"{block.path} >= candidate", block.span)
    program.add_linear(b.sum(axis=1), 1.0, 1.0, f"{block.path} is one candidate", block.span)
    return program, y, b


@encoding("maxpool", "bigm", needs={"bounds"})
def maximum_bigm(block: Block) -> Affine:
    """y >= x_t, y <= x_t + (U_t - l_t) (1 - b_t), sum b_t = 1."""
    program, y, b = _start(block)
    n, k = block.z.shape
    highest = np.stack([np.delete(block.hi, t, axis=1).max(axis=1) for t in range(k)], axis=1)
    m = np.maximum(highest - block.lo, 0.0)
    program.add_linear(y.reshape(n, 1) - block.z + b * m, -np.inf, m, f"{block.path} <= largest", block.span)
    return y


@encoding("maxpool", "indicator", needs={"indicator"})
def maximum_indicator(block: Block) -> Affine:
    """y >= x_t, b_t = 1 => y <= x_t, sum b_t = 1."""
    program, y, b = _start(block)
    n = block.z.shape[0]
    program.add_indicators(b, 1, y.reshape(n, 1) - block.z, -np.inf, 0.0, f"{block.path} <= largest", block.span)
    return y


def leads(program: Program, scores: Affine, c: int) -> tuple[Affine, np.ndarray]:
    """What says that score c of scores (C,) is the largest: differences to the others (C - 1,) and their least values.

    Ties go to the first. Where a difference is an integer in every feasible point s_c >= s_j + 1 for j < c and
    s_c >= s_j for j > c say so exactly. Otherwise a lead of STRICT_MARGIN is asked for on both sides: a solver's
    tolerances would turn a tie into any of its classes.
    """
    others = np.array([j for j in range(scores.size) if j != c], dtype=np.int64)
    difference = scores[np.full(len(others), c)] - scores[others]
    broken = ~program.discrete[difference.columns] | (difference.values != np.round(difference.values))
    whole = difference.constant == np.round(difference.constant)
    whole[difference.rows[broken & (difference.values != 0)]] = False
    return difference, np.where(whole, (others < c) * 1.0, STRICT_MARGIN)


def top_class(context: Context, scores: Affine, path: str, span: Span | None = None) -> Affine:
    """One-hot binaries (C,) for the largest of scores (C,): b_c = 1 => s_c >= s_j + m_cj for j != c, as in `leads`.

    With l_cj the least difference s_c - s_j that bounds allow: s_c - s_j >= m_cj - (m_cj - l_cj) (1 - b_c). Rows with
    l_cj >= m_cj always hold, and b_c = 0 where the largest difference is below m_cj.
    """
    program = context.program
    k = scores.size
    rows = [leads(program, scores, c) for c in range(k)]
    bounds = [context.interval(difference) for difference, _ in rows]
    if not all(b.finite for b in bounds):
        culprit = culprit_of(context, list(context.problem.networks.values()))
        raise missing_bounds(path, culprit, "the choice of the largest")
    possible = np.array([bool(np.all(b.hi >= margin)) for b, (_, margin) in zip(bounds, rows)])
    b = program.add_variables(
        f"{path}.largest", (k,), 0.0, possible.astype(float), kind="binary", labels=(words((k,)),), span=span,
        complete=lambda v: np.arange(k) == np.argmax(scores.value(v)),
    )  # fmt: skip
    program.add_linear(b.sum(), 1.0, 1.0, f"{path} is one of them", span)
    for c, (difference, margin) in enumerate(rows):
        slack = np.maximum(margin - bounds[c].lo, 0.0)
        needed = np.flatnonzero(slack) if possible[c] else np.zeros(0, dtype=np.int64)
        chosen = b[np.full(len(needed), c)]
        program.add_linear(difference[needed] - chosen * slack[needed], (margin - slack)[needed], np.inf,
                           f"{path} leads", span)  # fmt: skip
    return b
