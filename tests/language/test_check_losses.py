"""Losses and sizes: both ways to write them give the same model, and they fit network and data or say why not."""

from __future__ import annotations

import numpy as np
import pytest
from checking import NET, XOR, error, errors, problem, random_point

from nnspec.problem import Point, Problem
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import value

PLAIN = "data D = table(x = [[0, 1], [2, -1], [1, 3]], y = [1, -1, 1])\nnet f = input() -> dense(3, tanh) -> dense(1)\n"
SCALED = PLAIN.replace("y = [1, -1, 1]", "y = [5, -1, 2], scale = standard, scale_y = minmax")
WIDE = "data D = table(x = [[0, 1], [2, -1]], y = [[1, 0], [0, 7]])\nnet f = input() -> dense(3, tanh) -> dense(2)\n"


def objective(p: Problem) -> ex.Expression:
    assert p.objective.expression is not None
    return p.objective.expression


@pytest.mark.parametrize("head", [PLAIN, SCALED])
@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("sum((f(x) - y)^2 for (x, y) in D)", "sse(f, D)"),
        ("sum((y - f(x))^2 for (x, y) in D)", "sse(f, D)"),
        ("sum((f(a) - b) * (f(a) - b) for (a, b) in D)", "sse(f, D)"),
        ("sum(abs(f(x) - y) for (x, y) in D)", "sae(f, D)"),
        ("sum(abs(y - f(x)) for (x, y) in D)", "sae(f, D)"),
        ("max(abs(f(x) - y) for (x, y) in D)", "max_error(f, D)"),
        ("sum(0.5 * (f(x) - y)^2 for (x, y) in D)", "0.5 * sse(f, D)"),
        ("2 * sum((f(x) - y)^2 / 4 for (x, y) in D) + l2(f)", "0.5 * sse(f, D) + l2(f)"),
    ],
)
def test_losses_written_out_are_recognised(head: str, written: str, named: str) -> None:
    a, b = problem(head + f"minimize {written}"), problem(head + f"minimize {named}")
    assert objective(a) == objective(b)
    assert str(a.networks["f"].input_scaling) == str(b.networks["f"].input_scaling)


def test_losses_with_several_outputs_are_recognised() -> None:
    written = "sum((f(x)[k] - y[k])^2 for (x, y) in D, k in 0..1)"
    assert objective(problem(WIDE + f"minimize {written}")) == ex.Loss("sse", "f", "D")
    again = "sum((f(x)[1 - k] - y[1 - k])^2 for k in 0..1, (x, y) in D)"
    assert objective(problem(WIDE + f"minimize {again}")) == ex.Loss("sse", "f", "D")


@pytest.mark.parametrize("head", [PLAIN, SCALED])
@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("sum((f(x) - y)^2 + 0 * y for (x, y) in D)", "sse(f, D)"),
        ("sum((f(x) - y)^2 for (x, y) in D if y >= 0) + sum((f(x) - y)^2 for (x, y) in D if y < 0)", "sse(f, D)"),
        ("sum((f(x) - y)^2 for (x, y) in D) / len(D)", "mse(f, D)"),
        ("sum(max(0.25 * (y - f(x)), 0.75 * (f(x) - y)) for (x, y) in D)", "pinball(f, D, q = 0.25)"),
        ("sum(max(f(x) - y, y - f(x)) for (x, y) in D)", "sae(f, D)"),
    ],
)
def test_what_is_not_recognised_is_unrolled_to_the_same_value(head: str, written: str, named: str) -> None:
    a, b = problem(head + f"minimize {written}"), problem(head + f"minimize {named}")
    for seed in range(3):
        point = random_point(a, seed)
        assert value(a, point, objective(a)) == pytest.approx(value(b, point, objective(b)), rel=1e-9)


def test_a_hinge_written_out_has_the_same_value() -> None:
    a = problem(PLAIN + "minimize sum(max(0, 1 - y * f(x)) for (x, y) in D)")
    b = problem(PLAIN + "minimize hinge(f, D)")
    point = random_point(a)
    assert value(a, point, objective(a)) == pytest.approx(value(b, point, objective(b)))


@pytest.mark.parametrize(
    "written",
    [
        "sum((f(x) - y)^2 for (x, y) in D if y > 0)",  # not all samples
        "sum((f(x) - 1)^2 for (x, y) in D)",  # not the target
        "sum((f(x) - 2 * y)^2 for (x, y) in D)",
        "sum((f(x) + y)^2 for (x, y) in D)",
        "sum((2 * f(x) - y)^2 for (x, y) in D)",
        "sum((f(x) - y)^4 for (x, y) in D)",
        "sum((f(x) - y)^2 * x[0] for (x, y) in D)",
        "sum((f(x) - y)^2 for i in 0..1, (x, y) in D)",  # each sample twice
        "max((f(x) - y)^2 for (x, y) in D)",
        "min(abs(f(x) - y) for (x, y) in D)",
    ],
)
def test_other_sums_are_not_taken_for_losses(written: str) -> None:
    p = problem(PLAIN + f"minimize {written}")
    assert not any(isinstance(e, ex.Loss) for e in parts(objective(p)))
    point = random_point(p)
    f = p.networks["f"]
    from nnspec.problem.forward import predict

    data = p.data["D"]
    outputs = predict(f, point.parameters, data.x).ravel()
    rows = [(x, y, o) for x, y, o in zip(data.x, data.y.ravel(), outputs)]
    expected = {
        "if": sum((o - y) ** 2 for x, y, o in rows if y > 0),
        "- 1": sum((o - 1) ** 2 for x, y, o in rows),
        "2 * y": sum((o - 2 * y) ** 2 for x, y, o in rows),
        "+ y": sum((o + y) ** 2 for x, y, o in rows),
        "2 * f": sum((2 * o - y) ** 2 for x, y, o in rows),
        "^4": sum((o - y) ** 4 for x, y, o in rows),
        "x[0]": sum((o - y) ** 2 * x[0] for x, y, o in rows),
        "i in": 2 * sum((o - y) ** 2 for x, y, o in rows),
        "max": max((o - y) ** 2 for x, y, o in rows),
        "min": min(abs(o - y) for x, y, o in rows),
    }
    key = next(k for k in expected if k in written)
    assert value(p, point, objective(p)) == pytest.approx(expected[key])


def parts(e: ex.Expression) -> list[ex.Expression]:
    return [e, *(p for c in ex.children(e) for p in parts(c))]


def test_networks_take_the_units_of_their_data() -> None:
    p = problem(SCALED + "minimize sse(f, D) + (f(0, 1) - 5)^2")
    f, data = p.networks["f"], p.data["D"]
    assert f.input_scaling is data.x_scaling
    assert f.output_scaling is data.y_scaling
    # f(0, 1) in an expression maps raw inputs to raw outputs: at the first sample it is the target's raw value
    point = random_point(p)
    from nnspec.problem.forward import forward

    raw = data.y_scaling.invert(forward(f, point.parameters, data.x)) if data.y_scaling else None
    assert raw is not None
    second = objective(p)
    assert isinstance(second, ex.Sum)
    assert value(p, point, second.terms[1]) == pytest.approx((raw[0, 0] - 5) ** 2)


def test_scaled_rows_are_not_passed_on_in_pieces() -> None:
    d = error(SCALED.replace("input()", "input(2)") + "minimize sum(f(x[0], x[1]) - y for (x, y) in D)")
    assert d.code == "NNS055"
    # without scaling there is only one unit, and rows may be taken apart
    a = problem(PLAIN.replace("input()", "input(2)") + "minimize sum((f(x[0], x[1]) - y)^2 for (x, y) in D)")
    b = problem(PLAIN + "minimize sse(f, D)")
    point = random_point(a)
    assert value(a, point, objective(a)) == pytest.approx(value(b, point, objective(b)))


def test_options_of_losses() -> None:
    p = problem(PLAIN + "minimize huber(f, D, delta = 2) + pinball(f, D, q = 1 / 4) + errors(f, D, margin = 0.5) "
                "+ hinge(f, D) + squared_hinge(f, D, margin = 2)")  # fmt: skip
    found = objective(p)
    assert isinstance(found, ex.Sum)
    assert found.terms == (
        ex.Loss("huber", "f", "D", delta=2.0), ex.Loss("pinball", "f", "D", q=0.25),
        ex.Loss("errors", "f", "D", margin=0.5),
        ex.Loss("hinge", "f", "D"), ex.Loss("squared_hinge", "f", "D", margin=2.0),
    )  # fmt: skip


CLASSES = 'data C = table(x = [[0], [1], [2]], y = label(["a", "b", "c"]))\n'
TWO = 'data C = table(x = [[0], [1], [2]], y = label(["a", "b", "a"]))\n'


@pytest.mark.parametrize(
    ("head", "outputs", "loss", "codes"),
    [
        (CLASSES, "dense(3)", "cross_entropy(f, C)", []),
        (CLASSES, "dense(3, softmax)", "cross_entropy(f, C)", []),
        (CLASSES, "dense(3)", "errors(f, C) + hinge(f, C) + squared_hinge(f, C)", []),
        (TWO, "dense(1)", "errors(f, C) + hinge(f, C) + logistic(f, C) + cross_entropy(f, C)", []),
        (TWO, "dense(2)", "errors(f, C) + cross_entropy(f, C)", []),
        (TWO, "dense(1)", "sse(f, C)", []),  # least squares on 0 and 1 is an old and good classifier
        (CLASSES, "dense(1)", "sse(f, C)", ["NNS050"]),
        (CLASSES, "dense(2)", "hinge(f, C)", ["NNS031"]),
        (CLASSES, "dense(1)", "hinge(f, C)", ["NNS031"]),
        (TWO, "dense(3)", "cross_entropy(f, C)", ["NNS031"]),
        (CLASSES, "dense(3)", "logistic(f, C)", ["NNS050"]),
        (TWO, "dense(2)", "sse(f, C)", ["NNS031"]),
    ],
)
def test_losses_and_targets(head: str, outputs: str, loss: str, codes: list[str]) -> None:
    assert [d.code for d in errors(head + f"net f = input() -> {outputs}\nminimize {loss}")] == codes


@pytest.mark.parametrize(
    ("targets", "outputs", "good"),
    [
        ("[0, 1, 1]", 1, True), ("[-1, 1, 1]", 1, True), ("[1, 1, 1]", 1, True), ("[-1, 0, 1]", 1, False),
        ("[0, 2, 1]", 1, False), ("[0, 2, 1]", 3, True), ("[0, 2, 1]", 2, False), ("[0, 0.5, 1]", 2, False),
        ("[-1, 1, 0]", 2, False),
    ],
)  # fmt: skip
def test_numeric_targets_of_class_losses(targets: str, outputs: int, good: bool) -> None:
    text = f"data D = table(x = [1, 2, 3], y = {targets})\nnet f = input() -> dense({outputs})\nminimize errors(f, D)"
    assert [d.code for d in errors(text)] == ([] if good else ["NNS050"])


def test_both_places_of_a_mismatch_are_shown() -> None:
    d = error(XOR + "net f = input(3) -> dense(1)\nminimize sse(f, D)")
    assert d.code == "NNS031"
    assert [label.span.text for label in d.labels] == ["input(3)", "[[0, 0], [0, 1], [1, 0], [1, 1]]", "sse(f, D)"]
    assert d.help == "write input(2), or leave the size out: input()"


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("l0(f)", ex.Size("l0", "f")),
        ("l0(f.h)", ex.Size("l0", "f", "h")),
        ("l0(f.h.weights)", ex.Size("l0", "f", "h", "weights")),
        ("l0(f.h.bias)", ex.Size("l0", "f", "h", "bias")),
        ("l0(f.h.biases)", ex.Size("l0", "f", "h", "bias")),
        ("l0(f.h[1])", ex.Size("l0", "f", "h", None, 1)),
        ("l0(f.h[1].weights)", ex.Size("l0", "f", "h", "weights", 1)),
        ("l0(f.h.weights[1])", ex.Size("l0", "f", "h", "weights", 1)),
        ("neurons(f)", ex.Size("neurons", "f")),
        ("neurons(f.h)", ex.Size("neurons", "f", "h")),
        ("inputs(f)", ex.Size("inputs", "f")),
        ("l1(f)", ex.Size("l1", "f")),
        ("l2(f.out, biases = true)", ex.Size("l2", "f", "out", biases=True)),
        ("l2(f, biases = false)", ex.Size("l2", "f")),
        ("f.h.weights[1, 0]", ex.ParameterRef("f.h.weights", (1, 0))),
        ("f.h[1].weights[0]", ex.ParameterRef("f.h.weights", (1, 0))),
        ("f.out.bias[0]", ex.ParameterRef("f.out.bias", (0,))),
    ],
)
def test_sizes_and_weights_at_every_level(text: str, size: ex.Expression) -> None:
    assert objective(problem(NET + f"minimize {text}")) == size


def test_sizes_are_what_the_judge_counts() -> None:
    p = problem(NET + "minimize l0(f.h[1]) + 10 * l0(f.h.bias) + 100 * neurons(f.h) + 1000 * inputs(f) + l1(f.out)")
    weights = {
        "f.h.weights": np.array([[0.0, 2.0], [0.0, 3.0]]), "f.h.bias": np.array([1.0, 0.0]),
        "f.out.weights": np.array([[-4.0, 0.0]]), "f.out.bias": np.array([7.0]),
    }  # fmt: skip
    assert value(p, Point(weights, {}), objective(p)) == 1 + 10 + 100 + 1000 + 4
