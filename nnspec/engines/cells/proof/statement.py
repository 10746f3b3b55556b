"""An evidence file as a whole: what it says, and that this follows from its parts.

The file (JSON, compressed, with its own SHA-256) holds the training problem (`training`), a network (`incumbent`), a
bound, and parts. A part is about the networks whose nonzero weights lie in a support and whose output weights have one
of some vectors of signs: it has statements (`tree`), each about some of the samples. The loss on some samples is at
most that on all, so with L the largest proven value, offset + price + scale L bounds the objective of these networks
from below. The bound of the file is the least over all parts, if they cover every network:

* Supports. The file lists sets of hidden weights, whether the output bias is among them, and what each set costs;
  without limits on numbers of weights the one set is everything. Whether these are all that the spec allows can only be
  checked against the spec (`spec`).
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
from nnspec.engines.cells.proof.training import REACH, THRESHOLD, Training, read
from nnspec.engines.cells.proof.tree import Prover
from nnspec.tolerances import FEASIBILITY

VERSION = 3
KEPT = Fraction(FEASIBILITY)
"""A limit of the loss counts as kept up to this."""

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
    """Which of (w, b) of each neuron and whether the output bias may be nonzero, and what that costs."""

    hidden: list[list[bool]]
    constant: bool
    price: Fraction

    def holds(self, hidden: list[list[bool]], constant: bool) -> bool:
        """Whether these weights are among those that may be nonzero."""
        inside = all(b or not a for r, s in zip(hidden, self.hidden, strict=True) for a, b in zip(r, s, strict=True))
        return inside and (self.constant or not constant)


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
        return Support([[True] * problem.columns for _ in range(problem.neurons)], True, Fraction(0))
    found = Support([[_flag(v) for v in row] for row in s["hidden"]], _flag(s["constant"]), number(s["price"]))
    if len(found.hidden) != problem.neurons or any(len(row) != problem.columns for row in found.hidden):
        raise EvidenceError("a support has the wrong shape")
    if problem.activation in THRESHOLD or problem.tied:
        raise EvidenceError("weights of step and sign neurons, and tied ones, are not counted")
    if (not found.constant and not _zero_allowed(problem)) or any(o.apart for o in problem.orbits):
        raise EvidenceError("a support leaves out a weight whose box does not contain 0")
    return found


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise EvidenceError(f"{value!r} stands where true or false belongs")
    return value


def _zero_allowed(problem: Training) -> bool:
    return (problem.c_lo is None or problem.c_lo <= 0) and (problem.c_hi is None or problem.c_hi >= 0)


def used_orbits(problem: Training, support: Support) -> tuple[list[int], list[list[bool]]]:
    """The orbits that a support leaves, and which of their weights: others are 0 and leave the problem."""
    free = []
    for orbit in problem.orbits:
        allowed = [orbit.lo[j] != 0 or orbit.hi[j] != 0 for j in range(orbit.columns)]
        for k, places in zip(orbit.members, orbit.places, strict=True):
            for (place, sign), inside in zip(places, support.hidden[k], strict=True):
                allowed[place] &= inside or sign == 0
        free.append(allowed)
    return [o for o, row in enumerate(free) if any(row)], free


def prover_of(problem: Training, support: Support, signs: list[Signs], strict: Fraction) -> Prover:
    """The Prover of a part."""
    used, free = used_orbits(problem, support)
    if any(len(s) != len(used) or any(v not in (1, -1) for v in s) for s in signs):
        raise EvidenceError("a vector of signs has the wrong shape")
    constant = problem.output_bias and support.constant
    return Prover(Bounds(problem, used, [free[o] for o in used], constant), signs, strict)


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
    value, needs, constant = incumbent.objective(problem, content["network"])
    alone = any(number(v) != 0 and not any(row) for v, row in zip(content["network"]["v"], needs, strict=True))
    if alone and any(part["support"] is not None for part in content["parts"]):
        raise EvidenceError("a neuron of the network has an output weight and nothing else")
    prices = [c.support.price for c in covered if c.support.holds(needs, constant)]
    if not prices:
        raise EvidenceError("the network has nonzero weights that no part allows")
    return _report(content, value + min(prices), min(c.bound for c in covered), counts, strict)


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
    if len(reports) < len(content["cases"]) or not reports or any(r.excluded is not None for r in reports):
        raise EvidenceError("a case is no proof of a bound")
    objectives = [r.objective for r in reports if r.objective is not None]
    parts, statements, nodes, certificates = (sum(getattr(r, name) for r in reports) for name in
                                              ("parts", "statements", "nodes", "certificates"))  # fmt: skip
    return Report(min(objectives), min(r.bound for r in reports), parts, statements, nodes, certificates,
                  max(r.reach for r in reports), max(r.strict for r in reports), content["sha256"],
                  cases=len(reports))  # fmt: skip


def _report(content: dict[str, Any], objective: Fraction, bound: Fraction, counts: Counter[str], strict: Fraction
            ) -> Report:  # fmt: skip
    """The report, if what the file says of its network and bound is right."""
    if number(content["bound"]) > bound:
        raise EvidenceError(f"claimed bound {content['bound']} but only {float(bound)} is proven")
    if abs(number(content["objective"]) - objective) > TOLERANCE * max(Fraction(1), abs(objective)):
        raise EvidenceError(f"claimed objective {content['objective']}, the network has {float(objective)}")
    return Report(float(objective), float(content["bound"]), counts["parts"], counts["statements"], counts["nodes"],
                  counts["certificates"], float(REACH), float(strict), content["sha256"])  # fmt: skip
