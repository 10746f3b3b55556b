"""Whether the problem inside an evidence file is that of a spec, read from the Problem here once more.

What is compared: the network's shape, activation and boxes, the data, the loss and the penalties; anything else in the
Problem makes it another one. Objective and constraints are also judged at the file's network and at some more by
`nnspec.problem.evaluate`, against the file's own formulas, so that a misreading of a loss or a penalty would show.

Limits on numbers of weights: every set of nonzero weights that the spec allows, by the judge's own counts, must lie in
a support of the file that costs no more. As all counts have coefficients >= 0, sets in which a neuron has hidden
weights or (but for step and sign) an output weight alone need not be looked at: without them the network is the same
and no count is larger. Weights whose boxes do not contain 0 are in every set, tied ones are nonzero together.

Fewest weights under a limit of the loss: the file's formula is loss - limit, read from the constraint, and every set
that costs less than the bound must lie in one of its supports, all of which are above the limit.

An enforced symmetry: the cases are those of `nnspec.symmetry.expand`, and each must have a proof, with its ties.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from nnspec.engines.cells.proof import incumbent
from nnspec.engines.cells.proof.exact import EvidenceError, number
from nnspec.engines.cells.proof.orbits import Entries, Orbit, away, entries_of, nothing
from nnspec.engines.cells.proof.statement import Support, bits, support_of
from nnspec.engines.cells.proof.training import THRESHOLD, Training, read
from nnspec.problem import evaluate, losses
from nnspec.problem import expression as ex
from nnspec.problem.network import Layer, Network, Parameter
from nnspec.problem.problem import Constraint, Point, Problem
from nnspec.reductions.structure import penalties
from nnspec.symmetry import enforced, expand
from nnspec.tolerances import FEASIBILITY

MARGINS = ("hinge", "squared_hinge", "errors")
COUNTS = ("l0", "neurons", "inputs")
MOST_SETS = 200_000
"""Sets of nonzero weights that are looked at one by one."""

AGREEMENT = 1e-9
"""Relative difference of the judge's values from the file's, which are computed exactly."""


def compare(content: dict[str, Any], problem: Problem) -> tuple[str, ...]:
    """Notes on the comparison. Raises EvidenceError if the file is about another problem."""
    contents = content.get("cases", [content])
    if not enforced(problem):
        if len(contents) != 1:
            raise _other("it is about several cases of an enforced symmetry")
        return _compare(contents[0], problem)
    cases, notes = [case.plain for case in expand(problem)], list[str]()
    if len(contents) != len(cases):
        raise _other(f"its symmetry stands for {len(cases)} cases, and there are {len(contents)} in the file")
    known = [(read(one["problem"]).entries, one) for one in contents]
    for case in cases:
        wanted = _entries(case, _chain(case, _asked(case, bool(contents[0]["least"])).network))
        found = next((one for entries, one in known if entries == wanted), None)
        if found is None:
            raise _other("a case of its symmetry is left out")
        notes += _compare(found, case)
    return tuple(dict.fromkeys(notes))


def _compare(content: dict[str, Any], problem: Problem) -> tuple[str, ...]:
    """The same for one case."""
    file = read(content["problem"])
    asked = _asked(problem, content["least"])
    chain = _chain(problem, asked.network)
    _same(content["problem"], file, problem, chain, asked)
    if not all(_limit(c.expression, asked.network.name) for c in asked.limits):
        raise _other("it has constraints")
    supports = [support_of(file, part) for part in content["parts"]]
    if not content["parts"] and not content["least"]:
        supports = [support_of(file, {"support": None})]
    cheaper = _supports(file, problem, asked, chain, supports, content)
    _judge(content, file, problem, chain, asked)
    notes = []
    if content["least"]:
        found = "no network keeps the limit" if content["network"] is None else \
            f"objective {content['objective']:.9g}, bound {content['bound']:.9g}"  # fmt: skip
        which = "the spec allows" if content["network"] is None else "cost less"
        notes.append(f"{found}: all {cheaper:,} sets of nonzero weights that {which} lie in those that are excluded")
    hashes = dict(problem.hashes)
    if content.get("hashes") is not None and hashes and content["hashes"] != hashes:
        notes.append("it was written for files that have changed since, but not in what they ask for")
    return tuple(notes)


def _other(what: str) -> EvidenceError:
    return EvidenceError(f"it is no proof about this spec: {what}")


@dataclass(frozen=True)
class _Asked:
    """factor * loss + constant is what the file bounds: the objective less its counts, or, with fewest weights, what a
    constraint keeps <= 0; its value is that of `formula` less the prices (if they are in it). fixed: what the
    objective has besides its prices in the latter case. limits: the other constraints."""

    network: Network
    loss: ex.Loss
    factor: float
    constant: float
    formula: ex.Expression
    prices: list[tuple[float, ex.Size]]
    fixed: float
    limits: tuple[Constraint, ...]
    least: bool

    def value(self, problem: Problem, point: Point) -> float:
        whole = evaluate.value(problem, point, self.formula)
        return whole if self.least else whole - sum(c * evaluate.size(problem, point, t) for c, t in self.prices)


def _asked(problem: Problem, least: bool) -> _Asked:
    """What the spec asks for, if the file may be about it."""
    e = problem.objective.expression
    if problem.objective.sense != "minimize" or e is None or problem.variables:
        raise _other("it does not minimise a loss")
    formula, limits = e, problem.constraints
    if least:
        found = [(c, d) for c in problem.constraints if (d := _loss_below(c.expression)) is not None]
        if len(found) != 1:
            raise _other("it does not limit one loss")
        formula = found[0][1]
        limits = tuple(c for c in problem.constraints if c is not found[0][0])
    constant, terms = ex.linear_terms(formula)
    losses_of = [(c, t) for c, t in terms if isinstance(t, ex.Loss)]
    others = [(c, t) for c, t in terms if not isinstance(t, ex.Loss)]
    fixed = 0.0
    if least:
        fixed, others = ex.linear_terms(e)
    if len(losses_of) != 1 or not losses_of[0][0] > 0:
        raise _other("its objective is not one loss")
    factor, loss = losses_of[0]
    network = problem.networks[loss.network]
    if any(other.free for other in problem.networks.values() if other.name != network.name):
        raise _other("it trains several networks")
    prices = []
    for c, t in others:
        if not isinstance(t, ex.Size) or t.network != network.name or c < 0 or t.kind not in ("l2", *COUNTS):
            raise _other("its objective has further terms")
        if t.kind != "l2":
            prices.append((c, t))
        elif t.neuron is not None or least:
            raise _other("its objective has further terms")
    return _Asked(network, loss, factor, constant, formula, prices, fixed, limits, least)


def _loss_below(e: ex.Expression) -> ex.Expression | None:
    """What a constraint keeps <= 0, if it is a multiple of a loss plus a constant."""
    if not isinstance(e, ex.Comparison) or e.operator not in ("<=", ">="):
        return None
    small, large = (e.left, e.right) if e.operator == "<=" else (e.right, e.left)
    difference = ex.Sum((small, ex.Product((ex.Constant(-1.0), large))))
    terms = ex.linear_terms(difference)[1]
    return difference if len(terms) == 1 and isinstance(terms[0][1], ex.Loss) and terms[0][0] > 0 else None


def _chain(problem: Problem, network: Network) -> tuple[Layer, Layer]:
    chain = network.chain()
    if chain is None or len(chain) != 2 or any(layer.kind != "dense" for layer in chain):
        raise _other("the network has other layers")
    return chain[0], chain[1]


def _same(p: dict[str, Any], file: Training, problem: Problem, chain: tuple[Layer, Layer], asked: _Asked) -> None:
    """Compare all that is data."""
    (hidden, output), loss, factor, constant = chain, asked.loss, asked.factor, asked.constant
    if hidden.weights is None or output.weights is None or output.activation.kind != "linear" or output.size != 1:
        raise _other("the network has other layers")
    zero = np.zeros((hidden.size, 1))
    boxes = {
        "lo": np.hstack([hidden.weights.lo, zero if hidden.bias is None else hidden.bias.lo.reshape(-1, 1)]),
        "hi": np.hstack([hidden.weights.hi, zero if hidden.bias is None else hidden.bias.hi.reshape(-1, 1)]),
        "out_lo": output.weights.lo[0], "out_hi": output.weights.hi[0],
        "c_lo": 0.0 if output.bias is None else output.bias.lo[0],
        "c_hi": 0.0 if output.bias is None else output.bias.hi[0],
    }  # fmt: skip
    for q in (hidden.weights, hidden.bias, output.weights, output.bias):
        if q is not None and q.free and q.kind != "real":
            raise _other(f"{q.name} has another domain")
    data, total = problem.data[loss.data], penalties(problem, "l2")

    def decay(q: Parameter | None) -> float:
        return 0.0 if q is None else total.get(q.name, 0.0) / factor

    y = data.y[:, 0].astype(float)
    weights = np.ones(data.samples) if data.weights is None else np.asarray(data.weights, dtype=float)
    if loss.kind in MARGINS:
        y = losses.signs(y)
    if loss.kind in ("mse", "mae"):
        weights = weights / weights.sum()
    if loss.kind == "max_error":
        weights = np.ones(data.samples)
    wanted: dict[str, tuple[object, object]] = {
        "activation": (p["activation"], hidden.activation.kind), "loss": (file.kind, loss.kind),
        "inputs": (p["x"], np.asarray(data.x, dtype=float).tolist()), "targets": (p["y"], y.tolist()),
        "multiplicities": (p["weights"], weights.tolist()),
        "hidden biases": (file.biased, hidden.bias is not None),
        "output bias": (file.output_bias, output.bias is not None),
        "weight decay": (p["decay"], {
            "hidden": [[decay(hidden.weights)] * data.x.shape[1] + [decay(hidden.bias)]] * hidden.size,
            "output": [decay(output.weights)] * hidden.size, "constant": decay(output.bias)}),
        "scale of the objective": (p["scale"], factor), "constant of the objective": (p["offset"], constant),
    }  # fmt: skip
    if hidden.activation.kind == "leaky_relu":
        wanted["slope"] = (p["alpha"], hidden.activation.alpha)
    if loss.kind == "pinball":
        wanted["quantile"] = (p["quantile"], 0.5 if loss.q is None else loss.q)
    if loss.kind == "huber":
        wanted["delta"] = (p["delta"], 1.0 if loss.delta is None else loss.delta)
    if loss.kind in MARGINS:
        wanted["margin"] = (p["margin"], losses.default_margin(loss.kind) if loss.margin is None else loss.margin)
    wanted["ties"] = (file.entries, _entries(problem, (hidden, output)))
    wanted["ranges of weights"] = ([p[name] for name in boxes], [_limits(box) for box in boxes.values()])
    different = [name for name, (inside, outside) in wanted.items() if inside != outside]
    if different:
        raise _other(f"{', '.join(different)} {'differ' if len(different) > 1 else 'differs'}")


def _entries(problem: Problem, chain: tuple[Layer, Layer]) -> Entries | None:
    """What the spec's ties say of the entries of a file (see `orbits`); None if they are about others."""
    hidden, output = chain
    assert hidden.weights is not None
    assert output.weights is not None
    count, d = hidden.weights.shape
    places: dict[tuple[str, int], int] = {}
    for k in range(count):
        places |= {(hidden.weights.name, k * d + j): k * (d + 1) + j for j in range(d)}
        places[output.weights.name, k] = count * (d + 1) + k
        if hidden.bias is not None:
            places[hidden.bias.name, k] = k * (d + 1) + d
    if output.bias is not None:
        places[output.bias.name, 0] = count * (d + 2)
    return entries_of(problem.ties, places, count * (d + 2) + 1)


def _limits(a: Any) -> Any:
    if np.ndim(a) == 0:
        return None if np.isinf(a) else float(a)
    return [_limits(v) for v in a]


def _limit(e: ex.Expression, network: str) -> bool:
    """Whether a constraint is an upper limit on counts of the network."""
    if not isinstance(e, ex.Comparison) or e.operator not in ("<=", ">="):
        return False
    small, large = (e.left, e.right) if e.operator == "<=" else (e.right, e.left)
    left, right = ex.linear_terms(small)[1], ex.linear_terms(large)[1]
    terms = [*left, *((-c, t) for c, t in right)]
    return all(isinstance(t, ex.Size) and t.kind in COUNTS and t.network == network and c >= 0 for c, t in terms)


def _point(file: Training, chain: tuple[Layer, Layer], w: np.ndarray, v: np.ndarray, c: float) -> Point:
    """Hidden weights and biases (H, d + 1), output weights (H,) and bias as a Point."""
    hidden, output = chain
    assert hidden.weights is not None
    assert output.weights is not None
    whole = ((hidden.weights, w[:, :-1].copy()), (hidden.bias, w[:, -1].copy()), (output.weights, v[None, :].copy()),
             (output.bias, np.array([c])))  # fmt: skip
    return Point({q.name: value for q, value in whole if q is not None and q.free}, {})


def _supports(file: Training, problem: Problem, asked: _Asked, chain: tuple[Layer, Layer], supports: list[Support],
              content: dict[str, Any]) -> int:  # fmt: skip
    """Check that the supports of the file are enough, see the module's docstring; how many sets had to lie in them."""
    network = asked.network
    sizes = [t for c in asked.limits for side in (c.expression.left, c.expression.right)  # type: ignore[attr-defined]
             for _, t in ex.linear_terms(side)[1]] + [t for _, t in asked.prices]  # fmt: skip
    budgets = [(None, network.l0), *((layer.name, layer.l0) for layer in network.layers)]
    sets = [_sets(file, orbit) for orbit in file.orbits]
    constants = [on for on in (True, False) if not (nothing if on else away)(file.c_lo, file.c_hi)]
    if not asked.least and not sizes and all(b is None for _, b in budgets):
        whole = [(tuple(j for j in range(o.columns) if not nothing(o.lo[j], o.hi[j])),
                  not nothing(o.out_lo, o.out_hi)) for o in file.orbits]  # fmt: skip
        mask = bits(*_weights(file, whole), constants[0])
        if not any(s.price <= 0 and mask & ~s.mask == 0 for s in supports):
            raise _other("there are limits on numbers of weights in the proof, and none in the spec")
        return 1
    equal = not file.tied and all(o.alike(file.orbits[0]) for o in file.orbits)
    alike = equal and all(getattr(t, "neuron", None) is None for t in sizes)
    # counts of single neurons make their sets different, but not what the loss on them can be
    count = file.neurons
    orders = list(itertools.permutations(range(count))) if alike or (equal and asked.least) else [tuple(range(count))]
    if 2 * float(np.prod([len(s) for s in sets])) > MOST_SETS:
        raise EvidenceError("the spec allows too many sets of nonzero weights to look at each")
    known = [(s.price, s.mask) for s in supports]
    most, needed = Fraction(1) + Fraction(1, 10**12), 0
    for chosen in itertools.combinations_with_replacement(sets[0], count) if alike else itertools.product(*sets):
        hidden, outputs = _weights(file, list(chosen))
        for constant in constants:
            point = _point(file, chain, np.array(hidden, dtype=float), np.array(outputs, dtype=float), float(constant))
            if any(b is not None and evaluate.nonzeros(network, point, name) > b for name, b in budgets):
                continue
            if any(evaluate.violation(problem, point, c.expression) > 0 for c in asked.limits):
                continue
            price = asked.fixed + sum(c * evaluate.size(problem, point, t) for c, t in asked.prices)
            if asked.least and content["bound"] is not None and Fraction(price) * most >= number(content["bound"]):
                continue
            needed += 1
            masks = {bits([hidden[k] for k in order], [outputs[k] for k in order], constant) for order in orders}
            if not any(mask & ~whole == 0 and (asked.least or limit <= Fraction(price) * most)
                       for limit, whole in known for mask in masks):  # fmt: skip
                raise _other("it allows nonzero weights that the proof leaves out")
    return needed


Set = tuple[tuple[int, ...], bool]  # the weights t of an orbit that are nonzero, and whether its output weight is


def _sets(file: Training, orbit: Orbit) -> list[Set]:
    """The sets of an orbit that have to be looked at, see the module's docstring."""
    columns = range(orbit.columns)
    always = [j for j in columns if away(orbit.lo[j], orbit.hi[j])]
    others = [j for j in columns if j not in always and not nothing(orbit.lo[j], orbit.hi[j])]
    needed, possible = away(orbit.out_lo, orbit.out_hi), not nothing(orbit.out_lo, orbit.out_hi)
    alone = needed or file.activation in THRESHOLD  # an output weight by itself does something, or has to be
    found: list[Set] = [] if needed else [(tuple(always), False)]
    for n in range(len(others) + 1) if possible else ():
        inner = (tuple(sorted((*always, *s))) for s in itertools.combinations(others, n))
        found += [(s, True) for s in inner if s or alone]
    return found


def _weights(file: Training, sets: list[Set]) -> tuple[list[list[bool]], list[bool]]:
    """Which of (w, b) and of the output weights of all neurons are nonzero."""
    hidden, outputs = [[False] * file.columns for _ in range(file.neurons)], [False] * file.neurons
    for orbit, (inner, used) in zip(file.orbits, sets, strict=True):
        for k, places in zip(orbit.members, orbit.places, strict=True):
            hidden[k], outputs[k] = [sign != 0 and place in inner for place, sign in places], used
    return hidden, outputs


def _judge(content: dict[str, Any], file: Training, problem: Problem, chain: tuple[Layer, Layer], asked: _Asked
           ) -> None:  # fmt: skip
    """Compare the file's formulas with the judge's, at the file's network and at random ones."""
    inside = content["network"]
    if inside is not None:
        w, v, c = np.array(inside["hidden"], dtype=float), np.array(inside["v"], dtype=float), float(inside["c"])
        point = _point(file, chain, w, v, c)
        if evaluate.violations(problem, point, FEASIBILITY):
            raise _other("its network breaks a limit")
        value = evaluate.objective(problem, point)
        if abs(value - content["objective"]) > 1e-7 * max(1.0, abs(value)):
            raise _other(f"the network's objective is {value}")
        value = asked.value(problem, point)
        rest, *_ = incumbent.objective(file, inside)
        if abs(value - float(rest)) > 1e-7 * max(1.0, abs(value)):
            raise _other("the objective is another function")
    r = np.random.RandomState(1)
    for _ in range(3):
        w, v = np.zeros((file.neurons, file.columns)), np.zeros(file.neurons)
        for orbit in file.orbits:
            t = [_inside(r, *pair) for pair in zip(orbit.lo, orbit.hi, strict=True)]
            n = _inside(r, orbit.out_lo, orbit.out_hi)
            for k, places, e in zip(orbit.members, orbit.places, orbit.turned, strict=True):
                w[k], v[k] = [sign * t[place] for place, sign in places], e * n
        c = _inside(r, file.c_lo, file.c_hi)
        point = _point(file, chain, w, v, c)
        value = asked.value(problem, point)
        own, *_ = incumbent.objective(file, {"hidden": w.tolist(), "v": v.tolist(), "c": c})
        if abs(value - float(own)) > AGREEMENT * max(1.0, abs(value)):
            raise _other("the objective is another function")


def _inside(r: np.random.RandomState, low: Fraction | None, high: Fraction | None) -> float:
    """A number from the box or, where it is large, from the part of it next to [-1, 1]."""
    a = -1.0 if low is None else max(float(low), min(-1.0, float(high) if high is not None else -1.0))
    b = 1.0 if high is None else min(float(high), max(1.0, float(low) if low is not None else 1.0))
    return float(r.uniform(a, b)) if a < b else a
