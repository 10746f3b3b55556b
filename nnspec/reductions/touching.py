"""The scale of homogeneous neurons with several readers: one outgoing weight of each neuron touches its bound.

Theorem. Let a neuron with relu, leaky_relu or abs have incoming weights and bias r in a box R that contains 0, and let
the units that read it have weights v_j in [l_j, u_j]. For t >= 1 the neurons (r, v) and (r / t, t v)
contribute the same to every reader, since v_j s(r.x) = (t v_j) s((r / t).x). R is star-shaped about 0, so r / t stays
in R. With the largest t for which t v respects its box some v_j is u_j > 0 or l_j < 0: a positive v_j only grows
towards u_j, a negative one falls towards l_j. If v = 0 (no t is the largest) the neuron contributes nothing, and r = 0
with any v_j at its bound does the same. So some optimum has, for each neuron, a reader j and a sign with
    v_j = u_j    or    v_j = l_j,
which is one degree of freedom a neuron less and N products of two decisions less; a neuron with a single reader has no
such products left. The boxes carry over as they are, and nothing is asked of the rest of the network: this holds in
every layer of a deep network, for any number of outputs and every loss, one layer after the other from the output on.
(From the input on it would not: weights fixed at a bound are incoming weights of the readers, whose R loses its 0.)

Cases: one for each choice of (reader, sign) for the neurons, up to permutations of interchangeable neurons and of
interchangeable readers. Where l0 of the outgoing weights or `neurons` count, the neuron may also be out of use (all of
its weights 0). l1 and l2 of the weights involved, and budgets that count them from below, depend on the scale.

Inverse: the identity, since the points of a case are points of the problem. Forward: t as above, then a permutation.
Preserves: the outputs of the network for all inputs, all sizes of the layers before; l0 of r and v do not grow.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem
from nnspec.problem.symmetry import may_break
from nnspec.reductions.interface import Case, Reduced, compose, identity
from nnspec.reductions.structure import covered, directed_sizes, named_tensors, with_layers, with_network

MAX_CASES = 64

Option = tuple[int, int]
"""(reader, sign): the outgoing weight that touches its bound; (-1, 0): the neuron is out of use."""
OUT_OF_USE: Option = (-1, 0)


@dataclass(frozen=True, eq=False)
class Pair:
    """A hidden layer of homogeneous neurons and the dense layer that reads it."""

    network: Network
    hidden: Layer
    reader: Layer
    after: Layer | None  # the layer that reads the reader

    @property
    def v(self) -> Parameter:
        assert self.reader.weights is not None
        return self.reader.weights

    @property
    def tensors(self) -> tuple[Parameter, ...]:
        return (*self.hidden.parameters, self.v)


def pairs(problem: Problem) -> list[Pair] | str:
    """The pairs of layers that the theorem may be about, from the output on; or why there are none."""
    free = [n for n in problem.networks.values() if n.free]
    if len(free) != 1:
        return "several networks are trained" if free else "no network is trained"
    chain = free[0].chain()
    if chain is None:
        return f"{free[0].name} is not a chain of dense layers"
    found = [Pair(free[0], hidden, reader, after)
             for hidden, reader, after in zip(chain, chain[1:], (*chain[2:], None))
             if hidden.kind == reader.kind == "dense" and hidden.activation.kind != "linear"]  # fmt: skip
    return found[::-1] or f"{free[0].name} has no hidden layer before a dense layer"


class Touching:
    name = "scaling with several readers"

    def applies(self, problem: Problem, upper: float) -> str | None:
        found = pairs(problem)
        if isinstance(found, str):
            return found
        reasons = []
        for p in found:
            reason = cases_of(problem, p)
            if not isinstance(reason, str):
                return None
            if not _done(p):
                reasons.append(reason)
        return next(iter(reasons), "no scale is left")

    def apply(self, problem: Problem, upper: float) -> Reduced:
        cases: tuple[Case, ...] = (Case(problem, identity, identity),)
        found = pairs(problem)
        assert not isinstance(found, str)
        said = []
        for layer in [p.hidden.name for p in found]:
            new: list[Case] = []
            reason = ""
            for case in cases:
                p = next(q for q in pairs(case.problem) if isinstance(q, Pair) and q.hidden.name == layer)
                inner = cases_of(case.problem, p)
                if isinstance(inner, str):
                    reason = inner
                    break
                new += [compose(case, c) for c in inner]
            if not reason and len(new) > MAX_CASES:
                reason = f"{len(new)} cases in all are too many"
            path = f"{found[0].network.name}.{layer}"
            if not reason:
                cases = tuple(new)
                said.append(f"an outgoing weight of each neuron of {path} stands at its bound")
            elif not _done(next(q for q in found if q.hidden.name == layer)):
                said.append(f"{path} keeps its scale, {reason}")
        return Reduced(cases, f"scaling symmetry: {'; '.join(said)}")


def _done(p: Pair) -> bool:
    """Whether the neurons have no scale left, since all of their outgoing weights are fixed already."""
    lo, hi = _ends(p.v)
    return bool(np.all(np.any((lo == hi) & (lo != 0), axis=0)))


def _reason(problem: Problem, p: Pair) -> str | None:
    """Why the theorem does not apply to a pair, or None."""
    network, hidden = p.network.name, p.hidden
    if hidden.activation.kind not in ("relu", "leaky_relu", "abs"):
        return f"{hidden.activation} is not positively homogeneous"
    if hidden.activation.kind == "leaky_relu" and hidden.activation.alpha < 0:
        return "a leaky_relu with a negative slope"
    if not may_break(problem, network, hidden.name, "scaling"):
        return f"`break symmetry` does not list scaling for {network}.{hidden.name}"
    named = named_tensors(problem)
    for t in p.tensors:
        if not t.free:
            return f"{t.name} is fixed"
        if t.kind != "real":
            return f"{t.name} has a discrete domain"
        if t.name in named:
            return f"{named[t.name]} speaks of {t.name}"
    for t in hidden.parameters:
        if np.any(t.lo > 0) or np.any(t.hi < 0):
            return f"the range of {t.name} does not contain 0"
    if not np.all(np.isfinite(p.v.lo) & np.isfinite(p.v.hi)):
        return f"{p.v.name} has no bounds to touch"
    if any(c.kind == "enforce" for c in problem.symmetry_claims):
        return "an enforced symmetry ties the weights"
    if np.any((p.v.lo == p.v.hi) & (p.v.lo != 0)):
        return f"some weights of {p.v.name} are fixed"
    counting = _counting(problem, p)
    return counting if isinstance(counting, str) else None


def _counting(problem: Problem, p: Pair) -> bool | str:
    """Whether something counts the neurons in use, or why the sizes of the weights do not allow the theorem."""
    counting = p.reader.l0 is not None or p.network.l0 is not None
    names = {t.name for t in p.tensors}
    for e, smaller_is_fine in directed_sizes(problem):
        if e.network != p.network.name:
            continue
        if e.kind == "inputs":
            touched = counted = p.hidden.inputs[0] == p.network.layers[0].name
        elif e.kind == "neurons":
            touched = True
            counted = e.layer in (None, p.hidden.name)
        else:
            tensors = {t.name for _, t in covered(p.network, e)}
            touched, counted = bool(tensors & names), p.v.name in tensors
        if not touched:
            continue
        if e.kind in ("l1", "l2", "norm"):
            return f"{e.kind} depends on the scale"
        if e.neuron is not None:
            return f"{e.kind} counts a single neuron"
        if not smaller_is_fine:
            return f"{e.kind} is not only minimised or bounded from above"
        counting |= counted
    if counting and np.any((p.v.lo > 0) | (p.v.hi < 0)):
        return f"the range of {p.v.name} does not contain 0"
    return counting


def _options(p: Pair, k: int, counting: bool) -> list[Option]:
    """The ways in which neuron k can touch, or be out of use."""
    lo, hi = p.v.lo[:, k], p.v.hi[:, k]
    found = [(j, s) for j in range(len(lo)) for s in (1, -1) if (hi[j] > 0 if s > 0 else lo[j] < 0)]
    return [*found, OUT_OF_USE] if counting or not found else found


def _classes(signatures: list[tuple[bytes, ...]]) -> list[list[int]]:
    found: dict[tuple[bytes, ...], list[int]] = {}
    for k, signature in enumerate(signatures):
        found.setdefault(signature, []).append(k)
    return list(found.values())


def _ends(p: Parameter) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = (p.lo, p.hi) if p.value is None else (p.value, p.value)
    return np.asarray(lo).reshape(p.shape) + 0.0, np.asarray(hi).reshape(p.shape) + 0.0


def _alike(problem: Problem, p: Pair, layer: Layer, reader: Layer | None) -> list[list[int]]:
    """Classes of interchangeable units of a layer; outputs of the network are never interchangeable."""
    units = range(layer.size)
    sizes = any(isinstance(e, ex.Size) and e.neuron is not None for e, _ in directed_sizes(problem))
    named = named_tensors(problem)
    tensors = [(t, 0) for t in layer.parameters]
    if reader is not None and reader.weights is not None:
        tensors.append((reader.weights, 1))
    free = may_break(problem, p.network.name, layer.name, "permutation")
    if reader is None or reader.kind != "dense" or sizes or not free or any(t.name in named for t, _ in tensors):
        return [[u] for u in units]
    return _classes([tuple(np.take(a, u, axis).tobytes() for t, axis in tensors for a in _ends(t)) for u in units])


MAX_ARRANGEMENTS = 5040
"""More arrangements of the readers than this are not tried: the cases are then not reduced by them."""


@dataclass(frozen=True, eq=False)
class Arranger:
    """Brings a choice of options to the one that stands for all choices equal up to permutations."""

    neurons: list[list[int]]  # classes
    readers: list[list[int]]

    def arrangements(self) -> list[list[int]]:
        """Reader permutations, as the image of each reader."""
        count = 1
        for c in self.readers:
            for n in range(2, len(c) + 1):
                count *= n
        size = sum(map(len, self.readers))
        if count > MAX_ARRANGEMENTS:
            return [list(range(size))]
        found = []
        for choice in itertools.product(*(itertools.permutations(c) for c in self.readers)):
            image = list(range(size))
            for members, moved in zip(self.readers, choice):
                for a, b in zip(members, moved):
                    image[a] = b
            found.append(image)
        return found

    def best(self, options: tuple[Option, ...]) -> tuple[tuple[Option, ...], list[int], list[int]]:
        """The representative, the neuron that goes to each place, and the image of each reader."""
        found = None
        for image in self.arrangements():
            moved = [(image[j], s) if s else (j, s) for j, s in options]
            order = list(range(len(options)))
            for members in self.neurons:
                for place, source in zip(members, sorted(members, key=lambda k: moved[k])):
                    order[place] = source
            candidate = tuple(moved[k] for k in order)
            if found is None or candidate < found[0]:
                found = candidate, order, image
        assert found is not None
        return found


def _choices(problem: Problem, p: Pair, counting: bool, arranger: Arranger) -> list[tuple[Option, ...]] | None:
    """The representatives of all choices of options; None if there are too many."""
    parts = []
    total = 1
    for members in arranger.neurons:
        part = list(itertools.islice(itertools.combinations_with_replacement(
            _options(p, members[0], counting), len(members)), MAX_ARRANGEMENTS))  # fmt: skip
        parts.append(part)
        total *= len(part)
    if total >= MAX_ARRANGEMENTS:
        return None
    found = set()
    for choice in itertools.product(*parts):
        options: list[Option] = [OUT_OF_USE] * p.hidden.size
        for members, own in zip(arranger.neurons, choice):
            for k, option in zip(members, own):
                options[k] = option
        found.add(arranger.best(tuple(options))[0])
        if len(found) > MAX_CASES:
            return None
    return sorted(found)


def cases_of(problem: Problem, p: Pair) -> tuple[Case, ...] | str:
    """The cases of one layer, or why it keeps its scale."""
    reason = _reason(problem, p)
    if reason is not None:
        return reason
    counting = _counting(problem, p)
    arranger = Arranger(_alike(problem, p, p.hidden, p.reader), _alike(problem, p, p.reader, p.after))
    choices = _choices(problem, p, counting is True, arranger)
    if choices is None:
        return f"more than {MAX_CASES} choices of the outgoing weights that touch their bounds"
    return tuple(_case(problem, p, options, counting is True, arranger) for options in choices)


def _case(problem: Problem, p: Pair, options: tuple[Option, ...], counting: bool, arranger: Arranger) -> Case:
    """The problem with the outgoing weights of a choice at their bounds."""
    lo, hi = p.v.lo.copy(), p.v.hi.copy()
    own = {t.name: (t.lo.copy(), t.hi.copy()) for t in p.hidden.parameters}
    for k, (j, s) in enumerate(options):
        if s == 0:
            lo[:, k] = hi[:, k] = 0.0
            for a, b in own.values():
                a[k] = b[k] = 0.0
        else:
            lo[j, k] = hi[j, k] = hi[j, k] if s > 0 else lo[j, k]

    def boxed(t: Parameter | None) -> Parameter | None:
        return None if t is None else replace(t, lo=own[t.name][0], hi=own[t.name][1])

    hidden = replace(p.hidden, weights=boxed(p.hidden.weights), bias=boxed(p.hidden.bias))
    reader = replace(p.reader, weights=replace(p.v, lo=lo, hi=hi))
    network = with_layers(p.network, hidden, reader)
    label = ", ".join(
        f"{p.reader.name}[{j}] from {p.hidden.name}[{k}] at its {'upper' if s > 0 else 'lower'} bound" if s else
        f"{p.hidden.name}[{k}] out of use" for k, (j, s) in enumerate(options))  # fmt: skip

    def forward(point: Point) -> Point | None:
        touched, choice = _touch(p, point, counting)
        representative, order, image = arranger.best(choice)
        return _permuted(p, touched, order, image) if representative == options else None

    return Case(with_network(problem, network), identity, forward, label)


def _touch(p: Pair, point: Point, counting: bool) -> tuple[Point, tuple[Option, ...]]:
    """The equal point whose neurons touch, and where they do."""
    values = {name: np.array(value, dtype=float) for name, value in point.parameters.items()}
    v = values[p.v.name].reshape(p.v.shape)
    values[p.v.name] = v
    rows = [values[t.name] for t in p.hidden.parameters]
    options: list[Option] = []
    for k in range(p.hidden.size):
        column = v[:, k]
        if not np.any(column):
            for r in rows:
                r[k] = 0.0
            j, s = _options(p, k, counting)[-1]
            if s == 0:
                options.append(OUT_OF_USE)
                continue
        else:
            bound = np.where(column > 0, p.v.hi[:, k], p.v.lo[:, k])
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(column != 0, bound / column, np.inf)
            j = int(np.argmin(room))
            s = 1 if column[j] > 0 else -1
            t = max(1.0, float(room[j]))
            column *= t
            for r in rows:
                r[k] /= t
        v[j, k] = p.v.hi[j, k] if s > 0 else p.v.lo[j, k]
        options.append((j, s))
    return Point(values, dict(point.variables)), tuple(options)


def _permuted(p: Pair, point: Point, order: list[int], image: list[int]) -> Point:
    """Neuron order[k] at place k, reader j at place image[j]."""
    values = dict(point.parameters)
    readers = np.argsort(image)  # the reader that goes to each place
    for t in p.hidden.parameters:
        values[t.name] = np.asarray(values[t.name]).reshape(t.shape)[order]
    values[p.v.name] = np.asarray(values[p.v.name])[readers][:, order]
    if p.reader.bias is not None and p.reader.bias.name in values:
        values[p.reader.bias.name] = np.asarray(values[p.reader.bias.name])[readers]
    after = p.after.weights if p.after is not None else None
    if after is not None and after.name in values:
        values[after.name] = np.asarray(values[after.name]).reshape(after.shape)[:, readers]
    return Point(values, dict(point.variables))
