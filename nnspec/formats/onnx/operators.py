"""What each ONNX operator becomes: one function an operator, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnspec.problem.network import Activation, Layer

if TYPE_CHECKING:
    import onnx

    from nnspec.formats.onnx.read import Reader


def read_node(reader: Reader, node: onnx.NodeProto) -> None:
    """Read one node: constants are folded, everything else becomes a layer (or nothing, if it changes nothing)."""
    constant = bool(node.input) and all(i in reader.constants for i in node.input if i)
    if constant and node.op_type not in _FOLDED:
        raise reader.error(node, "this operator is not computed on constants")
    if not constant and node.op_type not in _OPERATORS:
        raise reader.error(node, "networks of nnspec have no layer for this operator")
    try:
        if constant:
            reader.constants[node.output[0]] = _FOLDED[node.op_type](reader, node)
        else:
            _OPERATORS[node.op_type](reader, node)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        # damaged or invalid files: an attribute, an input or a shape that the operator must have is missing or absurd
        raise reader.error(node, f"its inputs or attributes are not valid ({type(error).__name__})") from None


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode(errors="replace") if isinstance(v, bytes) else v for k, v in found.items()}


# Dense layers and affine maps


def _gemm(reader: Reader, node: onnx.NodeProto) -> None:
    options = attributes(node)
    if options.get("transA", 0):
        raise reader.error(node, "transA is not read")
    w = reader.weights(node, node.input[1], "weights") * options.get("alpha", 1.0)
    w = w if options.get("transB", 0) else w.T
    bias = None
    if len(node.input) > 2 and node.input[2]:
        c = reader.weights(node, node.input[2], "biases") * options.get("beta", 1.0)
        if c.ndim > 2 or (c.ndim == 2 and c.shape[0] != 1):
            raise reader.error(node, "the bias must be the same for every row")
        bias = np.broadcast_to(c.reshape(-1), (w.shape[0],)).copy()
    _dense(reader, node, w, bias)


def _matmul(reader: Reader, node: onnx.NodeProto) -> None:
    if node.input[0] in reader.constants:
        raise reader.error(node, "constants times values is not read; values come first, one sample a row")
    w = reader.weights(node, node.input[1], "weights")
    if w.ndim != 2:
        raise reader.error(node, "weights must be a matrix")
    _dense(reader, node, w.T, None)


def _dense(reader: Reader, node: onnx.NodeProto, w: np.ndarray, bias: np.ndarray | None) -> None:
    source = reader.layer(node, node.input[0])
    if source.shape != (w.shape[1],):
        raise reader.error(node, f"its input has shape {source.shape} and its weights take {w.shape[1]} features")
    reader.append(node, "dense", (source,), (w.shape[0],), weights=w, bias=bias)


def _affine(reader: Reader, node: onnx.NodeProto, source: Layer, s: np.ndarray, t: np.ndarray) -> Layer:
    """s * x + t, with arrays that broadcast over the value (1, *shape), as a layer per channel.

    Directly behind an input they may differ within a channel: a scaling of the data, one factor a pixel.
    """
    full = []
    for part in (s, t):
        try:
            full.append(np.broadcast_to(part, (1, *source.shape))[0])
        except ValueError:
            raise reader.error(node, f"a constant of shape {part.shape} beside values {source.shape}") from None
    channels = [part.reshape(len(part), -1) for part in full]
    if all(np.all(part == part[:, :1]) for part in channels):
        return reader.append(node, "batchnorm", (source,), source.shape, weights=channels[0][:, 0].copy(),
                             bias=channels[1][:, 0].copy())  # fmt: skip
    if source.kind != "input" or reader.shared(node, source) or np.any(full[0] == 0):
        raise reader.error(node, "constants that differ within a channel are read directly behind an input only")
    reader.scale_input(source, *full)
    reader.same(node, source)
    return source


def _arithmetic(reader: Reader, node: onnx.NodeProto) -> None:
    """Add, Sub, Mul, Div of values and constants."""
    a, b = node.input[0], node.input[1]
    kind, one, zero = node.op_type, np.ones(1), np.zeros(1)
    if a in reader.constants or b in reader.constants:
        left = a in reader.constants
        c = reader.weights(node, a if left else b, "constants")
        source = reader.layer(node, b if left else a)
        if kind == "Div" and (left or np.any(c == 0)):
            raise reader.error(node, "division by a computed value or by zero is not read")
        s = {"Add": one, "Sub": -one if left else one, "Mul": c, "Div": 1.0 / c if kind == "Div" else one}[kind]
        t = {"Add": c, "Sub": c if left else -c, "Mul": zero, "Div": zero}[kind]
        _affine(reader, node, source, s, t)
        return
    if kind not in ("Add", "Sub"):
        raise reader.error(node, "products and quotients of computed values are not read")
    first, second = reader.layer(node, a), reader.layer(node, b)
    if first.shape != second.shape:
        raise reader.error(node, f"values of different shapes {first.shape} and {second.shape}")
    if kind == "Sub":
        second = _affine(reader, node, second, -one, zero)
    reader.append(node, "add", (first, second), first.shape)


def _sum(reader: Reader, node: onnx.NodeProto) -> None:
    layers = tuple(reader.layer(node, i) for i in node.input)
    if any(x.shape != layers[0].shape for x in layers):
        raise reader.error(node, "values of different shapes")
    reader.append(node, "add", layers, layers[0].shape)


def _neg(reader: Reader, node: onnx.NodeProto) -> None:
    _affine(reader, node, reader.layer(node, node.input[0]), -np.ones(1), np.zeros(1))


def _batchnorm(reader: Reader, node: onnx.NodeProto) -> None:
    """scale * (x - mean) / sqrt(variance + epsilon) + shift, per channel."""
    source, options = reader.layer(node, node.input[0]), attributes(node)
    if options.get("training_mode", 0):
        raise reader.error(node, "batch normalisation in training mode is not read")
    scale, shift, mean, variance = (reader.weights(node, i, "statistics") for i in node.input[1:5])
    factor = scale / np.sqrt(variance + np.float32(options.get("epsilon", 1e-5)))
    column = (-1, *[1] * (len(source.shape) - 1))
    _affine(reader, node, source, factor.reshape(column), (shift - factor * mean).reshape(column))


# Activations


def _simple(kind: str) -> Callable[[Reader, onnx.NodeProto], None]:
    def read(reader: Reader, node: onnx.NodeProto) -> None:
        source = reader.layer(node, node.input[0])
        reader.append(node, "activation", (source,), source.shape, activation=Activation(kind))

    return read


def _leaky(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.layer(node, node.input[0])
    slope = Activation("leaky_relu", float(attributes(node).get("alpha", 0.01)))
    reader.append(node, "activation", (source,), source.shape, activation=slope)


def _gelu(reader: Reader, node: onnx.NodeProto) -> None:
    if attributes(node).get("approximate", "none") != "none":
        raise reader.error(node, "the tanh approximation of GELU is not read")
    _simple("gelu")(reader, node)


def _softmax(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.layer(node, node.input[0])
    if len(source.shape) != 1 or attributes(node).get("axis", -1) not in (1, -1):
        raise reader.error(node, "softmax is read over the features of flat values only")
    _simple("softmax")(reader, node)


def _sign(reader: Reader, node: onnx.NodeProto) -> None:
    raise reader.error(node, "Sign(0) is 0 in ONNX and 1 in nnspec", "write it as Where(x >= 0, 1, -1)")


def _clip(reader: Reader, node: onnx.NodeProto) -> None:
    """Clip to [a, b] is an affine map, hardtanh and the way back; [0, inf) is relu."""
    options, limits = attributes(node), []
    for k, (key, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        if len(node.input) > k and node.input[k]:
            constant = reader.constant(node.input[k])
            if constant is None or np.size(constant) != 1:
                raise reader.error(node, "limits must be constants")
            limits.append(float(np.asarray(constant).reshape(-1)[0]))
        else:
            limits.append(float(options.get(key, default)))
    a, b = limits
    source = reader.layer(node, node.input[0])
    if a == 0 and b >= float(np.finfo(np.float32).max):
        _simple("relu")(reader, node)
        return
    if not -1e30 < a < b < 1e30:
        raise reader.error(node, f"clipping to [{a:g}, {b:g}] is not read; two finite limits or 0 and none are")
    middle, half = np.array([(a + b) / 2]), np.array([(b - a) / 2])
    unit = (a, b) == (-1.0, 1.0)
    inner = source if unit else _affine(reader, node, source, 1 / half, -middle / half)
    clipped = reader.append(node, "activation", (inner,), source.shape, activation=Activation("hardtanh"))
    if not unit:
        _affine(reader, node, clipped, half, middle)


# Shapes


def _identity(reader: Reader, node: onnx.NodeProto) -> None:
    reader.same(node, reader.layer(node, node.input[0]))


def _cast(reader: Reader, node: onnx.NodeProto) -> None:
    if attributes(node)["to"] not in (1, 11):  # FLOAT, DOUBLE
        raise reader.error(node, "casts to other than float and double are not read")
    _identity(reader, node)


def _shape(reader: Reader, node: onnx.NodeProto) -> None:
    """The shape as a constant in which 0 stands for the rows: just what Reshape reads as "unchanged"."""
    reader.constants[node.output[0]] = np.array([0, *reader.layer(node, node.input[0]).shape], dtype=np.int64)


def _to_shape(reader: Reader, node: onnx.NodeProto, source: Layer, shape: tuple[int, ...]) -> None:
    if shape == source.shape:
        reader.same(node, source)
    elif len(shape) == 1 and shape == (source.size,):
        reader.append(node, "flatten", (source,), shape)
    elif shape == () and source.size == 1 and node.output[0] in reader.outputs:
        reader.same(node, source)
    elif source.kind == "input" and math.prod(shape) == source.size and reader.readers[node.input[0]] == 1:
        reader.layers[source.name] = replace(source, shape=shape)
        reader.same(node, reader.layers[source.name])
    else:
        raise reader.error(node, f"reshaping {source.shape} to {shape} is not read, only flattening")


def _flatten(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.layer(node, node.input[0])
    if attributes(node).get("axis", 1) != 1:
        raise reader.error(node, "flattening must keep the rows (axis 1)")
    _to_shape(reader, node, source, (source.size,))


def _reshape(reader: Reader, node: onnx.NodeProto) -> None:
    source, target = reader.layer(node, node.input[0]), reader.constant(node.input[1])
    if target is None:
        raise reader.error(node, "the new shape must be constant")
    wanted = [int(d) for d in np.asarray(target).reshape(-1)]
    if not wanted or wanted[0] not in {0, -1, reader.batch or 0}:
        raise reader.error(node, f"the new shape {wanted} must keep the rows as its first dimension")
    rest = [source.shape[k] if d == 0 and k < len(source.shape) else d for k, d in enumerate(wanted[1:])]
    if rest.count(-1) == 1 and wanted[0] != -1:
        known = math.prod(d for d in rest if d != -1)
        rest[rest.index(-1)] = source.size // known if known else 0
    if math.prod(rest) != source.size or any(d <= 0 for d in rest):
        raise reader.error(node, f"the new shape {wanted} does not hold {source.size} values a row")
    _to_shape(reader, node, source, tuple(rest))


def _squeeze(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.layer(node, node.input[0])
    rank = len(source.shape) + (1 if node.op_type == "Squeeze" else 2)
    axes = reader.constant(node.input[1]) if len(node.input) > 1 else attributes(node).get("axes")
    if axes is None or np.size(axes) != 1:
        raise reader.error(node, "exactly one constant axis is read")
    axis = int(np.asarray(axes).reshape(-1)[0]) % rank - 1
    shape = list(source.shape)
    if axis < 0 or (node.op_type == "Squeeze" and shape[axis] != 1):
        raise reader.error(node, "the rows must stay the first dimension")
    if node.op_type == "Squeeze":
        shape.pop(axis)
    else:
        shape.insert(axis, 1)
    _to_shape(reader, node, source, tuple(shape))


def _concat(reader: Reader, node: onnx.NodeProto) -> None:
    layers = tuple(reader.layer(node, i) for i in node.input)
    axis = attributes(node)["axis"]
    if axis % (len(layers[0].shape) + 1) != 1 or any(x.shape[1:] != layers[0].shape[1:] for x in layers):
        raise reader.error(node, "values are joined along their features (axis 1) only")
    reader.append(node, "concat", layers, (sum(x.shape[0] for x in layers), *layers[0].shape[1:]))


# Convolution and pooling


def _geometry(reader: Reader, node: onnx.NodeProto, source: Layer, kernel: tuple[int, ...]) -> dict[str, Any]:
    options = attributes(node)
    if len(source.shape) != 3 or len(kernel) != 2:
        raise reader.error(node, "images of shape (channels, rows, columns) and kernels with two sides are read")
    if options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise reader.error(node, "automatic padding is not read", "export with explicit padding")
    pads = options.get("pads", [0, 0, 0, 0])
    if list(pads[:2]) != list(pads[2:]):
        raise reader.error(node, f"padding {list(pads)} differs between the sides")
    if any(not 0 <= p < k * d for p, k, d in zip(pads, kernel, options.get("dilations", (1, 1)))):
        raise reader.error(node, f"padding {list(pads)} is as large as the kernel")
    if options.get("ceil_mode", 0):
        raise reader.error(node, "ceil_mode is not read")
    return {
        "kernel": tuple(kernel),
        "stride": tuple(options.get("strides", (1, 1))),
        "padding": tuple(pads[:2]),
        "dilation": tuple(options.get("dilations", (1, 1))),
    }


def _sides(reader: Reader, node: onnx.NodeProto, source: Layer, geometry: dict[str, Any]) -> tuple[int, int]:
    zipped = zip(source.shape[1:], *(geometry[k] for k in ("kernel", "stride", "padding", "dilation")))
    rows, columns = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zipped)
    if rows < 1 or columns < 1:
        raise reader.error(node, f"the kernel is larger than its input {source.shape}")
    return rows, columns


def _conv(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.layer(node, node.input[0])
    w = reader.weights(node, node.input[1], "weights")
    bias = reader.weights(node, node.input[2], "biases") if len(node.input) > 2 and node.input[2] else None
    geometry = _geometry(reader, node, source, w.shape[2:])
    groups = int(attributes(node).get("group", 1))
    if source.shape[0] != w.shape[1] * groups:
        raise reader.error(node, f"its input has {source.shape[0]} channels and its weights take {w.shape[1] * groups}")
    shape = (w.shape[0], *_sides(reader, node, source, geometry))
    reader.append(node, "conv", (source,), shape, weights=w, bias=bias, attributes={**geometry, "groups": groups})


def _pool(reader: Reader, node: onnx.NodeProto) -> None:
    source, options = reader.layer(node, node.input[0]), attributes(node)
    whole = node.op_type == "GlobalAveragePool"
    kernel = source.shape[1:] if whole else tuple(options["kernel_shape"])
    geometry = _geometry(reader, node, source, kernel)
    if len([o for o in node.output if o]) > 1:
        raise reader.error(node, "the indices of the maxima are not read")
    if node.op_type == "AveragePool" and any(geometry["padding"]) and not options.get("count_include_pad", 0):
        raise reader.error(node, "averages that leave the padding out are not read")
    kind = "maxpool" if node.op_type == "MaxPool" else "avgpool"
    shape = (source.shape[0], *_sides(reader, node, source, geometry))
    reader.append(node, kind, (source,), shape, attributes=geometry)


_OPERATORS: dict[str, Callable[..., None]] = {
    "Gemm": _gemm, "MatMul": _matmul, "Add": _arithmetic, "Sub": _arithmetic, "Mul": _arithmetic, "Div": _arithmetic,
    "Sum": _sum, "Neg": _neg, "BatchNormalization": _batchnorm,
    "Relu": _simple("relu"), "Abs": _simple("abs"), "Tanh": _simple("tanh"), "Sigmoid": _simple("sigmoid"),
    "Softplus": _simple("softplus"), "LeakyRelu": _leaky, "Gelu": _gelu, "Softmax": _softmax, "Sign": _sign,
    "Clip": _clip, "Identity": _identity, "Dropout": _identity, "Cast": _cast, "Shape": _shape, "Flatten": _flatten,
    "Reshape": _reshape, "Squeeze": _squeeze, "Unsqueeze": _squeeze, "Concat": _concat,
    "Conv": _conv, "AveragePool": _pool, "GlobalAveragePool": _pool, "MaxPool": _pool,
}  # fmt: skip


# Operators on constants: just those that exporters put around weights and shapes


def _fold_transpose(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    return np.transpose(reader.constants[node.input[0]], attributes(node).get("perm"))


def _fold_same(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    return reader.constants[node.input[0]]


def _fold_unsqueeze(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    axes = reader.constants[node.input[1]] if len(node.input) > 1 else np.asarray(attributes(node).get("axes", [0]))
    return np.expand_dims(reader.constants[node.input[0]], tuple(int(a) for a in axes.reshape(-1)))


def _fold_gather(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    try:
        indices = np.asarray(reader.constants[node.input[1]], dtype=int)
        return np.asarray(np.take(reader.constants[node.input[0]], indices, axis=attributes(node).get("axis", 0)))
    except (IndexError, ValueError):
        raise reader.error(node, "an index is out of range") from None


def _fold_concat(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    return np.concatenate([reader.constants[i] for i in node.input], axis=attributes(node)["axis"])


def _fold_reshape(reader: Reader, node: onnx.NodeProto) -> np.ndarray:
    return np.reshape(reader.constants[node.input[0]], [int(d) for d in reader.constants[node.input[1]].reshape(-1)])


_FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "Transpose": _fold_transpose, "Identity": _fold_same, "Cast": _fold_same, "Unsqueeze": _fold_unsqueeze,
    "Gather": _fold_gather, "Concat": _fold_concat, "Reshape": _fold_reshape,
}  # fmt: skip
