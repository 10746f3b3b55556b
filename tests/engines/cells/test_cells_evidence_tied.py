"""Proofs about networks with tied weights: what is written is accepted, for the spec's own ties only."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cells_models import teacher, training
from test_cells_evidence import BOXES, FORGERIES, content_of, nodes, refused, rewrite
from test_cells_least import fewest
from test_cells_tied import FLIP, GROUPS, MINUS, SWAP, TURN, enforced, random_problem

from nnspec.engines.cells import CellsEngine
from nnspec.engines.cells import evidence as writer
from nnspec.engines.cells.model import recognise
from nnspec.engines.cells.proof.exact import EvidenceError
from nnspec.engines.cells.proof.incumbent import objective as exact_objective
from nnspec.engines.cells.proof.orbits import entries_of, read_entries
from nnspec.engines.cells.proof.statement import Support, prover_of
from nnspec.engines.cells.proof.training import read
from nnspec.engines.cells.verify import verify
from nnspec.engines.interface import Limits, Status
from nnspec.engines.run import solve_problem
from nnspec.errors import UsageError
from nnspec.problem.evaluate import objective
from nnspec.problem.problem import Point, Tie
from nnspec.symmetry import expand


def everything(neurons: int) -> Support:
    return Support([[True] * 3] * neurons, [True] * neurons, True, Fraction(0))


def written(case, path: Path) -> bool:  # type: ignore[no-untyped-def]
    """Solve a case, write and verify; whether the solve was finished."""
    out = CellsEngine(evidence=path).solve(case.plain, Limits(threads=1))
    if out.status is not Status.OPTIMAL:
        assert out.messages  # decay in boxes that bind
        return False
    assert not out.messages
    report = verify(path, case.plain)
    assert report.objective == pytest.approx(out.objective, rel=1e-9, abs=1e-12)
    assert 0 <= report.objective - report.bound <= 2e-6 * max(1.0, out.objective)
    return True


@pytest.mark.parametrize("seed", range(12))
def test_random_problems(tmp_path: Path, seed: int) -> None:
    for case in expand(random_problem(seed)[0]):
        written(case, tmp_path / "e.gz")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(300, 450))
def test_random_problems_150(tmp_path: Path, seed: int) -> None:
    for case in expand(random_problem(seed)[0]):
        written(case, tmp_path / "e.gz")


@pytest.mark.parametrize(("activation", "kind", "group", "more"), [
    ("relu", "sse", SWAP, {}), ("abs", "sae", FLIP, {}), ("leaky_relu", "huber", TURN, {"decay": 0.02}),
    ("hardtanh", "sse", FLIP, {}), ("relu", "squared_hinge", SWAP, {"bias": False}),
])  # fmt: skip
def test_without_boxes(tmp_path: Path, activation: str, kind: str, group, more: dict) -> None:  # type: ignore[no-untyped-def,type-arg]
    x, y = teacher(6)
    y = np.where(y > 0, 1.0, -1.0) if "hinge" in kind else y
    p = enforced(training(x, y, 2, activation, kind, delta=0.5, margin=1.0, **more), group)
    assert all([written(case, tmp_path / "e.gz") for case in expand(p)])


def test_equal_orbits_change_places(tmp_path: Path) -> None:
    """Of two equal pairs of mirrored neurons only one order of their patterns is visited."""
    x, y = teacher(5)
    p = enforced(training(x, y, 4, weights=2.0, biases=2.0, outputs=1.0), SWAP)
    case = next(c for c in expand(p) if c.label == "f.h in orbits of 2 (twice)")
    problem = read(writer.problem_of(recognise(case.plain)))
    whole = everything(4)
    both = prover_of(problem, whole, [(1, 1), (-1, 1), (1, -1)], Fraction(0))
    assert [o.members for o in problem.orbits] == [(0, 1), (2, 3)]
    pairs = list(itertools.product((0, 1), repeat=2))
    assert set(both.choices([])) == {a + b for a in pairs for b in pairs if a >= b}
    assert len(list(both.choices([(0, (1, 0, 0, 1))]))) == 16  # they are told apart
    assert len(list(both.choices([(0, (1, 0, 1, 0))]))) == 10
    one = prover_of(problem, whole, [(1, -1)], Fraction(0))  # another order of these signs is not there
    assert len(list(one.choices([]))) == 16


def test_an_orbit_that_changes_its_signs() -> None:
    """abs: t and -t are the same neurons, so the first one of an orbit is above its cut."""
    x, y = teacher(5)
    for case in expand(enforced(training(x, y, 2, "abs", bias=False, weights=1.0), SWAP)):
        problem = read(writer.problem_of(recognise(case.plain)))
        prover = prover_of(problem, everything(2), [(1,) * len(problem.orbits)],
                           Fraction(0))  # fmt: skip
        heads = [place.start for place in prover.place]
        assert all(all(choice[k] == 1 for k in heads) for choice in prover.choices([]))
        assert len(list(prover.choices([]))) == 2 ** (2 - len(heads))
        if case.label == "f.h in orbits of 1, 1 signed":  # w = (t, t) and w = (t, -t)
            assert prover.alike == [False, False]


@pytest.mark.parametrize("seed", range(60))
def test_any_certificate_is_a_bound(seed: int) -> None:
    """Random multipliers at the patterns of a random tied network: never above its loss plus penalty, by the judge."""
    r = np.random.RandomState(seed)
    activation = ("relu", "abs", "leaky_relu", "hardtanh")[seed % 4]
    x, y = teacher(5, seed=seed)
    boxes = {} if r.rand() < 0.3 else {name: float(r.choice([0.5, 2.0])) for name in
                                       ("weights", "biases", "outputs", "output_bias")}  # fmt: skip
    decay = 0.1 if activation != "hardtanh" and r.rand() < 0.6 else 0.0
    kind = ("sse", "sae", "huber")[seed % 3]
    p = enforced(training(x, y, 3, activation, kind, delta=0.5, decay=decay, decay_biases=True, **boxes,
                          bias=bool(r.rand() < 0.7)), *GROUPS[seed % 5])  # fmt: skip
    cases = expand(p)
    case = cases[r.randint(len(cases))]
    problem = read(writer.problem_of(recognise(case.plain)))
    w, v = np.zeros((3, 3)), np.zeros(3)
    for orbit in problem.orbits:
        ends = [(-1.0 if lo is None else float(lo), 1.0 if hi is None else float(hi))
                for lo, hi in zip((*orbit.lo, orbit.out_lo), (*orbit.hi, orbit.out_hi), strict=True)]  # fmt: skip
        *t, n = [r.uniform(*pair) for pair in ends]
        for k, places, e in zip(orbit.members, orbit.places, orbit.turned, strict=True):
            w[k], v[k] = [sign * t[place] for place, sign in places], e * n
    c = 0.0 if problem.c_lo == problem.c_hi else 0.3
    values = [w[:, :-1], *([w[:, -1]] if problem.biased else []), v[None], np.array([c])]
    point = Point({q.name: value for q, value in zip(case.plain.free_parameters(), values, strict=True)}, {})
    assert case.tied.holds(point)
    value, *_ = exact_objective(problem, {"hidden": w.tolist(), "v": v.tolist(), "c": c})
    assert float(value) == pytest.approx(objective(case.plain, point), rel=1e-9)
    signs = tuple(1 if v[o.members[0]] >= 0 else -1 for o in problem.orbits)
    prover = prover_of(problem, everything(3), [], Fraction(0))
    if len(prover.bounds.orbits) < len(problem.orbits):
        signs = tuple(s for o, s in enumerate(signs) if o in prover.bounds.used)
    order = [problem.orbits[prover.bounds.used[o]].members[m] for o, m in prover.bounds.neurons]
    hidden = (w[:, :-1] @ x.T + w[:, -1:])[order]
    pieces = (hidden >= -1).astype(int) + (hidden >= 1) if activation == "hardtanh" else (hidden >= 0).astype(int)
    path = [(i, tuple(int(m) for m in pieces[:, i])) for i in r.permutation(5)]
    for size in (0.01, 0.1, 1.0):
        u = np.clip(size * r.randn(5), -0.5, 0.5).tolist()
        mu = [[k, s, q, size * r.rand()] for k in range(len(order)) for s in range(5) for q in range(problem.pieces - 1)
              if q in (path[s][1][k], path[s][1][k] - 1)]  # fmt: skip
        g = []
        for orbit in prover.bounds.orbits:
            one, most = r.randn(orbit.columns), float(orbit.output_decay)
            square = float(np.array(orbit.hidden_decay, dtype=float) @ one**2)
            g.append((0.99 * one * np.sqrt(most / square)).tolist() if square > 0 else [0.0] * orbit.columns)
        for penalty in (None, [g, float(size * r.randn())]) if decay else (None,):
            for certificate, s in (([u, mu, penalty], signs), ([u, [], penalty], None)):
                assert problem.offset + problem.scale * prover.bounds.value(path, s, certificate) <= value


def test_all_cases_in_one_file(tmp_path: Path) -> None:
    """An enforced symmetry stands for several problems: the file has a proof of each, and has to have all."""
    x, y = teacher(6)
    p = enforced(training(x, y, 2, **BOXES), SWAP)
    path = tmp_path / "e.gz"
    out = solve_problem(p, Limits(threads=1), engine="cells", incumbents=False, files={"certificate": path})
    assert out.status is Status.OPTIMAL
    assert not out.messages
    report = verify(path, p)
    assert report.cases == len(expand(p)) == 2
    assert report.objective == pytest.approx(out.objective, rel=1e-9)
    assert report.bound == out.evidence["bound of the file"]
    assert 0 <= report.objective - report.bound <= 2e-6
    content = content_of(path)
    for case in expand(p):
        with pytest.raises(EvidenceError, match="several cases"):
            verify(path, case.plain)
    for forge in (lambda c: c["cases"].pop(), lambda c: c["cases"].append(c["cases"][0]), lambda c: c["cases"].clear(),
                  lambda c: c["cases"].__setitem__(0, c["cases"][1]),
                  lambda c: c["cases"][0].update(bound=2 * c["cases"][0]["bound"]),
                  lambda c: c["cases"][0]["parts"].pop(),
                  lambda c: c["cases"].__setitem__(0, {"cases": [c["cases"][0]]})):  # fmt: skip
        forged = copy.deepcopy(content)
        forge(forged)
        assert refused(rewrite(path, forged), p)
    one = copy.deepcopy(content["cases"][0])
    assert not refused(rewrite(path, one))
    assert refused(rewrite(path, one), p)


@pytest.mark.parametrize(("tolerance", "status"), [(0.05, Status.OPTIMAL), (0.001, Status.INFEASIBLE)])
def test_fewest_weights_of_all_cases(tmp_path: Path, tolerance: float, status: Status) -> None:
    x, y = teacher(6)
    p = enforced(fewest(training(x, y, 2, **BOXES), {"l0": 1.0}, tolerance), SWAP)
    path = tmp_path / "e.gz"
    out = solve_problem(p, Limits(threads=1), engine="cells", incumbents=False, files={"certificate": path})
    assert out.status is status
    assert not out.messages
    report = verify(path, p)
    assert report.cases == 2
    assert report.excluded > 1
    assert report.objective == out.objective
    assert report.bound == (np.inf if out.objective is None else out.objective)
    content = content_of(path)
    for forge in (lambda c: c["cases"].pop(), lambda c: c["cases"][0]["parts"].pop(),
                  lambda c: c["cases"][1].update(least=False)):  # fmt: skip
        forged = copy.deepcopy(content)
        forge(forged)
        assert refused(rewrite(path, forged), p)


def test_a_case_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "NODES", 3)
    x, y = teacher(6)
    p = enforced(training(x, y, 2, **BOXES), SWAP)
    path = tmp_path / "e.gz"
    out = solve_problem(p, Limits(threads=1), engine="cells", incumbents=False, files={"certificate": path})
    assert out.status is Status.OPTIMAL
    assert any("of the 2 cases have none" in m for m in out.messages)
    assert not path.exists()
    with pytest.raises(UsageError, match="NNS172"):
        solve_problem(p, engine="cells", incumbents=False, files={"checkpoint": path})


# -- ties --------------------------------------------------------------------------------------------------------------


def test_entries_of_a_spec() -> None:
    """a = -b, b = c, d = -d; and a contradiction that comes late makes all of them 0."""
    places = {("q", e): e for e in range(6)}

    def tie(a: int, b: int, sign: float) -> Tie:
        return Tie(("q", a), ("q", b), sign)

    some = [tie(1, 0, -1.0), tie(2, 1, 1.0), tie(4, 4, -1.0)]
    assert entries_of(some, places, 6) == [(0, 1), (0, -1), (0, -1), (3, 1), (4, 0), (5, 1)]
    assert entries_of([*some, tie(2, 0, 1.0)], places, 6) == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 0), (5, 1)]
    assert entries_of([*some, tie(4, 1, 1.0)], places, 6) == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 0), (5, 1)]
    assert entries_of([Tie(("other", 0), ("q", 0), 1.0)], places, 6) is None


def test_what_ties_may_not_be() -> None:
    x, y = teacher(4)
    plain = writer.problem_of(recognise(training(x, y, 2, weights=1.0)))
    free = [[e, 1] for e in range(9)]

    def with_ties(*changes: tuple[int, int, int]) -> dict:  # type: ignore[type-arg]
        return {**plain, "ties": [next(([b, s] for a, b, s in changes if a == e), one) for e, one in enumerate(free)]}

    assert len(read(with_ties()).orbits) == 2
    assert not read(with_ties()).tied
    assert len(read(with_ties((7, 6, -1))).orbits) == 1
    for changes in ([(8, 0, 1)], [(6, 0, 1)], [(3, 0, 1)], [(0, 3, 1)], [(3, 0, 2)], [(3, 0, 0)],
                    [(4, 3, 1), (5, 4, 1)], [(3, 0, 1), (7, 7, 0)]):  # fmt: skip
        with pytest.raises(EvidenceError):
            read(with_ties(*changes))
    with pytest.raises(EvidenceError):
        read_entries(free[:-1], 9)
    steps = {**with_ties((3, 0, 1), (5, 2, -1), (7, 6, 1)), "activation": "step"}
    with pytest.raises(EvidenceError, match="growing"):
        read(steps)


def test_what_ties_leave() -> None:
    """Ranges are intersected in the direction of the signs, penalties are added up, 0 has to be possible."""
    x, y = teacher(4)
    p = {**writer.problem_of(recognise(training(x, y, 2, weights=1.0))), "ties": None}
    p |= {"lo": [[-1.0, -3.0, -1.0], [-2.0, -0.5, None]], "hi": [[2.0, 1.0, 1.0], [0.5, None, 4.0]],
          "out_lo": [-1.0, -3.0], "out_hi": [2.0, 0.5],
          "decay": {"hidden": [[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], "output": [1.0, 2.0], "constant": 0.0}}  # fmt: skip
    p["ties"] = [[0, 1], [1, 1], [2, 0], [1, -1], [0, 1], [5, 0], [6, 1], [6, -1], [8, 1]]
    (one,) = read(p).orbits
    assert (one.members, one.turned, one.columns) == ((0, 1), [1, -1], 2)
    assert one.places == [[(0, 1), (1, 1), (0, 0)], [(1, -1), (0, 1), (0, 0)]]
    assert (one.lo, one.hi, one.out_lo, one.out_hi) == ([-0.5, -0.5], [2, 1], -0.5, 2)
    assert (one.hidden_decay, one.output_decay) == ([17, 10], 3)
    for name, at, value in (("lo", (0, 2), 0.5), ("lo", (0, 0), 3.0), ("out_lo", (0,), 4.0)):
        other = copy.deepcopy(p)
        row = other[name] if len(at) == 1 else other[name][at[0]]
        row[at[-1]] = value
        with pytest.raises(EvidenceError):
            read(other)


def test_steps_of_another_orbit_show_nothing() -> None:
    """Opposite sides of one sample in two neurons that share nothing."""
    x, y = teacher(4)
    problem = read(writer.problem_of(recognise(training(x, y, 2))))
    prover = prover_of(problem, everything(2), [(1, 1)], Fraction(0))
    with pytest.raises(EvidenceError, match="another orbit"):
        prover.empty([(0, (1, 0))], 0, [[0, 0], [0, 0, 1]], None)
    same = [[e % 3, 1] for e in range(6)] + [[6, 1], [6, 1], [8, 1]]
    tied = {**writer.problem_of(recognise(training(x, y, 2))), "ties": same}
    prover = prover_of(read(tied), everything(2), [(1,)], Fraction(0))
    prover.empty([(0, (1, 0))], 0, [[0, 0], [0, 0, 1]], None)


# -- what is changed is refused ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Two mirrored neurons: (case, other cases, path, content)."""
    x, y = teacher(7)
    p = enforced(training(x, y, 2, weights=2.0, biases=1.5, outputs=1.0, output_bias=0.5), SWAP)
    case = next(c for c in expand(p) if c.label == "f.h in orbits of 2")
    path = tmp_path_factory.mktemp("tied") / "e.gz"
    assert written(case, path)
    return case, [c for c in expand(p) if c.label != case.label], path, content_of(path)


def test_refuses_forgeries(pair) -> None:  # type: ignore[no-untyped-def]
    _, _, path, content = pair
    for name, forge in FORGERIES.items():
        forged = copy.deepcopy(content)
        if name in ("a part left out", "signs left out"):
            forged["parts"].pop()
        else:
            forge(forged)
        assert refused(rewrite(path, forged)), name
    assert verify(rewrite(path, copy.deepcopy(content))).certificates > 0


def test_refuses_other_ties(pair) -> None:  # type: ignore[no-untyped-def]
    """A file is about the ties that it lists, and has to list those of the spec."""
    case, others, path, content = pair
    assert content["problem"]["ties"] == [[0, 1], [1, 1], [2, 1], [1, 1], [0, 1], [2, 1], [6, 1], [6, 1], [8, 1]]
    verify(path, case.plain)
    for other in (*others, replace(case, plain=replace(case.plain, ties=()))):
        with pytest.raises(EvidenceError, match="ties"):
            verify(path, other.plain)
    for change in (lambda t: t.__setitem__(3, [1, -1]), lambda t: t.__setitem__(3, [0, 1]),
                   lambda t: t.__setitem__(7, [7, 1]), lambda t: t.__setitem__(5, [5, 1]),
                   lambda t: t.__setitem__(2, [2, 0]), lambda t: t.pop(), lambda t: t.clear()):  # fmt: skip
        forged = copy.deepcopy(content)
        change(forged["problem"]["ties"])
        with pytest.raises(EvidenceError):
            verify(rewrite(path, forged), case.plain)
    forged = copy.deepcopy(content)
    forged["problem"]["ties"] = None  # fewer networks are left out, so its own proof does not hold either
    assert refused(rewrite(path, forged))


def test_more_ties_than_the_spec_has(pair) -> None:  # type: ignore[no-untyped-def]
    """Zeros instead of mirrored weights: the tree may be right about that, but the spec allows more."""
    case, _, path, content = pair
    forged = copy.deepcopy(content)
    forged["problem"]["ties"][2] = [2, 0]
    forged["problem"]["ties"][5] = [5, 0]
    for row in forged["network"]["hidden"]:
        row[2] = 0.0
    with pytest.raises(EvidenceError):
        verify(rewrite(path, forged), case.plain)


def test_refuses_a_network_that_is_not_tied(pair) -> None:  # type: ignore[no-untyped-def]
    _, _, path, content = pair
    forged = copy.deepcopy(content)
    forged["network"]["hidden"][1][0] += 1e-12
    with pytest.raises(EvidenceError, match="tie"):
        verify(rewrite(path, forged))


def test_empty_nodes_speak_of_one_orbit(tmp_path: Path) -> None:
    """A step may name another neuron of the same orbit, since they share their weights, and no other one."""
    x, y = teacher(4)
    p = enforced(training(x, y, 3, weights=2.0, biases=1.5, outputs=0.2, output_bias=0.2), SWAP)
    case = next(c for c in expand(p) if c.label == "f.h in orbits of 1, 2")
    assert written(case, tmp_path / "e.gz")
    content = content_of(tmp_path / "e.gz")
    mixed = [n for n in nodes(content, "e") if any(len(step) == 3 for step in n[2])]
    assert mixed
    assert all(n[1] == 1 and step[2] == 2 for n in mixed for step in n[2] if len(step) == 3)
    for change in (lambda n: [step.__setitem__(2, 0) for step in n[2] if len(step) == 3],
                   lambda n: [step.__setitem__(2, 3) for step in n[2] if len(step) == 3],
                   lambda n: [step.__setitem__(2, -1) for step in n[2] if len(step) == 3],
                   lambda n: n.__setitem__(1, 0)):  # fmt: skip
        forged = copy.deepcopy(content)
        for n in nodes(forged, "e"):
            if any(len(step) == 3 for step in n[2]):
                change(n)
        assert refused(rewrite(tmp_path / "e.gz", forged))


def test_a_writer_that_is_told_too_much_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLACK", -1e-4)
    x, y = teacher(6)
    for activation, group in (("relu", (SWAP, None)), ("hardtanh", (FLIP, MINUS))):
        case = expand(enforced(training(x, y, 2, activation, weights=2.0, outputs=1.0), *group))[-1]
        out = CellsEngine(evidence=tmp_path / "e.gz").solve(case.plain, Limits())
        assert "a leaf does not reach" in out.messages[0]
        assert not (tmp_path / "e.gz").exists()
