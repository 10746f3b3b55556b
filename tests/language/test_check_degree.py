"""The class of an expression, and the reason that is given for it."""

from __future__ import annotations

import pytest
from checking import problem

from nnspec.problem import Objective, Problem
from nnspec.problem.degree import degree

HEAD = """data D = table(x = [[0, 1], [1, 0]], y = [0, 1])
net f = input(2) -> h: dense(2, relu) -> dense(1) with weights in -1..1, biases in -1..1
net g = input(2) -> dense(1)
var price in 0..1
var ads in 0..9
"""


def found(text: str) -> tuple[str, str]:
    p = problem(HEAD + f"minimize {text}")
    assert p.objective.expression is not None
    d = degree(p, p.objective.expression)
    return d.kind, d.reason


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("3", "constant"),
        ("2 * price + ads / 4 - 1", "linear"),
        ("abs(price) + max(ads, 2 * price)", "piecewise linear"),
        ("price * ads", "quadratic"),
        ("(price + ads)^2 - 3 * ads", "quadratic"),
        ("price^2 + abs(ads)", "quadratic"),
        ("price * ads * price", "polynomial"),
        ("(price * ads)^2", "polynomial"),
        ("price^0.5", "nonlinear"),
        ("1 / price", "nonlinear"),
        ("exp(ads) + price", "nonlinear"),
        ("abs(price) * ads", "nonlinear"),
        ("f.h.weights[0, 0] * price", "quadratic"),
        ("sse(g, D)", "quadratic"),
        ("sae(g, D) + l1(g)", "piecewise linear"),
        ("sse(f, D)", "nonlinear"),
        ("l2(f)", "quadratic"),
        ("l0(f)", "piecewise linear"),
        ("logistic(g, D)", "nonlinear"),
        ("f(price, ads)", "nonlinear"),
    ],
)
def test_classes(text: str, kind: str) -> None:
    assert found(text)[0] == kind


def fixed(p: Problem) -> Problem:
    """The same problem with all weights 1, as if the networks were imported."""
    import dataclasses

    import numpy as np

    networks = {k: n.with_values({q.name: np.ones(q.shape) for q in n.parameters}) for k, n in p.networks.items()}
    return dataclasses.replace(p, networks=networks)


def test_outputs_of_imported_networks() -> None:
    for text, kind in (
        ("f(price, ads)", "piecewise linear"),
        ("g(price, ads)", "linear"),
        ("f(price^2, ads)", "nonlinear"),
    ):
        p = fixed(problem(HEAD + f"minimize {text}"))
        assert p.objective.expression is not None
        assert degree(p, p.objective.expression).kind == kind, text


def test_the_reason_names_the_parts_and_the_place() -> None:
    p = fixed(problem(HEAD + "minimize ads * f(price, ads) - 2 * price"))
    assert isinstance(p.objective, Objective)
    assert p.objective.expression is not None
    d = degree(p, p.objective.expression)
    assert str(d) == "nonlinear: linear in ads, but times the output of f at 6:16"
    assert d.span is not None
    assert d.span.text == "f(price, ads)"
    assert found("3 * price * ads")[1] == "price times ads at 6:10"
    assert found("price + exp(ads)")[1] == "exp at 6:18"


def test_info_says_why_a_model_is_not_linear() -> None:
    from nnspec.cli.info import describe

    shown = describe(problem(HEAD + "minimize price * ads\nconstraint c: exp(ads) <= 2\nconstraint price <= ads"))
    assert shown["objective"]["degree"] == "quadratic: price times ads at 6:10"
    assert [c["degree"] for c in shown["constraints"]] == ["nonlinear: exp at 7:15", "linear"]
