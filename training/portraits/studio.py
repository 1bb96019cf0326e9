"""The studio: camera, lights, backdrop and the renderer's settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.camera import Camera

Floats = NDArray[np.float32]


def clear() -> Any:
    """An empty scene, its only one."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def camera(view: Camera) -> None:
    """The pipeline's camera as Blender's: the same points land on the same pixels."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_height, data.sensor_width = "VERTICAL", 24.0, 24.0
    data.lens = 24.0 * view.focal
    data.shift_x, data.shift_y = 0.5 - view.center_x, view.center_y - 0.5
    thing = bpy.data.objects.new("camera", data)
    thing.location = (0.0, -view.distance, view.look_y)
    thing.rotation_euler = (math.pi / 2 + view.pitch, 0, 0)
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.scene.camera = thing


def area(
    name: str,
    at: tuple[float, float, float],
    aim: tuple[float, float, float],
    size: float,
    watts: float,
    colour: tuple[float, float, float] = (1, 1, 1),
) -> None:
    """A square softbox at ``at`` that faces ``aim`` (y up)."""
    import mathutils

    data = bpy.data.lights.new(name, "AREA")
    data.size, data.energy, data.color = size, watts, colour
    thing = bpy.data.objects.new(name, data)
    place = mathutils.Vector((at[0], -at[2], at[1]))
    goal = mathutils.Vector((aim[0], -aim[2], aim[1]))
    thing.location = place
    thing.rotation_euler = (goal - place).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(thing)


def lights(head: tuple[float, float, float], warm: float = 0.0) -> None:
    """Key from the upper left of the picture, fill from the right, two soft rims from behind.

    Rims are weak: a picture's light is its surface's texture for good, wherever the head turns.
    """
    x, y, z = head
    key = (1.0, 0.96 - 0.04 * warm, 0.91 - 0.08 * warm)
    area("key", (x - 1.3, y + 0.9, z + 1.9), (x, y - 0.15, z), 1.3, 62, key)
    area("fill", (x + 1.9, y + 0.1, z + 1.7), (x, y - 0.2, z), 2.2, 24, (0.90, 0.95, 1.0))
    area("rim", (x + 1.2, y + 0.8, z - 1.5), (x, y - 0.1, z), 0.9, 11, (0.92, 0.96, 1.0))
    area("hair", (x - 1.1, y + 1.1, z - 1.3), (x, y, z), 0.7, 7, (1.0, 0.95, 0.9))
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.85, 0.92, 1.0, 1)
    world.node_tree.nodes["Background"].inputs[1].default_value = 0.22


def settings(size: int, samples: int, threads: int = 2) -> None:
    """Cycles on the CPU, film transparent, adaptive samples, denoised."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_denoising = "CPU", samples, True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.use_adaptive_sampling, cycles.adaptive_threshold = True, 0.015
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 5, 3, 2
    cycles.transparent_max_bounces, cycles.transmission_bounces = 16, 4
    cycles.sample_clamp_indirect, cycles.caustics_reflective = 4.0, False
    cycles.blur_glossy = 0.3
    scene.cycles_curves.shape = "RIBBONS"
    scene.view_settings.view_transform, scene.view_settings.look = (
        "AgX",
        "AgX - Medium High Contrast",
    )
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "8"


def render(path: Path) -> None:
    """Render to an RGBA PNG."""
    bpy.context.scene.render.filepath = str(path.resolve())
    bpy.ops.render.render(write_still=True)
