"""Losses written out over the samples are recognised, so that both forms give the same Problem.

sum((f(x) - y)^2 for (x, y) in D)  is  sse(f, D);  sum(abs(f(x) - y) ...)  is  sae(f, D);
max(abs(f(x) - y) ...)  is  max_error(f, D).  With several outputs: (f(x)[k] - y[k])^2 for (x, y) in D, k in 0..m-1.
A constant factor of all terms is taken out. What is not recognised stays written out.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnspec.errors import Span
from nnspec.language.check.context import Context
from nnspec.language.check.values import Value
from nnspec.problem import expression as ex


def as_loss(ctx: Context, terms: Sequence[Value], span: Span, largest: bool = False) -> ex.Expression | None:
    """The loss that the sum (or the maximum) of the terms is, perhaps times a constant; None if it is none."""
    kind: str | None = None
    factor: float | None = None
    subject: tuple[str, str] | None = None
    seen: set[tuple[int, int]] = set()
    for term in terms:
        if not isinstance(term, ex.Expression):
            return None
        c, body = 1.0, term
        if isinstance(term, ex.Product) and len(term.factors) == 2 and isinstance(term.factors[0], ex.Constant):
            c, body = term.factors[0].value, term.factors[1]
        match body:
            case ex.Power(base=residual, exponent=2.0):
                this = "sse"
            case ex.Product(factors=(a, b)) if a == b:
                this, residual = "sse", a
            case ex.Function(name="abs", arguments=(residual,)):
                this = "max_error" if largest else "sae"
            case _:
                return None
        entry = _residual(ctx, residual)
        if entry is None or (largest and this != "max_error"):
            return None
        network, data, row, output = entry
        if (kind, factor, subject) == (None, None, None):
            kind, factor, subject = this, c, (network, data)
        if (kind, factor, subject) != (this, c, (network, data)) or (row, output) in seen:
            return None
        seen.add((row, output))
    if kind is None or factor is None or subject is None or (largest and factor <= 0):
        return None
    targets = ctx.data[subject[1]].data.y
    if len(seen) != targets.size or targets.shape[1] != ctx.networks[subject[0]].output_size:
        return None
    loss = ex.Loss(kind, *subject, span=span)
    return loss if factor == 1 else ex.Product((ex.Constant(factor, span=span), loss), span=span)


def _residual(ctx: Context, e: ex.Expression) -> tuple[str, str, int, int] | None:
    """The sample and output if `e` is f(x) - y or y - f(x) there."""
    constant = 0.0
    sign = 1.0
    if isinstance(e, ex.Sum) and id(e) not in ctx.sample_outputs:
        if len(e.terms) != 2 or not isinstance(e.terms[1], ex.Constant):
            return None
        constant, e = e.terms[1].value, e.terms[0]
    if isinstance(e, ex.Product) and len(e.factors) == 2 and isinstance(e.factors[0], ex.Constant):
        sign, e = e.factors[0].value, e.factors[1]
    known = ctx.sample_outputs.get(id(e))
    if known is None or sign not in (1.0, -1.0):
        return None
    _, network, data, row, output = known
    targets = ctx.data[data].data.y
    if output >= targets.shape[1] or constant != -sign * targets[row, output]:
        return None
    return network, data, row, output
