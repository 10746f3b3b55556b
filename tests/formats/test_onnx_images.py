"""Random graphs with convolutions and pools: what is written, run by onnxruntime and read back is the same network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnspec.errors import UnsupportedError
from nnspec.formats import read_network, write_network
from nnspec.formats.onnx.run import run
from nnspec.problem import Activation, Layer, Network, Parameter, Scaling
from nnspec.problem.forward import predict

KINDS = ("linear", "relu", "leaky_relu", "abs", "hardtanh", "tanh", "sigmoid", "softplus", "gelu", "silu")


def side(n, k, s, p, d):
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def window(draw, shape, dilated):
    """Kernel, stride, padding, dilation and the sides of the result."""
    attributes, sides = {"kernel": [], "stride": [], "padding": [], "dilation": []}, []
    for n in shape[1:]:
        k = draw(st.integers(1, min(3, n)))
        d = draw(st.integers(1, max(1, (n - 1) // max(1, k - 1)))) if dilated and k > 1 else 1
        d = min(d, 2)
        p, s = draw(st.integers(0, max(0, min(2, d * k - 1)))), draw(st.integers(1, 3))
        for key, value in zip(attributes, (k, s, p, d)):
            attributes[key].append(value)
        sides.append(side(n, k, s, p, d))
    return {key: tuple(v) for key, v in attributes.items()}, tuple(sides)


def random_network(draw, rng):
    """One or two image inputs, up to six layers, and one or two outputs."""

    def tensor(name, *shape):
        return Parameter.constant(f"f.{name}", rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])))

    shapes = {}
    layers = []
    for k in range(draw(st.integers(1, 2))):
        shapes[f"x{k}"] = (draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(2, 6)))
        layers.append(Layer(f"x{k}", "input", (), shapes[f"x{k}"]))
    for k in range(draw(st.integers(1, 6))):
        name, source = f"n{k}", draw(st.sampled_from(sorted(shapes)))
        shape = shapes[source]
        activation = Activation(draw(st.sampled_from(KINDS)), 0.3)
        choices = ["batchnorm", "activation", "add", "concat", "dense"]
        choices += ["conv", "conv", "conv", "avgpool", "maxpool", "flatten"] if len(shape) == 3 else []
        kind = draw(st.sampled_from(choices))
        inputs, weights, bias, attributes = (source,), None, None, {}
        if kind == "conv":
            attributes, sides = window(draw, shape, True)
            groups = draw(st.sampled_from([g for g in (1, 2, 3) if shape[0] % g == 0]))
            filters = groups * draw(st.integers(1, 2))
            weights = tensor(f"{name}.weights", filters, shape[0] // groups, *attributes["kernel"])
            bias = tensor(f"{name}.bias", filters) if draw(st.booleans()) else None
            attributes["groups"] = groups
            shape = (filters, *sides)
        elif kind in ("avgpool", "maxpool"):
            attributes, sides = window(draw, shape, True)
            half = tuple(min(p, (d * (k - 1) + 1) // 2) for p, d, k in zip(
                attributes["padding"], attributes["dilation"], attributes["kernel"]))  # fmt: skip
            attributes["padding"] = tuple(min(p, k - 1) for p, k in zip(half, attributes["kernel"]))
            sides = tuple(side(*v) for v in zip(shape[1:], *attributes.values()))
            shape = (shape[0], *sides)
        elif kind == "batchnorm":
            weights, bias = tensor(f"{name}.weights", shape[0]), tensor(f"{name}.bias", shape[0])
        elif kind == "dense":
            size = draw(st.integers(1, 3))
            weights, bias = tensor(f"{name}.weights", size, int(np.prod(shape))), tensor(f"{name}.bias", size)
            shape = (size,)
        elif kind == "flatten":
            shape, activation = (int(np.prod(shape)),), Activation()
        elif kind == "add":
            inputs = (source, draw(st.sampled_from(sorted(s for s in shapes if shapes[s] == shape))))
        elif kind == "concat":
            inputs = (source, draw(st.sampled_from(sorted(s for s in shapes if shapes[s][1:] == shape[1:]))))
            shape = (shape[0] + shapes[inputs[1]][0], *shape[1:])
        layers.append(Layer(name, kind, inputs, shape, activation, weights, bias, attributes=attributes))
        shapes[name] = shape
    made = [layer.name for layer in layers if layer.kind != "input"]
    outputs = tuple(dict.fromkeys((made[-1], *([draw(st.sampled_from(made))] if draw(st.booleans()) else []))))
    needed = set(outputs)
    for layer in reversed(layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    kept = tuple(layer for layer in layers if layer.name in needed)
    size = sum(layer.size for layer in kept if layer.kind == "input")
    scaling = Scaling(rng.normal(size=size), rng.uniform(0.5, 2, size=size)) if draw(st.booleans()) else None
    return Network("f", kept, outputs, input_scaling=scaling)


def round_trip(folder, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    network = random_network(data.draw, rng)
    dtype = data.draw(st.sampled_from(["float64", "float32"]))
    path = folder.mktemp("image") / "f.onnx"
    write_network(network, path, dtype)
    x = rng.normal(size=(10, network.input_size)).astype(np.float32).astype(float)
    expected = predict(network, {}, x)
    tolerance = (1e-11 if dtype == "float64" else 1e-3) * max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(run(path, x), expected, atol=tolerance, rtol=0)
    read = read_network(path, "f")
    assert [layer.size for layer in read.inputs] == [layer.size for layer in network.inputs]
    np.testing.assert_allclose(predict(read, {}, x), expected, atol=tolerance, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_images_round_trip(tmp_path_factory, data):
    round_trip(tmp_path_factory, data)


@pytest.mark.long
@settings(max_examples=2000, deadline=None)
@given(st.data())
def test_many_random_images_round_trip(tmp_path_factory, data):
    round_trip(tmp_path_factory, data)


def convolution(attributes, kind="conv"):
    rng = np.random.default_rng(1)
    w = Parameter.constant("f.c.weights", rng.normal(size=(4, 1, 2, 2))) if kind == "conv" else None
    sides = tuple(side(*v) for v in zip((5, 4), *(attributes[k] for k in ("kernel", "stride", "padding", "dilation"))))
    layer = Layer("c", kind, ("x",), (4 if kind == "conv" else 2, *sides), weights=w, attributes=attributes)
    return Network("f", (Layer("x", "input", (), (2, 5, 4)), layer), ("c",))


GEOMETRY = {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}


def test_weights_and_geometry_come_back_exactly(tmp_path):
    network = convolution({**GEOMETRY, "groups": 2})
    write_network(network, tmp_path / "f.onnx")
    read = read_network(tmp_path / "f.onnx", "f")
    assert [(x.name, x.kind, x.shape) for x in read.layers] == [(x.name, x.kind, x.shape) for x in network.layers]
    np.testing.assert_array_equal(read["c"].weights.value, network["c"].weights.value)
    assert dict(read["c"].attributes) == {**GEOMETRY, "groups": 2}
    pool = convolution(GEOMETRY, "avgpool")
    write_network(pool, tmp_path / "p.onnx")
    assert dict(read_network(tmp_path / "p.onnx", "f")["c"].attributes) == GEOMETRY


HUGE = '{"kernel": [1000000000, 1000000000], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}'
WRONG = '{"kernel": 3, "stride": 0, "padding": [], "dilation": {}, "groups": "x"}'


@pytest.mark.parametrize("doc", ['{"kernel": [2, 2]}', WRONG, "[1]", "{", HUGE, None])
def test_a_geometry_that_is_not_the_tables_is_refused(doc, tmp_path):
    """The file's words are checked against its numbers."""
    path = tmp_path / "f.onnx"
    write_network(convolution({**GEOMETRY, "groups": 2}), path)
    model = onnx.load(path)
    (gather,) = (n for n in model.graph.node if n.op_type == "Gather")
    gather.doc_string = gather.doc_string.replace('"stride": [2, 1]', '"stride": [1, 2]') if doc is None else doc
    onnx.save(model, path)
    with pytest.raises(UnsupportedError, match=r"NNS302"):
        read_network(path, "f")
