"""When a network gets a sample right: some of a few systems of linear inequalities, its *options*, which the search for
the fewest errors (`search_errors`) branches on.

Let the output weights have fixed signs. A sample with label s is right if s o = sum_k F_k + s c >= M, each F_k a
continuous piecewise-linear function of the neuron's unknowns: s sign(v_k) |v_k| sigma(w_k.x + b_k).

* A convex F (relu for s sign(v_k) > 0) is the maximum of its pieces: F >= t if and only if *some* piece is >= t.
* A concave F is their minimum: F >= t if and only if *all* pieces are >= t.
* hardtanh is max(-v, min(z, v)), z = v (w.x + b), and its negative is that of -z: some of two, {-v} and {z, v}.

So each neuron has a few *choices*, each a set of forms whose minimum bounds F from below, and F is their maximum. An
option of the sample takes a choice for each neuron; it demands the inequality for each way of taking one form of each.
A neuron that bends the right way for a label needs no branching at all, and the patterns of samples that the network
gets wrong, or right without being asked to, never matter: no cells, no polytopes, and any number of inputs. To keep
the options apart each also says that its choices are the largest ones, by the side of a cut that the sample is on; any
network that is right satisfies such an option.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from nnspec.engines.cells.form import Form
from nnspec.engines.cells.model import CellProblem
from nnspec.engines.cells.separation import SLACK


@dataclass(frozen=True, eq=False)
class Options:
    """N samples; sample i has the options first_option[i] .. first_option[i + 1] - 1, option o the rows first_row[o] ..
    first_row[o + 1] - 1, of which those before side[o] make it right and the others keep the options apart. The rows
    from `common` on hold for all networks (boxes).

    rows z >= rhs; target >= rhs is what is aimed at; reach: |z_j| at most. digits (O, H): the neurons' choices;
    alike (H,): neurons k and k - 1 may change places, flip: the first choice of each neuron that has two may be 1.
    cost (N,).
    """

    first_option: np.ndarray
    first_row: np.ndarray
    side: np.ndarray
    digits: np.ndarray
    rows: np.ndarray
    rhs: np.ndarray
    target: np.ndarray
    common: int
    reach: np.ndarray
    alike: np.ndarray
    flip: bool
    cost: np.ndarray

    @property
    def samples(self) -> int:
        return len(self.cost)

    @property
    def size(self) -> int:
        return int(self.rows.shape[1])


Rows = list[tuple[np.ndarray, float]]


def assemble(options: list[list[tuple[tuple[int, ...], Rows, Rows]]], common: Rows, size: int, reach: np.ndarray,
             alike: np.ndarray, flip: bool, cost: np.ndarray) -> Options:  # fmt: skip
    """From each sample's options: (digits, rows that make it right, rows that keep the options apart)."""
    first_option, first_row, side, digits = [0], [0], [], []
    rows: Rows = []
    for own in options:
        for chosen, needed, apart in own:
            digits.append(chosen)
            rows += needed
            side.append(len(rows))
            rows += apart
            first_row.append(len(rows))
        first_option.append(len(digits))
    start = len(rows)
    rows = rows + common
    rhs = np.array([b for _, b in rows], dtype=float)
    target = rhs + SLACK * np.abs(rhs)
    target[start:] = rhs[start:]
    return Options(np.array(first_option), np.array(first_row), np.array(side, dtype=np.int64),
                   np.array(digits, dtype=np.int64).reshape(len(digits), len(alike)),
                   np.array([a for a, _ in rows], dtype=float).reshape(-1, size), rhs, target, start, reach, alike,
                   flip, cost)  # fmt: skip


def merge(problem: CellProblem) -> CellProblem:
    """The problem with samples of the same place and label as one."""
    rows, inverse = np.unique(np.column_stack([problem.x, problem.y]), axis=0, return_inverse=True)
    weights = np.bincount(inverse.reshape(-1), problem.weights)
    return replace(problem, x=np.ascontiguousarray(rows[:, :-1]), y=rows[:, -1], weights=weights)


def of_form(form: Form, problem: CellProblem, unit: float) -> Options:
    """Of neurons that are continuous. `form`: the problem as one of hinge loss, outputs times the labels; unit: that of
    the rows."""
    margin = form.y / unit  # less what a fixed output bias contributes
    options = []
    for i in range(form.samples):
        own = []
        for chosen in itertools.product(*(choices(form, k, i) for k in range(form.neurons))):
            needed = [(form.base[i] + np.sum(forms, axis=0), float(margin[i]))
                      for forms in itertools.product(*(c[1] for c in chosen))]  # fmt: skip
            apart = [(c[2], 0.0) for c in chosen if c[2] is not None]
            own.append((tuple(c[0] for c in chosen), needed, apart))
        options.append(own)
    common = [(side * a, side * float(b) / unit)
              for a, b, kappa in zip(form.boxes, form.box_rhs, form.box_kappa, strict=True)
              for side in ((1.0, -1.0) if kappa > 0.0 else (1.0,))]  # equations are two inequalities  # fmt: skip
    return assemble(options, common, form.size, form.reach, form.alike, form.flip, problem.weights)


def choices(form: Form, k: int, i: int) -> list[tuple[int, list[np.ndarray], np.ndarray | None]]:
    """Neuron k's at sample i: (digit, forms whose minimum counts, the side of the cut where it is the largest)."""
    pieces, cuts = form.features[k, :, i], form.cuts[k, i]
    # the first piece that has a slope rises with the cuts (convex at the lowest one) or falls
    rises = float((pieces[1] - pieces[0]) @ cuts[0])
    if len(pieces) == 2:
        if rises > 0:
            return [(1, [pieces[1]], cuts[0]), (0, [pieces[0]], -cuts[0])]
        return [(0, [pieces[0], pieces[1]] if rises < 0 else [pieces[0]], None)]
    if rises > 0:  # max(-v, min(z, v))
        return [(1, [pieces[1], pieces[2]], cuts[0]), (0, [pieces[0]], -cuts[0])]
    return [(1, [pieces[1], pieces[0]], -cuts[1]), (0, [pieces[2]], cuts[1])]
