"""ONNX file -> Network with fixed weights, checked against onnxruntime on random inputs.

The graph is read node by node (`operators`), in the file's order, only as far as the outputs need it. What the language
has no layer for is an error that names the node and its operator.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnspec.formats.errors import mismatch, operator, unreadable
from nnspec.formats.fold import fold
from nnspec.formats.onnx import patterns, windows
from nnspec.formats.onnx.load import array, load
from nnspec.formats.onnx.run import run_session, session
from nnspec.problem.forward import predict
from nnspec.problem.network import Activation, Layer, Network, Parameter, Scaling

if TYPE_CHECKING:
    import onnx

MAX_VALUE_SIZE = 2**20
"""Numbers a sample and layer; the check runs CHECK_ROWS samples at once."""

CHECK_ROWS = 64
CHECK_TOLERANCE = {"tensor(double)": 1e-9, "tensor(float)": 2e-4}
"""Largest difference from onnxruntime, relative to the largest output, in the file's precision: sums of a few thousand
rounded terms stay well below, a missing bias or a wrong padding far above."""


def read(path: Path | str, name: str, fold_affine: bool = True) -> Network:
    """The network in an ONNX file; tensors are called '<name>.<layer>.weights' and '<name>.<layer>.bias'.

    With `fold_affine`, maps per channel (scalings, batch normalisation) are merged into the dense or convolution layer
    beside them; without it, weights are exactly those of the file.

    Raises SpecError (unreadable, unsafe) and UnsupportedError (an operator that no layer of the language computes, or a
    difference from onnxruntime).
    """
    model = load(path)
    reader = Reader(model, Path(path), name)
    network = reader.network(fold_affine)
    check(network, path, model)
    return network


def check(network: Network, path: Path | str, model: onnx.ModelProto) -> None:
    """Raise if the network differs from what onnxruntime computes from the file, on random inputs of several sizes."""
    running = session(path, model.SerializeToString())
    kinds = {i.type for i in running.get_inputs()}
    if not kinds <= set(CHECK_TOLERANCE):
        raise unreadable(path, f"its inputs are {', '.join(sorted(kinds))}; float and double are read")
    tolerance = max(CHECK_TOLERANCE[k] for k in kinds)
    random = np.random.default_rng(0)
    x = random.normal(size=(CHECK_ROWS, network.input_size)) * np.logspace(-1, 1, CHECK_ROWS)[:, None]
    expected = run_session(running, x, path)
    found = predict(network, {}, x.astype(np.float32).astype(float) if "tensor(float)" in kinds else x)
    if found.shape != expected.shape:
        raise mismatch(path, f"onnxruntime gives {expected.shape[1]} outputs, nnspec reads {found.shape[1]}")
    if not np.all(np.isfinite(expected)):
        raise mismatch(path, "onnxruntime gives infinite or undefined outputs on ordinary inputs")
    worst = float(np.max(np.abs(found - expected), initial=0.0))
    if worst > tolerance * max(1.0, float(np.max(np.abs(expected), initial=0.0))):
        raise mismatch(path, f"onnxruntime computes something else from it (difference {worst:.3g} on random inputs)")


class Reader:
    """The state of reading one graph: constants, layers so far, and which layer computes which value."""

    def __init__(self, model: onnx.ModelProto, path: Path, name: str):
        self.path, self.name, self.graph = path, name, model.graph
        self.constants: dict[str, np.ndarray] = {t.name: array(t, path) for t in self.graph.initializer}
        self.producers = {out: node for node in self.graph.node for out in node.output if out}
        self.layers: dict[str, Layer] = {}
        self.values: dict[str, str] = {}  # value name -> layer name
        self.scalings: dict[str, tuple[Any, Any]] = {}  # of input layers
        self.outputs = tuple(o.name for o in self.graph.output)
        self.batch: int | None = None  # fixed number of rows, if the file has one
        self.readers = Counter(i for n in self.graph.node for i in n.input)
        self.readers.update(self.outputs)

    # What operators use

    def error(self, node: onnx.NodeProto, why: str, help: str | None = None) -> Exception:
        return operator(self.path, node.name or node.output[0], node.op_type, why, help)

    def constant(self, value: str) -> np.ndarray | None:
        return self.constants.get(value)

    def layer(self, node: onnx.NodeProto, value: str) -> Layer:
        """The layer that computes a value."""
        if value not in self.values:
            what = "a constant" if value in self.constants else f"{value!r}"
            raise self.error(node, f"expected a value computed from the inputs, found {what}")
        return self.layers[self.values[value]]

    def weights(self, node: onnx.NodeProto, value: str, what: str) -> np.ndarray:
        """A constant input as finite float64."""
        constant = self.constant(value)
        if constant is None:
            raise self.error(node, f"{what} must be constants in the file")
        constant = np.asarray(constant, dtype=float)
        if not np.all(np.isfinite(constant)):
            raise self.error(node, f"{what} are infinite or undefined")
        return constant

    def append(self, node: onnx.NodeProto, kind: str, inputs: tuple[Layer, ...], shape: tuple[int, ...], *,
               weights: np.ndarray | None = None, bias: np.ndarray | None = None,
               activation: Activation | None = None, attributes: dict[str, Any] | None = None) -> Layer:  # fmt: skip
        """Add a layer; the node's output is its value from now on."""
        if math.prod(shape) > MAX_VALUE_SIZE:
            raise self.error(node, f"its result of shape {shape} is too large")
        name = self._layer_name(node)
        stem = f"{self.name}.{name}"
        layer = Layer(
            name, kind, tuple(i.name for i in inputs), shape, activation or Activation(),
            None if weights is None else Parameter.constant(f"{stem}.weights", weights),
            None if bias is None else Parameter.constant(f"{stem}.bias", bias),
            attributes=attributes or {},
        )  # fmt: skip
        self.layers[name] = layer
        self.values[node.output[0]] = name
        return layer

    def shared(self, node: onnx.NodeProto, source: Layer) -> bool:
        """Whether others than this node read the value of `source` that it reads."""
        return any(self.readers[value] > 1 for value in node.input if self.values.get(value) == source.name)

    def scale_input(self, source: Layer, s: np.ndarray, t: np.ndarray) -> None:
        """The network sees s * x + t in place of the input x (arrays of the input's shape)."""
        scale, shift = self.scalings.get(source.name, (1.0, 0.0))
        self.scalings[source.name] = (s * scale, s * shift + t)

    def _input_scaling(self, layers: list[Layer]) -> Scaling | None:
        """s * x + t is (x - shift) / factor."""
        if not self.scalings:
            return None
        parts = []
        for layer in layers:
            if layer.kind == "input":
                s, t = self.scalings.get(layer.name, (1.0, 0.0))
                pair = (np.broadcast_to(a, layer.shape).reshape(-1) for a in (s, t))
                parts.append(np.stack(list(pair)))
        s, t = np.concatenate(parts, axis=1)
        return Scaling(-t / s, 1 / s)

    def same(self, node: onnx.NodeProto, layer: Layer) -> None:
        """The node changes nothing: its output is the layer's value."""
        self.values[node.output[0]] = layer.name

    def _layer_name(self, node: onnx.NodeProto) -> str:
        """The user's name: of the module in the framework (from node or weights), else of the operator."""
        words = [w for w in re.split(r"[/]+", node.name) if w]
        if len(words) > 1 and words[-1].split("_")[0] == node.op_type:
            words.pop()
        stem = ".".join(words)
        if not stem or re.fullmatch(rf"(?i){node.op_type}(_\d+)?|n\d+|\d+", stem):
            tensors = [i for i in node.input if i in self.constants and re.search(r"[._]weights?$", i)]
            stem = re.sub(r"[._]weights?$", "", tensors[0]).removeprefix(f"{self.name}.") if tensors else ""
        stem = re.sub(r"\W+", "_", stem.replace(".", "_")).strip("_") or node.op_type.lower()
        name, k = stem, 1
        while name in self.layers:
            k += 1
            name = f"{stem}_{k}"
        return name

    # The way from graph to network

    def network(self, fold_affine: bool) -> Network:
        from nnspec.formats.onnx.operators import read_node

        self._inputs()
        for node in self._needed():
            found = self._pattern(node)
            gathered = self._gathered(node)
            if gathered is not None:
                self._append_windows(node, gathered)
            elif found is not None:
                activation, z = found
                source = self.layer(node, z)
                self.append(node, "activation", (source,), source.shape, activation=activation)
            else:
                read_node(self, node)
        for name in self.outputs:
            if name not in self.values:
                raise unreadable(self.path, f"its output {name!r} does not depend on the inputs")
            source = self.layers[self.values[name]]
            if source.kind == "input":  # a network of the language ends in a layer
                self.append(self.producers[name], "activation", (source,), source.shape)
        outputs = tuple(self.values[name] for name in self.outputs)
        layers, outputs = fold(list(self.layers.values()), outputs, fold_affine)
        for layer in layers:
            if layer.activation.kind == "softmax" and layer.name not in outputs:
                raise operator(self.path, layer.name, "Softmax", "softmax is read only at the outputs")
        return Network(self.name, tuple(layers), outputs, input_scaling=self._input_scaling(layers))

    def _inputs(self) -> None:
        for value in self.graph.input:
            if value.name in self.constants:
                continue
            dims = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
            if len(dims) < 2:
                raise unreadable(self.path, f"input {value.name!r} must have the rows as its first dimension")
            shape = [d for d in dims[1:] if d is not None and d > 0]
            if len(shape) != len(dims) - 1:
                raise unreadable(self.path, f"input {value.name!r} has no fixed size", "export with fixed sizes")
            self.batch = dims[0] or self.batch
            name = re.sub(r"\W+", "_", value.name).strip("_") or "input"
            name = name if name not in self.layers else f"{name}_{len(self.layers)}"
            self.layers[name] = Layer(name, "input", (), tuple(shape))
            self.values[value.name] = name
        if not self.layers:
            raise unreadable(self.path, "it has no inputs")

    def _needed(self) -> list[onnx.NodeProto]:
        """Nodes that the outputs depend on, in the file's order, without inner nodes of spelled-out activations."""
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._constant(node)
        needed: set[str] = set()
        stack = list(self.outputs)
        while stack:
            value = stack.pop()
            node = self.producers.get(value)
            if value in needed or node is None:
                continue
            needed.add(value)
            found, gathered = self._pattern(node), self._gathered(node)
            if gathered is not None:
                stack.append(gathered.source)
            else:
                stack.extend([found[1]] if found is not None else [i for i in node.input if i])
        chosen = [n for n in self.graph.node if any(o in needed for o in n.output)]
        return [n for n in chosen if n.op_type != "Constant"]

    def _pattern(self, node: onnx.NodeProto) -> tuple[Activation, str] | None:
        return patterns.match(node, self.producers, self.constant)

    def _gathered(self, node: onnx.NodeProto) -> windows.Found | None:
        return windows.match(node, self.producers, self.constant)

    def _append_windows(self, node: onnx.NodeProto, found: windows.Found) -> None:
        source = self.layer(node, found.source)
        read = windows.layer_of(found, node.name, source)
        if read is None:
            raise self.error(node, "it gathers windows in a way that is neither a convolution nor an average pool")
        layer, weights = read
        bias = None if found.bias is None else np.asarray(found.bias, dtype=float)
        self.append(node, layer.kind, (source,), layer.shape, weights=weights, bias=bias,
                    attributes=dict(layer.attributes))  # fmt: skip

    def _constant(self, node: onnx.NodeProto) -> None:
        from onnx import helper

        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value":
                self.constants[node.output[0]] = array(value, self.path)
                return
            if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
                self.constants[node.output[0]] = np.asarray(value)
                return
        raise self.error(node, "this kind of constant is not read")
