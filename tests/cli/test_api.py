"""The Python face."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import nnspec
from nnspec.engines.interface import Progress
from tests.cli.conftest import XOR

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def test_solve_predict_save(tmp_path):
    seen: list[Progress] = []
    solution = nnspec.solve(XOR, on_progress=seen.append)
    assert solution.status == nnspec.Status.OPTIMAL
    assert solution.gap == pytest.approx(0, abs=1e-6)
    assert solution.files == ()
    network = solution.network("f")
    np.testing.assert_allclose(network.predict(X).ravel(), [0, 1, 1, 0], atol=1e-3)
    np.testing.assert_array_equal(network.predict([0, 1]), network.predict([[0, 1]])[0])
    network.save(tmp_path / "f.onnx")
    read = nnspec.read_network(tmp_path / "f.onnx", "f")
    np.testing.assert_array_equal(read["h"].weights.value, network.weights["h"]["weights"])
    with pytest.raises(nnspec.UsageError, match="takes 2 inputs"):
        network.predict([[1, 2, 3]])
    with pytest.raises(nnspec.UsageError, match="the spec has f"):
        solution.network("g")


def test_load_check_and_parameters():
    text = "param top: real\nvar x in 0..9\nmaximize x\nconstraint x <= top\n"
    assert nnspec.load(text, top=2).arguments["top"] == 2
    with pytest.raises(nnspec.SpecError):
        nnspec.load(text)
    assert not nnspec.check(text).problem
    assert nnspec.check(text, top=1).errors == ()
    assert nnspec.solve(text, params={"top": 3}).variables["x"] == pytest.approx(3)
    assert nnspec.solve(nnspec.load(text, top=4)).objective == pytest.approx(4)


def test_infeasible_has_no_network():
    solution = nnspec.solve("var x in 0..1\nmaximize x\nconstraint x >= 2\n")
    assert (solution.status, solution.found, solution.objective) == (nnspec.Status.INFEASIBLE, False, None)


def test_compile():
    program = nnspec.compile(XOR)
    assert program.columns > 9


def test_solve_in_another_thread():
    """No signal handler can be set there."""
    result = []
    thread = threading.Thread(target=lambda: result.append(nnspec.solve(XOR).status))
    thread.start()
    thread.join()
    assert result == [nnspec.Status.OPTIMAL]


def test_public_names_exist():
    for name in nnspec.__all__:
        assert getattr(nnspec, name) is not None
    with pytest.raises(AttributeError):
        _ = nnspec.nothing


def test_scaling_is_inside_the_solution(tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n100,5\n200,7\n300,9\n400,11\n")
    spec = tmp_path / "line.nns"
    spec.write_text(
        'data D = csv("d.csv", x = [a], y = b, scale = standard, scale_y = minmax)\n'
        "net f = input(1) -> dense(1) with weights in -2..2, biases in -2..2\nminimize mse(f, D)\n"
    )
    solution = nnspec.solve(spec, out=tmp_path / "out")
    assert solution.objective == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(solution.network("f").predict([[150.0], [350.0]]).ravel(), [6, 10], atol=1e-4)
    assert [f.name for f in solution.files] == ["f.onnx", "f.float32.onnx", "solution.json"]
