"""The network inside an evidence file: its objective in exact arithmetic, by the definitions."""

from __future__ import annotations

from fractions import Fraction

from nnspec.engines.cells.proof.exact import EvidenceError, number, numbers
from nnspec.engines.cells.proof.training import Limit, Training, loss_of

SLACK = Fraction(1, 10**9)
"""How far a weight may lie outside of its box: it was rounded."""


def output(problem: Training, hidden: list[list[Fraction]], v: list[Fraction], c: Fraction, i: int) -> Fraction:
    """The network's output on sample i."""
    row, total = problem.row(i), c
    for k, weights in enumerate(hidden):
        z = sum((a * b for a, b in zip(weights, row, strict=True)), Fraction(0))
        match problem.activation:
            case "hardtanh":
                h = max(Fraction(-1), min(Fraction(1), z))
            case "step" | "sign":
                h = Fraction(1) if z >= 0 else Fraction(-1 if problem.activation == "sign" else 0)
            case "abs":
                h = abs(z)
            case "relu":
                h = max(z, Fraction(0))
            case _:
                h = z if z >= 0 else problem.alpha * z
        total += v[k] * h
    return total


def objective(problem: Training, network: dict) -> tuple[Fraction, list[list[bool]], list[bool], bool]:  # type: ignore[type-arg]
    """(objective without the price of a support; which of (w, b) and of the output weights of all neurons are nonzero,
    and whether c is)."""
    hidden, v, c = [numbers(r) for r in network["hidden"]], numbers(network["v"]), number(network["c"])
    if len(hidden) != problem.neurons or len(v) != problem.neurons or any(len(r) != problem.columns for r in hidden):
        raise EvidenceError("the network has another shape than the problem")
    for k in range(problem.neurons):
        pairs = [*zip(hidden[k], problem.lo[k], problem.hi[k], strict=True)]
        pairs.append((v[k], problem.out_lo[k], problem.out_hi[k]))
        if not all(_inside(*pair) for pair in pairs):
            raise EvidenceError("the network leaves its box")
    if not _inside(c, problem.c_lo, problem.c_hi):
        raise EvidenceError("the network leaves its box")
    entries = [*(e for row in hidden for e in row), *v, c]
    if any(e != sign * entries[root] for e, (root, sign) in zip(entries, problem.entries, strict=True)):
        raise EvidenceError("the network breaks a tie")
    losses = [w * loss_of(problem, i, output(problem, hidden, v, c, i)) for i, w in enumerate(problem.weights)]
    total = max(losses) if problem.kind == "max_error" else sum(losses, Fraction(0))
    for k, row in enumerate(hidden):
        total += sum((p * w * w for p, w in zip(problem.hidden_decay[k], row, strict=True)), Fraction(0))
        total += problem.output_decay[k] * v[k] * v[k]
    total += problem.constant_decay * c * c
    needs = [[e != 0 for e in row] for row in hidden]
    return problem.offset + problem.scale * total, needs, [e != 0 for e in v], c != 0


def _inside(value: Fraction, low: Limit, high: Limit) -> bool:
    return (low is None or value >= low - SLACK) and (high is None or value <= high + SLACK)
