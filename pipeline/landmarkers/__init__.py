"""Faces, bodies and hands in pictures and frames.

The networks are MediaPipe's, converted to ONNX (``weights/NOTICE``). ``find_people`` looks at one
picture, a ``Tracker`` at consecutive frames.
"""

from pipeline.landmarkers.find import find_people
from pipeline.landmarkers.people import SIDES, Body, Face, Hand, Mask, Person, Side
from pipeline.landmarkers.tracker import Tracker

__all__ = [
    "find_people", "Tracker", "Person", "Face", "Body", "Hand", "Mask", "Side", "SIDES",
]  # fmt: skip
