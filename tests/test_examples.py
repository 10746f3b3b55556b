"""Every example is solved to proof from the command line, and what it wrote is looked at."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

import nnspec
from nnspec.cli.main import run
from nnspec.formats.onnx.run import run as run_file

EXAMPLES = Path(__file__).parent.parent / "examples"


def solve(name: str, folder: Path, capfd, *flags: str) -> dict:
    """The --json object of a solve that must be proven."""
    status = run(["solve", str(EXAMPLES / f"{name}.nns"), "--json", "--out", str(folder), *flags])
    captured = capfd.readouterr()
    assert status == 0, captured.err
    result = json.loads(captured.out)
    assert result["status"] == "optimal"
    return result


def test_every_example_has_a_test_and_is_formatted():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    specs = sorted(EXAMPLES.glob("*.nns"))
    assert {spec.stem for spec in specs} <= tested
    assert run(["fmt", "--check", *map(str, specs)]) == 0


def test_xor(tmp_path, capfd):
    result = solve("xor", tmp_path, capfd)
    assert result["objective"] == pytest.approx(0, abs=1e-6)
    outputs = run_file(tmp_path / "f.onnx", np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    np.testing.assert_allclose(outputs.ravel(), [0, 1, 1, 0], atol=1e-3)


def test_iris(tmp_path, capfd):
    """Three of thirty wrong is the optimum; weights and biases lie in their finite domains."""
    result = solve("iris", tmp_path, capfd)
    assert result["objective"] == 3
    weights = json.loads((tmp_path / "solution.json").read_text())["networks"]["f"]
    assert set(np.ravel(weights["h"]["weights"])) <= {-1.0, 0.0, 1.0}
    assert set(np.ravel(weights["h"]["bias"])) <= set(range(-8, 9))


def test_diabetes(tmp_path, capfd):
    """The best of all 210 subsets of four columns, found by least squares on each."""
    result = solve("diabetes", tmp_path, capfd)
    data = nnspec.load(EXAMPLES / "diabetes.nns").data["train"]
    ones = np.ones((data.samples, 1))

    def error(chosen: tuple[int, ...]) -> float:
        x = np.hstack([data.x[:, chosen], ones])
        return float(np.mean((x @ np.linalg.lstsq(x, data.y, rcond=None)[0] - data.y) ** 2))

    assert result["objective"] == pytest.approx(min(map(error, combinations(range(10), 4))), rel=1e-5)
    record = json.loads((tmp_path / "solution.json").read_text())
    assert np.count_nonzero(record["networks"]["f"]["out"]["weights"]) == 4


def test_tanh(tmp_path, capfd):
    """Many local searches find nothing better."""
    result = solve("tanh", tmp_path, capfd)
    data = nnspec.load(EXAMPLES / "tanh.nns").data["train"]
    x, y = data.x[:, 0], data.y[:, 0]

    def loss(p: np.ndarray) -> float:
        error = p[2] * np.tanh(p[0] * x + p[1]) + p[3] - y
        return float(error @ error + 0.05 * (p[0] ** 2 + p[2] ** 2))

    starts = np.random.default_rng(0).uniform(-3, 3, size=(40, 4))
    found = min(minimize(loss, start, bounds=[(-3, 3)] * 4).fun for start in starts)
    assert result["objective"] == pytest.approx(found, abs=2e-5)


def test_workshop(tmp_path, capfd):
    result = solve("workshop", tmp_path, capfd)
    assert result["objective"] == pytest.approx(840)
    made = result["variables"]
    for week in range(4):
        used = {p: made[f"made[{p},{week}]"] for p in ("chair", "table", "shelf")}
        hours = 2 * used["chair"] + 6 * used["table"] + 3 * used["shelf"] + 2.5 * sum(v > 0.5 for v in used.values())
        assert hours <= 40 + 1e-6


def test_demand(tmp_path, capfd):
    """As good as the best of a fine grid of prices for each whole number of ads that the budget allows."""
    result = solve("demand", tmp_path, capfd)
    price, ads = np.meshgrid(np.linspace(0, 10, 4001), np.arange(11))
    demand = run_file(EXAMPLES / "demand.onnx", np.stack([price.ravel(), ads.ravel()], axis=1)).ravel()
    revenue = np.where((demand >= 1) & (demand <= 40), price.ravel() * demand - 2 * ads.ravel(), -np.inf)
    assert revenue.max() - 1e-5 <= result["objective"] <= revenue.max() + 0.05


def test_pairs(tmp_path, capfd):
    """The network sees no order in a pair, on any input, and finds |u - v|."""
    result = solve("pairs", tmp_path, capfd)
    assert result["objective"] == pytest.approx(0.08125, abs=1e-6)
    x = np.random.default_rng(0).uniform(-9, 9, size=(100, 2))
    outputs = run_file(tmp_path / "f.onnx", x)
    np.testing.assert_allclose(run_file(tmp_path / "f.onnx", x[:, ::-1]), outputs, atol=1e-12)
    np.testing.assert_allclose(outputs.ravel(), np.abs(x[:, 0] - x[:, 1]), atol=1e-12)
