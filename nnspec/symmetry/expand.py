"""`enforce` as cases of ties: one case for each way in which the group can act on the hidden neurons.

A network is symmetric by construction if the group acts on the units of each hidden layer by permutations, with signs
where the activation is odd or even, and the weights are tied accordingly (`nnspec.symmetry.ties`):
w_{pi(g) k} = rho(g) w_k, equal biases, v_{pi(g) k} = chi(g) v_k up to signs. Then f(rho(g) x) = chi(g) f(x) for all x.
This is what `enforce` asks for: symmetry that the neurons carry. All actions are enumerated up to the order (and signs)
of neurons, so the best optimum of the cases is the optimum over all such networks, and the smallest of their bounds is
a bound. Ravanbakhsh, Schneider, Poczos, Equivariance through parameter-sharing (2017).

Cases that cannot win are left out: those whose ties leave an entry without a value of its domain, and those with an
orbit of several neurons (or a signed one) that nothing can read since its outgoing weights must vanish. The latter's
networks can be had with zeros in place of the orbit, at no higher cost if sizes are only minimised.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnspec.errors import UnsupportedError, diagnostic
from nnspec.problem import expression as ex
from nnspec.problem.groups import Generator, identity
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Point, Problem, SymmetryClaim, Tie
from nnspec.problem.symmetry import may_break
from nnspec.symmetry.actions import (
    FiniteGroup,
    OrbitType,
    TooLargeError,
    choices,
    count_choices,
    direct_sum,
    orbit_types,
    with_signs_changed,
)
from nnspec.symmetry.order import OrbitOrder, ordered, orders
from nnspec.symmetry.ties import Action, Tied, after, layer_ties

MAX_CASES = 500
"""More ways to act than this are refused: each is a problem of its own to be solved."""


@dataclass(frozen=True, eq=False)
class Expanded:
    """One case: the problem with ties in place of the claims, and which orbits the hidden neurons form.

    `plain` has nothing but the ties, `problem` has the order of orbits on top, as constraints.
    """

    plain: Problem
    problem: Problem
    tied: Tied
    orders: tuple[OrbitOrder, ...]
    label: str

    def forward(self, point: Point) -> Point | None:
        """The point in ordered form, if it satisfies the ties exactly."""
        return ordered(self.orders, point) if self.tied.holds(point) else None

    def inverse(self, point: Point) -> Point:
        """The point with tied weights exactly equal: solvers and rounding may leave a difference."""
        return self.tied.project(point)


@dataclass(frozen=True, eq=False)
class _Way:
    """A way to act on one network."""

    ties: tuple[Tie, ...]
    orders: tuple[OrbitOrder, ...]
    label: str


def enforced(problem: Problem) -> bool:
    return any(c.kind == "enforce" for c in problem.symmetry_claims)


def expand(problem: Problem) -> tuple[Expanded, ...]:
    """The cases of a problem with `enforce` statements.

    Raises UnsupportedError (NNS151) where the network, the group or the number of cases is beyond what is supported,
    or where no network with the given ranges carries the symmetry.
    """
    claims = [c for c in problem.symmetry_claims if c.kind == "enforce"]
    ways: list[list[_Way]] = []
    for name in dict.fromkeys(c.subject for c in claims):
        own = [c for c in claims if c.subject == name]
        ways.append(_ways(problem, problem.networks[name], own))
    total = int(np.prod([len(w) for w in ways]))
    if total > MAX_CASES:
        raise _refused(claims[0], f"the groups can act on the hidden neurons in {total:,} ways", _FEWER)
    rest = tuple(c for c in problem.symmetry_claims if c.kind != "enforce")
    tensors = problem.free_parameters()
    found = []
    for combination in itertools.product(*ways):
        ties = tuple(t for way in combination for t in way.ties)
        plain = replace(problem, symmetry_claims=rest, ties=problem.ties + ties)
        orders_of = tuple(o for way in combination for o in way.orders)
        rows = tuple(c for o in orders_of for c in o.constraints())
        case = replace(plain, constraints=plain.constraints + rows)
        label = ", ".join(w.label for w in combination)
        found.append(Expanded(plain, case, Tied.of(tensors, plain.ties), orders_of, label))
    return tuple(found)


_FLIP: Action = (((0,), (-1,)),)
_FEWER = f"at most {MAX_CASES} are tried: use fewer hidden neurons or a smaller group"


def _refused(claim: SymmetryClaim, why: str, help: str | None = None) -> UnsupportedError:
    return UnsupportedError(diagnostic("NNS151", f"the symmetry of {claim.subject} cannot be enforced: {why}",
                                       claim.span, help=help))  # fmt: skip


def _ways(problem: Problem, network: Network, claims: Sequence[SymmetryClaim]) -> list[_Way]:
    first = claims[0]
    chain = _chain(problem, network, first)
    rho = tuple(g for c in claims for g in c.group.generators)
    chi = tuple(g for c in claims for g in _image(c, network))
    joined = [(a + tuple(i + len(a) for i in b), s + t) for (a, s), (b, t) in zip(rho, chi)]
    try:
        group = FiniteGroup(joined)
        hidden = [h for h in chain if h.dense is not chain[-1].dense]
        options = [_options(group, h, chain, first) for h in hidden]
    except TooLargeError as e:
        raise _refused(first, str(e)) from None
    if after(chain[-1].dense.activation, chi) != chi:
        raise _refused(first, f"signs do not pass through the {chain[-1].dense.activation} of its output")
    prune = _zeros_are_cheap(problem, network)
    if len(hidden) == 1:  # then an orbit can be judged by itself
        options[0] = [t for t in options[0]
                      if _way(problem, network, _with_units(chain, t.size), [(t,)], rho, chi, prune)]  # fmt: skip
    total = int(np.prod([float(count_choices([t.size for t in types], h.dense.size))
                         for types, h in zip(options, hidden)]))  # fmt: skip
    if total > MAX_CASES:
        raise _refused(first, f"the group can act on the hidden neurons in {total:,} ways", _FEWER)
    found = []
    for combination in itertools.product(*(choices(t, h.dense.size) for t, h in zip(options, hidden))):
        way = _way(problem, network, chain, combination, rho, chi, prune)
        if way is not None:
            found.append(way)
    if not found:
        raise _refused(first, "no weights in the given ranges satisfy the ties", "give ranges that contain 0")
    return found


@dataclass(frozen=True, eq=False)
class _Stage:
    """A dense layer and the standalone activations behind it."""

    dense: Layer
    activations: tuple[Layer, ...]

    def after(self, action: Action) -> Action | None:
        """What an action on the pre-activations becomes."""
        found = after(self.dense.activation, action)
        for layer in self.activations:
            found = None if found is None else after(layer.activation, found)
        return found

    @property
    def linear(self) -> bool:
        return all(x.activation.kind == "linear" for x in (self.dense, *self.activations))


def _chain(problem: Problem, network: Network, claim: SymmetryClaim) -> list[_Stage]:
    """The dense layers from the input on, if ties can be written and hidden neurons are interchangeable."""
    layers = network.chain()
    if layers is None:
        kind = next((x for x in network.layers[1:] if x.kind not in ("dense", "activation")), None)
        what = f"{network.name}.{kind.name} is a {kind.kind} layer" if kind else f"{network.name} is not a chain"
        raise _refused(claim, what, "it can be enforced on chains of dense layers")
    stages: list[_Stage] = []
    for layer in layers:
        if layer.kind == "dense":
            stages.append(_Stage(layer, ()))
        elif not stages:
            raise _refused(claim, f"{network.name}.{layer.name} stands in front of the first dense layer")
        else:
            stages[-1] = _Stage(stages[-1].dense, (*stages[-1].activations, layer))
    if not stages:
        raise _refused(claim, f"{network.name} has no dense layer")
    if stages[-1].activations:
        raise _refused(claim, f"an activation stands behind the last dense layer {stages[-1].dense.name}",
                       f"give it as an argument of {stages[-1].dense.name}")  # fmt: skip
    for p in network.parameters:
        if not p.free:
            raise _refused(claim, f"the weights {p.name} are constants")
    for stage, reader in itertools.pairwise(stages):
        _interchangeable(problem, network, stage.dense, reader.dense, claim)
    return stages


def _interchangeable(problem: Problem, network: Network, layer: Layer, reader: Layer, claim: SymmetryClaim) -> None:
    """Orbit types are enumerated up to the order of neurons, so nothing may tell two neurons apart."""
    assert reader.weights is not None
    names = {p.name for p in layer.parameters} | {reader.weights.name}
    named = {tie_end[0] for tie in problem.ties for tie_end in (tie.target, tie.source)}
    for e in _expressions(problem):
        if isinstance(e, ex.ParameterRef):
            named.add(e.parameter)
        elif isinstance(e, ex.Size) and (e.network, e.layer) == (network.name, layer.name) and e.neuron is not None:
            named.add(layer.parameters[0].name)
    alike = all(_alike(p, 0) for p in layer.parameters) and _alike(reader.weights, 1)
    if names & named or not alike:
        what = "the spec names single neurons or weights" if names & named else "the neurons have different ranges"
        raise _refused(claim, f"{what} of {network.name}.{layer.name}")


def _alike(p: Parameter, axis: int) -> bool:
    return all(bool(np.all(a == np.take(a, [0], axis=axis))) for a in (p.lo, p.hi))


def _symmetric(p: Parameter) -> bool:
    return bool(np.all(p.lo == -p.hi)) and (p.kind != "set" or set(p.values) == {-v for v in p.values})


def _signs_are_free(layer: Layer, reader: Layer) -> bool:
    """Whether ranges leave the signs of neurons open."""
    assert reader.weights is not None
    return all(_symmetric(p) for p in (*layer.parameters, reader.weights))


def _image(claim: SymmetryClaim, network: Network) -> tuple[Generator, ...]:
    if claim.output_group is not None:
        return claim.output_group.generators
    return (identity(network.output_size),) * len(claim.group.generators)


def _options(group: FiniteGroup, stage: _Stage, chain: Sequence[_Stage], claim: SymmetryClaim) -> list[OrbitType]:
    """The orbit types of a hidden layer, with all signs if its ranges tell them apart."""
    layer = stage.dense
    if stage.linear and not group.involutory:
        raise _refused(claim, f"a group can act on the linear layer {claim.subject}.{layer.name} in more ways than by "
                       "permutations and signs", "leave the layer out, or give it an activation")  # fmt: skip
    signs = stage.after(_FLIP) is not None
    types = orbit_types(group, layer.size, signs)
    reader = chain[[s.dense for s in chain].index(layer) + 1].dense
    if signs and not _signs_are_free(layer, reader):
        if max(2.0 ** (t.size - 1) for t in types) > MAX_CASES:
            raise _refused(claim, f"the ranges around {claim.subject}.{layer.name} are not symmetric about 0, which "
                           "leaves too many choices of signs", "use ranges like -3..3")  # fmt: skip
        types = [changed for t in types for changed in with_signs_changed(t)]
    return types


def _with_units(chain: Sequence[_Stage], units: int) -> list[_Stage]:
    """A chain of two dense layers with the first so many hidden units only."""

    def part(p: Parameter | None, axis: int) -> Parameter | None:
        if p is None:
            return None
        lo, hi = (np.take(a, range(units), axis=axis) for a in (p.lo, p.hi))
        return replace(p, shape=lo.shape, lo=lo, hi=hi)

    hidden, out = chain
    first = replace(hidden.dense, weights=part(hidden.dense.weights, 0), bias=part(hidden.dense.bias, 0))
    second = replace(out.dense, weights=part(out.dense.weights, 1))
    return [_Stage(first, hidden.activations), _Stage(second, out.activations)]


def _way(problem: Problem, network: Network, chain: Sequence[_Stage], combination: Sequence[tuple[OrbitType, ...]],
         rho: Action, chi: Action, prune: bool) -> _Way | None:  # fmt: skip
    """The ties of one choice of orbits; None if it leaves no weights or cannot be better than another choice."""
    actions = [direct_sum(orbits) for orbits in combination] + [chi]
    ties: list[Tie] = []
    before: Action = rho
    for stage, own in zip(chain, actions):
        ties += layer_ties(stage.dense, before, own)
        passed = stage.after(own)
        assert passed is not None  # signs are offered only where they pass, and the output was checked
        before = passed
    tied = Tied.of([p for stage in chain for p in stage.dense.parameters], ties)
    if not tied.possible():
        return None
    found: list[OrbitOrder] = []
    for (stage, reader), orbits in zip(itertools.pairwise(chain), combination):
        assert reader.dense.weights is not None
        unread = np.all(tied.forced_zero(reader.dense.weights), axis=0)
        start = 0
        for orbit in orbits:
            if prune and (orbit.size > 1 or orbit.signed) and np.all(unread[start : start + orbit.size]):
                return None
            start += orbit.size
        may = {kind: may_break(problem, network.name, stage.dense.name, kind) for kind in ("permutation", "signflip")}
        turned = stage.after(_FLIP)
        flips = turned is not None and may["signflip"] and _signs_are_free(stage.dense, reader.dense)
        found += orders(stage.dense, reader.dense, orbits, tied, may["permutation"], flips, turned == _FLIP)
    labels = (f"{network.name}.{s.dense.name} in orbits of {_listed(o)}" for s, o in zip(chain, combination))
    return _Way(tuple(ties), tuple(found), "; ".join(labels) or network.name)


def _listed(orbits: Sequence[OrbitType]) -> str:
    """'1 (twice), 2, 2 signed'"""
    counted = Counter(o.name for o in orbits)
    times = {1: "", 2: " (twice)"}
    return ", ".join(f"{name}{times.get(n, f' ({n} times)')}" for name, n in counted.items())


def _expressions(problem: Problem) -> Iterator[ex.Expression]:
    stack = [e for e in (problem.objective.expression, *(c.expression for c in problem.constraints)) if e is not None]
    while stack:
        e = stack.pop()
        yield e
        stack.extend(ex.children(e))


def _zeros_are_cheap(problem: Problem, network: Network) -> bool:
    """Whether weights may be set to 0 where the function stays the same: 0 is in their domains, and all sizes are
    terms of the objective in which smaller is better."""
    for p in network.parameters:
        if np.any(p.lo > 0) or np.any(p.hi < 0) or (p.kind == "set" and 0.0 not in p.values):
            return False
    cheap: set[int] = set()
    if problem.objective.expression is not None:
        sign = 1.0 if problem.minimize else -1.0
        terms = ex.linear_terms(problem.objective.expression)[1]
        cheap = {id(term) for c, term in terms if isinstance(term, ex.Size) and c * sign > 0}
        cheap -= {id(term) for c, term in terms if isinstance(term, ex.Size) and c * sign <= 0}
    return all(id(e) in cheap for e in _expressions(problem) if isinstance(e, ex.Size))
