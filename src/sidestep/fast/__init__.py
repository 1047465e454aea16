"""Answers of a bundle from its graph, by ONNX Runtime: nothing here imports torch."""
