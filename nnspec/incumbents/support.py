"""Which coordinates may be nonzero: l0 budgets, and budgets on neurons and inputs in use.

Hard thresholding: coordinates are taken in the order of a priority, and one that would break a budget is held at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.incumbents.coordinates import Coordinates
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import consumers
from nnspec.problem.network import Network
from nnspec.problem.problem import Problem


@dataclass(frozen=True, eq=False)
class Budget:
    """At most `most` of the groups may have a nonzero coordinate; `group` (P,) numbers them, -1 for outside.

    `cost` (P,) is the number of entries that a coordinate stands for, where each entry counts by itself (l0).
    """

    group: np.ndarray
    cost: np.ndarray
    most: int


def _count_groups(c: Coordinates, problem: Problem, e: ex.Size) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Groups and costs that a size counts, with the count that fixed tensors contribute."""
    network = problem.networks[e.network]
    group, cost, fixed = np.full(c.size, -1), np.zeros(c.size, dtype=int), 0
    if e.kind == "l0":
        for layer in network.layers:
            if e.layer is not None and layer.name != e.layer:
                continue
            for kind, p in (("weights", layer.weights), ("bias", layer.bias)):
                if p is None or e.tensor not in (None, kind):
                    continue
                if p.value is not None:
                    fixed += int(np.count_nonzero(p.value if e.neuron is None else p.value[e.neuron]))
                    continue
                index = np.arange(p.size).reshape(p.shape)
                chosen = index if e.neuron is None else index[e.neuron]
                first = c.slices[p.name][0]
                for entry in np.reshape(chosen, -1) + first:
                    if c.signs[entry] != 0:
                        group[c.entries[entry]] = c.entries[entry]
                        cost[c.entries[entry]] += 1
        return group, cost, fixed
    if e.kind not in ("neurons", "inputs"):
        return None
    if e.kind == "inputs":
        units = [layer.name for layer in network.inputs]
    elif e.layer is not None:
        units = [e.layer]
    else:
        units = [x.name for x in network.layers if x.parameters and x.name not in network.outputs]
    number = 0
    for name in units:
        number = _unit_groups(c, network, name, group, number)
    cost[group >= 0] = 1
    return group, cost, 0


def _unit_groups(c: Coordinates, network: Network, name: str, group: np.ndarray, number: int) -> int:
    for consumer, offset in consumers(network, name):
        p = consumer.weights
        if p is None or p.value is not None:
            continue
        index = np.arange(p.size).reshape(p.shape) + c.slices[p.name][0]
        for unit in range(network[name].size):
            group[c.entries[index[:, offset + unit]]] = number + unit
    return number + network[name].size


def budgets(c: Coordinates, problem: Problem) -> list[Budget]:
    """Budgets of layers and networks, and constraints of the form `size <= constant`."""
    found: list[Budget] = []

    def add(e: ex.Size, most: float) -> None:
        parts = _count_groups(c, problem, e)
        if parts is not None:
            found.append(Budget(parts[0], parts[1], int(np.floor(most + 1e-9)) - parts[2]))

    for network in problem.networks.values():
        if network.l0 is not None:
            add(ex.Size("l0", network.name), network.l0)
        for layer in network.layers:
            if layer.l0 is not None:
                add(ex.Size("l0", network.name, layer.name), layer.l0)
    for constraint in problem.constraints:
        e = constraint.expression
        if isinstance(e, ex.Comparison) and e.operator in ("<=", ">="):
            left, right = (e.left, e.right) if e.operator == "<=" else (e.right, e.left)
            constant, terms = ex.linear_terms(ex.Sum((left, ex.Product((ex.Constant(-1.0), right)))))
            if len(terms) == 1 and isinstance(terms[0][1], ex.Size) and terms[0][0] > 0:
                add(terms[0][1], -constant / terms[0][0])
    return found


def objective_sizes(c: Coordinates, problem: Problem) -> list[Budget]:
    """Groups counted by the objective, as budgets without a limit yet."""
    e = problem.objective.expression
    found = []
    for coefficient, term in ex.linear_terms(e)[1] if e is not None else []:
        if isinstance(term, ex.Size) and (coefficient > 0) == problem.minimize:
            parts = _count_groups(c, problem, term)
            if parts is not None:
                found.append(Budget(parts[0], parts[1], c.size))
    return found


def threshold(c: Coordinates, limits: list[tuple[Budget, np.ndarray]], priority: np.ndarray) -> np.ndarray:
    """Which coordinates may be nonzero, boolean (S, P), for priorities (S, P) and limits (budget, most (S,))."""
    allowed = np.ones(priority.shape, dtype=bool)
    if not limits:
        return allowed
    priority = np.where((c.lo > 0) | (c.hi < 0), np.inf, priority)  # these cannot be zero and count first
    order = np.argsort(-priority, axis=1, kind="stable")
    rows = np.arange(len(priority))
    left = [most.astype(int).copy() for _, most in limits]
    opened = [np.zeros((len(priority), int(b.group.max(initial=-1)) + 2), dtype=bool) for b, _ in limits]
    for column in range(c.size):
        j = order[:, column]
        fits = np.ones(len(j), dtype=bool)
        prices = []
        for (b, _), rest, seen in zip(limits, left, opened):
            g = b.group[j]
            price = np.where((g < 0) | seen[rows, g], 0, b.cost[j])
            prices.append(price)
            fits &= price <= np.maximum(rest, 0)
        for (b, _), rest, seen, price in zip(limits, left, opened, prices):
            rest -= np.where(fits, price, 0)
            seen[rows, b.group[j]] |= fits & (b.group[j] >= 0)
        allowed[rows, j] = fits
    return allowed
