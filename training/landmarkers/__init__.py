"""Landmark networks that others published, converted to ONNX for ``pipeline.landmarkers``.

``python -m training.landmarkers.convert`` reads MediaPipe's TFLite files out of its wheel and
writes the files that the pipeline ships; ``python -m training.landmarkers.parity`` compares them
with the runtime they were published for.
"""
