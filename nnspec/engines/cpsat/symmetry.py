"""The order of interchangeable neurons, in full: rows of weights in descending lexicographic order.

`nnspec.encodings.symmetry` finds the interchangeable units and proves the ordering sound. With finitely many values the
order of whole rows (bias first, then weights) is one linear row, since a row with digits d_1 .. d_n in 0 .. r_k - 1
orders like the number sum d_k * prod_{l > k} r_l: only equal rows remain interchangeable.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from nnspec.encodings.symmetry import Ordering, orderings
from nnspec.engines.cpsat.exact import Builder, Form
from nnspec.engines.cpsat.network import Weights
from nnspec.problem.problem import Point, Problem

LARGEST_KEY = 2**40
"""Rows of weights with more values than this are ordered by as many leading entries as fit."""


def order(problem: Problem, builder: Builder, weights: Weights) -> list[Ordering]:
    """Add the rows; returns what was ordered."""
    found = orderings(problem)
    for o in found:
        keys = [_key(builder, forms) for forms in _rows(weights, o)]
        for a, b in itertools.pairwise(keys):
            builder.require(a - b)
        if o.flips:
            tensor, index = o.keys[-1]
            builder.require(weights.forms[tensor].reshape(-1)[index])
    return found


def _rows(weights: Weights, o: Ordering) -> list[list[Form]]:
    """For each unit its entries in the order of comparison; with sign flips only the key, whose sign is fixed too."""
    first = [weights.forms[n].reshape(-1)[i] for n, i in o.keys]
    if o.flips:
        return [[f] for f in first]
    rows = []
    for unit, form in zip(o.units, first):
        own = [f for p in o.layer.parameters for f in np.atleast_1d(weights.forms[p.name][unit])]
        rows.append([form, *(f for f in own if f is not form)])
    return rows


def _key(builder: Builder, forms: Sequence[Form]) -> Form:
    key, size = Form.of(0), 1
    for form in forms:
        if form.is_constant:
            continue
        (j, c), = form.terms.items()
        lo, hi = builder.program.lo[j], builder.program.hi[j]
        if size * (hi - lo + 1) > LARGEST_KEY:
            break
        size *= hi - lo + 1
        digit = Form({j: Fraction(1)}, Fraction(-lo)) if c > 0 else Form({j: Fraction(-1)}, Fraction(hi))
        key = key.times(hi - lo + 1) + digit
    return key


def representative(found: Sequence[Ordering], point: Point) -> Point:
    """The equal network in ordered form."""
    values = {n: np.array(v, dtype=float) for n, v in point.parameters.items()}
    for o in found:
        for p in o.layer.parameters:
            if p.name in values:
                values[p.name] = values[p.name].reshape(p.shape)
        for r in o.readers:
            assert r.layer.weights is not None
            if r.layer.weights.name in values:
                values[r.layer.weights.name] = values[r.layer.weights.name].reshape(r.layer.weights.shape)
        if o.flips:
            o.apply(values)
        else:
            _sort(values, o)
    return Point(values, dict(point.variables))


def _sort(values: dict[str, np.ndarray], o: Ordering) -> None:
    """Put the units of one class in descending lexicographic order, in place."""
    own = [p.name for p in o.layer.parameters]
    full = {p.name: p.value for p in o.layer.parameters if p.value is not None}
    tensors = {**full, **values}
    keys = []
    for unit, (name, index) in zip(o.units, o.keys):
        row = [np.atleast_1d(tensors[n][unit]) for n in own]
        keys.append((float(tensors[name].reshape(-1)[index]), *np.concatenate(row).tolist()))
    ranks = sorted(range(len(keys)), key=lambda k: keys[k], reverse=True)
    parts = [np.moveaxis(values[n], 0, 0) for n in own if n in values]
    parts += [values[r.layer.weights.name][:, r.offset :].T for r in o.readers
              if r.layer.weights is not None and r.layer.weights.name in values]  # fmt: skip
    for part in parts:
        part[list(o.units)] = part[[o.units[k] for k in ranks]]
