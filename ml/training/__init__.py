"""The model: boosted trees over the windows, calibrated, written as ONNX with a manifest."""
