"""The verifier accepts what the engine writes and refuses everything that was changed."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from cells_models import teacher, training

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.verify import EvidenceError, digest, verify
from nnspec.engines.interface import Limits


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("evidence") / "proof.gz"
    x, y = teacher(8)
    out = CellsEngine(evidence=path).solve(training(x, y, 1, weights=2, biases=2, outputs=2, output_bias=2), Limits())
    assert not out.messages
    return path, json.loads(gzip.decompress(path.read_bytes()))


def rewrite(path: Path, content: dict) -> Path:  # type: ignore[type-arg]
    """A forgery with a right digest."""
    content["sha256"] = digest(content)
    target = path.with_name("forged.gz")
    target.write_bytes(gzip.compress(json.dumps(content).encode()))
    return target


def test_accepts(written) -> None:
    report = verify(written[0])
    assert 0 <= report.objective - report.bound <= 2e-6 * report.objective
    assert report.certificates > 50


def test_duplicates_leaky_and_multiplicities(tmp_path: Path) -> None:
    x = np.array([[0.0], [0], [1], [1], [2], [3]])
    y = np.array([0.0, 1, 1, 0.5, 0, 2])
    p = training(x, y, 1, "leaky_relu", "mse", counts=np.array([1.0, 2, 1, 1, 3, 1]))
    out = CellsEngine(evidence=tmp_path / "e.gz").solve(p, Limits())
    assert not out.messages
    report = verify(tmp_path / "e.gz")
    assert report.objective == pytest.approx(out.objective)
    assert report.bound == pytest.approx(out.objective, rel=1e-5)


@pytest.mark.parametrize("kind", ["sae", "mae", "pinball", "hinge", "max_error"])
@pytest.mark.parametrize("boxes", [{}, {"weights": 2, "biases": 2, "outputs": 2, "output_bias": 1}])
def test_piecewise_linear_losses(tmp_path: Path, kind: str, boxes: dict[str, float]) -> None:
    x, y = teacher(9)
    y = np.where(np.arange(9) % 2 == 0, 1.0, -1.0) if kind == "hinge" else y
    out = CellsEngine(evidence=tmp_path / "e.gz").solve(training(x, y, 1, "relu", kind, **boxes), Limits())
    assert not out.messages
    report = verify(tmp_path / "e.gz")
    assert report.objective == pytest.approx(out.objective, rel=1e-9)
    assert report.bound == pytest.approx(out.objective, rel=1e-5)
    # the largest error of a few samples is that of all: a short proof
    assert report.certificates > (20 if kind == "max_error" else 50)
    assert out.objective > 1e-3
    content = json.loads(gzip.decompress((tmp_path / "e.gz").read_bytes()))
    for forgery in ("a higher statement", "a missing subtree", "no certificate", "other multipliers"):
        forged = copy.deepcopy(content)
        FORGERIES[forgery](forged)
        with pytest.raises(EvidenceError):
            verify(rewrite(tmp_path / "e.gz", forged))


def test_refuses_truncated_and_junk(written, tmp_path: Path) -> None:
    data = written[0].read_bytes()
    for part in (data[: len(data) // 2], data[:-1], b"", b"junk", gzip.compress(b"[1]")):
        bad = tmp_path / "bad.gz"
        bad.write_bytes(part)
        with pytest.raises(EvidenceError):
            verify(bad)


def test_refuses_a_changed_byte_of_the_content(written, tmp_path: Path) -> None:
    content = copy.deepcopy(written[1])
    content["bound"] *= 1.01
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(EvidenceError, match="changed"):
        verify(bad)


def bounds(content):
    return [n for s in content["statements"] for n in s["tree"] if n[0] == "b"]


FORGERIES = {
    "a higher bound": lambda c: c.update(bound=c["bound"] * 1.01),
    "a higher statement": lambda c: c["statements"][-1].update(value=c["statements"][-1]["value"] * 1.01),
    "a missing subtree": lambda c: c["statements"][-1]["tree"].pop(),
    "a subtree too many": lambda c: c["statements"][-1]["tree"].append(["b", []]),
    "no certificate": lambda c: bounds(c)[-1].__setitem__(1, []),
    "a better network": lambda c: c.update(objective=c["objective"] * 0.99),
    "weights outside the box": lambda c: c["network"].update(v=[99.0]),
    "other multipliers": lambda c: [n[1][0].__setitem__(1, [2 * v for v in n[1][0][1]]) for n in bounds(c)],
    "negative multipliers": lambda c: [m.__setitem__(3, -m[3]) for n in bounds(c) for k in n[1] for m in k[2]],
    "bounded nodes called empty": lambda c: [
        s["tree"].__setitem__(i, ["e", 0, [0, 1]])
        for s in c["statements"] for i, n in enumerate(s["tree"]) if n[0] == "b"
    ],
    "other data": lambda c: c["problem"]["y"].__setitem__(0, 7.0),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_refuses_forgeries(written, forgery: str) -> None:
    content = copy.deepcopy(written[1])
    FORGERIES[forgery](content)
    with pytest.raises(EvidenceError):
        verify(rewrite(written[0], content))


def test_refusal_of_forgeries_is_not_trivial(written) -> None:
    assert verify(rewrite(written[0], copy.deepcopy(written[1]))).certificates > 0
