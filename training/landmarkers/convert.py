"""``python -m training.landmarkers.convert``: the published networks, written as ONNX files.

python -m training.landmarkers.convert [--wheel FILE] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import onnx

from training.landmarkers.attention import CUSTOM
from training.landmarkers.names import OUTPUTS
from training.landmarkers.operators import BUILTIN, Converter
from training.landmarkers.tflite_graph import read_graph
from training.landmarkers.wheel import MODULES, VERSION, read_networks

WEIGHTS: Final = Path(__file__).parents[2] / "pipeline" / "landmarkers" / "weights"


def convert(content: bytes, outputs: tuple[str, ...], description: str) -> onnx.ModelProto:
    """A TFLite file as an ONNX model: one input "image" (1, H, W, 3), outputs named as told.

    Raises ``ValueError`` that names an operator which is not known.
    """
    source = read_graph(content)
    converter = Converter(source)
    converter.names[source.inputs[0]] = "image"
    for operator in source.operators:
        write = BUILTIN.get(operator.kind) or CUSTOM.get(operator.kind)
        if write is None:
            raise ValueError(f"the operator {operator.kind} is not known")
        write(converter, operator)
    for tensor, name in zip(source.outputs, outputs, strict=True):
        converter.onnx.add("Identity", [converter.plain(tensor)], name)
    shapes = {n: source.shapes[t] for t, n in zip(source.outputs, outputs, strict=True)}
    return converter.onnx.model({"image": source.shapes[source.inputs[0]]}, shapes, description)


def main() -> None:
    """Writes all networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is here already")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in read_networks(arguments.wheel).items():
        origin = f"{MODULES[name]} of MediaPipe {VERSION}, Apache-2.0; see NOTICE"
        path = arguments.out / f"{name}.onnx"
        onnx.save(convert(content, OUTPUTS[name], origin), path)
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
