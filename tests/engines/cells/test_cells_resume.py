"""Stop and go on from a checkpoint file: the same proven optimum as one run, and files that are refused."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from cells_models import teacher, training
from test_cells_least import fewest

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells.checkpoint import CheckpointError
from nnspec.engines.interface import Limits, Outcome, Progress, Status
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.problem import Problem

ENGINE = CellsEngine()


def in_steps(p: Problem, path: Path, step: int, most: int = 60) -> tuple[list[Outcome], list[dict[str, np.ndarray]]]:
    """Solve with a checkpoint, `step` nodes more at a time: all outcomes and the files between them."""
    outcomes: list[Outcome] = []
    files: list[dict[str, np.ndarray]] = []
    seen: list[Progress] = []
    while not outcomes or outcomes[-1].status is Status.LIMIT:
        assert len(outcomes) < most
        limit = Limits(nodes=(outcomes[-1].nodes if outcomes else 0) + step, threads=1)
        out = CellsEngine(checkpoint=path).solve(p, limit, on_progress=seen.append)
        if outcomes:  # nothing that was known is lost
            before = outcomes[-1]
            assert out.nodes >= before.nodes
            assert out.bound is None or out.bound >= before.bound - 1e-12  # None: there is no network
            assert before.objective is None or out.objective <= before.objective
            assert out.bound is None or max(s.bound for s in seen) <= out.bound + 1e-9
        if out.point is not None:
            assert out.objective == objective(p, out.point)
            assert not violations(p, out.point, 1e-9)
        outcomes.append(out)
        assert path.exists() == (out.status is Status.LIMIT)
        if path.exists():
            with np.load(path) as z:
                files.append({k: z[k] for k in z.files})
    return outcomes, files


def clouds(n: int, d: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.RandomState(seed)
    return r.uniform(-1, 1, (n, d)), (r.rand(n) < 0.5) * 1.0


ERRORS = {
    "relu": training(*clouds(28), 2, "relu", "errors"),
    "abs": training(*clouds(30), 2, "abs", "errors", weights=9.0, biases=9.0, outputs=4.0, output_bias=4.0),
    "hardtanh": training(*clouds(28), 2, "hardtanh", "errors"),
    "leaky_relu": training(*clouds(22, 3), 1, "leaky_relu", "errors"),
    "step": training(*clouds(20), 3, "step", "errors"),
    "weighted sign": training(*clouds(20, 3), 2, "sign", "errors", counts=0.3 + clouds(20, 1)[0][:, 0] % 1.0),
}


@pytest.fixture
def small_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visits of a few nodes, so that small problems stop inside of subsets; and only the tree finds networks."""
    from nnspec.engines.cells import fewest

    monkeypatch.setattr(fewest, "FIRST_BUDGET", 5)
    monkeypatch.setattr(fewest, "BUDGET_NODES", 20)
    monkeypatch.setattr(fewest, "multistart_errors", lambda *arguments: None)


@pytest.mark.parametrize("name", list(ERRORS))
def test_fewest_errors_in_steps(name: str, tmp_path: Path, small_visits: None) -> None:
    p = ERRORS[name]
    whole = ENGINE.solve(p, Limits(threads=1))
    assert whole.status is Status.OPTIMAL
    outcomes, files = in_steps(p, tmp_path / "c", max(1, whole.nodes // 12))
    assert outcomes[-1].status is Status.OPTIMAL
    assert outcomes[-1].objective == whole.objective
    assert outcomes[-1].bound == pytest.approx(whole.objective, abs=1e-6)
    assert len(outcomes) >= 5
    assert any(a.size for f in files for k, a in f.items() if k.endswith(".left")), "never stopped inside of a subset"


def test_other_threads_go_on(tmp_path: Path, small_visits: None) -> None:
    """The state at a node limit, and what is made of it, do not depend on the number of threads."""
    p, nodes = ERRORS["relu"], []
    for threads in (1, 2):
        engine = CellsEngine(checkpoint=tmp_path / "c")
        assert engine.solve(p, Limits(nodes=4000, threads=threads)).status is Status.LIMIT
        nodes.append(engine.solve(p, Limits(threads=3 - threads)).nodes)
    assert nodes[0] == nodes[1] > 4000


def test_the_part_with_the_least_bound_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices of signs and tables advance together, so the bound of all grows from the start."""
    from nnspec.engines.cells.union import Union

    prove = Union.prove
    bounds: list[list[float]] = []

    def watched(self, part) -> None:  # type: ignore[no-untyped-def]
        bounds.append([q.bound for q in self.parts])
        assert part.bound == min(q.bound for q in self.parts)  # one that is proven is not below the optimum
        prove(self, part)

    monkeypatch.setattr(Union, "prove", watched)
    for name in ("relu", "step"):
        bounds.clear()
        out = ENGINE.solve(ERRORS[name], Limits(threads=1))
        assert len(bounds[0]) > 1
        whole = [min(b) for b in bounds]
        assert whole == sorted(whole)
        assert len(set(whole)) > out.objective / 2  # a step of 1 for most of the errors


def test_stop_event_keeps_the_state(tmp_path: Path, small_visits: None) -> None:
    p = ERRORS["relu"]
    whole = ENGINE.solve(p, Limits(threads=1))
    bound, stops = -np.inf, 0
    for _ in range(100):
        stop = threading.Event()

        def listen(progress: Progress, stop=stop, known=bound) -> None:  # type: ignore[no-untyped-def]
            if progress.bound > known:  # some progress each time
                stop.set()

        out = CellsEngine(checkpoint=tmp_path / "c").solve(p, Limits(threads=1), on_progress=listen, stop=stop)
        assert out.bound >= bound
        bound = out.bound
        if out.status is Status.OPTIMAL:
            break
        assert out.status is Status.INTERRUPTED
        stops += 1
    assert stops >= 2
    assert (out.status, out.objective) == (Status.OPTIMAL, whole.objective)


@pytest.mark.parametrize(("name", "share"), [("errors", 0.95), ("half-planes", 0.95), ("sse", 0.6),
                                             ("fewest weights", 0.95)])  # fmt: skip
def test_a_stop_at_once_keeps_bound_and_nodes(name: str, share: float, tmp_path: Path) -> None:
    p, engine = KINDS[name], CellsEngine(checkpoint=tmp_path / "c")
    nodes = ENGINE.solve(p, Limits(threads=1)).nodes
    before = engine.solve(p, Limits(nodes=int(share * nodes), threads=1))
    again = engine.solve(p, Limits(nodes=1, threads=1))
    assert again.status is before.status is Status.LIMIT
    assert (again.bound, again.objective, again.nodes) == (before.bound, before.objective, before.nodes)
    assert before.bound > 0.0


@pytest.mark.parametrize("kind", ["errors", "sse", "sae"])
def test_a_network_from_elsewhere_is_kept(kind: str, tmp_path: Path) -> None:
    """The incumbent may be none of the search's own; what was cut at it would otherwise be claimed without it."""
    p = ERRORS["step"] if kind == "errors" else training(*teacher(24), 2, kind=kind)
    best = ENGINE.solve(p, Limits(threads=1))
    path = tmp_path / "c"
    first = CellsEngine(checkpoint=path).solve(p, Limits(nodes=0, threads=1), start=(best.point,))
    assert first.objective == best.objective
    second = CellsEngine(checkpoint=path).solve(p, Limits(nodes=0, threads=1))
    assert second.status is Status.LIMIT
    assert second.objective == best.objective


PLANAR = {
    "step": training(*clouds(40), 2, "step", "errors", weights=9.0, biases=9.0, outputs=2.0, output_bias=1.0),
    "sign": training(*clouds(60, 2, 1), 1, "sign", "errors", weights=9.0, biases=9.0, outputs=2.0, output_bias=1.0),
    "weights": training(*clouds(30, 2, 2), 2, "sign", "errors", weights=9.0, biases=9.0, outputs=2.0, output_bias=1.0,
                        counts=clouds(30, 1, 4)[0][:, 0] + 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PLANAR))
@pytest.mark.parametrize("struck", [False, True])
def test_half_planes_in_steps(name: str, struck: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where sets are struck off, as if no line separated those of an odd size."""
    from nnspec.engines.cells import errors

    separate = errors.separate
    if struck:
        monkeypatch.setattr(errors, "separate", lambda x, s: None if s.sum() % 2 else separate(x, s))
    p = PLANAR[name]
    whole = ENGINE.solve(p, Limits())
    assert whole.evidence["method"] == "enumeration of maximal half-planes"
    assert whole.status is Status.OPTIMAL
    outcomes, files = in_steps(p, tmp_path / "c", max(1, whole.nodes // 7))
    assert outcomes[-1].objective == whole.objective
    assert struck or outcomes[-1].nodes == whole.nodes  # when a set is struck off depends on the steps
    if name != "sign":  # a single neuron has no pairs to look at
        assert len(outcomes) >= 5
        assert {int(f["more.0.ints"][0]) for f in files} >= {1, 2}  # stopped in both stages
        assert not struck or any(f["more.0.struck"].size or f["more.1.struck"].size for f in files)


BOX = dict(weights=4.0, biases=4.0, outputs=3.0, output_bias=3.0)
LEAST = {
    "relu": fewest(training(*teacher(11), 2), {"l0": 1.0}, 0.1),
    "abs in boxes": fewest(training(*teacher(12), 2, "abs", **BOX), {"l0": 1.0, "inputs": 0.5}, 0.2),
    "leaky_relu, sae": fewest(training(*teacher(8), 2, "leaky_relu", "sae"), {"h": 1.0}, 1.2),
    "hardtanh": fewest(training(*teacher(8), 1, "hardtanh", "huber", **BOX), {"l0": 1.0}, 0.25),
    "infeasible": fewest(training(*teacher(12), 1), {"l0": 1.0}, 0.05),
}


@pytest.mark.parametrize("name", list(LEAST))
def test_fewest_weights_in_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnspec.engines.cells import dolls, least

    p = LEAST[name]
    whole = ENGINE.solve(p, Limits(threads=1))
    monkeypatch.setattr(dolls, "FIRST_BUDGET", 5)
    monkeypatch.setattr(dolls, "BUDGET", 15)
    tried: list[int] = []
    try_out = least.Least.try_out
    monkeypatch.setattr(least.Least, "try_out", lambda self, s, *more: tried.append(s) or try_out(self, s, *more))
    outcomes, files = in_steps(p, tmp_path / "c", max(1, whole.nodes // 8))
    last = outcomes[-1]
    assert (last.status, last.objective, last.bound) == (whole.status, whole.objective, whole.bound)
    assert whole.status is (Status.INFEASIBLE if name == "infeasible" else Status.OPTIMAL)
    assert last.evidence["supports searched"] == whole.evidence["supports searched"]
    assert len(outcomes) >= 3
    assert any(f["more.numbers"][3] >= 0 and f["bounds"].size for f in files), "never stopped inside of a search"
    assert len(tried) <= len(set(tried)) + 10 + len(outcomes)  # local searches are not repeated


def test_fewest_weights_stopped_at_once(tmp_path: Path) -> None:
    """A stop on the way to the first network: nothing is claimed, and the next solve goes on."""
    p, stop = LEAST["relu"], threading.Event()
    stop.set()
    out = CellsEngine(checkpoint=tmp_path / "c").solve(p, Limits(threads=1), stop=stop)
    assert (out.status, out.objective) == (Status.INTERRUPTED, None)
    again = CellsEngine(checkpoint=tmp_path / "c").solve(p, Limits(threads=1))
    whole = ENGINE.solve(p, Limits(threads=1))
    assert (again.status, again.objective, again.nodes) == (Status.OPTIMAL, whole.objective, whole.nodes)


# -- refusals ----------------------------------------------------------------------------------------------------------


def kept(p: Problem, path: Path) -> bytes:
    """A checkpoint of the problem."""
    assert CellsEngine(checkpoint=path).solve(p, Limits(nodes=0, threads=1)).status is Status.LIMIT
    return path.read_bytes()


def refused(p: Problem, path: Path, why: str | None = None) -> None:
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=why):
        CellsEngine(checkpoint=path).solve(p, Limits(threads=1))
    assert path.read_bytes() == before


KINDS = {"errors": ERRORS["relu"], "tables": training(*clouds(28), 3, "step", "errors"),
         "half-planes": PLANAR["step"], "sse": training(*teacher(20), 2),
         "fewest weights": LEAST["relu"], "sae": training(*teacher(20), 2, kind="sae")}  # fmt: skip


@pytest.mark.parametrize("name", list(KINDS))
def test_refuses_other_problems(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    for other in KINDS:
        if other != name:
            kept(KINDS[other], path)
            refused(KINDS[name], path, "another problem")
            path.unlink()


def test_refuses_other_data(tmp_path: Path) -> None:
    x, y = clouds(28)
    path = tmp_path / "c"
    kept(ERRORS["relu"], path)
    for other in (training(x, 1.0 - y, 2, "relu", "errors"), training(x, y, 2, "relu", "errors", margin=0.5),
                  training(x, y, 2, "relu", "errors", counts=np.full(28, 2.0)),
                  training(x, y, 2, "relu", "errors", outputs=9.0)):  # fmt: skip
        refused(other, path, "another problem")
    with pytest.raises(CheckpointError, match="gap"):
        CellsEngine(checkpoint=path).solve(ERRORS["relu"], Limits(gap=0.1))


@pytest.mark.parametrize("name", list(KINDS))
def test_refuses_files_that_were_changed(name: str, tmp_path: Path) -> None:
    p, path = KINDS[name], tmp_path / "c"
    content = kept(p, path)
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        refused(p, path, "changed or cut off")
    r = np.random.RandomState(0)
    for _ in range(50):
        changed = bytearray(content)
        changed[r.randint(len(content))] ^= 1 << r.randint(8)
        path.write_bytes(changed)
        refused(p, path, "changed or cut off")
    path.write_bytes(content + b"\0")
    refused(p, path, "changed or cut off")


def test_refuses_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with path.open("wb") as f:  # like one of the boxes engine
        np.savez(f, digest="0" * 64, rows=np.zeros((2, 9)), w=np.zeros(2), z=np.zeros(3))
    refused(KINDS["sse"], path, "no checkpoint of the cells engine")
