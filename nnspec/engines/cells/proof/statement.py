"""An evidence file as a whole: what it says, and that this follows from its parts.

The file (JSON, compressed, with its own SHA-256) holds the training problem (`training`), a network (`incumbent`), a
bound, and parts. A part is about the networks whose nonzero weights lie in a support and whose output weights have one
of some vectors of signs: it has statements (`tree`), each about some of the samples. The loss on some samples is at
most that on all, so with L the largest proven value, offset + price + scale L bounds the objective of these networks
from below. The bound of the file is the least over all parts, if they cover every network:

* Supports. The file lists sets of weights that may be nonzero, and what each set costs;
  without limits on numbers of weights the one set is everything. Whether these are all that the spec allows, and what
  exactly the network costs, can only be checked against the spec (`spec`).
* Signs. Neurons may have both signs, those allowed by their boxes. Exchanging two neighbours with equal boxes changes
  nothing, so of the vectors that differ by that one is enough. hardtanh is odd: in boxes that are symmetric about 0 a
  negative output weight is not needed. For step and sign the output weight is itself an unknown of both signs, and
  there is one vector. v = 0 goes with every sign. All of this is about orbits of neurons, where weights are tied.

For fewest errors on the plane there may be no parts: the bound is checked by enumeration (`halfplanes`).

*Fewest weights under a limit of the loss* (`least`): offset + scale * loss has to be <= 0, which counts as kept up to
KEPT. Each support of the file is one whose networks are all above that, by the same statements; it excludes all sets of
nonzero weights inside of it, up to exchanges of neurons with equal boxes. The network has to keep the limit. What it
costs, and that every cheaper set is excluded, is checked against the spec (`spec`). Without a network every set is.

*Several cases*: an enforced symmetry stands for several problems, one for each way in which the group acts on the
hidden neurons. The file then holds a proof of each; the least objective and the least bound count. That these are all
cases is checked against the spec.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from nnspec.engines.cells.proof import halfplanes, incumbent
from nnspec.engines.cells.proof.bounds import Bounds, Signs
from nnspec.engines.cells.proof.exact import EvidenceError, number
from nnspec.engines.cells.proof.orbits import Limit, away, nothing
from nnspec.engines.cells.proof.training import REACH, THRESHOLD, Training, read
from nnspec.engines.cells.proof.tree import Prover
from nnspec.tolerances import FEASIBILITY

VERSION = 3
KEPT = Fraction(FEASIBILITY)
"""A limit of the loss counts as kept up to this."""

EXCHANGED = 6
"""More neurons than this are not exchanged to find the support of the network."""

ROUNDING = Fraction(1, 10**12)
"""How far the loss of a network that keeps it was rounded, relative to the limit."""

TOLERANCE = Fraction(1, 10**7)
"""Relative amount by which the written objective may differ from the network's: it was computed in floats."""


@dataclass(frozen=True)
class Report:
    """What was proven: no network within reach has an objective below `bound`; one has `objective`.

    reach: unknowns without boxes are at most so many times the size of the data; strict: step and sign neurons have so
    much room at every sample (0: all of them). excluded: with fewest weights the number of supports whose networks are
    above the limit of the loss; objective and bound are then the file's until it is compared with a spec, None and
    infinite if no network keeps the limit.
    """

    objective: float | None
    bound: float
    parts: int
    statements: int
    nodes: int
    certificates: int
    reach: float
    strict: float
    digest: str
    excluded: int | None = None
    cases: int = 1
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole of it in words."""
        recomputed = "recomputed in exact arithmetic"
        if self.excluded is not None:
            found = () if self.objective is None else (f"the network inside keeps the limit of the loss, {recomputed}",)
            sets = f"{self.excluded} set{'' if self.excluded == 1 else 's'} of nonzero weights"
            return (*found, f"{sets} cannot keep the limit of the loss, {self.proven_by}", *self.claims)
        cases = f" of {self.cases} cases" if self.cases > 1 else ""
        return (f"objective {self.objective:.9g} of the network inside, {recomputed}",
                f"bound {self.bound:.9g}{cases}, {self.proven_by}", *self.claims)  # fmt: skip

    @property
    def proven_by(self) -> str:
        """What the bound rests on, in words."""
        if self.parts == 0 and self.excluded is None:
            return "proven by enumeration of all pairs of half-planes"
        return f"proven by {self.certificates:,} certificates, {self.nodes:,} nodes"

    @property
    def claims(self) -> tuple[str, ...]:
        """Which networks the bound speaks of, if not of all."""
        if self.parts == 0:
            return ()
        lines = [f"weights count up to {self.reach:,.0f} times the size of the data"]
        if self.strict > 0:
            lines.append(f"step and sign neurons leave each sample {self.strict:g} of the data's size on its side")
        return tuple(lines)


@dataclass(frozen=True)
class Support:
    """Which of (w, b) and of the output weights of all neurons, and whether the output bias, may be nonzero, and what
    that costs."""

    hidden: list[list[bool]]
    outputs: list[bool]
    constant: bool
    price: Fraction

    @property
    def mask(self) -> int:
        """All of it as bits."""
        return bits(self.hidden, self.outputs, self.constant)


def bits(hidden: list[list[bool]], outputs: list[bool], constant: bool) -> int:
    """A set of weights as bits."""
    whole = (*(v for row in hidden for v in row), *outputs, constant)
    return sum(1 << e for e, on in enumerate(whole) if on)


def digest(content: dict) -> str:  # type: ignore[type-arg]
    """SHA-256 of the content without its own digest."""
    body = {k: v for k, v in content.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load(path: str | Path) -> dict[str, Any]:
    """The content of a file, unchanged since it was written."""
    try:
        content = json.loads(gzip.decompress(Path(path).read_bytes()))
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as e:
        raise EvidenceError(f"not a readable evidence file: {e}") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise EvidenceError("not an evidence file of this version")
    if content.get("sha256") != digest(content):
        raise EvidenceError("the file was changed after it was written")
    return content


def support_of(problem: Training, part: dict) -> Support:  # type: ignore[type-arg]
    """The support of a part; null is everything."""
    s = part["support"]
    if s is None:
        count = problem.neurons
        return Support([[True] * problem.columns for _ in range(count)], [True] * count, True, Fraction(0))
    found = Support([[_flag(v) for v in row] for row in s["hidden"]], [_flag(v) for v in s["outputs"]],
                    _flag(s["constant"]), number(s["price"]))  # fmt: skip
    if len(found.hidden) != problem.neurons or any(len(row) != problem.columns for row in found.hidden) \
            or len(found.outputs) != problem.neurons:  # fmt: skip
        raise EvidenceError("a support has the wrong shape")
    left_out = [(problem.c_lo, problem.c_hi)] if not found.constant else []
    for k in range(problem.neurons):
        own = [*zip(problem.lo[k], problem.hi[k], strict=True), (problem.out_lo[k], problem.out_hi[k])]
        left_out += [box for box, inside in zip(own, (*found.hidden[k], found.outputs[k]), strict=True) if not inside]
    if any(away(*box) for box in left_out):
        raise EvidenceError("a support leaves out a weight whose box does not contain 0")
    return found


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise EvidenceError(f"{value!r} stands where true or false belongs")
    return value


@dataclass(frozen=True)
class Left:
    """What a support leaves of the problem: the orbits that are used, which of their weights may be nonzero (a row for
    each), and the range of the output bias and of what step and sign neurons without inputs add to it."""

    used: list[int]
    free: list[list[bool]]
    constants: list[tuple[Limit, Limit]]


def left_by(problem: Training, support: Support) -> Left:
    """Neurons without an output weight, or without (w, b), are 0 and leave the problem. step and sign neurons without
    inputs are constants: 1, or what both sides are if their bias may be nonzero."""
    found = Left([], [], [(problem.c_lo, problem.c_hi)] if support.constant else [])
    for o, orbit in enumerate(problem.orbits):
        allowed = [not nothing(orbit.lo[j], orbit.hi[j]) for j in range(orbit.columns)]
        for k, places in zip(orbit.members, orbit.places, strict=True):
            for (place, sign), inside in zip(places, support.hidden[k], strict=True):
                allowed[place] &= inside or sign == 0
        if nothing(orbit.out_lo, orbit.out_hi) or not all(support.outputs[k] for k in orbit.members):
            continue
        biases = {places[-1][0] for places in orbit.places}
        if problem.activation not in THRESHOLD or any(a for j, a in enumerate(allowed) if j not in biases):
            if problem.activation in THRESHOLD and not all(allowed[j] for j in biases):
                raise EvidenceError("a support leaves out the bias of a step or sign neuron")
            if any(allowed):
                found.used.append(o)
                found.free.append(allowed)
            continue
        for e, places in zip(orbit.turned, orbit.places, strict=True):
            low, high = (orbit.out_lo, orbit.out_hi) if e > 0 else _negative(orbit.out_lo, orbit.out_hi)
            if allowed[places[-1][0]]:
                other = _negative(low, high) if problem.activation == "sign" else (Fraction(0), Fraction(0))
                low = None if low is None or other[0] is None else min(low, other[0])
                high = None if high is None or other[1] is None else max(high, other[1])
            found.constants.append((low, high))
    return found


def _negative(low: Limit, high: Limit) -> tuple[Limit, Limit]:
    return None if high is None else -high, None if low is None else -low


def prover_of(problem: Training, support: Support, signs: list[Signs], strict: Fraction) -> Prover:
    """The Prover of a part."""
    left = left_by(problem, support)
    if any(len(s) != len(left.used) or any(v not in (1, -1) for v in s) for s in signs):
        raise EvidenceError("a vector of signs has the wrong shape")
    return Prover(Bounds(problem, left.used, left.free, left.constants, support.constant), signs, strict)


def vectors(problem: Training, prover: Prover) -> set[Signs]:
    """Sign vectors that must be covered, one of each class of those that differ by exchanges."""
    orbits = prover.bounds.orbits
    if problem.activation in THRESHOLD:
        return {(1,) * len(orbits)}
    choices = []
    for orbit in orbits:
        odd = problem.activation == "hardtanh" and orbit.one_sided
        low, high = orbit.out_lo, orbit.out_hi
        sides = ([1] if high is None or high > 0 else []) + ([-1] if not odd and (low is None or low < 0) else [])
        choices.append(sides or [1])
    return {sorted_signs(prover, s) for s in itertools.product(*choices)}


def sorted_signs(prover: Prover, signs: Signs) -> Signs:
    """The signs with those of neighbours that are equal in order."""
    orbits, free = prover.bounds.orbits, prover.bounds.free
    result: list[int] = []
    run: list[int] = []
    for o, s in enumerate(signs):
        if o > 0 and not (orbits[o].alike(orbits[o - 1]) and free[o] == free[o - 1]):
            result, run = result + sorted(run), []
        run.append(s)
    return tuple(result + sorted(run))


def check(content: dict[str, Any]) -> Report:
    """Check the content of a file, which is the user's in nothing but its digest."""
    try:
        return _check(content)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError) as e:
        raise EvidenceError(f"the file is incomplete: {type(e).__name__} {e}") from None


def _check(content: dict[str, Any]) -> Report:
    if "cases" in content:
        return _cases(content)
    problem, strict, least = read(content["problem"]), number(content["strict"]), _flag(content["least"])
    if strict < 0 or (strict > 0 and problem.activation not in THRESHOLD):
        raise EvidenceError("only step and sign neurons are asked for room")
    if problem.kind == "errors" and not content["parts"] and not least:
        objective = incumbent.objective(problem, content["network"])[0]
        return _report(content, objective, halfplanes.check(problem, number(content["bound"])), Counter(), strict)
    counts: Counter[str] = Counter(parts=len(content["parts"]))
    covered = _covered(content, problem, strict, counts)
    if least:
        return _least(content, problem, covered, counts, strict)
    value, hidden, outputs, constant = incumbent.objective(problem, content["network"])
    orders = [tuple(range(problem.neurons))]
    if not problem.tied and all(o.alike(problem.orbits[0]) for o in problem.orbits) and problem.neurons <= EXCHANGED:
        orders = list(itertools.permutations(orders[0]))
    needs = [bits([hidden[k] for k in order], [outputs[k] for k in order], constant) for order in orders]
    prices = [c.support.price for c in covered if any(mask & ~c.support.mask == 0 for mask in needs)]
    if not prices:
        raise EvidenceError("the network has nonzero weights that no part allows")
    claimed = number(content["objective"])
    price = min(prices, key=lambda p: abs(value + p - claimed))
    return _report(content, value + price, min(c.bound for c in covered), counts, strict)


@dataclass
class _Covered:
    """What is proven of one support, for all signs of output weights in the end."""

    support: Support
    prover: Prover
    signs: set[Signs]
    bound: Fraction


def _covered(content: dict[str, Any], problem: Training, strict: Fraction, counts: Counter[str]) -> list[_Covered]:
    """The supports of the parts, each with the least bound of its parts."""
    covered: list[_Covered] = []
    for part in content["parts"]:
        support = support_of(problem, part)
        prover = prover_of(problem, support, [tuple(s) for s in part["signs"]], strict)
        best = Fraction(0)
        for statement in part["statements"]:
            value = number(statement["value"])
            prover.check(statement["samples"], value, statement["tree"])
            best = max(best, value)
        bound = problem.offset + support.price + problem.scale * best
        counts += Counter(statements=len(part["statements"]), nodes=prover.nodes, certificates=prover.certificates)
        same = next((c for c in covered if c.support == support), None)
        if same is None:
            same = _Covered(support, prover, set(), bound)
            covered.append(same)
        same.bound = min(same.bound, bound)
        same.signs.update(sorted_signs(prover, s) for s in prover.signs)
    if any(not vectors(problem, c.prover) <= c.signs for c in covered):
        raise EvidenceError("the parts leave out signs of the output weights")
    return covered


def _least(content: dict[str, Any], problem: Training, covered: list[_Covered], counts: Counter[str],
           strict: Fraction) -> Report:  # fmt: skip
    """The report on fewest weights under a limit of the loss."""
    if problem.kind == "errors":
        raise EvidenceError("weights are not counted under a limit of errors")
    if any(c.support.price != 0 for c in covered):
        raise EvidenceError("a set of nonzero weights has a price of its own in a limit of the loss")
    if any(c.bound <= KEPT for c in covered):
        raise EvidenceError("a set of nonzero weights is not shown to break the limit of the loss")
    objective, bound = None, math.inf
    if content["network"] is not None:
        value = incumbent.objective(problem, content["network"])[0]
        if value > KEPT + ROUNDING * max(Fraction(1), abs(problem.offset)):
            raise EvidenceError(f"the network breaks the limit of the loss by {float(value)}")
        objective, bound = float(number(content["objective"])), float(number(content["bound"]))
        if bound > objective:
            raise EvidenceError("the bound is above the objective")
    elif content["objective"] is not None or content["bound"] is not None:
        raise EvidenceError("there is an objective and no network")
    return Report(objective, bound, counts["parts"], counts["statements"], counts["nodes"], counts["certificates"],
                  float(REACH), float(strict), content["sha256"], len(covered))  # fmt: skip


def _cases(content: dict[str, Any]) -> Report:
    """The report on all cases of a file together."""
    reports = [_check(one) for one in content["cases"] if "cases" not in one]
    excluded = [r.excluded for r in reports if r.excluded is not None]
    if len(reports) < len(content["cases"]) or not reports or 0 < len(excluded) < len(reports):
        raise EvidenceError("the cases are not of one kind")
    objectives = [r.objective for r in reports if r.objective is not None]
    parts, statements, nodes, certificates = (sum(getattr(r, name) for r in reports) for name in
                                              ("parts", "statements", "nodes", "certificates"))  # fmt: skip
    return Report(min(objectives, default=None), min(r.bound for r in reports), parts, statements, nodes, certificates,
                  max(r.reach for r in reports), max(r.strict for r in reports), content["sha256"],
                  sum(excluded) if excluded else None, len(reports))  # fmt: skip


def _report(content: dict[str, Any], objective: Fraction, bound: Fraction, counts: Counter[str], strict: Fraction
            ) -> Report:  # fmt: skip
    """The report, if what the file says of its network and bound is right."""
    if number(content["bound"]) > bound:
        raise EvidenceError(f"claimed bound {content['bound']} but only {float(bound)} is proven")
    if abs(number(content["objective"]) - objective) > TOLERANCE * max(Fraction(1), abs(objective)):
        raise EvidenceError(f"claimed objective {content['objective']}, the network has {float(objective)}")
    return Report(float(objective), float(content["bound"]), counts["parts"], counts["statements"], counts["nodes"],
                  counts["certificates"], float(REACH), float(strict), content["sha256"])  # fmt: skip
