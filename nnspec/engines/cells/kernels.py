"""The compiled code behind one interface: what the driver needs of it, for the problem's class of losses.

A class of losses is a module with `loss_of` and `bound_of` (see `loss`, `piecewise`); `kernel_for` chooses it.
A new one needs no change elsewhere in the search.
"""

# mypy: disable-error-code="arg-type,call-arg"
# (calls of compiled functions: star arguments are beyond the stubs of numba)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnspec.engines.cells import piecewise
from nnspec.engines.cells.instance import Instance, Subtree
from nnspec.engines.cells.local import descend, multistart, within
from nnspec.engines.cells.loss import Samples, network_loss
from nnspec.engines.cells.normal import Normal
from nnspec.engines.cells.search import Found, Frame, explore, inequalities
from nnspec.engines.cells.traverse import make_cones


class LossClass(Protocol):
    """`loss_of`: the loss on the samples `index`. `bound_of`: its bound, with room for that many inequalities."""

    def loss_of(self, normal: Normal, index: np.ndarray) -> Any: ...

    def bound_of(self, normal: Normal, index: np.ndarray, neurons: int, inequalities: int) -> Any: ...


@dataclass(frozen=True, eq=False)
class Kernel:
    """One problem's compiled functions. Lists of samples are arrays of positions in the Normal."""

    normal: Normal
    neurons: int
    control: np.ndarray  # (1,), not 0 once the search is to stop; checked at every node and before every start
    losses: LossClass

    @property
    def pieces(self) -> int:
        return int(self.normal.features.shape[0])

    @property
    def size(self) -> int:
        return self.neurons * self.normal.box.shape[3] + 1

    def samples(self, index: np.ndarray) -> Samples:
        n = self.normal
        return Samples(np.ascontiguousarray(n.features[:, index]), np.ascontiguousarray(n.cuts[index]),
                       n.constant[index], n.y[index])  # fmt: skip

    def loss(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        """The network's true loss on some samples."""
        return float(network_loss(self.losses.loss_of(self.normal, index), self.samples(index), theta, signs,
                                  self.neurons))  # fmt: skip

    def descend(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        """Local search from theta, in place; the loss reached."""
        return float(descend(self.losses.loss_of(self.normal, index), self.samples(index), theta, signs, self.neurons,
                             100))  # fmt: skip

    def sample_losses(self, theta: np.ndarray, signs: int) -> np.ndarray:
        """Each sample's share of the loss."""
        return np.array([self.loss(theta, signs, np.array([i])) for i in range(self.normal.samples)])

    def improve(self, index: np.ndarray, theta: np.ndarray | None, signs: int, starts: int, seed: int
                ) -> tuple[float, np.ndarray, int]:  # fmt: skip
        """A good network on the samples `index`: from the zero network, from theta, and from random ones."""
        n = self.normal
        zero = np.zeros(self.size)
        zero[-1] = min(max(0.0, n.output_box[0]), -n.output_box[1])
        incumbent = np.array([self.loss(zero, 0, index), 0.0])
        best = zero.copy()
        for candidate, s in ((zero, 0), (theta, signs)):
            if candidate is None:
                continue
            moved = candidate.copy()
            for run in (self.loss, self.descend):  # the candidate itself, then what `descend` makes of it in place
                loss = run(moved, s, index)
                if loss < incumbent[0] and within(moved, s, n.box, n.box_rhs, n.output_box):
                    incumbent[:] = loss, s
                    best[:] = moved
        multistart(self.losses.loss_of(n, index), self.samples(index), starts, seed + len(index), self.neurons,
                   n.sign_mask, n.box, n.box_rhs, n.output_box, incumbent, best, self.control)  # fmt: skip
        return float(self.loss(best, int(incumbent[1]), index)), best, int(incumbent[1])

    def search(self, instance: Instance, subtree: Subtree, gap: float, gap_absolute: float, strong: int, budget: int,
               room: int, found: Found) -> int:  # fmt: skip
        """The tree below a prefix; see `search.explore`."""
        n, index = self.normal, instance.index
        frame = Frame(instance.rest, instance.block, n.box, n.box_rhs, n.output_box, n.sign_mask, n.symmetric, n.flip,
                      gap, gap_absolute, strong)  # fmt: skip
        rows = inequalities(len(index), self.neurons, n.features.shape[0], n.box)
        bound = self.losses.bound_of(n, index, self.neurons, rows)
        cones = make_cones(instance.cone, instance.eps, instance.inverse, 0, instance.basis, self.neurons, room)
        rest = np.setdiff1d(np.arange(instance.size), subtree.order)
        order = np.concatenate([subtree.order, rest])
        return int(explore(bound, self.samples(index), cones, frame, subtree.prefix, budget, self.control, order,
                           found))  # fmt: skip


def kernel_for(normal: Normal, neurons: int, control: np.ndarray) -> Kernel:
    return Kernel(normal, neurons, control, piecewise)
