"""The networks of ``mini`` as ONNX graphs."""
