"""Which weights are nonzero: a binary u for each entry with u = 0 => w = 0.

| template    | rows                                        | source                                        |
|-------------|---------------------------------------------|-----------------------------------------------|
| bigm        | lo u <= w <= hi u (needs bounds)            | Bertsimas, King and Mazumder (2016)           |
| indicator   | u = 0 => w = 0                              |                                               |
| sos1        | SOS1(w, s), s + u = 1                       | Bertsimas, King and Mazumder (2016)           |
| perspective | bigm, and w^2 <= t u for a penalty t on w^2 | Frangioni and Gentile (2006); Guenluek and    |
|             |                                             | Linderoth (2010)                              |

An entry that cannot be 0 counts as the constant 1; where the domain is finite the selecting binaries count themselves.
Where u = 1 must mean w != 0 as well (a lower bound on a count, or a count that is maximised), u = p + q and
m p + lo q <= w <= hi p - m q: w is at least m away from 0, m the smallest nonzero magnitude of a discrete domain and
SIGN_MARGIN of a real one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnspec.encodings.context import Context, assemble, missing_bounds, words
from nnspec.encodings.parameters import Parameters
from nnspec.encodings.registry import encoding
from nnspec.errors import Span
from nnspec.problem.network import Parameter
from nnspec.program import Affine, product, square, stack
from nnspec.tolerances import SIGN_MARGIN


def nonzero_indicators(context: Context, parameters: Parameters, p: Parameter, exact: bool) -> Affine:
    """Expressions of the tensor's shape that are 1 where the entry is nonzero: constants and binaries."""
    w = parameters.expression(p).reshape(-1)
    program = context.program
    bounds = context.interval(w)
    parts: list[tuple[np.ndarray, Affine | np.ndarray]] = []
    fixed = w.lengths == 0
    parts.append((np.flatnonzero(fixed), (w.constant[fixed] != 0).astype(float)))
    rest: list[int] = []
    for k in map(int, np.flatnonzero(~fixed)):
        column, factor, offset = int(w.columns[w.indptr[k]]), float(w.values[w.indptr[k]]), float(w.constant[k])
        zero = -offset / factor  # the column's value at which the entry is 0
        kind, lo, hi = program.kinds[column], program.lo[column], program.hi[column]
        if not lo <= zero <= hi or (kind > 0 and zero != round(zero)):
            parts.append((np.array([k]), np.ones(1)))
        elif kind == 2:
            b = Affine.variables([column])
            parts.append((np.array([k]), b if zero == 0 else 1.0 - b))
        elif column in context.selectors:
            values, binaries = context.selectors[column]
            at = np.flatnonzero(values == zero)
            one = Affine.of(np.ones(1))
            parts.append((np.array([k]), one - Affine.variables(binaries[at]) if len(at) else one))
        else:
            rest.append(k)
    if rest:
        entries = np.array(rest)
        names = [words(p.shape)[j] for j in rest]
        path = p.name
        template = context.choose("l0", path.rsplit(".", 1)[0])
        if ("bounds" in template.needs or exact) and not bounds[entries].finite:
            raise missing_bounds(path, p, f"the {template.name} encoding of l0")
        lo, hi = np.minimum(bounds.lo[entries], 0.0), np.maximum(bounds.hi[entries], 0.0)
        if exact:
            m = 1.0 if p.kind == "int" else min((abs(v) for v in p.values if v), default=SIGN_MARGIN)
            parts.append((entries, _exact(context, w[entries], lo, hi, m, names, path, p.span)))
        else:
            parts.append((entries, template.encode(context, w[entries], lo, hi, names, path, p.span)))
    return assemble(w.size, [(e, a) for e, a in parts if len(e)]).reshape(p.shape)


def _binary(context: Context, w: Affine, names: Sequence[str], path: str, span: Span | None) -> Affine:
    return context.program.add_variables(f"{path}.nonzero", (w.size,), kind="binary", labels=(names,), span=span,
                                         complete=lambda x: w.value(x) != 0)  # fmt: skip


@encoding("l0", "bigm", needs={"bounds"})
def l0_bigm(context: Context, w: Affine, lo: np.ndarray, hi: np.ndarray, names: Sequence[str], path: str,
            span: Span | None) -> Affine:  # fmt: skip
    """lo u <= w <= hi u."""
    u = _binary(context, w, names, path, span)
    context.program.add_linear(w - u * hi, -np.inf, 0.0, f"{path} <= hi u", span, names)
    context.program.add_linear(w - u * lo, 0.0, np.inf, f"{path} >= lo u", span, names)
    return u


@encoding("l0", "indicator", needs={"indicator"})
def l0_indicator(context: Context, w: Affine, lo: np.ndarray, hi: np.ndarray, names: Sequence[str], path: str,
                 span: Span | None) -> Affine:  # fmt: skip
    """u = 0 => w = 0."""
    u = _binary(context, w, names, path, span)
    context.program.add_indicators(u, 0, w, 0.0, 0.0, f"{path} = 0", span)
    return u


@encoding("l0", "sos1", needs={"sos1"})
def l0_sos1(context: Context, w: Affine, lo: np.ndarray, hi: np.ndarray, names: Sequence[str], path: str,
            span: Span | None) -> Affine:  # fmt: skip
    """SOS1(w, s) with s = 1 - u."""
    u = _binary(context, w, names, path, span)
    s = context.program.add_variables(f"{path}.zero", (w.size,), 0.0, 1.0, labels=(names,), span=span,
                                      complete=lambda x: 1.0 - u.value(x))  # fmt: skip
    context.program.add_linear(s + u, 1.0, 1.0, f"{path} zero or not", span, names)
    context.program.add_sos1(stack([w, s], axis=1), f"{path} or zero", span)
    return u


@encoding("l0", "perspective", needs={"bounds", "quadratic"})
def l0_perspective(context: Context, w: Affine, lo: np.ndarray, hi: np.ndarray, names: Sequence[str], path: str,
                   span: Span | None) -> Affine:  # fmt: skip
    """lo u <= w <= hi u and w^2 <= t u; penalties on w^2 take t."""
    u = l0_bigm(context, w, lo, hi, names, path, span)
    program = context.program
    x = program.as_variables(w, path, span)
    t = program.add_variables(f"{path}.square", (w.size,), 0.0, np.maximum(lo**2, hi**2), labels=(names,), span=span,
                              complete=lambda v: w.value(v) ** 2)  # fmt: skip
    program.add_quadratic(square(x) - product(t, u), -np.inf, 0.0, f"{path} perspective", span)
    context.perspectives.update(zip(x.columns.tolist(), t.columns.tolist()))
    return u


def _exact(context: Context, w: Affine, lo: np.ndarray, hi: np.ndarray, m: float, names: Sequence[str], path: str,
           span: Span | None) -> Affine:  # fmt: skip
    """u = p + q, m p + lo q <= w <= hi p - m q."""
    program = context.program
    p = program.add_variables(f"{path}.positive", (w.size,), kind="binary", labels=(names,), span=span,
                              complete=lambda x: w.value(x) > 0)  # fmt: skip
    q = program.add_variables(f"{path}.negative", (w.size,), kind="binary", labels=(names,), span=span,
                              complete=lambda x: w.value(x) < 0)  # fmt: skip
    program.add_linear(w - p * m - q * lo, 0.0, np.inf, f"{path} >= m p + lo q", span, names)
    program.add_linear(w - p * hi + q * m, -np.inf, 0.0, f"{path} <= hi p - m q", span, names)
    program.add_linear(p + q, -np.inf, 1.0, f"{path} one sign", span, names)
    return p + q
