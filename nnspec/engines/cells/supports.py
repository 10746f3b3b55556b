"""Budgets and prices on numbers of nonzero weights, neurons and inputs, by the sets of weights that may be nonzero.

A support says which hidden weights and biases, which output weights and whether the output bias may be nonzero. A
counting term (l0, neurons, inputs, with a coefficient >= 0) depends on the support alone and grows with it, so the
problem is the union of the problems restricted to the supports that respect all limits, each with its price added.

As sigma(0) = 0 for relu, leaky relu, abs and hardtanh, a neuron is either used, with a nonzero output weight and some
nonzero hidden weight or bias, or all of its weights can be 0 at no loss; so a used neuron counts one output weight
whatever the scale between its layers. Weights whose boxes do not contain 0 are in every support. A support is not
needed if another one contains it at no higher price, up to an exchange of neurons with equal boxes.

Tied weights are zero together: supports are those of the sets of tied neurons.

step and sign neurons without inputs are constants: 1, or with a bias (for sign) also -1. `restrict` puts them into the
range of the output bias, exactly, as a sum of intervals is one; `CellProblem.point` takes it apart again. Without its
bias a neuron's jump is at 0, where samples may lie, see `opposite`.

The counts are taken by nnspec.problem.evaluate from a point that is 1 on the support: the judge's own definition.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nnspec.engines.cells.neurons import THRESHOLD
from nnspec.engines.cells.opposite import opposite
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import nonzeros, size, violation
from nnspec.problem.network import Layer, Network
from nnspec.problem.problem import Objective, Point, Problem
from nnspec.tolerances import FEASIBILITY

if TYPE_CHECKING:
    from nnspec.engines.cells.model import CellProblem

COUNTS = ("l0", "neurons", "inputs")
MOST_CANDIDATES = 20_000
MOST_SUPPORTS = 1000
"""More restricted problems than this are left to engines that decide on the nonzeros inside of one search."""
MOST_LEAST = MOST_CANDIDATES
"""The same where the least price under a limit of the loss is asked for: few of these supports are searched."""


@dataclass(frozen=True, eq=False)
class Support:
    """hidden (H, d + 1): which weights and biases may be nonzero; used (H,): which output weights. constant: the output
    bias; price: the objective's counting terms."""

    hidden: np.ndarray
    used: np.ndarray
    constant: bool
    price: float

    @property
    def alone(self) -> np.ndarray:
        """The neurons that are used without inputs (H,)."""
        return np.asarray(self.used & ~self.hidden[:, :-1].any(axis=1))

    @property
    def closed(self) -> np.ndarray:
        """The neurons that may be on at all samples where they jump: not those with inputs and no bias (H,)."""
        return np.asarray(self.used & (self.hidden[:, -1] | ~self.hidden[:, :-1].any(axis=1)))

    @property
    def mask(self) -> np.ndarray:
        """All of it in a row: a support is contained in another one if this is."""
        return np.concatenate([self.hidden.reshape(-1), self.used, self.closed, [self.constant]])


def counting_terms(terms: list[tuple[float, ex.Expression]], network: str) -> bool:
    """Whether all terms are counts of this network with coefficients >= 0."""
    return all(
        isinstance(e, ex.Size) and e.kind in COUNTS and e.network == network and 0 <= c < np.inf for c, e in terms
    )


def counting_limit(constraint: ex.Expression, network: str) -> bool:
    """Whether a constraint is an upper limit on counts of this network."""
    if not isinstance(constraint, ex.Comparison) or constraint.operator == "==":
        return False
    small, large = constraint.left, constraint.right
    if constraint.operator == ">=":
        small, large = large, small
    difference = ex.Sum((small, ex.Product((ex.Constant(-1.0), large))))
    return counting_terms(ex.linear_terms(difference)[1], network)


def loss_limit(problem: Problem) -> tuple[Problem, float, list[tuple[float, ex.Expression]]] | None:
    """Of a problem that limits one loss and minimises counts alone: (the problem of minimising what has to be <= 0, the
    objective's constant, its counts). None of others."""
    if problem.objective.sense != "minimize" or problem.objective.expression is None:
        return None
    constant, counts = ex.linear_terms(problem.objective.expression)
    rest, limits = [], []
    for c in problem.constraints:
        e = c.expression
        if isinstance(e, ex.Comparison) and e.operator != "==":
            small, large = (e.left, e.right) if e.operator == "<=" else (e.right, e.left)
            difference = ex.Sum((small, ex.Product((ex.Constant(-1.0), large))))
            terms = ex.linear_terms(difference)[1]
            if len(terms) == 1 and isinstance(terms[0][1], ex.Loss) and terms[0][0] > 0:
                limits.append((difference, terms[0][1]))
                continue
        rest.append(c)
    if len(limits) != 1 or not counts or not counting_terms(counts, limits[0][1].network):
        return None
    goal = Objective("minimize", limits[0][0])
    return replace(problem, objective=goal, constraints=tuple(rest)), constant, counts


def supports(problem: Problem, cells: CellProblem, prices: list[tuple[float, ex.Expression]],
             most: int = MOST_SUPPORTS) -> tuple[Support, ...] | str:  # fmt: skip
    """The supports to be searched, or why there are none or too many. No limit at all: the whole one."""
    count, columns = cells.lo.shape
    free = (cells.lo < 0) | (cells.hi > 0)
    free[(cells.out_lo == 0) & (cells.out_hi == 0)] = False
    forced, forced_out = (cells.lo > 0) | (cells.hi < 0), (cells.out_lo > 0) | (cells.out_hi < 0)
    free |= forced
    constants = [c for c in (True, False) if (cells.c_lo <= 0 <= cells.c_hi or c) and (cells.output.bias or not c)]
    if len(constants) * 2.0 ** int(free.sum()) > 2.0**60:
        return "the cells engine counts weights and neurons of small networks only"
    sizes = [e for c in problem.constraints for e in _sizes(c.expression)] + [e for _, e in prices]
    boxes = np.column_stack([cells.lo, cells.hi, cells.out_lo, cells.out_hi])
    alike = cells.ties is None and bool(np.all(boxes == boxes[:1])) and all(
        e.neuron is None for e in sizes if isinstance(e, ex.Size)
    )
    jumps = cells.activation.kind in THRESHOLD
    choices = []
    for k in range(count):
        masks = [c for c in itertools.product((False, True), repeat=columns)
                 if not np.any(c & ~free[k]) and not np.any(forced[k] & ~np.array(c))]  # fmt: skip
        needs = not jumps and not forced_out[k]  # an output weight alone does nothing
        movable = bool(cells.out_lo[k] < 0 or cells.out_hi[k] > 0)
        with_output = [(*c, True) for c in masks if movable and (any(c) or not needs)]
        choices.append(with_output if forced_out[k] else [(*(bool(f) for f in forced[k]), False), *with_output])
    number = float(np.prod([len(c) for c in choices]))
    if number > 2 * MOST_CANDIDATES:
        return "the cells engine counts weights, neurons and inputs of small networks only"
    rows = (itertools.combinations_with_replacement(choices[0], count) if alike else itertools.product(*choices))
    found: list[tuple[float, int, Support]] = []
    for chosen in rows:
        hidden, used = np.array(chosen, dtype=bool)[:, :-1], np.array(chosen, dtype=bool)[:, -1]
        for constant in constants:
            point = indicator(cells, hidden, used, constant)
            if _within(problem, cells.network, (cells.hidden, cells.output), point):
                price = sum(c * size(problem, point, e) for c, e in prices if isinstance(e, ex.Size))
                support = Support(hidden, used, constant, price)
                found.append((price, _bits(support, free, range(count)), support))
    if not found:
        return "the limits on numbers of weights, neurons or inputs cannot be kept"
    if len(found) > MOST_CANDIDATES:
        return "the cells engine counts weights, neurons and inputs of small networks only"
    # largest first: whatever contains a support comes before it
    found.sort(key=lambda f: (-f[1].bit_count(), f[0], f[1]))
    kept: list[Support] = []
    held, costs = np.zeros(len(found), dtype=np.int64), np.zeros(len(found))
    for price, bits, support in found:
        orders = itertools.permutations(range(count))
        images = {bits} if not alike else {_bits(support, free, order) for order in orders}
        cheaper = ~held[: len(kept)][costs[: len(kept)] <= price]
        if not any(np.any(cheaper & image == 0) for image in images):
            held[len(kept)], costs[len(kept)] = bits, price
            kept.append(support)
    if len(kept) > most:
        return f"the cells engine searches at most {most} sets of nonzero weights; here there are {len(kept)}"
    if jumps:
        if any(np.any(s.alone & s.hidden[:, -1] & forced_out) for s in kept):
            return "the cells engine takes no limits that leave a step or sign neuron, which has to be used, no inputs"
        reason = _jumps(cells, kept)
        if reason is not None:
            return reason
        if cells.decay is not None and any(np.any(s.alone) for s in kept):
            return "the cells engine takes no weight decay where step or sign neurons may be left no inputs"
    return tuple(kept)


def _jumps(cells: CellProblem, kept: list[Support]) -> str | None:
    """Why supports of step or sign neurons are not searched."""
    if cells.kind == "errors":
        wide = [s.hidden[s.hidden[:, :-1].any(axis=1)] for s in kept]
        if not all(np.all(rows == rows[:1]) and np.all(rows[:, -1]) for rows in wide):
            return ("the cells engine minimises errors of step or sign neurons under limits that leave all of them the "
                    "same inputs and their biases only")  # fmt: skip
    inputs = np.column_stack([cells.x, np.ones(len(cells.x))])
    rows = [np.vstack([inputs @ m for where, m, _ in cells.copies() if where == k]) for k in range(len(cells.lo))]
    open_masks = {(int(k), tuple(np.flatnonzero(s.hidden[k]).tolist())) for s in kept
                  for k in np.flatnonzero(s.used & ~s.closed)}  # fmt: skip
    if any(opposite(rows[k][:, list(columns)]) for k, columns in open_masks):
        return ("the cells engine takes no limits that leave step or sign neurons no bias where samples lie opposite "
                "each other")  # fmt: skip
    return None


def _bits(support: Support, free: np.ndarray, order: Sequence[int]) -> int:
    """`Support.mask` as the bits of a number, of what is free, with the neurons in this order."""
    places = list(order)
    parts = (*support.hidden[places][free], *support.used[places], *support.closed[places], support.constant)
    return int("".join("01"[int(b)] for b in parts), 2)


def _sizes(e: ex.Expression) -> list[ex.Expression]:
    assert isinstance(e, ex.Comparison)
    return [a for side in (e.left, e.right) for _, a in ex.linear_terms(side)[1]]


def indicator(cells: CellProblem, hidden: np.ndarray, used: np.ndarray, constant: bool) -> Point:
    """The point that is 1 on a support."""
    return replace(cells, c_lo=0.0, c_hi=1.0).assembled(used * 1.0, hidden * 1.0, 1.0 * constant)


def _within(problem: Problem, network: Network, layers: tuple[Layer, ...], point: Point) -> bool:
    if network.l0 is not None and nonzeros(network, point) > network.l0:
        return False
    if any(layer.l0 is not None and nonzeros(network, point, layer.name) > layer.l0 for layer in layers):
        return False
    return all(violation(problem, point, c.expression) <= FEASIBILITY for c in problem.constraints)


def restrict(cells: CellProblem, support: Support) -> CellProblem:
    """The problem of the support's own neurons and inputs; its points are points of the whole network."""
    if cells.ties is not None:  # its sets and their coordinates stay
        mask, used, c = support.hidden, support.used, support.constant
        return replace(
            cells, offset=cells.offset + support.price, lo=np.where(mask, cells.lo, 0.0),
            hi=np.where(mask, cells.hi, 0.0), out_lo=np.where(used, cells.out_lo, 0.0),
            out_hi=np.where(used, cells.out_hi, 0.0), c_lo=cells.c_lo if c else 0.0, c_hi=cells.c_hi if c else 0.0,
            supports=(),
        )  # fmt: skip
    jumps = cells.activation.kind in THRESHOLD
    alone = support.alone if jumps else np.zeros(len(support.used), dtype=bool)
    ranges = [(cells.c_lo, cells.c_hi) if support.constant else (0.0, 0.0)]
    for k in np.flatnonzero(alone):
        low, high = float(cells.out_lo[k]), float(cells.out_hi[k])
        turned = cells.activation.kind == "sign" and support.hidden[k, -1]
        ranges.append((min(low, -high), max(high, -low)) if turned else (low, high))
    taken = support.used & support.hidden.any(axis=1) & ~alone
    rows = np.flatnonzero(taken)
    inputs = np.flatnonzero(support.hidden[:, :-1].any(axis=0))
    rows = rows if len(rows) else np.array([0])  # one neuron that is fixed to 0
    inputs = inputs if len(inputs) else np.array([0])
    chosen = np.ix_(rows, np.append(inputs, cells.lo.shape[1] - 1))
    mask, used = support.hidden[chosen], taken[rows]
    left_out = 0.0  # the penalty of weights that cannot be 0
    if cells.decay is not None:
        w, v = (np.clip(0.0, *box)[~taken] for box in ((cells.lo, cells.hi), (cells.out_lo, cells.out_hi)))
        left_out = float(np.sum(cells.decay.hidden[~taken] * w**2) + np.sum(cells.decay.output[~taken] * v**2))
    return replace(
        cells, x=np.ascontiguousarray(cells.x[:, inputs]),
        offset=cells.offset + support.price + cells.scale * left_out,
        lo=np.where(mask, cells.lo[chosen], 0.0), hi=np.where(mask, cells.hi[chosen], 0.0),
        out_lo=np.where(used, cells.out_lo[rows], 0.0), out_hi=np.where(used, cells.out_hi[rows], 0.0),
        c_lo=sum(low for low, _ in ranges), c_hi=sum(high for _, high in ranges), ranges=tuple(ranges),
        alone=tuple(int(k) for k in np.flatnonzero(alone)),
        supports=(), rows=rows, inputs=inputs, decay=None if cells.decay is None else cells.decay.of(rows, inputs),
    )  # fmt: skip
