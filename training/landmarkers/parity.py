"""``python -m training.landmarkers.parity``: do converted networks answer as the published do?

    python -m training.landmarkers.parity [--wheel FILE] [--record FILE.npz]

Runs the published TFLite files on LiteRT, and the attention mesh, whose custom operators LiteRT
lacks, on MediaPipe itself, where each is installed (they want another numpy than we do: use an
environment of its own, with this repository on its path). The same pictures go through the shipped
ONNX files on ONNX Runtime. Prints, for each output and picture, the largest difference between the
two and the largest published value. ``--record`` writes what the published networks answer, every
so many-th value, to the file that a test compares the shipped ones with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers.networks import network
from training.landmarkers.names import OUTPUTS, SIGNED
from training.landmarkers.wheel import MODULES, read_networks

F32 = NDArray[np.float32]

RECORD: Final = Path(__file__).parents[2] / "tests/pipeline/landmarkers/published.npz"
_MESH: Final = "face_mesh"
_GRAPH: Final = """
input_stream: "image" {outputs}
node {{ calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:t"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: 192 output_tensor_height: 192
    output_tensor_float_range {{ min: 0 max: 1 }} }} }} }}
node {{ calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:op" }}
node {{ calculator: "InferenceCalculator" input_stream: "TENSORS:t"
  input_side_packet: "OP_RESOLVER:op" output_stream: "TENSORS:all"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
    model_path: "mediapipe/modules/{file}" delegate {{ xnnpack {{}} }} }} }} }}
node {{ calculator: "SplitTensorVectorCalculator" input_stream: "all" {parts}
  options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{ {ranges} }} }} }}
{floats}
"""


def enlarged(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(S, S, 3) -> (size, size, 3), every pixel repeated: the same on every machine."""
    at = np.arange(size) * len(picture) // size
    return np.ascontiguousarray(picture[at][:, at])


def tensor(name: str, picture: NDArray[np.uint8]) -> F32:
    """The picture as a network wants it."""
    image = picture.astype(np.float32)[None] / 255
    return 2 * image - 1 if name in SIGNED else image


def on_litert(content: bytes) -> Callable[[F32], list[F32]]:
    """A published network that LiteRT can run."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()

    def run(image: F32) -> list[F32]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        details = interpreter.get_output_details()
        return [interpreter.get_tensor(detail["index"]).copy() for detail in details]

    return run


def mesh_on_mediapipe(picture: NDArray[np.uint8]) -> list[F32]:
    """What the attention mesh answers to a picture (192, 192, 3)."""
    import mediapipe as mp
    from mediapipe.python._framework_bindings import resource_util

    resource_util.set_resource_dir(str(Path(mp.__file__).parents[1]))
    names = OUTPUTS[_MESH]
    floats = 'node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:t_{0}" ' \
             'output_stream: "FLOATS:{0}" }}'  # fmt: skip
    graph: Any = mp.CalculatorGraph(graph_config=_GRAPH.format(
        outputs=" ".join(f'output_stream: "{n}"' for n in names), file=MODULES[_MESH],
        parts=" ".join(f'output_stream: "t_{n}"' for n in names),
        ranges=" ".join(f"ranges: {{begin: {i} end: {i + 1}}}" for i in range(len(names))),
        floats="\n".join(floats.format(n) for n in names),
    ))  # fmt: skip
    out: dict[str, F32] = {}

    def take(name: str, packet: Any) -> None:
        out[name] = np.array(mp.packet_getter.get_float_list(packet), np.float32)

    for name in names:
        graph.observe_output_stream(name, take)
    graph.start_run()
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)
    graph.add_packet_to_input_stream("image", mp.packet_creator.create_image(image).at(0))
    graph.close_all_packet_sources()
    graph.wait_until_done()
    return [out[name] for name in names]


def main() -> None:
    """Compares, and records if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is here already")
    parser.add_argument("--record", type=Path, help=f"of {RECORD.name}: pictures in, answers added")
    arguments = parser.parse_args()
    path = arguments.record or RECORD
    known = dict(np.load(path))
    pictures = [known[key] for key in sorted(known) if key.startswith("picture")]
    for name, content in read_networks(arguments.wheel).items():
        runtime = "mediapipe" if name == _MESH else "ai_edge_litert"
        if find_spec(runtime) is None:
            print(f"{name}: not compared, {runtime} is not installed")
            continue
        for i, picture in enumerate(pictures):
            crop = enlarged(picture, network(name).size)
            for output, (theirs, ours) in both(name, content, crop).items():
                print(f"{name}/{output}/{i}: {np.abs(ours - theirs).max():.2g}"
                      f" of {np.abs(theirs).max():.3g}")  # fmt: skip
                known[f"{name}/{output}/{i}"] = theirs[:: max(1, len(theirs) // 400)]
    if arguments.record:
        np.savez_compressed(path, **known)


def both(name: str, content: bytes, crop: NDArray[np.uint8]) -> dict[str, tuple[F32, F32]]:
    """Every output of a network as published and as shipped, flat."""
    if name == _MESH:
        published = mesh_on_mediapipe(crop)
    else:
        published = on_litert(content)(tensor(name, crop))
    shipped = network(name)(crop)
    return {
        output: (answer.reshape(-1).astype(np.float32), shipped[output].reshape(-1))
        for output, answer in zip(OUTPUTS[name], published, strict=True)
    }


if __name__ == "__main__":
    main()
