"""The five specs of the language reference, as problems."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from nnspec.errors import SpecError
from nnspec.language.load import check, load_problem
from nnspec.problem import expression as ex
from nnspec.problem.network import Activation


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text)


def test_xor(tmp_path: Path) -> None:
    write(tmp_path, xor_nns="""
# xor.nns -- train a 2-2-1 ReLU network to the proven optimum
data D = table(x = [[0,0],[0,1],[1,0],[1,1]], y = [0, 1, 1, 0])
net f = input(2) -> h: dense(2, relu) -> dense(1)
  with weights in -4..4, biases in -4..4
minimize sse(f, D)
""")  # fmt: skip
    p = load_problem(tmp_path / "xor.nns")
    assert p.name == "xor"
    assert p.objective.sense == "minimize"
    assert p.objective.expression == ex.Loss("sse", "f", "D")
    f = p.networks["f"]
    assert [(x.name, x.kind, x.shape, x.activation.kind) for x in f.layers] == [
        ("input", "input", (2,), "linear"), ("h", "dense", (2,), "relu"), ("dense1", "dense", (1,), "linear"),
    ]  # fmt: skip
    assert [q.name for q in p.free_parameters()] == ["f.h.weights", "f.h.bias", "f.dense1.weights", "f.dense1.bias"]
    assert all(np.all(q.lo == -4) and np.all(q.hi == 4) and q.kind == "real" for q in p.free_parameters())
    assert p.data["D"].x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert p.data["D"].y.tolist() == [[0], [1], [1], [0]]
    assert p.data["D"].rows == (1, 2, 3, 4)


HOUSE = """
param tol: real = 0.05                       # nnspec solve house.nns -D tol=0.1
data train = csv("house.csv", x = [area, rooms, age, dist], y = price, scale = minmax, scale_y = minmax)
net f = input(4) -> h1: dense(3, relu, l0 <= 6) -> out: dense(1, l0 <= 2)
  with weights in -5..5, biases in -5..5
minimize size: l0(f)
constraint fit: mse(f, train) <= tol
"""
PRICES = "area,rooms,age,dist,price\n100,3,10,2.5,200\n80,2,20,1.5,150\n120,4,5,3.5,260\n60,1,40,0.5,110\n"


def test_house(tmp_path: Path) -> None:
    write(tmp_path, house_nns=HOUSE, house_csv=PRICES)
    p = load_problem(tmp_path / "house.nns", {"tol": "0.1"})
    assert p.objective.label == "size"
    assert p.objective.expression == ex.Size("l0", "f")
    (fit,) = p.constraints
    assert fit.label == "fit"
    assert fit.expression == ex.Comparison("<=", ex.Loss("mse", "f", "train"), ex.Constant(0.1))
    assert p.arguments == {"tol": 0.1}
    f, train = p.networks["f"], p.data["train"]
    assert [x.l0 for x in f.layers] == [None, 6, 2]
    assert f.input_names == train.x_names == ("area", "rooms", "age", "dist")
    assert f.output_names == ("price",)
    assert f.input_scaling is train.x_scaling is not None
    assert f.output_scaling is train.y_scaling is not None
    assert train.x.min() == 0
    assert train.x.max() == 1
    np.testing.assert_allclose(train.y_scaling.invert(train.y).ravel(), [200, 150, 260, 110])
    assert p.hashes == {
        "house.nns": hashlib.sha256(HOUSE.encode()).hexdigest(),
        "house.csv": hashlib.sha256(PRICES.encode()).hexdigest(),
    }
    assert [s.text for s in p.sources] == [HOUSE]


def test_pairs(tmp_path: Path) -> None:
    write(tmp_path, defaults_nns="let weight = 0.01\n", pairs_csv="u,v,w\n1,2,3\n2,1,3\n", pairs_nns="""
include "defaults.nns"
data D = csv("pairs.csv", x = [u, v], y = w)
net f = input(2) -> h: dense(4, tanh) -> dense(1) with weights in -3..3, biases in -3..3
break symmetry f.h: permutation, signflip    # prunes equal optima only; never changes the optimum
enforce f invariant under swap(0, 1)         # restricts f: holds for every input, not just on D
minimize mse(f, D) + 0.01 * l2(f)
""")  # fmt: skip
    result = check(tmp_path / "pairs.nns")
    assert result.diagnostics == ()  # nothing is said about unused names of included files
    p = load_problem(tmp_path / "pairs.nns")
    (broken,) = p.break_symmetry
    assert (broken.network, broken.layer, broken.kinds) == ("f", "h", ("permutation", "signflip"))
    (claim,) = p.symmetry_claims
    assert (claim.kind, claim.subject, claim.output_group) == ("enforce", "f", None)
    assert claim.group.generators == (((1, 0), (1, 1)),)
    assert claim.group.description == "swap(0, 1)"
    assert p.objective.expression == ex.Sum(
        (ex.Loss("mse", "f", "D"), ex.Product((ex.Constant(0.01), ex.Size("l2", "f"))))
    )
    assert len(p.sources) == 2
    assert len(p.hashes) == 3


def test_iris(tmp_path: Path) -> None:
    flowers = ["setosa", "versicolor", "virginica"]
    rows = "".join(f"{5 + i / 10},3.5,1.4,0.2,{flowers[i % 3]}\n" for i in range(30))
    write(tmp_path, iris_csv="sl,sw,pl,pw,species\n" + rows, iris_nns="""
data train, test = split(csv("iris.csv", x = [sl, sw, pl, pw], y = label(species)), 0.8, seed = 1)
net f = input(4) -> dense(4, sign, weights in {-1, 1}, biases in -8..8)
     -> out: dense(3, weights in {-1, 0, 1}, biases in int(-8..8))
minimize 100 * errors(f, train, margin = 0.5) + hinge(f, train)
""")  # fmt: skip
    p = load_problem(tmp_path / "iris.nns")
    assert check(tmp_path / "iris.nns").diagnostics == ()  # a part of a split may stay unused
    assert (p.data["train"].samples, p.data["test"].samples) == (24, 6)
    assert p.data["test"].classes == p.data["train"].classes == tuple(flowers)
    assert p.networks["f"].classes == tuple(flowers)
    signs, thresholds, out, offsets = p.free_parameters()
    assert (signs.kind, signs.values) == ("set", (-1.0, 1.0))
    assert thresholds.kind == "real"
    assert (out.kind, out.values) == ("set", (-1.0, 0.0, 1.0))
    assert (offsets.kind, float(offsets.lo[0]), float(offsets.hi[0])) == ("int", -8, 8)
    assert p.objective.expression == ex.Sum((
        ex.Product((ex.Constant(100.0), ex.Loss("errors", "f", "train", margin=0.5))), ex.Loss("hinge", "f", "train"),
    ))  # fmt: skip


DEMAND = """
param budget: real                           # no default: required
net demand = onnx("demand.onnx")             # weights are constants
var price in 0..10
var ads: int in 0..20
var open: binary
maximize revenue: price * demand(price, ads) - 2 * ads
constraint pay:  3 * ads <= budget
constraint gate: open == 0 ==> ads == 0
constraint shelf: 1 <= demand(price, ads) <= 40
"""


def write_onnx(path: Path, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def gemm(i: int, source: str, target: str) -> object:
        return helper.make_node("Gemm", [source, f"w{i}", f"b{i}"], [target], name=f"fc{i}", transB=1)

    tensors = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    graph = helper.make_graph(
        [gemm(1, "x", "z"), helper.make_node("Relu", ["z"], ["h"], name="act"), gemm(2, "h", "y")],
        "demand",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", w1.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", w2.shape[0]])],
        [numpy_helper.from_array(v.astype(float), k) for k, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


def demand_weights() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=(1, 3)), rng.normal(size=1)


def test_demand(tmp_path: Path) -> None:
    write(tmp_path, demand_nns=DEMAND)
    write_onnx(tmp_path / "demand.onnx", *demand_weights())
    p = load_problem(tmp_path / "demand.nns", {"budget": "12"})
    assert p.objective.sense == "maximize"
    assert p.arguments == {"budget": 12.0}
    price, ads = ex.VariableRef("price"), ex.VariableRef("ads")
    demand = ex.NetworkOutput("demand", (price, ads))
    assert p.objective.expression == ex.Sum((ex.Product((price, demand)), ex.Product((ex.Constant(-2.0), ads))))
    pay, gate, low, high = p.constraints
    assert pay.expression == ex.Comparison("<=", ex.Product((ex.Constant(3.0), ads)), ex.Constant(12.0))
    assert gate.expression == ex.Implies(
        ex.Comparison("==", ex.VariableRef("open"), ex.Constant(0.0)), ex.Comparison("==", ads, ex.Constant(0.0))
    )
    assert low.label == high.label == "shelf"
    assert low.expression == ex.Comparison("<=", ex.Constant(1.0), demand)
    assert high.expression == ex.Comparison("<=", demand, ex.Constant(40.0))
    kinds = {v.name: (v.kind, v.lo, v.hi) for v in p.variables.values()}
    assert kinds == {"price": ("real", 0, 10), "ads": ("int", 0, 20), "open": ("binary", 0, 1)}
    assert p.free_parameters() == ()
    assert "demand.onnx" in p.hashes


def test_a_required_parameter_is_missing(tmp_path: Path) -> None:
    write(tmp_path, demand_nns=DEMAND)
    write_onnx(tmp_path / "demand.onnx", *demand_weights())
    with pytest.raises(SpecError) as caught:
        load_problem(tmp_path / "demand.nns")
    (d,) = caught.value.diagnostics
    assert d.code == "NNS030"
    assert "-D budget" in (d.help or "")


def test_layers_of_an_imported_network_are_freed_for_retraining(tmp_path: Path) -> None:
    write_onnx(tmp_path / "demand.onnx", *demand_weights())
    write(tmp_path, again_nns="""
data D = table(x = [[0, 1], [1, 0]], y = [3, 4])
net f = onnx("demand.onnx") free "LAYER" with weights in -2..2, biases in -1..1
minimize sse(f, D)
""")  # fmt: skip
    (d,) = check(tmp_path / "again.nns").errors
    assert d.code == "NNS049"
    known = (d.help or "").split("are ")[-1].split(", ")
    write(tmp_path, again_nns=(tmp_path / "again.nns").read_text().replace("LAYER", known[-1]))
    p = load_problem(tmp_path / "again.nns")
    names = [q.name for q in p.free_parameters()]
    assert names == [f"f.{known[-1]}.weights", f"f.{known[-1]}.bias"]
    assert [float(q.hi.max()) for q in p.free_parameters()] == [2, 1]
    assert all(q.start is not None and q.start.shape == q.shape for q in p.free_parameters())
    assert Activation("relu") in [x.activation for x in p.networks["f"].layers]


def test_imported_networks_are_evaluated_on_constants(tmp_path: Path) -> None:
    w1, b1, w2, b2 = demand_weights()
    write_onnx(tmp_path / "demand.onnx", w1, b1, w2, b2)
    write(tmp_path, now_nns='net g = onnx("demand.onnx")\nvar x in 0..1\nminimize x + g(1, 2) + l2(g)\n')
    p = load_problem(tmp_path / "now.nns")
    value = float((w2 @ np.maximum(w1 @ [1, 2] + b1, 0) + b2)[0] + (w1**2).sum() + (w2**2).sum())
    match p.objective.expression:
        case ex.Sum(terms=(ex.VariableRef(name="x"), ex.Constant(value=found))):
            assert found == pytest.approx(value)
        case other:
            pytest.fail(f"not folded: {other}")


def test_all_errors_come_in_one_exception_in_the_order_of_the_text(tmp_path: Path) -> None:
    write(tmp_path, bad_nns="var x in 1..0\nmaximize y\nconstraint x <=\nlet a = 1 / 0\n")
    with pytest.raises(SpecError) as caught:
        load_problem(tmp_path / "bad.nns")
    codes = [d.code for d in caught.value.diagnostics]
    assert "NNS040" in codes
    assert "NNS038" in codes
    assert "NNS020" not in codes  # the statement that could not be read may have defined y
    assert str(caught.value).count("bad.nns:") == len(codes)


def test_losses_of_constant_networks_are_constants(tmp_path: Path) -> None:
    write_onnx(tmp_path / "demand.onnx", *demand_weights())
    head = 'data D = table(x = [[0, 1], [1, 0]], y = [3, 4])\nnet g = onnx("demand.onnx")\nvar x in 0..1\nminimize x + '
    values = []
    for k, text in enumerate(("sse(g, D)", "sum((g(x) - y)^2 for (x, y) in D)")):
        write(tmp_path, **{f"s{k}_nns": head + text + "\n"})
        match load_problem(tmp_path / f"s{k}.nns").objective.expression:
            case ex.Sum(terms=(ex.VariableRef(name="x"), ex.Constant(value=found))):
                values.append(found)
    assert len(values) == 2
    assert values[0] == pytest.approx(values[1])


def test_imported_networks_take_raw_data_only(tmp_path: Path) -> None:
    write_onnx(tmp_path / "demand.onnx", *demand_weights())
    write(tmp_path, s_nns="""
data D = table(x = [[0, 1], [1, 0]], y = [3, 4], scale = minmax)
net g = onnx("demand.onnx")
minimize sse(g, D)
""")  # fmt: skip
    assert [d.code for d in check(tmp_path / "s.nns").errors] == ["NNS055"]


def test_hashes_are_those_of_the_files_not_of_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbfvar x in 0..1\r\nminimize x\r\n"
    (tmp_path / "bom.nns").write_bytes(content)
    expected = {"bom.nns": hashlib.sha256(content).hexdigest()}
    assert load_problem(tmp_path / "bom.nns").hashes == expected
    monkeypatch.chdir(tmp_path)
    assert load_problem("bom.nns").hashes == expected
    text = "var x in 0..1\nminimize x\n"
    assert load_problem(text).hashes == {"<string>": hashlib.sha256(text.encode()).hexdigest()}
