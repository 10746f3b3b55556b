"""Loading an untrusted ONNX file: sizes are limited, external data stays inside the model's folder, nothing is run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnspec.formats.errors import missing, operator, outside, unreadable

if TYPE_CHECKING:
    import onnx

MAX_FILE_BYTES = 256 * 2**20
"""A network that any engine here could use has far fewer parameters; larger files are more likely a mistake."""

MAX_NODES = 10_000


def load(path: Path | str) -> onnx.ModelProto:
    """The model, checked for form, its external data inside `raw_data`. Raises SpecError."""
    try:
        import onnx
        from onnx import checker
    except ImportError:
        raise missing("onnx", "reading an ONNX file") from None
    from google.protobuf.message import DecodeError

    path = Path(path)
    content = _read(path)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise unreadable(path, "it is not an ONNX model") from None
    if not model.graph.node:
        raise unreadable(path, "it holds no network")
    if len(model.graph.node) > MAX_NODES:
        raise unreadable(path, f"it has {len(model.graph.node)} nodes, more than {MAX_NODES}")
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.initializer, *graph.node]
    names = [x.name for x in values] + [name for n in graph.node for name in (n.op_type, n.domain, *n.input, *n.output)]
    if any(isinstance(name, bytes) for name in names):  # what protobuf gives for text that is not UTF-8
        raise unreadable(path, "it has names that are not text")
    _external(model, path)
    if model.functions:
        raise operator(path, model.functions[0].name, "function", "functions inside a model are not read")
    foreign = [n for n in model.graph.node if n.domain not in ("", "ai.onnx")]
    if foreign:
        raise operator(path, foreign[0].name, foreign[0].op_type, f"operators of {foreign[0].domain!r} are not read")
    try:
        checker.check_model(model)
    except Exception as error:  # on damaged files the checker raises more than its own ValidationError
        raise unreadable(path, f"it is not a valid ONNX model: {str(error).strip().splitlines()[0]}") from None
    return model


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise unreadable(path, f"it is larger than {MAX_FILE_BYTES // 2**20} MB")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from None


def _external(model: onnx.ModelProto, path: Path) -> None:
    """Move external tensor data into the model; only initializers may have any."""
    folder = path.parent.resolve()
    total = 0
    for tensor in model.graph.initializer:
        if tensor.data_location != 1:  # TensorProto.EXTERNAL
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        file = folder / location
        # resolve() follows links, so that a link out of the folder is outside
        if not location or not file.resolve().is_relative_to(folder):
            raise outside(path, location)
        try:
            size = file.stat().st_size
            offset = int(entries.get("offset", 0))
            length = int(entries.get("length", size - offset))
            total += length
            if offset < 0 or length < 0 or offset + length > size:
                raise unreadable(path, f"the weights file {location!r} is shorter than the model says")
            if total > MAX_FILE_BYTES:
                raise unreadable(path, f"its weights are larger than {MAX_FILE_BYTES // 2**20} MB")
            with file.open("rb") as handle:
                handle.seek(offset)
                content = handle.read(length)
        except ValueError:
            raise unreadable(path, f"bad offset or length of the weights {tensor.name!r}") from None
        except OSError as error:
            raise unreadable(path, f"weights file {location!r}: {error.strerror}") from None
        tensor.raw_data = content
        tensor.data_location = 0
        del tensor.external_data[:]


def array(tensor: onnx.TensorProto, path: Path) -> np.ndarray:
    """The values of a dense tensor."""
    from onnx import numpy_helper

    if any(d < 0 for d in tensor.dims) or math.prod(tensor.dims) * 8 > MAX_FILE_BYTES:
        raise unreadable(path, f"the shape {list(tensor.dims)} of {tensor.name!r} is out of range")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # to_array raises whatever numpy raises on damaged data
        raise unreadable(path, f"the values of {tensor.name!r} are damaged ({type(error).__name__})") from None
