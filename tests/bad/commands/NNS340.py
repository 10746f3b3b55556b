import nnspec

nnspec.embed(object(), "demand.onnx", [1, 2])
