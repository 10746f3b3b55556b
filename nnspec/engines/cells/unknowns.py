"""The unknowns z of the search, and each neuron's own ones as linear forms of them.

*Boxes.* A homogeneous neuron with boxes that contain 0 is |v| (w, b) alone (T1, see `model`). Other boxes are kept by
one more unknown v >= 0, the size of its output weight: with theta = v (w, b),

    lo <= (w, b) <= hi and vlo <= v <= vhi  if and only if  lo v <= theta <= hi v and vlo <= v <= vhi

for v > 0. Where v may be 0 the right-hand side is the closure of the left: it has theta != 0 = v besides if a box is
unbounded, the limit of networks with ever smaller v and larger (w, b). It is a polyhedron, so a pattern's problem stays
convex and exact. If v is fixed the unknown is not needed: |v| lo <= theta <= |v| hi.

*Fixed weights.* w_j = f is theta_j = f v: such an unknown is replaced by f v, or by 0.

*Ties.* The neurons of a set have (w_k, b_k) = M_k t and v_k = e_k n with signed 0/1 matrices M_k and e_k = +-1 (see
nnspec.engines.boxes.ties). They share the unknowns |n| t and |n|: neuron k's own ones are M_k times these. Patterns are
the neurons' own; which of them go together is a matter of the convex problem, whose inequalities share their unknowns.

Where unknowns are replaced or shared, z is chosen so that a set's own unknowns are an orthonormal map of it, times the
root of the number of its neurons: as large as those of a single neuron.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.neurons import HOMOGENEOUS, THRESHOLD


@dataclass(frozen=True, eq=False)
class Unknowns:
    """own (H, q, P): each neuron's own unknowns, in the normalised units of `neurons`, from the P of all.

    Of each set (K sets; without ties each neuron is one): weights (K, D, P), |v| times its weights, and heights (K, P),
    |v|, zeros where z leaves it open; both in the problem's units. sets, signs (H,): each neuron's set, and e_k.
    """

    own: np.ndarray
    weights: np.ndarray
    heights: np.ndarray
    sets: np.ndarray
    signs: np.ndarray

    @property
    def size(self) -> int:
        return int(self.own.shape[2])


def unknowns(problem: CellProblem, to_own: np.ndarray, unit: float) -> Unknowns:
    """to_own (p, d + 1): normalised (w, b) of the problem's; unit: that of outputs."""
    copies = problem.copies()
    kind = problem.activation.kind
    p, width = len(to_own), problem.lo.shape[1]
    q = 1 if kind in THRESHOLD else p if kind in HOMOGENEOUS else p + 1
    parts = []
    for s in range(problem.neurons):
        matrices = [to_own @ m for where, m, _ in copies if where == s]
        if kind in THRESHOLD:
            free = int(problem.out_lo[s] != 0.0 or problem.out_hi[s] != 0.0)
            parts.append((np.ones((len(matrices), 1, free)), np.zeros((width, free)), np.full(free, unit)))
        else:
            parts.append(_of_set(problem, s, matrices, unit, q))
    total = sum(weights.shape[1] for _, weights, _ in parts)
    own, weights = np.zeros((len(copies), q, total)), np.zeros((problem.neurons, width, total))
    heights = np.zeros((problem.neurons, total))
    start = 0
    for s, (maps, part, height) in enumerate(parts):
        place = slice(start, start + part.shape[1])
        for k, one in zip([k for k, c in enumerate(copies) if c[0] == s], maps, strict=True):
            own[k, :, place] = one
        weights[s, :, place], heights[s, place] = part, height
        start = place.stop
    return Unknowns(own, weights, heights, np.array([c[0] for c in copies]), np.array([c[2] for c in copies]))


def explicit(problem: CellProblem, s: int) -> bool:
    """Whether a set's |v| has to be an unknown."""
    if problem.activation.kind not in HOMOGENEOUS:
        return True
    lo, hi = problem.lo[s], problem.hi[s]
    if problem.out_lo[s] == problem.out_hi[s]:
        return bool(np.any((lo == hi) & (lo != 0.0)) and problem.out_lo[s] != 0.0)
    return bool(problem.apart[s])


def _of_set(problem: CellProblem, s: int, matrices: list[np.ndarray], unit: float, q: int
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """(maps (m, q, P), weights (D, P), height (P,)) of the m neurons of a set, for its own P unknowns."""
    p, width = matrices[0].shape
    lo, hi = problem.lo[s], problem.hi[s]
    fixed = lo == hi
    tall = explicit(problem, s)
    # raw unknowns: |v| t and, if it is one, |v|, as combinations of those that are left
    combine = np.zeros((width + 1, int(np.sum(~fixed)) + tall))
    combine[np.flatnonzero(~fixed), np.arange(int(np.sum(~fixed)))] = 1.0
    if tall:
        combine[:-1, -1] = np.where(fixed, lo, 0.0)
        combine[-1, -1] = 1.0
    if problem.out_lo[s] == problem.out_hi[s] == 0.0:
        combine = combine[:, :0]
    own = np.zeros((len(matrices), q, width + 1))
    for k, m in enumerate(matrices):
        own[k, :p, :width] = m
        if q > p:
            own[k, p, width] = 1.0 / unit
    height = np.append(np.zeros(width), 1.0 / unit)[None, :]
    stacked = np.vstack([*(o[:p] for o in own), *[height] * tall]) @ combine
    if stacked.shape[0] == stacked.shape[1]:  # nothing is replaced or shared
        back = np.linalg.inv(stacked)
    else:
        _, size, vt = np.linalg.svd(stacked, full_matrices=False)
        rank = int(np.sum(size > 1e-12 * size.max(initial=0.0)))
        back = vt[:rank].T / size[:rank] * np.sqrt(len(matrices))
    raw = combine @ back
    return own @ raw, raw[:-1], raw[-1]
