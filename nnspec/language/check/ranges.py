"""Domains of weights, variables and parameters: lo..hi, int(lo..hi), {a, b}, binary, real."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnspec.errors import Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import Env, evaluate
from nnspec.language.check.values import Binary, FiniteSet, IntegerInterval, Interval, describe, is_number, show


@dataclass(frozen=True)
class Bounds:
    """A domain as Parameter and Variable want it: `kind` is "real", "int" or "set" (then with `values`)."""

    lo: float
    hi: float
    kind: str = "real"
    values: tuple[float, ...] = ()
    span: Span | None = None


def bounds(ctx: Context, node: sx.Expr, env: Env, whole: bool = False) -> Bounds:
    """The domain that an expression stands for. `whole`: only whole numbers count, as for `var n: int`."""
    value = evaluate(ctx, node, env)
    span = node.span
    match value:
        case Interval(lo, hi):
            kind = "int" if whole else "real"
        case IntegerInterval(lo, hi):
            kind = "int"
        case Binary():
            return Bounds(0.0, 1.0, "int" if whole else "set", () if whole else (0.0, 1.0), span)
        case FiniteSet(items):
            if not items:
                fail("NNS040", "this set is empty: no value is left", span)
            for item in items:
                if not is_number(item) or not math.isfinite(item):
                    fail("NNS040", f"a domain is made of numbers, but this set contains {describe(item)}", span)
                if whole and item != int(item):
                    fail("NNS040", f"{show(item)} is no whole number", span)
            values = tuple(sorted(float(v) for v in items))  # type: ignore[arg-type]
            return Bounds(values[0], values[-1], "set", values, span)
        case _:
            help = (
                f"write {show(-abs(value))}..{show(abs(value))}"
                if is_number(value) and value
                else "write lo..hi, as -4..4"
            )
            fail("NNS040", f"a range or a set was expected here, but this is {describe(value)}", span, help=help)
    lo, hi = float(lo), float(hi)
    if kind == "int":
        lo = float(math.ceil(lo)) if math.isfinite(lo) else lo
        hi = float(math.floor(hi)) if math.isfinite(hi) else hi
    if not lo <= hi or lo == math.inf or hi == -math.inf:
        what = "contains no whole number" if kind == "int" and value.low <= value.high else "is empty"
        fix = f"write {show(value.high)}..{show(value.low)}" if value.low > value.high else None
        fail("NNS040", f"the range {show(value.low)}..{show(value.high)} {what}", span, help=fix)
    return Bounds(lo, hi, kind, (), span)
