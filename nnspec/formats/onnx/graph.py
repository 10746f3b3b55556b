"""A growing ONNX graph: nodes and constants with readable names, in one floating-point type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET = 18
IR_VERSION = 9
DTYPES = ("float64", "float32")


class Graph:
    """Collects nodes in topological order. Floating constants are stored in `dtype`; equal scalars only once."""

    def __init__(self, dtype: str = "float64"):
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    @property
    def double(self) -> bool:
        return self.dtype == np.float64

    def constant(self, name: str, value: np.ndarray | float) -> str:
        """A floating-point constant; returns its name."""
        self.constants[name] = np.ascontiguousarray(value, dtype=self.dtype)
        return name

    def integers(self, name: str, value: np.ndarray | list[int]) -> str:
        self.constants[name] = np.asarray(value, dtype=np.int64)
        return name

    def scalar(self, value: float) -> str:
        return self.constant(f"const.{value!r}", np.asarray(value))

    def add(self, kind: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or f"{output}/{kind}", **attributes))
        return output
