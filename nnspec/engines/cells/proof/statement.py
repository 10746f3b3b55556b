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
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
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

VERSION = 3
TOLERANCE = Fraction(1, 10**7)
"""Relative amount by which the written objective may differ from the network's: it was computed in floats."""


@dataclass(frozen=True)
class Report:
    """What was proven: no network within reach has an objective below `bound`; one has `objective`.

    reach: unknowns without boxes are at most so many times the size of the data; strict: step and sign neurons have so
    much room at every sample (0: all of them).
    """

    objective: float
    bound: float
    parts: int
    statements: int
    nodes: int
    certificates: int
    reach: float
    strict: float
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def proven_by(self) -> str:
        """What the bound rests on, in words."""
        if self.parts == 0:
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
    problem, strict = read(content["problem"]), number(content["strict"])
    if strict < 0 or (strict > 0 and problem.activation not in THRESHOLD):
        raise EvidenceError("only step and sign neurons are asked for room")
    if problem.kind == "errors" and not content["parts"]:
        objective = incumbent.objective(problem, content["network"])[0]
        return _report(content, objective, halfplanes.check(problem, number(content["bound"])), Counter(), strict)
    counts: Counter[str] = Counter()
    covered: list[tuple[Support, Prover, set[Signs]]] = []
    bounds: list[Fraction] = []
    for part in content["parts"]:
        support = support_of(problem, part)
        prover = prover_of(problem, support, [tuple(s) for s in part["signs"]], strict)
        best = Fraction(0)
        for statement in part["statements"]:
            value = number(statement["value"])
            prover.check(statement["samples"], value, statement["tree"])
            best = max(best, value)
        bounds.append(problem.offset + support.price + problem.scale * best)
        counts += Counter(statements=len(part["statements"]), nodes=prover.nodes, certificates=prover.certificates)
        same = next((s for s in covered if s[0] == support), None)
        if same is None:
            same = (support, prover, set())
            covered.append(same)
        same[2].update(sorted_signs(prover, s) for s in prover.signs)
    for _, prover, signs in covered:
        if not vectors(problem, prover) <= signs:
            raise EvidenceError("the parts leave out signs of the output weights")
    value, needs, constant = incumbent.objective(problem, content["network"])
    alone = any(number(v) != 0 and not any(row) for v, row in zip(content["network"]["v"], needs, strict=True))
    if alone and any(part["support"] is not None for part in content["parts"]):
        raise EvidenceError("a neuron of the network has an output weight and nothing else")
    prices = [s.price for s, _, _ in covered if s.holds(needs, constant)]
    if not prices:
        raise EvidenceError("the network has nonzero weights that no part allows")
    counts["parts"] = len(bounds)
    return _report(content, value + min(prices), min(bounds), counts, strict)


def _report(content: dict[str, Any], objective: Fraction, bound: Fraction, counts: Counter[str], strict: Fraction
            ) -> Report:  # fmt: skip
    """The report, if what the file says of its network and bound is right."""
    if number(content["bound"]) > bound:
        raise EvidenceError(f"claimed bound {content['bound']} but only {float(bound)} is proven")
    if abs(number(content["objective"]) - objective) > TOLERANCE * max(Fraction(1), abs(objective)):
        raise EvidenceError(f"claimed objective {content['objective']}, the network has {float(objective)}")
    return Report(float(objective), float(content["bound"]), counts["parts"], counts["statements"], counts["nodes"],
                  counts["certificates"], float(REACH), float(strict), content["sha256"])  # fmt: skip
