"""The verifier accepts what the engine writes, for all that the engine takes, and refuses all that was changed."""

from __future__ import annotations

import copy
import gzip
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cells_models import boxed, teacher, training
from test_cells_domains import decayed_problem, random_problem

from nnspec.engines.cells import CellsEngine, duals
from nnspec.engines.cells import evidence as writer
from nnspec.engines.cells.interior import STUCK
from nnspec.engines.cells.model import recognise
from nnspec.engines.cells.proof.bounds import Bounds
from nnspec.engines.cells.proof.exact import exponent, integer, nonnegative_dependence
from nnspec.engines.cells.proof.incumbent import objective as exact_objective
from nnspec.engines.cells.proof.statement import Support, prover_of
from nnspec.engines.cells.proof.training import read
from nnspec.engines.cells.verify import EvidenceError, digest, verify
from nnspec.engines.interface import Limits, Status
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Constraint, Objective, Problem

LOSSES = ("sse", "mse", "sae", "mae", "pinball", "max_error", "hinge", "huber", "squared_hinge")
ACTIVATIONS = ("relu", "leaky_relu", "abs", "hardtanh", "step", "sign")
BOXES = {"weights": 2, "biases": 1.5, "outputs": 1, "output_bias": 0.5}
TIGHT = {"weights": 1, "biases": 0.5, "outputs": 0.5, "output_bias": 0.2}


def instance(kind: str, activation: str = "relu", n: int = 6, neurons: int = 1, seed: int = 1, **more):  # type: ignore[no-untyped-def]
    """Problem number `seed` of a loss; pinball, huber and the hinges with parameters that are not the defaults."""
    x, y = teacher(n, seed=seed)
    if "hinge" in kind:  # one sample is in both classes
        x[-1], y = x[0], np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
        y[-1] = -y[0]
    own = {"pinball": {"q": 0.3}, "huber": {"delta": 0.2}, "hinge": {"margin": 0.7}, "squared_hinge": {"margin": 0.7}}
    return training(x, y, neurons, activation, kind, **own.get(kind, {}), **more)


def proven(problem, path: Path, gap: float = 1e-6):  # type: ignore[no-untyped-def]
    """Solve, write, verify against the problem."""
    out = CellsEngine(evidence=path).solve(problem, Limits(gap=gap, threads=1))
    assert out.status is Status.OPTIMAL
    assert not out.messages
    report = verify(path, problem)
    assert report.objective == pytest.approx(out.objective, rel=1e-9, abs=1e-12)
    assert out.evidence["bound of the file"] == report.bound
    assert 0 <= report.objective - report.bound <= 2 * gap * max(1.0, out.objective)
    return report


def content_of(path: Path) -> dict:  # type: ignore[type-arg]
    return json.loads(gzip.decompress(path.read_bytes()))


def rewrite(path: Path, content: dict) -> Path:  # type: ignore[type-arg]
    """A forgery with a right digest."""
    content["sha256"] = digest(content)
    target = path.with_name("forged.gz")
    target.write_bytes(gzip.compress(json.dumps(content).encode()))
    return target


def refused(path: Path, problem: Problem | None = None) -> bool:
    try:
        verify(path, problem)
    except EvidenceError:
        return True
    return False


# -- what is written is accepted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_losses_and_activations(tmp_path: Path, kind: str, activation: str) -> None:
    seed = LOSSES.index(kind) + 3 * ACTIVATIONS.index(activation)
    boxes = BOXES if seed % 2 else {}
    report = proven(instance(kind, activation, 6 + seed % 3, seed=seed, **boxes), tmp_path / "e.gz")
    assert report.certificates > 2
    assert report.strict == 0


@pytest.mark.parametrize("kind", LOSSES)
def test_weight_decay(tmp_path: Path, kind: str) -> None:
    seed = LOSSES.index(kind)
    activation = ("relu", "abs", "leaky_relu")[seed % 3]
    decay = dict(decay=0.05, decay_biases=bool(seed % 2))
    assert proven(instance(kind, activation, 6, seed=seed, **decay), tmp_path / "e.gz").certificates > 5


def test_norms_by_cutting_planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written where the interior-point method does not get on with the norms of weight decay."""
    method = duals.minimise

    def stuck(*problem):  # type: ignore[no-untyped-def]
        return (STUCK, -math.inf) if len(problem[11]) else method(*problem)

    monkeypatch.setattr(duals, "minimise", stuck)
    for activation, kind, biases in (("relu", "sse", True), ("abs", "sae", False), ("leaky_relu", "huber", True)):
        proven(instance(kind, activation, 5, decay=0.03, decay_biases=biases), tmp_path / "e.gz")
    proven(instance("sse", "relu", 4, 2, decay=0.03), tmp_path / "e.gz")


def test_norms_that_are_small_at_the_boundary_of_a_cell(tmp_path: Path) -> None:
    """Leaves of two random problems at which the interior-point method goes round in circles."""
    boxes = {"weights": 4.0, "biases": 4.0, "outputs": 4.0, "output_bias": 0.3}
    x = np.array([0.12049538297952456, -0.42877829806515333, 0.3627816196812712, 0.9084658122981291,
                  0.7110219076149971])[:, None]  # fmt: skip
    proven(training(x, [0.43, -2.16, 0.49, -0.08, -1.06], 1, "leaky_relu", "sse", counts=np.array([3.0, 3, 2, 2, 2]),
                    decay=0.01, **boxes), tmp_path / "e.gz")  # fmt: skip
    x = [[0.6972720726310047], [0.3123959088629016], [-0.736614866240936], [-0.4719366961186595]]
    boxes = {"weights": 0.5, "biases": 4.0, "outputs": 0.5, "output_bias": 4.0}
    proven(training(x, [1.0, 0.0, 0.0, 0.0], 2, "leaky_relu", "hinge", margin=1.0, decay=0.01, **boxes),
           tmp_path / "e.gz")  # fmt: skip


def test_two_neurons(tmp_path: Path) -> None:
    for number, (activation, kind, n, more) in enumerate((
        ("relu", "sse", 7, BOXES), ("abs", "sae", 8, {}), ("relu", "mse", 7, {"decay": 0.02}),
        ("hardtanh", "huber", 6, TIGHT), ("step", "sse", 6, BOXES), ("sign", "mse", 6, {}),
        ("leaky_relu", "max_error", 7, TIGHT),
    )):  # fmt: skip
        report = proven(instance(kind, activation, n, 2, seed=number, **more), tmp_path / f"{number}.gz")
        assert report.nodes > 20


def test_without_biases_and_a_sample_at_the_origin(tmp_path: Path) -> None:
    x, y = teacher(6)
    x[2] = 0.0
    for bias, constant in ((False, True), (False, False), (True, False)):
        proven(training(x, y, 1, bias=bias, use_output_bias=constant), tmp_path / "e.gz")
        proven(training(x, y, 1, "hardtanh", bias=bias, use_output_bias=constant), tmp_path / "e.gz")


def test_degenerate_data(tmp_path: Path) -> None:
    grid = np.array([[a, b] for a in (-1.0, 0.0, 1.0) for b in (0.0, 1.0)] + [[0.0, 0.0], [1.0, 1.0]])
    y = np.random.RandomState(3).randn(8)
    line = 5.0 + np.outer([0, 1, 2, 2, 3, 1], [1.0, 2.0])
    for activation in ACTIVATIONS:
        proven(training(grid, y, 1, activation), tmp_path / "e.gz")
        proven(training(line, y[:6], 1, activation, "mse", counts=np.array([1.0, 2, 1, 1, 3, 1])), tmp_path / "e.gz")
        proven(training(line, y[:6], 1, activation, "sae", **BOXES), tmp_path / "e.gz")


def test_far_from_the_origin_and_in_other_units(tmp_path: Path) -> None:
    """The reach that the claim speaks of is measured in the data: units change nothing."""
    x, y = teacher(6)
    for kind, activation, decay in (("sse", "relu", 0.0), ("huber", "hardtanh", 0.0), ("sae", "abs", 0.0),
                                    ("sse", "relu", 30.0), ("sse", "step", 0.0)):  # fmt: skip
        p = training(1e4 + 100 * x, 1e5 + 1e3 * y, 1, activation, kind, delta=100.0 if kind == "huber" else None,
                     decay=decay)  # fmt: skip
        out = CellsEngine(evidence=tmp_path / "e.gz").solve(p, Limits())
        assert not out.messages
        report = verify(tmp_path / "e.gz", p)
        assert report.objective - report.bound <= 2e-6 * out.objective


@pytest.mark.parametrize("seed", range(20))
def test_boxes_without_zero_and_fixed_weights(tmp_path: Path, seed: int) -> None:
    proven(random_problem(seed), tmp_path / "e.gz", 1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_weight_decay_with_fixed_weights(tmp_path: Path, seed: int) -> None:
    p = decayed_problem(seed)
    out = CellsEngine(evidence=tmp_path / "e.gz").solve(p, Limits(threads=1))
    if out.status is Status.OPTIMAL:  # else boxes with 0 that bind
        assert not out.messages
        report = verify(tmp_path / "e.gz", p)
        assert report.objective == pytest.approx(out.objective, rel=1e-9, abs=1e-12)
        assert 0 <= report.objective - report.bound <= 2e-6 * max(1.0, out.objective)


def test_a_fixed_output_bias_that_decays(tmp_path: Path) -> None:
    """Its square is there at every node."""
    p = boxed(instance("sse", n=6, decay=0.1, decay_biases=True), c=(2.0, 2.0))
    assert proven(p, tmp_path / "e.gz").objective > 0.4


SIZES = {"h": ex.Size("l0", "f", "h"), "out": ex.Size("l0", "f", "out"), "l0": ex.Size("l0", "f"),
         "neurons": ex.Size("neurons", "f"), "inputs": ex.Size("inputs", "f")}  # fmt: skip


def counted(p, most: dict[str, int], prices: dict[str, float] = {}):  # type: ignore[no-untyped-def]  # noqa: B006
    """The problem with limits on counts and prices on them."""
    limits = tuple(Constraint(ex.Comparison("<=", SIZES[k], ex.Constant(float(v)))) for k, v in most.items())
    terms = [ex.Product((ex.Constant(c), SIZES[k])) for k, c in prices.items()]
    total = p.objective.expression if not terms else ex.Sum((p.objective.expression, *terms))
    return replace(p, constraints=limits, objective=Objective("minimize", total))


@pytest.mark.parametrize(
    ("neurons", "most", "prices", "kind", "more"),
    [
        (1, {"h": 2}, {}, "sse", {}), (2, {"l0": 4}, {}, "sse", {}), (2, {"neurons": 1}, {"inputs": 0.01}, "sae", {}),
        (1, {}, {"l0": 0.02}, "huber", {}), (2, {"out": 2}, {}, "sse", {"decay": 0.02}),
        (2, {"neurons": 0}, {}, "mse", {}), (1, {"h": 2}, {"neurons": 0.1}, "sse", {"activation": "hardtanh", **BOXES}),
    ],
)  # fmt: skip
def test_supports(tmp_path: Path, neurons: int, most: dict, prices: dict, kind: str, more: dict) -> None:  # type: ignore[type-arg]
    p = counted(instance(kind, n=6, neurons=neurons, **more), most, prices)
    report = proven(p, tmp_path / "e.gz")
    assert report.parts >= 1
    with pytest.raises(EvidenceError, match="this spec"):
        verify(tmp_path / "e.gz", counted(instance(kind, n=6, neurons=neurons, **more), {}))
    if len(content_of(tmp_path / "e.gz")["parts"]) > 1:
        forged = content_of(tmp_path / "e.gz")
        del forged["parts"][-1]
        with pytest.raises(EvidenceError):
            verify(rewrite(tmp_path / "e.gz", forged), p)


def test_duplicates_that_a_support_is_cut_by(tmp_path: Path) -> None:
    """Supports whose price is too high still need a proof of what their duplicates cost."""
    x = np.array([[0.0], [0], [1], [1], [2], [3]])
    y = np.array([0.0, 1, 1, 0.5, 0, 2])
    proven(counted(training(x, y, 1), {}, {"l0": 0.3}), tmp_path / "e.gz")


def test_errors_on_the_plane(tmp_path: Path) -> None:
    r = np.random.RandomState(0)
    for seed in range(6):
        x = r.uniform(-1, 1, (14, 2)) if seed % 2 else r.randint(0, 4, (14, 2)).astype(float)
        counts = None if seed % 3 else r.randint(1, 4, 14).astype(float)
        p = training(x, r.rand(14) < 0.5, 1 + seed % 2, "step" if seed < 3 else "sign", "errors", counts=counts)
        report = proven(p, tmp_path / "e.gz")
        assert report.bound == report.objective
        forged = content_of(tmp_path / "e.gz")
        forged["bound"] += 1
        with pytest.raises(EvidenceError, match="only"):
            verify(rewrite(tmp_path / "e.gz", forged))
    large = training(r.uniform(-1, 1, (201, 2)), r.rand(201) < 0.5, 1, "step", "errors")
    assert "at most 200 samples" in CellsEngine(evidence=tmp_path / "l.gz").solve(large, Limits()).messages[0]


@pytest.mark.parametrize(
    ("activation", "neurons", "d", "more"),
    [("relu", 1, 2, {}), ("abs", 1, 1, BOXES), ("leaky_relu", 2, 1, {"weights": 3, "outputs": 2}),
     ("hardtanh", 1, 2, {}), ("relu", 2, 1, {}), ("step", 2, 1, {}), ("sign", 1, 3, BOXES | {"output_bias": 2}),
     ("step", 2, 2, BOXES | {"outputs": 0.15})],
)  # fmt: skip
def test_errors_of_all_activations(tmp_path: Path, activation: str, neurons: int, d: int, more: dict) -> None:  # type: ignore[type-arg]
    r = np.random.RandomState(neurons + d)
    x = r.randint(0, 4, (9, d)).astype(float)
    p = training(x, r.rand(9) < 0.5, neurons, activation, "errors", counts=r.randint(1, 3, 9) * 1.0, margin=0.1, **more)
    report = proven(p, tmp_path / "e.gz")
    assert report.objective >= 1.0
    assert report.certificates > 0
    content = content_of(tmp_path / "e.gz")
    for forge in (raised, lambda c: [n.__setitem__(slice(None), ["w"]) for n in nodes(c, "b")],
                  lambda c: [k.__setitem__(1, [0.0 for _ in k[1]]) for k in certificates(c)],
                  lambda c: c["problem"].update(margin=0.01)):  # fmt: skip
        forged = copy.deepcopy(content)
        forge(forged)
        with pytest.raises(EvidenceError):
            verify(rewrite(tmp_path / "e.gz", forged), p)


def test_errors_with_a_limit_on_neurons(tmp_path: Path) -> None:
    r = np.random.RandomState(5)
    p = training(r.uniform(-1, 1, (7, 2)), r.rand(7) < 0.5, 2, "relu", "errors")
    proven(counted(p, {"neurons": 1}), tmp_path / "e.gz")


def test_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "NODES", 10)
    out = CellsEngine(evidence=tmp_path / "e.gz").solve(instance("sse"), Limits())
    assert "more than 10 nodes" in out.messages[0]
    assert not (tmp_path / "e.gz").exists()


# -- exact arithmetic against floats -----------------------------------------------------------------------------------


def test_integers_and_dependences() -> None:
    values = [Fraction(v) for v in (0.1, -3.0, 1e-20, 0.0)]
    e = exponent(values)
    assert [Fraction(integer(v, e), 1 << e) for v in values] == values
    rows = [[Fraction(v) for v in row] for row in ((1, 0), (0, 1), (-2, -3))]
    assert nonnegative_dependence(rows)
    assert not nonnegative_dependence(rows[:2])
    assert not nonnegative_dependence([*rows[:2], [Fraction(2), Fraction(-3)]])
    assert not nonnegative_dependence([[Fraction(0), Fraction(0)]])  # a sample at the origin excludes no pattern


@pytest.mark.parametrize("seed", range(40))
def test_any_certificate_is_a_bound(seed: int) -> None:
    """Random multipliers at the pattern of a random network: never above its loss plus penalty, by the judge."""
    r = np.random.RandomState(seed)
    kind, activation = LOSSES[seed % len(LOSSES)], ACTIVATIONS[(seed // 3) % len(ACTIVATIONS)]
    decay = 0.1 if seed % 2 and activation in ACTIVATIONS[:3] else 0.0
    p = instance(kind, activation, 6, 2, seed=seed, decay=decay, decay_biases=True, **(BOXES if r.rand() < 0.7 else {}))
    cells = recognise(p)
    t = read(writer.problem_of(cells))
    w = np.clip(r.randn(2, 3), cells.lo, cells.hi)
    v, c = np.clip(r.randn(2), cells.out_lo, cells.out_hi), float(np.clip(r.randn(), cells.c_lo, cells.c_hi))
    hidden = w[:, :-1] @ cells.x.T + w[:, -1:]
    pieces = (hidden >= -1).astype(int) + (hidden >= 1) if activation == "hardtanh" else (hidden >= 0).astype(int)
    path = [(i, tuple(int(m) for m in pieces[:, i])) for i in r.permutation(6)]
    signs = tuple(1 if s >= 0 else -1 for s in v)
    bounds = Bounds(t, [0, 1], [[True] * 3] * 2, [(t.c_lo, t.c_hi)], True)
    value, *_ = exact_objective(t, {"hidden": w.tolist(), "v": v.tolist(), "c": c})
    assert float(value) == pytest.approx(objective(p, cells.threshold_network(w, v, c) if activation in ACTIVATIONS[4:]
                                                   else cells.assembled(v, w, c)), rel=1e-9)  # fmt: skip
    for size in (0.01, 0.1, 1.0):
        u = size * r.randn(6)
        lo, hi = (s if s is None else float(s) for s in (t.loss.lo, t.loss.hi))
        u = np.clip(u, -np.inf if lo is None else lo, np.inf if hi is None else hi)
        u = u / max(1.0, np.abs(u).sum() * (1 + 1e-12)) if kind == "max_error" else u
        mu = [[k, s, q, size * r.rand()] for k in range(2) for s in range(6) for q in range(t.pieces - 1)
              if q in (path[s][1][k], path[s][1][k] - 1)]  # fmt: skip
        g = r.randn(2, 3)
        if decay:
            square = (np.array(t.hidden_decay, dtype=float) * g**2).sum(axis=1, keepdims=True)
            g *= 0.99 * np.sqrt(float(t.output_decay[0]) / square)
        for penalty in (None, [g.tolist(), float(size * r.randn())]) if decay else (None,):
            for certificate, s in (([u.tolist(), mu, penalty], signs), ([u.tolist(), [], penalty], None)):
                assert t.offset + t.scale * bounds.value(path, s, certificate) <= value


@pytest.mark.parametrize("seed", range(40))
def test_any_certificate_is_a_bound_where_weights_are_fixed(seed: int) -> None:
    """The same with the penalties of boxes without 0."""
    r = np.random.RandomState(seed)
    p = decayed_problem(seed)
    cells = recognise(p)
    t = read(writer.problem_of(cells))
    n, (count, columns) = len(cells.y), cells.lo.shape
    w = r.uniform(cells.lo, cells.hi)
    v, c = r.uniform(cells.out_lo, cells.out_hi), float(r.uniform(cells.c_lo, cells.c_hi))
    value, *_ = exact_objective(t, {"hidden": w.tolist(), "v": v.tolist(), "c": c})
    whole = Support([[True] * columns] * count, [True] * count, True, Fraction(0))
    bounds = prover_of(t, whole, [], Fraction(0)).bounds
    pieces = (w[:, :-1] @ cells.x.T + w[:, -1:] >= 0).astype(int)
    path = [(i, tuple(int(pieces[k, i]) for k in bounds.used)) for i in r.permutation(n)]
    signs = tuple(1 if v[k] >= 0 else -1 for k in bounds.used)
    lo, hi = (s * np.inf if e is None else float(e) for s, e in ((-1, t.loss.lo), (1, t.loss.hi)))
    for size in (0.01, 0.1, 1.0):
        u = np.clip(size * r.randn(n), lo, hi)
        u = u / max(1.0, np.abs(u).sum() * (1 + 1e-12)) if p.objective.expression.terms[0].kind == "max_error" else u
        mu = [[k, s, 0, size * r.rand()] for k in range(len(signs)) for s in range(n)]
        g = []
        for orbit in bounds.orbits:
            one = size * r.randn(columns + orbit.apart)
            square = float(np.array(orbit.hidden_decay, dtype=float) @ one[:columns] ** 2)
            most = float(orbit.output_decay)
            one = one if orbit.apart else one * 0.99 * np.sqrt(most / square) if square > 0 else 0.0 * one
            g.append(one.tolist())
        for penalty in (None, [g, float(size * r.randn())]):
            for certificate, s in (([u.tolist(), mu, penalty], signs), ([u.tolist(), [], penalty], None)):
                assert t.offset + t.scale * bounds.value(path, s, certificate) <= value


# -- what is changed is refused ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict]]:  # type: ignore[type-arg]
    """One file of each kind of proof."""
    folder, files = tmp_path_factory.mktemp("evidence"), {}
    problems = {
        "plain": instance("sse", n=7, **BOXES), "decay": instance("sse", n=6, decay=0.02),
        "hardtanh": instance("huber", "hardtanh", 6, **BOXES), "step": instance("sae", "step", 6, **BOXES),
        "supports": counted(instance("sse", n=6), {"h": 2}),
    }  # fmt: skip
    for name, p in problems.items():
        proven(p, folder / f"{name}.gz")
        files[name] = (folder / f"{name}.gz", content_of(folder / f"{name}.gz"))
    return files


KINDS = ("plain", "decay", "hardtanh", "step", "supports")


def statements(c: dict) -> list[dict]:  # type: ignore[type-arg]
    return [s for part in c["parts"] for s in part["statements"]]


def nodes(c: dict, kind: str) -> list[list]:  # type: ignore[type-arg]
    return [n for s in statements(c) for n in s["tree"] if n[0] == kind]


def certificates(c: dict) -> list[list]:  # type: ignore[type-arg]
    return [one for n in nodes(c, "b") + nodes(c, "n") for one in n[-1]]


def raised(c: dict) -> None:  # type: ignore[type-arg]
    """Every statement and the bound claim a little more, as a writer would that was told too high a value."""
    for s in statements(c):
        s["value"] *= 1.001
    c["bound"] *= 1.001


FORGERIES = {
    "a higher bound": lambda c: c.update(bound=c["bound"] * 1.01),
    "an infinite bound": lambda c: c.update(bound=math.inf),
    "higher statements": raised,
    "a statement about other samples": lambda c: statements(c)[-1]["samples"].pop(),
    "a missing subtree": lambda c: statements(c)[-1]["tree"].pop(),
    "a leaf left out": lambda c: statements(c)[-1]["tree"].remove(nodes(c, "b")[-1]),
    "a subtree too many": lambda c: statements(c)[-1]["tree"].append(["b", []]),
    "an inner node called closed": lambda c: nodes(c, "n")[0].__setitem__(slice(None), ["b", []]),
    "no certificate": lambda c: nodes(c, "b")[-1].__setitem__(1, []),
    "an unknown node": lambda c: nodes(c, "b")[-1].__setitem__(0, "q"),
    "a part left out": lambda c: c["parts"].pop(),
    "signs left out": lambda c: c["parts"][-1]["signs"].pop(),
    "a better network": lambda c: c.update(objective=c["objective"] * 0.99),
    "other weights": lambda c: c["network"].update(c=c["network"]["c"] + 0.1),
    "a network of another shape": lambda c: c["network"]["v"].append(0.0),
    "other multipliers": lambda c: [k.__setitem__(1, [2.5 * v + 0.1 for v in k[1]]) for k in certificates(c)],
    "infinite multipliers": lambda c: [k.__setitem__(1, [math.inf for _ in k[1]]) for k in certificates(c)],
    "too few multipliers": lambda c: [k[1].pop() for k in certificates(c) if k[1]],
    "bounded nodes called empty": lambda c: [n.__setitem__(slice(None), ["e", 0, [[0, 0]]]) for n in nodes(c, "b")],
    "empty nodes shown by others": lambda c: [n.__setitem__(2, n[2][:1]) for n in nodes(c, "e")],
    "other targets": lambda c: c["problem"]["y"].__setitem__(0, 7.0),
    "other inputs": lambda c: c["problem"]["x"][0].__setitem__(0, 7.0),
    "another activation": lambda c: c["problem"].update(activation="abs"),
    "another loss": lambda c: c["problem"].update(loss="max_error"),
    "larger multiplicities": lambda c: c["problem"].update(weights=[2 * w for w in c["problem"]["weights"]]),
    "negative multiplicities": lambda c: c["problem"].update(weights=[-w for w in c["problem"]["weights"]]),
    "another scale": lambda c: c.update(problem={**c["problem"], "scale": 2.0}),
    "a constant": lambda c: c.update(problem={**c["problem"], "offset": 1.0}),
    "room for step and sign": lambda c: c.update(strict=-1.0),
    "no version": lambda c: c.update(version=0),
    "an empty problem": lambda c: c.update(problem={}),
    "no samples": lambda c: c["problem"].update(x=[], y=[], weights=[]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_forgeries(written, kind: str) -> None:
    path, content = written[kind]
    for name, forge in FORGERIES.items():
        forged = copy.deepcopy(content)
        if name == "a part left out" and (len(content["parts"]) == 1 or kind == "supports"):
            continue  # of several supports: a proof of less, see test_supports
        forge(forged)
        assert forged != content, name
        assert refused(rewrite(path, forged)), name
    assert verify(rewrite(path, copy.deepcopy(content))).certificates > 0


def test_refuses_forgeries_of_multipliers(written) -> None:
    for kind, change in (
        ("plain", lambda k: [m.__setitem__(3, -m[3]) for m in k[2]]),
        ("hardtanh", lambda k: [m.__setitem__(2, 1 - m[2]) for m in k[2]]),
        ("decay", lambda k: k[3] is not None and k.__setitem__(3, [[[3 * v for v in r] for r in k[3][0]], k[3][1]])),
        ("decay", lambda k: k.__setitem__(3, None)),
        ("step", lambda k: k.__setitem__(0, 1)),
    ):  # fmt: skip
        path, content = written[kind]
        forged = copy.deepcopy(content)
        for one in certificates(forged):
            change(one)
        assert forged != content
        with pytest.raises(EvidenceError):
            verify(rewrite(path, forged))


def test_a_changed_box_or_decay_does_not_go_unnoticed(written) -> None:
    """A wider box may leave the proof of the file's problem right; it is then no proof about the spec."""
    path, content = written["plain"]
    for change in (lambda p: p["lo"][0].__setitem__(0, -3.0), lambda p: p["out_hi"].__setitem__(0, 2.0),
                   lambda p: p.update(c_hi=9.0), lambda p: p["decay"].update(output=[1e-9]),
                   lambda p: p.update(bias=False), lambda p: p.update(output_bias=False)):  # fmt: skip
        forged = copy.deepcopy(content)
        change(forged["problem"])
        with pytest.raises(EvidenceError):
            verify(rewrite(path, forged), instance("sse", n=7, **BOXES))


def test_refuses_supports_that_leave_something_out(written) -> None:
    path, content = written["supports"]
    p = counted(instance("sse", n=6), {"h": 2})
    verify(path, p)
    for change in (lambda s: s["hidden"][0].__setitem__(0, not s["hidden"][0][0]), lambda s: s.update(price=0.5),
                   lambda s: s.update(constant=False), lambda s: s["hidden"][0].pop()):  # fmt: skip
        forged = copy.deepcopy(content)
        change(forged["parts"][0]["support"])
        with pytest.raises(EvidenceError):
            verify(rewrite(path, forged), p)
    with pytest.raises(EvidenceError, match="leaves out"):
        verify(path, counted(instance("sse", n=6), {"h": 3}))


def test_refuses_a_cheaper_price(tmp_path: Path) -> None:
    p = counted(instance("sse", n=6), {}, {"neurons": 0.05})
    proven(p, tmp_path / "e.gz")
    with pytest.raises(EvidenceError, match="this spec"):
        verify(tmp_path / "e.gz", counted(instance("sse", n=6), {}, {"neurons": 0.04}))


def test_refuses_truncated_and_junk(written, tmp_path: Path) -> None:
    data = written["plain"][0].read_bytes()
    for part in (data[: len(data) // 2], data[:-1], b"", b"junk", gzip.compress(b"[1]"), gzip.compress(b"{}")):
        bad = tmp_path / "bad.gz"
        bad.write_bytes(part)
        with pytest.raises(EvidenceError):
            verify(bad)


def test_refuses_a_changed_byte_of_the_content(written, tmp_path: Path) -> None:
    content = copy.deepcopy(written["plain"][1])
    content["bound"] *= 0.5  # true, but not what was written
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(EvidenceError, match="changed"):
        verify(bad)


def test_refuses_another_problem(written) -> None:
    path = written["decay"][0]
    verify(path, instance("sse", n=6, decay=0.02))
    for other in (instance("sse", n=6, decay=0.03), instance("mse", n=6, decay=0.02), instance("sse", n=6),
                  instance("sse", n=6, decay=0.02, decay_biases=True), instance("sse", n=7, decay=0.02),
                  instance("sse", n=6, decay=0.02, seed=2), instance("sse", "abs", 6, decay=0.02),
                  instance("sse", n=6, neurons=2, decay=0.02), instance("sse", n=6, decay=0.02, outputs=5.0),
                  instance("sse", n=6, decay=0.02, factor=2.0),
                  instance("sse", n=6, decay=0.02, counts=np.full(6, 2.0)),
                  counted(instance("sse", n=6, decay=0.02), {}, {"l0": 0.1})):  # fmt: skip
        with pytest.raises(EvidenceError, match="this spec"):
            verify(path, other)
    for kind, name in (("pinball", "q"), ("huber", "delta"), ("hinge", "margin")):
        p = instance(kind, n=5)
        proven(p, path.with_name("other.gz"))
        loss = replace(p.objective.expression, **{name: 0.9})
        with pytest.raises(EvidenceError, match="this spec"):
            verify(path.with_name("other.gz"), replace(p, objective=Objective("minimize", loss)))


def test_a_writer_that_is_told_too_much_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has to prove what the engine claims: a wrong claim has no proof."""
    monkeypatch.setattr(writer, "SLACK", -1e-4)
    for p in (instance("sse", n=6, **BOXES), instance("huber", "hardtanh", 6), instance("sse", n=6, decay=0.02),
              instance("sae", "step", 6), counted(instance("sse", n=6), {"h": 2})):  # fmt: skip
        out = CellsEngine(evidence=tmp_path / "e.gz").solve(p, Limits())
        assert "a leaf does not reach" in out.messages[0]
        assert not (tmp_path / "e.gz").exists()


def test_step_neurons_with_room(written, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room, thin cells are excluded by weighted means, and the report says so; without room they are not."""
    x = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5 - 1e-9], [0.0, 1.0]])  # the third is 1e-9 off the line
    y = np.array([0.0, 0.0, 1.0, 0.0])
    p = training(x, y, 1, "step")
    path = written["step"][0].with_name("thin.gz")
    out = CellsEngine(evidence=path).solve(p, Limits())
    assert not out.messages
    report = verify(path, p)
    assert report.strict == writer.STRICT
    assert any("side" in line for line in report.claims)
    forged = content_of(path)
    forged["strict"] = 0.0
    with pytest.raises(EvidenceError):
        verify(rewrite(path, forged))


def anything(seed: int):  # type: ignore[no-untyped-def]
    """A random problem: all losses, activations, boxes and kinds of data that the files are for."""
    if seed % 4 == 0:
        return random_problem(seed)
    r = np.random.RandomState(seed)
    kind = (*LOSSES, "errors")[seed % 10]
    activation = ACTIVATIONS[r.randint(0, 3 if kind == "max_error" else 6)]
    n, d, shape = r.randint(3, 7), r.randint(1, 3), r.randint(0, 3)
    x = r.uniform(-1, 1, (n, d)) if shape == 0 else r.randint(-1, 2, (n, d)).astype(float)
    if shape == 2:
        x = 5.0 + np.outer(r.randint(0, 4, n), np.arange(1, d + 1)).astype(float)
    y = (r.rand(n) < 0.5) * 1.0 if "hinge" in kind or kind == "errors" else np.round(r.randn(n), 2)
    sizes = {"weights": (0.5, 4), "biases": (1, 4), "outputs": (0.5, 4), "output_bias": (0.3, 4)}
    boxes = {} if r.rand() < 0.4 else {name: float(r.choice(some)) for name, some in sizes.items()}
    decays = activation in ACTIVATIONS[:3] and kind not in ("max_error", "errors")
    return training(x, y, 1 + (r.rand() < 0.4), activation, kind, q=0.3, margin=0.1 if kind == "errors" else 1.0,
                    delta=0.5, decay=float(r.choice([0.0, 0.01, 0.2])) if decays else 0.0, **boxes,
                    counts=None if r.rand() < 0.5 else r.randint(1, 4, n).astype(float))  # fmt: skip


@pytest.mark.long
def test_random_problems(tmp_path: Path) -> None:
    """What is proven is nearly always written, and what is written is accepted."""
    done = unwritten = 0
    for seed in range(3000, 3300):
        p = anything(seed)
        path = tmp_path / f"{seed}.gz"
        out = CellsEngine(evidence=path).solve(p, Limits(threads=1, nodes=300_000))
        if out.status is not Status.OPTIMAL:
            continue
        done += 1
        if out.messages:
            assert "no evidence file" in out.messages[0]
            unwritten += 1
            continue
        report = verify(path, p)
        assert report.bound <= report.objective
        assert report.objective - report.bound <= 3e-6 * max(1.0, out.objective)
    assert done > 200
    assert unwritten <= 0.03 * done
