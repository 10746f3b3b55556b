"""The tensors of a network as they stand in a written file, whatever the layout there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnspec.formats.errors import unreadable
from nnspec.formats.onnx.layers import matrix_to_filters
from nnspec.problem.network import Network


def read_weights(content: bytes, network: Network) -> Mapping[str, np.ndarray]:
    """Values of all tensors of `network`, by name, from the bytes of a file that was written for it."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(content)
    found = {t.name: np.asarray(numpy_helper.to_array(t), dtype=float) for t in model.graph.initializer}
    values = {}
    for layer in network.layers:
        for p in layer.parameters:
            if p.name not in found:
                raise unreadable(f"{network.name}.onnx", f"it holds no tensor {p.name!r}")
            value = found[p.name]
            if layer.kind == "conv" and p is layer.weights and value.ndim == 2:
                value = matrix_to_filters(layer, value)
            values[p.name] = value.reshape(p.shape)
    return values
