"""Convolutions and average pools that a file spells out by gathering windows, read back as layers.

`layers.write_layer` writes them so where onnxruntime lacks a kernel: Flatten, Pad, Gather with a table of indices, then
MatMul, Add, Transpose and Reshape, or ReduceMean. The Gather's doc string names the geometry; it is believed only if it
produces exactly the table that stands in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnspec.formats.onnx.layers import conv_table, matrix_to_filters, window_indices
from nnspec.problem.network import Layer, Parameter

if TYPE_CHECKING:
    import onnx

Constant = Callable[[str], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Found:
    """A layer of kind conv or avgpool on value `source`."""

    kind: str
    source: str
    table: np.ndarray
    geometry: Mapping[str, Any]
    matrix: np.ndarray | None = None
    bias: np.ndarray | None = None


def match(node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], constant: Constant) -> Found | None:
    """The layer that `node` is the last step of, None if it is not one."""

    def before(n: onnx.NodeProto | None, kind: str, place: int = 0) -> onnx.NodeProto | None:
        found = None if n is None or len(n.input) <= place else producers.get(n.input[place])
        return found if found is not None and found.op_type == kind else None

    if node.op_type == "ReduceMean":
        gather = before(node, "Gather")
        return None if gather is None else _windows("avgpool", gather, before, constant)
    if node.op_type != "Reshape":
        return None
    transpose = before(node, "Transpose")
    add = before(transpose, "Add")
    product = before(transpose if add is None else add, "MatMul")
    gather = before(product, "Gather")
    if product is None or gather is None:
        return None
    matrix = constant(product.input[1])
    bias = None if add is None else constant(add.input[1])
    if matrix is None or matrix.ndim != 2 or (add is not None and (bias is None or bias.ndim != 1)):
        return None
    return _windows("conv", gather, before, constant, np.asarray(matrix, dtype=float), bias)


def _windows(kind: str, gather: onnx.NodeProto, before: Any, constant: Constant, matrix: np.ndarray | None = None,
             bias: np.ndarray | None = None) -> Found | None:  # fmt: skip
    table = constant(gather.input[1])
    flat = before(before(gather, "Pad") or gather, "Flatten")
    if table is None or flat is None or not gather.doc_string:
        return None
    try:
        geometry = json.loads(gather.doc_string)
    except ValueError:
        return None
    if not isinstance(geometry, dict):
        return None
    return Found(kind, flat.input[0], np.asarray(table), geometry, matrix, bias)


def layer_of(found: Found, name: str, source: Layer) -> tuple[Layer, np.ndarray | None] | None:
    """The layer and the weights of its filters; None if the table is not that of the geometry."""
    try:
        attributes = {k: _pair(found.geometry[k]) for k in ("kernel", "stride", "padding", "dilation")}
        groups = int(found.geometry["groups"])
    except (KeyError, TypeError, ValueError):
        return None
    if len(source.shape) != 3 or min(groups, *attributes["kernel"], *attributes["stride"], *attributes["dilation"]) < 1:
        return None
    zipped = zip(source.shape[1:], *(attributes[k] for k in ("kernel", "stride", "padding", "dilation")))
    sides = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zipped)
    taps = source.shape[0] * attributes["kernel"][0] * attributes["kernel"][1]
    if min(sides) < 1 or min(attributes["padding"]) < 0 or sides[0] * sides[1] * taps != found.table.size:
        return None
    kernel = attributes["kernel"]
    if found.kind == "avgpool":
        layer = Layer(name, "avgpool", (source.name,), (source.shape[0], *sides), attributes=attributes)
        return (layer, None) if np.array_equal(window_indices(layer, source.shape), found.table) else None
    matrix = found.matrix
    assert matrix is not None
    if matrix.shape[0] != taps or source.shape[0] % groups or matrix.shape[1] % groups:
        return None
    shape = (matrix.shape[1], source.shape[0] // groups, *kernel)
    weights = Parameter.box(f"{name}.weights", shape)
    layer = Layer(name, "conv", (source.name,), (matrix.shape[1], *sides), weights=weights,
                  attributes={**attributes, "groups": groups})  # fmt: skip
    if not np.array_equal(conv_table(layer, source.shape), found.table):
        return None
    return layer, matrix_to_filters(layer, matrix)


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)
