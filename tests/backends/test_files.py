"""Files: what is written reads back, in another program, as a model with the same optimum; the rest is refused."""

import re
import runpy

import highspy
import numpy as np
import pytest
from pyscipopt import Model

from nnspec.backends.bridges import bridge
from nnspec.backends.files import FORMATS, Names, plain, write
from nnspec.errors import UnsupportedError, UsageError
from nnspec.program import Program

from . import gams
from .programs import PROGRAMS

NONLINEAR = ("exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "softplus", "silu", "cube", "inverse", "root")
QUADRATIC = ("products", "convex_qp", "nonconvex_qp", "quadratic_rows", "cone", "convex_miqp", "concave_max", "square")
LINEAR = (
    "lp", "minimal_lp", "milp", "indicators", "indicators_below", "sos1", "sos2", "binary_products", "binary_quadratic",
    "abs",
)  # fmt: skip


def scip_optimum(path):
    model = Model()
    model.hideOutput()
    model.setParam("misc/usesymmetry", 0)
    model.readProblem(str(path))
    model.optimize()
    assert model.getStatus() == "optimal"
    return model.getObjVal()


@pytest.mark.parametrize("ending", ["cip", "lp", "mps", "nl"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_read_back_by_scip(tmp_path, name, ending):
    program, optimum = PROGRAMS[name]()
    path = tmp_path / f"model.{ending}"
    if name in NONLINEAR and ending in ("lp", "mps"):
        if name in ("sqrt", "cube", "inverse"):  # products say the same
            write(program, path)
        else:
            with pytest.raises(UnsupportedError, match=rf"the format \.{ending} cannot take"):
                write(program, path)
            assert not path.exists()
            return
    else:
        write(program, path)
    found = scip_optimum(path)
    sign = -1 if program.sense == "maximize" and ending == "mps" and abs(found + optimum) < 1e-4 else 1
    assert sign * found == pytest.approx(optimum, abs=1e-4)


@pytest.mark.parametrize("ending", ["lp", "mps"])
@pytest.mark.parametrize("name", ["lp", "minimal_lp", "milp", "binary_quadratic"])
def test_read_back_by_highs(tmp_path, name, ending):
    program, optimum = PROGRAMS[name]()
    linear = bridge(program, FORMATS["lp"].__class__(frozenset({"linear"})), "").program
    path = tmp_path / f"model.{ending}"
    write(linear, path)
    highs = highspy.Highs()
    highs.silent()
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    value = highs.getInfo().objective_function_value
    assert value == pytest.approx(optimum, abs=1e-5) or value == pytest.approx(-optimum, abs=1e-5)


@pytest.mark.parametrize("name", [*LINEAR, *QUADRATIC, *NONLINEAR])
def test_python_file_builds_the_same_model(tmp_path, name):
    """The file is run, and its rows are evaluated at random points against the program's."""
    program, _ = PROGRAMS[name]()
    path = tmp_path / "model.py"
    write(program, path)
    space = runpy.run_path(str(path), run_name="read")
    model = space["model"]
    bridged = bridge(program, FORMATS["py"], "").program
    variables = [model.x[n] for n in bridged.column_names()]
    rng = np.random.default_rng(1)
    for _ in range(5):
        x = rng.uniform(np.maximum(bridged.lo, -3), np.minimum(bridged.hi, 3))
        x = np.where(bridged.discrete, np.round(x), x)
        for v, value in zip(variables, x.tolist()):
            v.set_value(value, skip_validation=True)
        assert model.objective() == pytest.approx(bridged.objective_value(x))
        expected = np.concatenate([rows.violation(x) for rows in bridged.rows] or [np.zeros(0)])
        amounts = [
            max(0.0 if row.lb is None else row.lb - row.body(), 0.0 if row.ub is None else row.body() - row.ub, 0.0)
            for row in model.c.values()
        ]
        assert amounts == pytest.approx(expected, abs=1e-9)
    for v, j in zip(variables, range(bridged.columns)):
        assert v.bounds == tuple(None if np.isinf(b) else b for b in (bridged.lo[j], bridged.hi[j]))
        assert v.is_continuous() == (not bridged.discrete[j])


@pytest.mark.parametrize("name", PROGRAMS)
def test_gams_files_say_the_same(tmp_path, name):
    """Read by a small reader of our own and solved by SCIP; GAMS itself is not free."""
    program, optimum = PROGRAMS[name]()
    (path,) = write(program, tmp_path / "model.gms")
    model = gams.read(path.read_text())
    model.optimize()
    assert model.getStatus() == "optimal"
    assert model.getObjVal() == pytest.approx(optimum, abs=1e-4)


def test_files_for_baron(tmp_path):
    """Nothing else reads them."""
    for name in ("binary_products", "quadratic_rows", "exp"):
        program, _ = PROGRAMS[name]()
        path = tmp_path / f"{name}.bar"
        assert write(program, path) == [path]
        text = path.read_text()
        assert all(f"{word}" in text for word in ("VARIABLES", "EQUATIONS", "OBJ:"))


def test_nl_brings_names(tmp_path):
    program, _ = PROGRAMS["lp"]()
    files = write(program, tmp_path / "model.nl")
    assert [f.suffix for f in files] == [".nl", ".col", ".row"]
    assert (tmp_path / "model.col").read_text().split() == ["x[bread]", "x[wine]"]
    assert "stock[flour]" in (tmp_path / "model.row").read_text()


def test_names_in_files(tmp_path):
    p = Program("names")
    x = p.add_variables("f.h1.weights", (2,), 0, 1, labels=[("age <= 3", "größe")])
    y = p.add_variables("e1", (), 0, 1)
    p.add_linear(x.sum() + y, hi=1.5, name="free")
    p.maximize(x.sum() + y)
    for ending in ("lp", "mps", "cip"):
        path = tmp_path / f"m.{ending}"
        write(p, path)
        text = path.read_text()
        assert "f.h1.weights(age_le_3)" in text
        assert "_e1" in text
        assert abs(scip_optimum(path)) == pytest.approx(1.5)
    names = Names()
    assert list(names(["a b", "a_b", "a/b"])) == ["a_b", "a_b_2", "a_b_3"]
    assert list(names(["a_b", "2x"])) == ["a_b_4", "_2x"]
    assert plain("x[3,age]") == "x(3,age)"


def test_unknown_ending(tmp_path):
    with pytest.raises(UsageError, match=r"NNS165.*model.xyz"):
        write(Program(), tmp_path / "model.xyz")


def test_nothing_is_printed(tmp_path, capfd):
    program, _ = PROGRAMS["milp"]()
    p = Program()
    x = p.add_variables("a rather long name for a variable " * 5, (2,), 0, 1)
    p.add_linear(x.sum(), hi=1, name="row " * 80)
    for ending in FORMATS:
        write(program, tmp_path / f"a.{ending}")
        write(p, tmp_path / f"b.{ending}")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_gams_names(tmp_path):
    """Letters, digits and underscores behind a letter, none of GAMS's words, different in any case."""
    p = Program("names")
    x = p.add_variables("f.h.weights", (2, 2), 0, 1)
    words = [p.add_variables(name, (), 0, 1) for name in ("set", "X", "x", "_y", "größe", "model")]
    p.add_linear(x.sum() + sum(words[1:], words[0]), hi=1.5, name="free")
    p.maximize(x.sum())
    text = write(p, tmp_path / "m.gms")[0].read_text()
    names = re.findall(r"^\t(\w.*?)[\n;]", text[: text.index("MODEL ")], re.MULTILINE)
    assert "f_h_weights_0_1_" in names
    assert len(names) == len({n.lower() for n in names}) >= 12
    assert all(re.fullmatch(r"[A-Za-z]\w{0,62}", n, re.ASCII) for n in names)
    assert not {"set", "model", "free"} & {n.lower() for n in names}
    assert not re.search(r"[A-Za-z_]\w*\(", text[text.index("..") : text.index("MODEL ")].replace("power(", ""))
