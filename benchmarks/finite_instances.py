"""Instances with finitely many weights: Boolean functions, few-bit and binarised networks on small tables."""

from __future__ import annotations

import itertools

import numpy as np

TERNARY = "weights in {-1, 0, 1}"


def _spec(x: list, y: list, layers: str, objective: str) -> str:
    return f"data D = table(x = {x}, y = {y})\nnet f = input({len(x[0])}) -> {layers}\nminimize {objective}\n"


def bits(n: int) -> list[list[int]]:
    return [list(row) for row in itertools.product((0, 1), repeat=n)]


def parity(n: int) -> tuple[list, list]:
    return bits(n), [sum(row) % 2 for row in bits(n)]


def majority(n: int) -> tuple[list, list]:
    return bits(n), [int(2 * sum(row) > n) for row in bits(n)]


def clouds(samples: int, inputs: int, seed: int = 0, digits: int = 1) -> tuple[list, list]:
    """Two noisy classes behind a curved border, in short decimals."""
    r = np.random.RandomState(seed)
    x = np.round(r.uniform(-1, 1, (samples, inputs)), digits)
    y = (x[:, 0] * x[:, -1] + 0.3 * x[:, 0] + 0.2 * r.randn(samples) > 0).astype(int)
    return x.tolist(), y.tolist()


def curve(samples: int, inputs: int, seed: int = 0) -> tuple[list, list]:
    r = np.random.RandomState(seed)
    x = r.randint(-3, 4, (samples, inputs))
    y = np.abs(x[:, 0] - x[:, -1]) + np.round(r.randn(samples))
    return x.tolist(), y.astype(int).tolist()


def _step(h: int, w: str = TERNARY, b: int = 3, out: str = TERNARY, kind: str = "step") -> str:
    return f"h: dense({h}, {kind}, {w}, biases in int(-{b}..{b})) -> out: dense(1, {out}, biases in int(-{b}..{b}))"


INSTANCES: dict[str, str] = {
    "XOR, 2 step, ternary, sse": _spec(*parity(2), _step(2), "sse(f, D)"),
    "XOR, 2 relu, int(-2..2), l0": _spec(
        *parity(2), _step(2, "weights in int(-2..2)", 2, "weights in int(-2..2)", "relu"),
        "100 * max_error(f, D) + l0(f)"),
    "parity 3, 3 step, ternary, sse + l0": _spec(*parity(3), _step(3), "sse(f, D) + 0.01 * l0(f)"),
    "parity 3, 2 step, ternary, sae": _spec(*parity(3), _step(2), "sae(f, D)"),
    "parity 4, 4 step, ternary, errors": _spec(*parity(4), _step(4, b=4), "errors(f, D, margin = 0.5)"),
    "majority 5, 2 step, ternary, sse": _spec(*majority(5), _step(2, b=5), "sse(f, D)"),
    "majority 5, 3 sign, binarised, errors": _spec(
        *majority(5), _step(3, "weights in {-1, 1}", 5, "weights in {-1, 1}", "sign"), "errors(f, D, margin = 0.5)"),
    "clouds N=12 d=2, 2 sign, binarised, errors": _spec(
        *clouds(12, 2), "h: dense(2, sign, weights in {-1, 1}, biases in int(-2..2)) -> "
        "out: dense(1, weights in {-1, 1}, biases in int(-2..2))", "errors(f, D, margin = 0.5)"),
    "clouds N=20 d=4, 3 sign, binarised, hinge": _spec(
        *clouds(20, 4), "h: dense(3, sign, weights in {-1, 1}, biases in int(-3..3)) -> "
        "out: dense(1, weights in {-1, 0, 1}, biases in int(-3..3))", "hinge(f, D)"),
    "clouds N=30 d=3, 3 step, ternary, errors": _spec(*clouds(30, 3), _step(3, b=2), "errors(f, D, margin = 0.5)"),
    "clouds N=30 d=4, 4 sign, binarised, errors": _spec(
        *clouds(30, 4), _step(4, "weights in {-1, 1}", 3, "weights in {-1, 1}", "sign"), "errors(f, D, margin = 0.5)"),
    "curve N=12 d=2, 2 relu, int(-2..2), sae": _spec(
        *curve(12, 2), _step(2, "weights in int(-2..2)", 2, "weights in int(-2..2)", "relu"), "sae(f, D)"),
    "curve N=12 d=2, 2 relu, int(-2..2), sse": _spec(
        *curve(12, 2), _step(2, "weights in int(-2..2)", 2, "weights in int(-2..2)", "relu"), "sse(f, D)"),
    "curve N=20 d=3, 2 relu, ternary, max_error": _spec(*curve(20, 3), _step(2, kind="relu"), "max_error(f, D)"),
    "curve N=20 d=2, 3 relu, ternary, sse": _spec(*curve(20, 2), _step(3, kind="relu"), "sse(f, D)"),
}  # fmt: skip
