"""The chain of reductions: each is applied where its theorem allows it, and says what it did or why not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnspec.problem.problem import Problem
from nnspec.reductions.bounds import PenaltyBounds
from nnspec.reductions.dead import DeadNeurons
from nnspec.reductions.decay import Decay
from nnspec.reductions.duplicates import Duplicates
from nnspec.reductions.inputs import ConstantInputs
from nnspec.reductions.interface import Case, Reduced, Reduction, compose, identity
from nnspec.reductions.linear import LinearLayers
from nnspec.reductions.scaling import Scaling
from nnspec.reductions.touching import Touching
from nnspec.symmetry import enforced, expand

CHAIN: tuple[Reduction, ...] = (
    Duplicates(), ConstantInputs(), DeadNeurons(), LinearLayers(), PenaltyBounds(), Decay(), Scaling(), Touching(),
)  # fmt: skip

MAX_CASES = 128
"""More cases than this take longer to write down and start than their restatement saves."""


@dataclass(frozen=True)
class Step:
    """One line of `--explain`: a reduction, whether it was applied, and what it did or why it stepped aside."""

    reduction: str
    applied: bool
    text: str

    def __str__(self) -> str:
        return self.text if self.applied else f"{self.reduction}: not used, {self.text}"


@dataclass(frozen=True, eq=False)
class Chain:
    """The cases whose best optimum is the problem's, with the steps that led to them."""

    cases: tuple[Case, ...]
    steps: tuple[Step, ...]

    @property
    def exact(self) -> bool:
        return all(c.exact for c in self.cases)


def reduce(problem: Problem, upper: float = math.inf, reductions: tuple[Reduction, ...] = CHAIN,
           without: tuple[str, ...] = ()) -> Chain:  # fmt: skip
    """Apply the chain. `upper` is a known objective in the minimising sense (infinite without an incumbent);
    `without` names reductions to leave out. Enforced symmetries come first; they are not optional."""
    cases: tuple[Case, ...] = (Case(problem, identity, identity),)
    steps: list[Step] = []
    if enforced(problem):
        expanded = expand(problem)
        cases = tuple(Case(e.problem, e.inverse, e.forward, e.label) for e in expanded)
        ways = f"{len(cases)} ways" if len(cases) > 1 else "one way"
        text = f"enforced symmetry: the group acts on the hidden neurons in {ways}"
        steps.append(Step("enforced symmetry", True, text))
        steps += [Step("enforced symmetry", True, f"  {c.label}") for c in cases]
    for reduction in reductions:
        if reduction.name in without:
            steps.append(Step(reduction.name, False, "switched off"))
            continue
        reasons = [reduction.applies(c.problem, upper) for c in cases]
        if any(r is not None for r in reasons):
            steps.append(Step(reduction.name, False, next(r for r in reasons if r is not None)))
            continue
        found = [reduction.apply(c.problem, upper) for c in cases]
        total = sum(len(r.cases) for r in found)
        if total > max(MAX_CASES, len(cases)):
            steps.append(Step(reduction.name, False, f"{total} cases in all are too many"))
            continue
        cases = tuple(compose(outer, inner) for outer, r in zip(cases, found) for inner in r.cases)
        steps.append(Step(reduction.name, True, found[0].summary))
    return Chain(cases, tuple(steps))


__all__ = ["CHAIN", "Chain", "Reduced", "Step", "reduce"]
