"""Networks to and from ONNX (opset 18, IR 9), and running such files in onnxruntime."""
