"""Networks to and from ONNX (opset 18, IR 9), and running such files in onnxruntime."""

from nnspec.formats.onnx.read import read as read_network

__all__ = ["read_network"]
