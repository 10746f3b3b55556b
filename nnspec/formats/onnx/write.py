"""Network -> ONNX file. The file maps raw inputs to raw outputs: the scaling of the data is inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnspec.formats.errors import missing, unwritable
from nnspec.formats.files import write_bytes
from nnspec.formats.onnx.activations import write_activation
from nnspec.formats.onnx.graph import DTYPES, IR_VERSION, OPSET, Graph
from nnspec.formats.onnx.layers import write_layer
from nnspec.problem.network import Network


def write(network: Network, path: Path | str, dtype: str = "float64",
          metadata: Mapping[str, str] | None = None) -> None:  # fmt: skip
    """Write a network whose tensors all have values; `dtype` is float64 or float32.

    The input is called as its layer, of shape (N, *shape) in raw units; the outputs as theirs. `metadata` is stored in
    the file (nnspec_version, names of inputs, outputs and classes are added). The file replaces an older one at once.
    """
    write_bytes(path, serialise(network, dtype, metadata))


def serialise(network: Network, dtype: str = "float64", metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of the ONNX file."""
    try:
        from onnx import checker, helper, numpy_helper
        from onnx.helper import np_dtype_to_tensor_dtype
    except ImportError:
        raise missing("onnx", "writing a network file") from None

    if dtype not in DTYPES:
        raise unwritable(f"ONNX files are written in {' or '.join(DTYPES)}, not {dtype}")
    if network.free:
        names = ", ".join(p.name for p in network.parameters if p.free)
        raise unwritable(f"network {network.name} has no values for {names}", help="solve the spec first")
    graph = Graph(dtype)
    values = _inputs(graph, network)
    shapes = {layer.name: layer.shape for layer in network.layers}
    finals = _final_names(network)
    for layer in network.layers:
        if layer.kind == "input":
            continue
        result = finals.get(layer.name, layer.name)
        inputs = [values[i] for i in layer.inputs]
        linear = layer.activation.kind == "linear"
        if layer.kind == "activation" and not linear:
            values[layer.name] = write_activation(graph, layer.activation, inputs[0], result)
            continue
        z = write_layer(graph, layer, inputs, [shapes[i] for i in layer.inputs], result if linear else f"{result}.z")
        values[layer.name] = z if linear else write_activation(graph, layer.activation, z, result)
    _outputs(graph, network, values)
    kind = np_dtype_to_tensor_dtype(graph.dtype)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            [helper.make_tensor_value_info(x.name, kind, ["N", *x.shape]) for x in network.inputs],
            [helper.make_tensor_value_info(name, kind, ["N", *network[name].shape]) for name in network.outputs],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nnspec",
        producer_version=_version(),
    )
    helper.set_model_props(model, {**_metadata(network), **(metadata or {})})
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _version() -> str:
    import nnspec

    return nnspec.__version__


def _metadata(network: Network) -> dict[str, str]:
    """Names for people and programs that read the file."""
    found = {"nnspec_version": _version(), "network": network.name}
    for key in ("input_names", "output_names", "classes"):
        if getattr(network, key):
            found[key] = json.dumps(list(getattr(network, key)))
    return found


def _inputs(graph: Graph, network: Network) -> dict[str, str]:
    """Raw inputs to scaled ones; returns the value name of each input layer."""
    names, start = {}, 0
    for layer in network.inputs:
        value, part = layer.name, slice(start, start + layer.size)
        start += layer.size
        scaling = network.input_scaling
        if scaling is not None and not scaling.trivial:
            shift = graph.constant(f"{layer.name}.shift", np.asarray(scaling.shift)[part].reshape(layer.shape))
            factor = graph.constant(f"{layer.name}.factor", np.asarray(scaling.factor)[part].reshape(layer.shape))
            centred = graph.add("Sub", [value, shift], f"{layer.name}.centred")
            value = graph.add("Div", [centred, factor], f"{layer.name}.scaled")
        names[layer.name] = value
    return names


def _unscaled(network: Network) -> bool:
    return network.output_scaling is not None and not network.output_scaling.trivial


def _final_names(network: Network) -> dict[str, str]:
    """Value names of output layers that are followed by the map to raw units."""
    return {name: f"{name}.scaled" for name in network.outputs} if _unscaled(network) else {}


def _outputs(graph: Graph, network: Network, names: Mapping[str, str]) -> None:
    """The outputs' own names at the end: the map to raw units, or the identity where an input is an output."""
    start = 0
    for name in network.outputs:
        layer = network[name]
        part = slice(start, start + layer.size)
        start += layer.size
        value = names[name]
        if _unscaled(network):
            assert network.output_scaling is not None
            factor = np.asarray(network.output_scaling.factor)[part].reshape(layer.shape)
            shift = np.asarray(network.output_scaling.shift)[part].reshape(layer.shape)
            stretched = graph.add("Mul", [value, graph.constant(f"{name}.factor", factor)], f"{name}.stretched")
            graph.add("Add", [stretched, graph.constant(f"{name}.shift", shift)], name, name=f"{name}.raw")
