"""Precedence: the same numbers as Python gives, and the operators that Python does not have."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_syntax import NOWHERE, expression, name, number

from nnspec.language import syntax as s

ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
COMPARE = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


def value(node: s.Expr) -> float | bool:
    """What an expression of numbers is."""
    match node:
        case s.Number():
            return node.value
        case s.Negative():
            return -value(node.operand)
        case s.Not():
            return not value(node.operand)
        case s.And():
            return all(value(part) for part in node.operands)
        case s.Or():
            return any(value(part) for part in node.operands)
        case s.Power():
            return math.pow(value(node.base), value(node.exponent))
        case s.Sum() | s.Product():
            result = value(node.operands[0])
            for sign, part in zip(node.operators, node.operands[1:]):
                result = ARITHMETIC[sign](result, value(part))
            return result
        case s.Comparison():
            values = [value(part) for part in node.operands]
            return all(COMPARE[sign](a, b) for sign, a, b in zip(node.operators, values, values[1:]))
        case s.IfThenElse():
            return value(node.value) if value(node.condition) else value(node.otherwise)
    raise AssertionError(node)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "^"]), inner).map(" ".join)
    return st.one_of(two, two, inner.map("-{}".format), inner.map("({})".format))


NUMERIC = st.recursive(st.sampled_from(["1", "2", "3", "0.5", "7"]), _compound, max_leaves=8)
COMPARED = st.lists(st.tuples(st.sampled_from(list(COMPARE)), NUMERIC).map(" ".join), min_size=1, max_size=2)
RELATION = st.tuples(NUMERIC, COMPARED.map(" ".join)).map(" ".join)


def _logical(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
    return st.one_of(two, two, inner.map("not {}".format), inner.map("({})".format))


def _python(text: str) -> float | bool | str:
    try:
        return eval(text.replace("^", "**"), {"__builtins__": {}})
    except (ZeroDivisionError, OverflowError, TypeError):
        return "no value"  # TypeError: comparison of complex numbers


@settings(max_examples=300, deadline=None)
@given(st.one_of(NUMERIC, st.recursive(RELATION, _logical, max_leaves=4)))
def test_precedence_is_that_of_python(text: str) -> None:
    expected = _python(text)
    if isinstance(expected, complex) or expected == "no value" or "**" in text:
        return
    try:
        found = value(expression(text))
    except (ZeroDivisionError, OverflowError, ValueError):
        return
    assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_what_python_does_not_have() -> None:
    a, b, c = name("a"), name("b"), name("c")
    assert expression("a ==> b ==> c") == s.Implies(NOWHERE, a, s.Implies(NOWHERE, b, c))
    assert expression("a or b ==> c") == s.Implies(NOWHERE, s.Or(NOWHERE, (a, b)), c)
    assert expression("a .. b + c") == s.Range(NOWHERE, a, s.Sum(NOWHERE, (b, c), ("+",)))
    assert expression("a in b .. c") == s.Comparison(NOWHERE, (a, s.Range(NOWHERE, b, c)), ("in",))
    assert expression("-4..4") == s.Range(NOWHERE, s.Negative(NOWHERE, number(4)), number(4))
    assert expression("if a then b else if b then c else a") == s.IfThenElse(
        NOWHERE, a, b, s.IfThenElse(NOWHERE, b, c, a)
    )
    assert expression("-a^2") == s.Negative(NOWHERE, s.Power(NOWHERE, a, number(2)))
    assert expression("a ≤ b ≥ c ≠ a") == expression("a <= b >= c != a")


def test_a_long_sum_is_flat() -> None:
    node = expression(" + ".join(["x"] * 20_000))
    assert isinstance(node, s.Sum)
    assert len(node.operands) == 20_000
