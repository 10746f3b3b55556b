"""Budgets and prices on numbers of nonzero weights, neurons and inputs: the sets of weights that may be nonzero.

A counting term (l0, neurons, inputs, with a coefficient >= 0) and an upper limit on one depend on the support alone,
the set of nonzero weights, and grow with it. So the problem is the union of the problems in which the weights outside
of a support are fixed to 0, over the supports that respect all limits, each with its price added; and a support that
another one contains at no higher price is not needed. The search begins with one box for each support that is left and
treats all of them in one heap: a branching on supports whose first level is written out.

The counts are taken by nnspec.problem.evaluate from a point that is 1 on the support: the judge's own definition.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

COUNTS = ("l0", "neurons", "inputs")
MOST_CANDIDATES = 20_000
MOST_SUPPORTS = 5_000
"""Beyond these an engine that decides on each nonzero by a binary variable is the better one."""

Judge = Callable[[np.ndarray, np.ndarray], float | None]
"""The price of a support given as 0/1 arrays of hidden weights (H, D) and output weights (H + 1, m), or None where it
breaks a limit."""


def supports(judge: Judge, counted: np.ndarray, fixed: np.ndarray, neurons: int, outputs: int, alike: bool,
             ) -> tuple[np.ndarray, np.ndarray] | str:  # fmt: skip
    """(supports (T, C) of booleans, prices (T,)), or why there are none or too many.

    `counted` (C,): coordinates that a count sees and that may be 0; `fixed` (C,): those that are 0; all others may be
    nonzero in every support. With `alike` one support stands for all that differ by the order of the neurons.
    """
    total = len(counted)
    width = (total - outputs * (neurons + 1)) // neurons
    choice = [(False,) if z else (False, True) if c else (True,) for c, z in zip(counted, fixed)]
    first = neurons * width
    columns = [[*range(k * width, (k + 1) * width), *range(first + k * outputs, first + (k + 1) * outputs)]
               for k in range(neurons)]  # fmt: skip
    rest = list(range(total - outputs, total))
    each = 2.0 ** np.array([sum(len(choice[c]) > 1 for c in own) for own in columns])
    number = float(np.prod(each)) * 2.0 ** sum(len(choice[c]) > 1 for c in rest)
    if alike:
        number = float(np.prod([(each[0] + r) / (r + 1) for r in range(neurons)])) * number / float(np.prod(each))
    if number > MOST_CANDIDATES:
        return f"its counts of weights, neurons or inputs leave {number:.3g} sets of nonzero weights to be searched"

    def candidates() -> Iterator[np.ndarray]:
        patterns = [list(itertools.product(*(choice[c] for c in own))) for own in columns]
        chosen = (
            itertools.combinations_with_replacement(patterns[0], neurons) if alike else itertools.product(*patterns)
        )
        for rows in chosen:
            for tail in itertools.product(*(choice[c] for c in rest)):
                support = np.zeros(total, dtype=bool)
                for own, row in zip(columns, rows):
                    support[own] = row
                support[rest] = tail
                yield support

    found: list[tuple[float, np.ndarray]] = []
    for support in candidates():
        hidden = support[: neurons * width].reshape(neurons, width) * 1.0
        price = judge(hidden, support[neurons * width :].reshape(neurons + 1, outputs) * 1.0)
        if price is not None:
            found.append((price, support))
    if not found:
        return "no set of nonzero weights respects its limits"
    # largest first: whatever contains a support comes before it
    found.sort(key=lambda f: (-int(f[1].sum()), f[0]))
    kept, prices = np.zeros((len(found), total), dtype=bool), np.zeros(len(found))
    count = 0
    orders = list(itertools.permutations(range(neurons))) if alike and neurons < 7 else [tuple(range(neurons))]
    for price, support in found:
        images = []
        for order in orders:
            image = support.copy()
            for own, other in zip(columns, order):
                image[own] = support[columns[other]]
            images.append(image)
        cheaper = kept[:count][prices[:count] <= price]
        if not any(np.any(np.all(cheaper | ~image, axis=1)) for image in images):
            kept[count], prices[count] = support, price
            count += 1
    if count > MOST_SUPPORTS:
        return f"its counts of weights, neurons or inputs leave {count} sets of nonzero weights to be searched"
    return kept[:count].copy(), prices[:count].copy()
