"""Recognising activations that files spell out in several nodes, by comparing with what the writer would write.

GELU by erf, `z * sigmoid(z)`, `where(z >= 0, ...)`: each template is written for a placeholder and compared node by
node, from the result backwards. Add, Mul and Sum may have their inputs in either order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from nnspec.formats.onnx.activations import write_activation
from nnspec.formats.onnx.graph import Graph
from nnspec.problem.network import Activation

if TYPE_CHECKING:
    import onnx

PLACEHOLDER = "z"
_COMMUTATIVE = ("Add", "Mul", "Sum", "Max", "Min")


@dataclass(frozen=True)
class Template:
    activation: Activation
    producers: Mapping[str, onnx.NodeProto]
    constants: Mapping[str, np.ndarray]

    @property
    def last(self) -> onnx.NodeProto:
        return self.producers["y"]


@cache
def templates() -> tuple[Template, ...]:
    found = []
    for dtype in ("float64", "float32"):
        for kind in ("sign", "step", "silu", "gelu", "softplus", "hardtanh"):
            graph = Graph(dtype)
            write_activation(graph, Activation(kind), PLACEHOLDER, "y")
            if len(graph.nodes) > 1:
                producers = {n.output[0]: n for n in graph.nodes}
                found.append(Template(Activation(kind), producers, graph.constants))
    return tuple(found)


def match(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], constant: Callable[[str], np.ndarray | None]
) -> tuple[Activation, str] | None:
    """The activation that `node` is the last step of, and the value it is applied to; None if it is not one."""
    for template in templates():
        if template.last.op_type == node.op_type:
            bound: dict[str, str] = {}
            if _same(template, "y", node.output[0], producers, constant, bound):
                return template.activation, bound[PLACEHOLDER]
    return _leaky(node, producers, constant)


def _leaky(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], constant: Callable[[str], np.ndarray | None]
) -> tuple[Activation, str] | None:
    """where(z >= 0, z, alpha * z), which is how the slope keeps double precision."""
    if node.op_type != "Where" or not all(name in producers for name in (node.input[0], node.input[2])):
        return None
    test, product, z = producers[node.input[0]], producers[node.input[2]], node.input[1]
    if test.op_type != "GreaterOrEqual" or product.op_type != "Mul" or test.input[0] != z or z not in product.input:
        return None
    zero = constant(test.input[1])
    slope = constant(product.input[1] if product.input[0] == z else product.input[0])
    if zero is None or slope is None or np.size(zero) != 1 or np.any(zero != 0) or np.size(slope) != 1:
        return None
    return Activation("leaky_relu", float(np.asarray(slope).reshape(-1)[0])), z


def _same(template: Template, expected: str, actual: str, producers: Mapping[str, onnx.NodeProto],
          constant: Callable[[str], np.ndarray | None], bound: dict[str, str]) -> bool:  # fmt: skip
    """Whether value `actual` is computed as the template computes `expected`; binds the placeholder in `bound`."""
    if expected == PLACEHOLDER:
        return bound.setdefault(PLACEHOLDER, actual) == actual
    if expected in template.constants:
        value, wanted = constant(actual), template.constants[expected]
        return value is not None and _equal(value, wanted)
    a, b = template.producers[expected], producers.get(actual)
    if b is None or a.op_type != b.op_type or len(a.input) != len(b.input):
        return False
    if sorted(x.SerializeToString() for x in a.attribute) != sorted(x.SerializeToString() for x in b.attribute):
        return False
    orders = permutations(b.input) if a.op_type in _COMMUTATIVE else [tuple(b.input)]
    for order in orders:
        trial = dict(bound)
        if all(_same(template, x, y, producers, constant, trial) for x, y in zip(a.input, order)):
            bound.update(trial)
            return True
    return False


def _equal(value: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal up to single precision (files write 1.4142135 for the square root of 2); scalars of any rank."""
    if value.size == wanted.size == 1:
        value, wanted = value.reshape(()), wanted.reshape(())
    return value.shape == wanted.shape and bool(np.allclose(value, wanted, rtol=1e-6, atol=0))
