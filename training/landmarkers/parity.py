"""``python -m training.landmarkers.parity``: do converted networks answer as the published do?

    python -m training.landmarkers.parity [--wheel FILE] [--record FILE.npz]

Runs the TFLite files on LiteRT, and the attention mesh, whose custom operators LiteRT lacks, on
MediaPipe itself where it is installed (it wants numpy 1: use an environment of its own). Prints the
largest difference of each output; ``--record`` adds what the published networks answer to the file
that a test compares the shipped ones with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
        if find_spec("mediapipe" if name == _MESH else "ai_edge_litert") is None:
            continue
        for i, picture in enumerate(pictures):
            size = _size(name)
            if name == _MESH:
                answers = mesh_on_mediapipe(enlarged(picture, size))
            else:
                answers = on_litert(content)(tensor(name, enlarged(picture, size)))
            for output, answer in zip(OUTPUTS[name], answers, strict=True):
                _compare(known, f"{name}/{output}/{i}", answer.reshape(-1))
    if arguments.record:
        np.savez_compressed(path, **known)


def _size(name: str) -> int:
    return {"face_mesh": 192, "face_detector": 192, "palm_detector": 192, "pose": 256}.get(
        name, 224
    )


def _compare(known: dict[str, F32], key: str, answer: F32) -> None:
    """One output of the published network beside what is recorded of it."""
    part = answer[:: max(1, len(answer) // 400)]
    if key in known:
        print(f"{key}: {np.abs(known[key] - part).max():.2g} of {np.abs(part).max():.3g}")
    known[key] = part.astype(np.float32)


if __name__ == "__main__":
    main()
