"""Tied weights (from `enforce`): neurons that share weights become one neuron that sees several copies of the data.

Let the neurons of a set O share their weights up to signs: w_k = S_k t for one vector t, with entries of S_k in
{0, 1, -1}, and v_ko = e_k n_o with e_k = +-1, the same for all outputs o. Their sum is

    sum_{k in O} v_ko sigma(w_k . x_i) = n_o sum_{k in O} e_k sigma(t . S_k' x_i):

one neuron with the weights t and output weights n_o, whose hidden unit adds up, with signs e_k, what it makes of the
copies S_k' x_i of a sample. Penalties of tied weights add up, their ranges are intersected. In the dual bound the
neuron's s_o is a sum over all copies, in which copy k of sample i has the multiplier e_k u_io; nothing else changes,
and the bound is as exact as without ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnspec.problem.network import Layer, Parameter
from nnspec.problem.problem import Tie
from nnspec.symmetry.ties import Tied


@dataclass(frozen=True, eq=False)
class Ties:
    """How the weights of all neurons follow from those of the sets of tied ones.

    For hidden weights (H, D) and output weights (H + 1, m): the number of the coordinate in the smaller arrays
    (K, D') and (K + 1, m), flattened, and the sign; sign 0 for weights that must be 0.
    """

    hidden: np.ndarray
    hidden_signs: np.ndarray
    output: np.ndarray
    output_signs: np.ndarray
    members: tuple[tuple[int, ...], ...]  # the neurons of each set
    columns: int  # D'

    def expand(self, w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights of all neurons; w (K, D'), v (K + 1, m)."""
        return w.ravel()[self.hidden] * self.hidden_signs + 0.0, v.ravel()[self.output] * self.output_signs + 0.0

    def reduce(self, w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse, for weights that satisfy the ties."""
        k, m = len(self.members), v.shape[1]
        small_w, small_v = np.zeros(k * self.columns), np.zeros((k + 1) * m)
        used = self.hidden_signs != 0
        small_w[self.hidden[used]] = (w * self.hidden_signs)[used]
        used = self.output_signs != 0
        small_v[self.output[used]] = (v * self.output_signs)[used]
        return small_w.reshape(k, self.columns), small_v.reshape(k + 1, m)

    def total(self, w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of all weights added up over those that are tied."""
        k, m = len(self.members), v.shape[1]
        small_w, small_v = np.zeros(k * self.columns), np.zeros((k + 1) * m)
        np.add.at(small_w, self.hidden[self.hidden_signs != 0], w[self.hidden_signs != 0])
        np.add.at(small_v, self.output[self.output_signs != 0], v[self.output_signs != 0])
        return small_w.reshape(k, self.columns), small_v.reshape(k + 1, m)

    def ranges(self, lo: np.ndarray, hi: np.ndarray, vlo: np.ndarray, vhi: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """(lo, hi, vlo, vhi) of the smaller arrays; None if a weight is left no value."""
        k, m = len(self.members), vlo.shape[1]
        found = []
        for places, signs, low, high, size in (
            (self.hidden, self.hidden_signs, lo, hi, k * self.columns),
            (self.output, self.output_signs, vlo, vhi, (k + 1) * m),
        ):
            if np.any((signs == 0) & ((low > 0) | (high < 0))):
                return None
            least, most = np.full(size, -np.inf), np.full(size, np.inf)
            used = signs != 0
            np.maximum.at(least, places[used], np.where(signs > 0, low, -high)[used])
            np.minimum.at(most, places[used], np.where(signs > 0, high, -low)[used])
            unused = np.setdiff1d(np.arange(size), places[used])
            least[unused] = most[unused] = 0.0
            if np.any(least > most):
                return None
            found += [least, most]
        return (*(a.reshape(k, self.columns) for a in found[:2]), *(a.reshape(k + 1, m) for a in found[2:]))

    def copies(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(copies (K, N * G, D') of samples x (N, D), signs (K, G)): row i * G + g is sample i as neuron g of the set
        sees it; sets of fewer than G neurons have copies with sign 0."""
        most = max(len(own) for own in self.members)
        copies = np.zeros((len(self.members), len(x), most, self.columns))
        signs = np.zeros((len(self.members), most))
        for s, own in enumerate(self.members):
            for g, k in enumerate(own):
                row = self.output_signs[k][self.output_signs[k] != 0]
                signs[s, g] = row[0] if len(row) else 1.0
                for j in range(x.shape[1]):
                    if self.hidden_signs[k, j] != 0:
                        copies[s, :, g, self.hidden[k, j] - s * self.columns] += self.hidden_signs[k, j] * x[:, j]
        return copies.reshape(len(copies), -1, self.columns), signs


def read(ties: Sequence[Tie], hidden: Layer, output: Layer) -> Ties | str:
    """The sets of tied neurons of a network with one hidden layer, or why its ties have no such form."""
    tensors = [p for p in (*hidden.parameters, *output.parameters) if p.free]
    known = {p.name for p in tensors}
    if not all(name in known for t in ties for name, _ in (t.target, t.source)):
        return "weights are tied to fixed ones"
    tied = Tied.of(tensors, ties)
    offset = 1 + sum(p.size for p in tensors)

    def of(p: Parameter | None, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """(classes, signs) of a tensor; entries that are not free have classes of their own."""
        nonlocal offset
        if p is not None and p.free:
            where = tensors.index(p)
            start = sum(q.size for q in tensors[:where])
            return tied.roots_of(p), tied.signs[start : start + p.size].reshape(p.shape)
        offset += int(np.prod(shape))
        return np.arange(offset - int(np.prod(shape)), offset).reshape(shape), np.ones(shape)

    h, m = hidden.shape[0], output.shape[0]
    assert hidden.weights is not None
    roots, signs = of(hidden.weights, hidden.weights.shape)
    if hidden.bias is not None:
        bias, bias_signs = of(hidden.bias, (h,))
        roots, signs = np.column_stack([roots, bias]), np.column_stack([signs, bias_signs])
    out, out_signs = (a.T for a in of(output.weights, (m, h)))
    ends, end_signs = of(output.bias, (m,))
    if len(np.unique(ends[end_signs != 0])) < np.count_nonzero(end_signs) or np.any(
        np.isin(ends[end_signs != 0], np.concatenate([roots.ravel(), out.ravel()]))
    ):
        return "output biases are tied to each other or to other weights"
    if np.any(np.isin(out[out_signs != 0], roots[signs != 0])):
        return "output weights are tied to hidden ones"
    # neurons that share a weight belong together
    set_of = np.arange(h)
    for table, sign in ((roots, signs), (out, out_signs)):
        for r in np.unique(table[sign != 0]):
            sharing = np.unique(np.nonzero((table == r) & (sign != 0))[0])
            for k in sharing[1:]:
                set_of[set_of == set_of[k]] = set_of[sharing[0]]
    members = tuple(tuple(np.flatnonzero(set_of == s).tolist()) for s in dict.fromkeys(set_of.tolist()))
    classes = []
    for own in members:
        first = own[0]
        for k in own:
            both = out_signs[k] != 0
            same = np.array_equal(both, out_signs[first] != 0) and np.array_equal(out[k][both], out[first][both])
            if not same or len(np.unique((out_signs[k] * out_signs[first])[both])) > 1:
                return "neurons with tied weights differ in more than the sign of their output weights"
        if len(np.unique(out[first][out_signs[first] != 0])) < np.count_nonzero(out_signs[first]):
            return "output weights of one neuron are tied to each other"
        last = [int(roots[first, -1])] if hidden.bias is not None and signs[first, -1] != 0 else []
        found = [int(r) for k in own for r, s in zip(roots[k], signs[k]) if s != 0 and int(r) not in last]
        classes.append([*dict.fromkeys(found), *last])
    columns = max(1, max(len(c) for c in classes))
    where, places = np.zeros(roots.shape, dtype=int), np.zeros((h + 1, m), dtype=int)
    to = np.zeros((h + 1, m))
    for s, (own, c) in enumerate(zip(members, classes)):
        position = {r: s * columns + columns - len(c) + j for j, r in enumerate(c)}  # a bias stays in the last column
        for k in own:
            where[k] = [position[int(r)] if sign != 0 else s * columns for r, sign in zip(roots[k], signs[k])]
            places[k] = s * m + np.arange(m)
            to[k] = out_signs[k] * out_signs[own[0]]
    places[h], to[h] = len(members) * m + np.arange(m), np.abs(end_signs)
    return Ties(where, signs, places, to, members, columns)
