"""The two families of losses behind one interface: what the driver needs from the compiled code.

Both work on a Normal and a list of its samples. `loss` is the network's true loss, `improve` a local search, `search`
the tree below a prefix, `sample_losses` each sample's share of the loss.
"""

# mypy: disable-error-code="arg-type,call-arg"
# (calls of compiled functions: star arguments are beyond the stubs of numba)
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnspec.engines.cells.instance import Instance
from nnspec.engines.cells.local import descend, multistart, within
from nnspec.engines.cells.local_linear import descend_linear, multistart_linear
from nnspec.engines.cells.normal import REACH, ROUNDING, Normal
from nnspec.engines.cells.search import RIDGE, search, true_loss
from nnspec.engines.cells.search_linear import linear_loss, search_linear


@dataclass(frozen=True, eq=False)
class Kernel:
    """Common parts."""

    normal: Normal
    neurons: int
    control: np.ndarray  # (1,), not 0 once the search is to stop; checked at every node and before every start

    @property
    def size(self) -> int:
        return self.neurons * self.normal.box.shape[3] + 1

    @property
    def pieces(self) -> int:
        return int(self.normal.features.shape[0])

    def arrays(self, index: np.ndarray) -> tuple[np.ndarray, ...]:
        n = self.normal
        return (np.ascontiguousarray(n.features[:, index]), np.ascontiguousarray(n.cuts[index]), n.constant[index],
                n.y[index])  # fmt: skip

    def loss(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        raise NotImplementedError

    def descend(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        raise NotImplementedError

    def multistart(self, starts: int, seed: int, index: np.ndarray, incumbent: np.ndarray, best: np.ndarray) -> None:
        raise NotImplementedError

    def residuals(self, theta: np.ndarray, signs: int) -> np.ndarray:
        n, p = self.normal, self.normal.box.shape[3]
        residual = n.y - n.constant * theta[-1]
        for k in range(self.neurons):
            block = theta[k * p : (k + 1) * p]
            direction = -1.0 if (signs >> k) & 1 else 1.0
            piece = np.sum(direction * (n.cuts @ block) >= 0, axis=1)
            residual = residual - n.features[piece, np.arange(n.samples)] @ block
        return residual

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
        self.multistart(starts, seed + len(index), index, incumbent, best)
        return float(self.loss(best, int(incumbent[1]), index)), best, int(incumbent[1])


class Squared(Kernel):
    """sse and mse."""

    def loss(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        return float(true_loss(theta, signs, self.neurons, self.pieces, True, *self.arrays(index)))

    def sample_losses(self, theta: np.ndarray, signs: int) -> np.ndarray:
        return self.residuals(theta, signs) ** 2

    def descend(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        return float(descend(theta, signs, self.neurons, self.pieces, True, *self.arrays(index), 100))

    def multistart(self, starts: int, seed: int, index: np.ndarray, incumbent: np.ndarray, best: np.ndarray) -> None:
        n = self.normal
        multistart(starts, seed, self.neurons, self.pieces, True, n.sign_mask, *self.arrays(index), n.box, n.box_rhs,
                   n.output_box, incumbent, best, self.control)  # fmt: skip

    def margin(self) -> np.ndarray:
        """Rounding can raise a computed bound b above the true one by at most margin[0] + margin[1] sqrt(b)."""
        n = self.normal
        row = np.sqrt(float(np.max(np.sum(n.features**2, axis=2).max(axis=0)) * self.neurons) + 1.0)
        backward = ROUNDING * row * np.sqrt(n.samples * self.size) * REACH
        return np.array([RIDGE**2 * REACH**2 + backward**2, 2 * backward])

    def search(self, instance: Instance, prefix: np.ndarray, incumbent: np.ndarray, theta: np.ndarray, gap: float,
               gap_absolute: float, strong: int, budget: int, room: int, *output: np.ndarray
               ) -> int:  # fmt: skip
        n = self.normal
        features, cuts, constant, y = self.arrays(instance.index)
        return int(search(features, cuts, instance.cone, instance.eps, constant, y, instance.inverse, 0, instance.basis,
                          instance.rest, self.neurons, True, n.symmetric, n.flip, n.box, n.box_rhs, n.output_box,
                          n.sign_mask, REACH, gap, gap_absolute, self.margin(), incumbent, theta, prefix, strong,
                          budget, self.control, room, *output))  # fmt: skip


class Linear(Kernel):
    """sae, mae, pinball, hinge and max_error."""

    def loss(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        n = self.normal
        return float(linear_loss(theta, signs, self.neurons, self.pieces, *self.arrays(index), n.lo[index], n.hi[index],
                                 n.largest))  # fmt: skip

    def sample_losses(self, theta: np.ndarray, signs: int) -> np.ndarray:
        r = self.residuals(theta, signs)
        return np.maximum(self.normal.lo * r, self.normal.hi * r)

    def descend(self, theta: np.ndarray, signs: int, index: np.ndarray) -> float:
        n = self.normal
        return float(descend_linear(theta, signs, self.neurons, self.pieces, *self.arrays(index), n.lo[index],
                                    n.hi[index], n.largest, 100))  # fmt: skip

    def multistart(self, starts: int, seed: int, index: np.ndarray, incumbent: np.ndarray, best: np.ndarray) -> None:
        n = self.normal
        multistart_linear(starts, seed, self.neurons, self.pieces, n.sign_mask, *self.arrays(index), n.lo[index],
                          n.hi[index], n.largest, n.box, n.box_rhs, n.output_box, incumbent, best,
                          self.control)  # fmt: skip

    def search(self, instance: Instance, prefix: np.ndarray, incumbent: np.ndarray, theta: np.ndarray, gap: float,
               gap_absolute: float, strong: int, budget: int, room: int, *output: np.ndarray
               ) -> int:  # fmt: skip
        n = self.normal
        features, cuts, constant, y = self.arrays(instance.index)
        return int(search_linear(features, cuts, instance.cone, instance.eps, constant, y, n.lo[instance.index],
                                 n.hi[instance.index], n.largest, instance.inverse, 0, instance.basis, instance.rest,
                                 self.neurons, n.symmetric, n.flip, n.box, n.box_rhs, n.output_box, n.sign_mask, REACH,
                                 gap, gap_absolute, incumbent, theta, prefix, strong, budget, self.control, room,
                                 *output))  # fmt: skip


def kernel_for(normal: Normal, neurons: int, control: np.ndarray) -> Squared | Linear:
    return (Squared if normal.squared else Linear)(normal, neurons, control)
