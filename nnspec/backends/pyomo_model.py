"""A Program as a Pyomo model that users can keep working with.

Variables sit where their names say: `f.h1.weights[0,1]` is `model.f.h1.weights[0, 1]`, in nested Blocks, and a family
`z[i in 0..4]` of a spec is `model.z[0]` to `model.z[4]`. Rows sit in
`model.rows`, under the names that nnspec gives them. tanh is written 1 - 2/(exp(2x) + 1): not every solver behind Pyomo
knows tanh, and global ones find better bounds for this form.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from nnspec.backends.common import missing_package
from nnspec.program import Affine, Program, Quadratic
from nnspec.program.program import Block
from nnspec.program.rows import LinearRows, ProductRows, QuadraticRows, Rows, SosRows, UnivariateRows


def build(program: Program, block: Any = None) -> tuple[Any, list[Any]]:
    """A ConcreteModel (or the given Block, filled) and its variables in the order of the program's columns."""
    try:
        import pyomo.environ as pyo
    except ImportError as e:
        raise missing_package("pyomo", "Pyomo", "pip install pyomo", e) from e
    model = block if block is not None else pyo.ConcreteModel(name=program.name)
    # these two names first: Pyomo would replace, and so destroy, a Block of variables called like them
    model.rows = pyo.Block()
    model.objective = pyo.Objective(expr=0.0, sense=pyo.minimize if program.sense == "minimize" else pyo.maximize)
    variables: list[Any] = [None] * program.columns
    for parts in families(program.blocks):
        columns = [j for part in parts for j in range(part.start, part.start + part.size)]
        for j, variable in zip(columns, _add_variables(model, program, parts, columns)):
            variables[j] = variable
    for rows in program.rows:
        expressions = _EXPRESSIONS[type(rows)](rows, variables)
        _add_rows(model.rows, rows, expressions, 0 * variables[0] if variables else 0.0)
    model.objective.set_value(_quadratic(program.objective, variables)[0])
    return model, variables


def families(blocks: list[Block]) -> list[list[Block]]:
    """Blocks in groups that become one component each: scalars called z[0], z[1] ... are a family z."""
    taken = {block.name for block in blocks}
    groups: dict[str, list[Block]] = {}
    for block in blocks:
        stem = _stem(block)
        groups.setdefault(block.name if stem is None or stem in taken else f"{stem}[", []).append(block)
    return list(groups.values())


def _stem(block: Block) -> str | None:
    """z, if the block is a scalar called z[...]."""
    stem, bracket, rest = block.name.partition("[")
    return stem if bracket and stem and rest.endswith("]") and not block.shape else None


def indices(parts: list[Block]) -> list[Any]:
    """The index of each variable of a group: words that are numbers become numbers, "3,age" becomes (3, "age")."""
    if len(parts) > 1 or not parts[0].shape:
        words: list[tuple[str, ...]] = [(part.name.partition("[")[2][:-1],) for part in parts]
    else:
        words = list(itertools.product(*parts[0].words))
    result = []
    for entry in words:
        index = [int(p) if p.strip().isdigit() else p.strip() for word in entry for p in word.split(",")]
        result.append(index[0] if len(index) == 1 else tuple(index))
    if len(set(result)) < len(result):
        return list(itertools.product(*(range(n) for n in parts[0].shape or (len(parts),))))
    return result


def place(model: Any, name: str) -> tuple[Any, str]:
    """The Block in which a component of a dotted name belongs, and its name there; Blocks are made where missing."""
    import pyomo.environ as pyo

    parts = name.split(".")
    while len(parts) > 1:
        inner = model.component(parts[0])
        if inner is None:
            if hasattr(model, parts[0]):
                break
            inner = pyo.Block()
            model.add_component(parts[0], inner)
        if inner.ctype is not pyo.Block:
            break
        model, parts = inner, parts[1:]
    local = "_".join(parts)
    while hasattr(model, local):  # also names of Block's own methods
        local += "_"
    return model, local


def _add_variables(model: Any, program: Program, parts: list[Block], columns: list[int]) -> list[Any]:
    import pyomo.environ as pyo

    domains = [(pyo.Reals, pyo.Integers, pyo.Binary)[program.kinds[j]] for j in columns]
    bounds = [(_finite(program.lo[j]), _finite(program.hi[j])) for j in columns]
    family = _stem(parts[0]) if len(parts) > 1 or not parts[0].shape else None
    home, name = place(model, parts[0].name if family is None else family)
    if family is None and not parts[0].shape:
        variable = pyo.Var(domain=domains[0], bounds=bounds[0])
        home.add_component(name, variable)
        return [variable]
    index = indices(parts)
    number = {k: j for j, k in enumerate(index)}
    variable = pyo.Var(pyo.Set(initialize=index, ordered=True), domain=lambda _, *k: domains[number[_single(k)]],
                       bounds=lambda _, *k: bounds[number[_single(k)]])  # fmt: skip
    home.add_component(name, variable)
    return [variable[k] for k in index]


def _single(key: tuple[Any, ...]) -> Any:
    return key[0] if len(key) == 1 else key


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _add_rows(home: Any, rows: Rows, expressions: list[Any], zero: Any) -> None:
    """One Constraint component a block of rows, indexed 0, 1, 2 ... or by its labels; `zero` stands for empty rows."""
    import pyomo.environ as pyo

    name = rows.name.replace(".", "_")
    while hasattr(home, name):
        name += "_"
    if isinstance(rows, SosRows):
        home.add_component(name, pyo.SOSConstraint(range(rows.count), var=dict(enumerate(expressions)), sos=rows.order))
        return
    if isinstance(rows, LinearRows | QuadraticRows):
        # constants go to the sides: scip_direct gets a wrong answer for 2 <= x + 1 <= 4 (Pyomo 6.10.1)
        constant = (rows.affine if isinstance(rows, LinearRows) else rows.quadratic.affine).constant
        sides = list(zip(map(_finite, rows.lo - constant), map(_finite, rows.hi - constant)))
    else:
        sides = [(0.0, 0.0)] * rows.count
    keys = list(rows.labels) if len(set(rows.labels)) == rows.count else list(range(rows.count))
    component = pyo.Constraint(pyo.Any)
    home.add_component(name, component)
    for key, expression, (lo, hi) in zip(keys, expressions, sides):
        if isinstance(expression, float):
            if (lo is None or lo <= expression) and (hi is None or expression <= hi):
                continue
            expression = zero + expression
        if lo is not None and hi is not None and lo > hi:  # Pyomo refuses to write down what cannot hold
            component[f"{key} lower"] = expression >= lo
            component[f"{key} upper"] = expression <= hi
        elif lo is not None or hi is not None:
            component[key] = expression == lo if lo == hi else (lo, expression, hi)


def _linear(affine: Affine, variables: list[Any], constants: bool = True) -> list[Any]:
    from pyomo.core.expr.numeric_expr import LinearExpression

    ends, values = affine.indptr.tolist(), affine.values.tolist()
    entries = [variables[j] for j in affine.columns.tolist()]
    start = affine.constant.tolist() if constants else [0.0] * affine.size
    return [
        LinearExpression(constant=c, linear_coefs=values[a:b], linear_vars=entries[a:b]) if b > a else c
        for c, (a, b) in zip(start, itertools.pairwise(ends))
    ]


def _quadratic(q: Quadratic, variables: list[Any], constants: bool = True) -> list[Any]:
    result: list[Any] = list(_linear(q.affine, variables, constants))
    starts = np.searchsorted(q.rows, np.arange(q.size + 1)).tolist()
    terms = [
        c * variables[i] ** 2 if i == j else c * variables[i] * variables[j]
        for i, j, c in zip(q.left.tolist(), q.right.tolist(), q.values.tolist())
    ]
    return [sum(terms[a:b], e) for e, (a, b) in zip(result, itertools.pairwise(starts))]


def _products(rows: ProductRows, v: list[Any]) -> list[Any]:
    return [v[x] * v[y] - v[z] for z, x, y in zip(rows.z.tolist(), rows.x.tolist(), rows.y.tolist())]


def _univariate(rows: UnivariateRows, v: list[Any]) -> list[Any]:
    return [v[y] - _function(rows, v[x]) for y, x in zip(rows.y.tolist(), rows.x.tolist())]


def _function(rows: UnivariateRows, x: Any) -> Any:
    import pyomo.environ as pyo

    match rows.function:
        case "exp" | "log" | "sqrt" | "sin" | "cos":
            return getattr(pyo, rows.function)(x)
        case "abs":
            return abs(x)
        case "power":
            exponent = rows.exponent
            assert exponent is not None
            return x ** (int(exponent) if exponent == round(exponent) else exponent)
        case "tanh":
            return 1 - 2 / (pyo.exp(2 * x) + 1)
        case "sigmoid":
            return 1 / (1 + pyo.exp(-x))
        case "softplus":
            return pyo.log(1 + pyo.exp(x))
        case "silu":
            return x / (1 + pyo.exp(-x))
    raise AssertionError(f"bridges let {rows.function} through to Pyomo")


_EXPRESSIONS: dict[type[Rows], Any] = {
    LinearRows: lambda rows, v: _linear(rows.affine, v, constants=False),
    QuadraticRows: lambda rows, v: _quadratic(rows.quadratic, v, constants=False),
    ProductRows: _products,
    UnivariateRows: _univariate,
    SosRows: lambda rows, v: [[v[j] for j in columns] for columns in rows.columns.tolist()],
}
