"""ONNX files against the forward pass: what is written, what onnxruntime computes from it, and what is read back."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nnspec.errors import NnspecError, SpecError, UnsupportedError
from nnspec.formats import read_network, write_network
from nnspec.formats.onnx.run import run
from nnspec.problem import Activation, Layer, Network, Parameter, Scaling
from nnspec.problem.forward import predict
from nnspec.problem.network import ACTIVATIONS


def dense(name: str, source: str, n_in: int, n_out: int, activation: str, rng, bias: bool = True) -> Layer:
    w = Parameter.constant(f"f.{name}.weights", rng.normal(size=(n_out, n_in)))
    b = Parameter.constant(f"f.{name}.bias", rng.normal(size=n_out)) if bias else None
    return Layer(name, "dense", (source,), (n_out,), Activation(activation, 0.1), w, b)


def small(activation: str, rng, scaled: bool = True) -> Network:
    layers = (
        Layer("x", "input", (), (3,)),
        dense("h", "x", 3, 4, activation if activation != "softmax" else "tanh", rng),
        dense("out", "h", 4, 2, "softmax" if activation == "softmax" else "linear", rng, bias=activation != "abs"),
    )
    scaling = Scaling(rng.normal(size=3), rng.uniform(0.5, 2, size=3))
    back = Scaling(rng.normal(size=2), rng.uniform(0.5, 2, size=2))
    return Network("f", layers, ("out",), input_scaling=scaling if scaled else None,
                   output_scaling=back if scaled and activation != "softmax" else None)  # fmt: skip


def image(rng) -> Network:
    def tensor(name: str, *shape: int) -> Parameter:
        return Parameter.constant(f"f.{name}", rng.normal(size=shape))

    def geometry(kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    layers = (
        Layer("x", "input", (), (2, 7, 6)),
        Layer("c", "conv", ("x",), (4, 4, 7), Activation("relu"), tensor("c.weights", 4, 1, 3, 2), tensor("c.bias", 4),
              attributes=geometry((3, 2), (2, 1), (1, 1), (1, 1), 2)),
        Layer("d", "conv", ("c",), (3, 2, 5), Activation(), tensor("d.weights", 3, 4, 2, 2), None,
              attributes=geometry((2, 2), dilation=(2, 2))),
        Layer("n", "batchnorm", ("d",), (3, 2, 5), Activation("tanh"), tensor("n.weights", 3), tensor("n.bias", 3)),
        Layer("m", "maxpool", ("n",), (3, 2, 5), attributes=geometry((3, 3), padding=(1, 1))),
        Layer("a", "avgpool", ("m",), (3, 2, 3), attributes=geometry((2, 3), padding=(1, 1), stride=(2, 2))),
        Layer("s", "add", ("m", "n"), (3, 2, 5)),
        Layer("sf", "flatten", ("s",), (30,)),
        Layer("af", "flatten", ("a",), (18,)),
        Layer("j", "concat", ("sf", "af"), (48,)),
        Layer("g", "activation", ("j",), (48,), Activation("gelu")),
        Layer("out", "dense", ("g",), (2,), Activation(), tensor("out.weights", 2, 48), tensor("out.bias", 2)),
    )  # fmt: skip
    return Network("f", layers, ("out",))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-5)])
def test_file_computes_forward_pass(activation, dtype, tolerance, tmp_path):
    rng = np.random.default_rng(3)
    network = small(activation, rng)
    write_network(network, tmp_path / "f.onnx", dtype)
    x = rng.normal(size=(200, 3)) * np.logspace(-2, 1.5, 200)[:, None]
    if dtype == "float32":
        x = x.astype(np.float32).astype(float)
    expected = predict(network, {}, x)
    assert np.max(np.abs(run(tmp_path / "f.onnx", x) - expected)) <= tolerance * np.max(np.abs(expected))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["sign", "step"])
def test_sign_and_step_at_zero(kind, dtype, tmp_path):
    layers = (
        Layer("x", "input", (), (1,)),
        Layer("h", "dense", ("x",), (1,), Activation(kind), Parameter.constant("f.h.weights", np.eye(1))),
    )
    write_network(Network("f", layers, ("h",)), tmp_path / "f.onnx", dtype)
    low = -1.0 if kind == "sign" else 0.0
    assert run(tmp_path / "f.onnx", np.array([[0.0], [-1e-30], [1e-30]])).ravel().tolist() == [1.0, low, 1.0]


def test_extreme_arguments_stay_finite(tmp_path):
    for kind in ("softplus", "gelu", "sigmoid", "silu", "tanh"):
        layers = (
            Layer("x", "input", (), (1,)),
            Layer("h", "dense", ("x",), (1,), Activation(kind), Parameter.constant("f.h.weights", np.eye(1))),
        )
        network = Network("f", layers, ("h",))
        x = np.array([[-1000.0], [-40.0], [-8.0], [0.0], [8.0], [40.0], [1000.0]])
        for dtype in ("float64", "float32"):
            write_network(network, tmp_path / "f.onnx", dtype)
            np.testing.assert_allclose(run(tmp_path / "f.onnx", x), predict(network, {}, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("second", ACTIVATIONS)
@pytest.mark.parametrize("first", ["relu", "leaky_relu", "abs"])
def test_activations_behind_each_other(first, second, tmp_path):
    """onnxruntime fuses neighbours, and failed on a double Clip behind a Relu."""
    layers = (
        Layer("x", "input", (), (3,)),
        Layer("a", "activation", ("x",), (3,), Activation(first)),
        Layer("b", "activation", ("a",), (3,), Activation(second)),
    )
    network = Network("f", layers, ("b",))
    x = np.random.default_rng(4).normal(size=(20, 3))
    write_network(network, tmp_path / "f.onnx")
    expected = predict(network, {}, x)
    np.testing.assert_allclose(run(tmp_path / "f.onnx", x), expected, atol=1e-13)
    np.testing.assert_allclose(predict(read_network(tmp_path / "f.onnx", "f"), {}, x), expected, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_images(dtype, tmp_path):
    rng = np.random.default_rng(5)
    network = image(rng)
    write_network(network, tmp_path / "f.onnx", dtype)
    x = rng.normal(size=(20, 84)).astype(np.float32).astype(float)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(run(tmp_path / "f.onnx", x), predict(network, {}, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_images_are_read_back(dtype, tmp_path):
    rng = np.random.default_rng(6)
    network = image(rng)
    write_network(network, tmp_path / "f.onnx", dtype)
    read = read_network(tmp_path / "f.onnx", "f")
    assert [x.kind for x in read.layers].count("batchnorm") == 0  # folded into the convolution before it
    x = rng.normal(size=(20, 84))
    np.testing.assert_allclose(predict(read, {}, x), predict(network, {}, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_round_trip(activation, dtype, tmp_path):
    rng = np.random.default_rng(7)
    network = small(activation, rng)
    write_network(network, tmp_path / "f.onnx", dtype)
    read = read_network(tmp_path / "f.onnx", "f")
    assert [(x.name, x.kind, x.activation.kind) for x in read.layers] == [
        (x.name, x.kind, x.activation.kind) for x in network.layers
    ]
    x = rng.normal(size=(50, 3))
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(predict(read, {}, x), predict(network, {}, x), rtol=tolerance, atol=tolerance)


def test_without_folding_weights_are_those_of_the_file(tmp_path):
    network = small("relu", np.random.default_rng(8))
    write_network(network, tmp_path / "f.onnx")
    read = read_network(tmp_path / "f.onnx", "g", fold_affine=False)
    assert read["h"].weights is not None
    assert read["h"].weights.name == "g.h.weights"
    np.testing.assert_array_equal(read["h"].weights.value, network["h"].weights.value)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_graphs_round_trip(tmp_path_factory, data):
    """Random acyclic graphs of dense, add and concat layers, in both precisions."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = {"x": 2}
    layers = [Layer("x", "input", (), (2,))]
    kinds = [a for a in ACTIVATIONS if a not in ("softmax", "sign", "step")]
    for k in range(data.draw(st.integers(1, 6))):
        name, kind = f"n{k}", data.draw(st.sampled_from(["dense", "dense", "add", "concat", "activation"]))
        source = data.draw(st.sampled_from(sorted(sizes)))
        activation = data.draw(st.sampled_from(kinds))
        if kind == "dense":
            size = data.draw(st.integers(1, 3))
            layers.append(dense(name, source, sizes[source], size, activation, rng, data.draw(st.booleans())))
        elif kind == "activation":
            size = sizes[source]
            layers.append(Layer(name, "activation", (source,), (size,), Activation(activation, 0.3)))
        else:
            other = data.draw(
                st.sampled_from(sorted(s for s in sizes if kind == "concat" or sizes[s] == sizes[source]))
            )
            size = sizes[source] + sizes[other] if kind == "concat" else sizes[source]
            layers.append(Layer(name, kind, (source, other), (size,)))
        sizes[name] = size
    network = Network("f", tuple(layers), (layers[-1].name,))
    path = tmp_path_factory.mktemp("graph") / "f.onnx"
    dtype = data.draw(st.sampled_from(["float64", "float32"]))
    write_network(network, path, dtype)
    x = rng.normal(size=(10, 2))
    expected = predict(network, {}, x)
    tolerance = (1e-10 if dtype == "float64" else 1e-3) * max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(predict(read_network(path, "f"), {}, x), expected, atol=tolerance, rtol=0)


def test_metadata_and_names(tmp_path):
    write_network(small("relu", np.random.default_rng(1)), tmp_path / "f.onnx", metadata={"loss": "0.5"})
    model = onnx.load(tmp_path / "f.onnx")
    found = {p.key: p.value for p in model.metadata_props}
    assert found["loss"] == "0.5"
    assert found["network"] == "f"
    assert [i.name for i in model.graph.input] == ["x"]
    assert [o.name for o in model.graph.output] == ["out"]
    assert (model.ir_version, model.opset_import[0].version) == (9, 18)


def test_network_without_values_is_refused(tmp_path):
    layers = (
        Layer("x", "input", (), (1,)),
        Layer("h", "dense", ("x",), (1,), weights=Parameter.box("f.h.weights", (1, 1))),
    )
    with pytest.raises(UnsupportedError, match=r"no values for f\.h\.weights"):
        write_network(Network("f", layers, ("h",)), tmp_path / "f.onnx")
    assert list(tmp_path.iterdir()) == []


# Files of others


def save(path, nodes, constants, shape=("N", 2), dtype=TensorProto.FLOAT, opset=18):
    number = np.float32 if dtype == TensorProto.FLOAT else np.float64
    tensors = [numpy_helper.from_array(v if v.dtype.kind == "i" else v.astype(number), k) for k, v in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", dtype, list(shape))],
        [helper.make_tensor_value_info("y", dtype, ["N", "M"])], tensors,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)


W = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])  # (inputs, outputs), as MatMul has it


def test_matmul_and_add_become_one_dense_layer(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "/fc1/MatMul"),
        helper.make_node("Add", ["b", "a"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    save(tmp_path / "m.onnx", nodes, {"w": W, "b": np.arange(3.0)})
    network = read_network(tmp_path / "m.onnx", "f")
    assert [(x.name, x.kind, x.activation.kind) for x in network.layers[1:]] == [("fc1", "dense", "relu")]
    np.testing.assert_array_equal(network["fc1"].weights.value, W.T)
    np.testing.assert_array_equal(network["fc1"].bias.value, np.arange(3.0))


def test_gemm_alpha_beta_and_clip(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"], alpha=2.0, beta=0.5),
        helper.make_node("Clip", ["z", "lo", "hi"], ["y"]),
    ]
    save(tmp_path / "m.onnx", nodes, {"w": W, "b": np.ones(3), "lo": np.array(0.0), "hi": np.array(6.0)})
    x = np.random.default_rng(0).normal(size=(30, 2)) * 3
    expected = np.clip(2 * x @ W + 0.5, 0, 6)
    np.testing.assert_allclose(predict(read_network(tmp_path / "m.onnx", "f"), {}, x), expected, rtol=1e-6, atol=1e-6)


def test_flatten_by_shape_arithmetic(tmp_path):
    """Shape -> Gather -> Concat -> Reshape, as exporters write x.view(x.size(0), -1)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zero1"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    constants = {"zero": np.array(0), "zero1": np.array([0]), "minus": np.array([-1]), "w": np.ones((8, 1))}
    save(tmp_path / "m.onnx", nodes, constants, shape=("N", 2, 2, 2))
    x = np.random.default_rng(0).normal(size=(5, 8))
    np.testing.assert_allclose(
        predict(read_network(tmp_path / "m.onnx", "f"), {}, x), x.sum(axis=1)[:, None], rtol=1e-6
    )


def test_differences_of_values(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["t"]),
        helper.make_node("Sub", ["t", "a"], ["y"]),
    ]
    save(tmp_path / "m.onnx", nodes, {"w": W})
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(
        predict(read_network(tmp_path / "m.onnx", "f"), {}, x), np.tanh(x @ W) - x @ W, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Elu", ["a"], ["y"], "act"), r"node 'act' \(Elu\)"),
        (helper.make_node("Sign", ["a"], ["y"]), r"Sign\(0\) is 0"),
        (helper.make_node("Mul", ["a", "a"], ["y"]), "products"),
        (helper.make_node("Softmax", ["a"], ["y"], axis=0), "softmax is read over the features"),
        (helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0]), "Transpose"),
        (helper.make_node("Clip", ["a", "", "one"], ["y"]), "clipping"),
    ],
)
def test_what_is_not_read_is_named(node, message, tmp_path):
    save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["a"]), node], {"w": W, "one": np.array(1.0)})
    with pytest.raises(UnsupportedError, match=message):
        read_network(tmp_path / "m.onnx", "f")


def test_a_wrong_reading_is_refused(tmp_path, monkeypatch):
    """The comparison with onnxruntime catches a reader that drops a bias."""
    from nnspec.formats.onnx import operators

    save(tmp_path / "m.onnx", [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": W, "b": np.full(3, 1e-2)})
    read_network(tmp_path / "m.onnx", "f")

    def without_bias(reader, node):
        operators._dense(reader, node, reader.weights(node, node.input[1], "weights").T, None)

    monkeypatch.setitem(operators._OPERATORS, "Gemm", without_bias)
    with pytest.raises(UnsupportedError, match="computes something else"):
        read_network(tmp_path / "m.onnx", "f")


# Untrusted files


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        read_network(tmp_path / "m.onnx", "f")
    for content in (b"", b"not a model", bytes(range(256)) * 4):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(SpecError, match=r"not an ONNX model|holds no network|not a valid"):
            read_network(tmp_path / "m.onnx", "f")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bytes_changed_at_random_never_crash(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz.onnx"
    write_network(small("gelu", np.random.default_rng(1)), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))]))
    with contextlib.suppress(NnspecError):  # anything else is a crash
        read_network(path, "f")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin"])
def test_external_data_stays_in_the_folder(location, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(W.astype(np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    save(folder / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W})
    model = onnx.load(folder / "m.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SpecError, match="outside the folder"):
        read_network(folder / "m.onnx", "f")


def test_external_data_beside_the_model_is_read(tmp_path):
    save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W})
    model = onnx.load(tmp_path / "m.onnx")
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    np.testing.assert_array_equal(read_network(tmp_path / "e.onnx", "f").layers[1].weights.value, W.T)
    (tmp_path / "e.bin").write_bytes(b"\0" * 4)
    with pytest.raises(SpecError, match="shorter than the model says"):
        read_network(tmp_path / "e.onnx", "f")


def test_foreign_operators_are_refused(tmp_path):
    save(tmp_path / "m.onnx", [helper.make_node("Anything", ["x"], ["y"], domain="com.example")], {})
    with pytest.raises(UnsupportedError, match=r"operators of 'com\.example'"):
        read_network(tmp_path / "m.onnx", "f")
