"""The model: random trees over the windows, calibrated, written as ONNX with a manifest."""
