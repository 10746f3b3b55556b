"""The arrays of the tree search, as NamedTuples that compiled functions read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
