"""Numpy arrays into Blender: meshes, hair curves, attributes and small shader graphs.

Blender's world has z up; everything here takes y up, z towards the camera, as the body does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def to_world(points: Floats) -> Floats:
    """(N, 3) y up -> z up."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1).astype(np.float32)


def add_mesh(
    name: str,
    points: Floats,
    faces: Ints,
    material: Any,
    attributes: Mapping[str, Floats] | None = None,
) -> Any:
    """A smooth-shaded mesh object of quads (F, 4; -1 marks triangles) with point attributes."""
    sizes = np.where(faces[:, 3] < 0, 3, 4).astype(np.int32)
    corners = faces[np.arange(4) < sizes[:, None]]
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", to_world(points).reshape(-1))
    mesh.loops.add(len(corners))
    mesh.loops.foreach_set("vertex_index", corners.astype(np.int32))
    mesh.polygons.add(len(faces))
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    mesh.polygons.foreach_set("loop_start", starts)
    mesh.update(calc_edges=True)
    mesh.validate()
    mesh.shade_smooth()
    _attributes(mesh, attributes or {})
    mesh.materials.append(material)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def add_curves(
    name: str,
    points: Floats,
    radii: Floats,
    material: Any,
    attributes: Mapping[str, Floats] | None = None,
) -> Any:
    """Hair curves: ``points`` (S, K, 3), ``radii`` (S, K); attributes (S,) or (S, 3) per curve."""
    curves = bpy.data.hair_curves.new(name)
    strands, steps = points.shape[:2]
    curves.add_curves([steps] * strands)
    curves.position_data.foreach_set("vector", to_world(points.reshape(-1, 3)).reshape(-1))
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", radii.astype(np.float32).reshape(-1))
    for key, values in (attributes or {}).items():
        _attribute(curves, key, values, "CURVE")
    curves.materials.append(material)
    thing = bpy.data.objects.new(name, curves)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _attributes(mesh: Any, values: Mapping[str, Floats]) -> None:
    for name, array in values.items():
        _attribute(mesh, name, array, "POINT")


def _attribute(owner: Any, name: str, values: Floats, domain: str) -> None:
    values = np.asarray(values, np.float32)
    kind = "FLOAT" if values.ndim == 1 else "FLOAT_VECTOR"
    layer = owner.attributes.new(name, kind, domain)
    layer.data.foreach_set("value" if values.ndim == 1 else "vector", values.reshape(-1))


class Graph:
    """A material's shader graph, built by calls: ``node`` adds, sockets are wired by name."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        self.output = self.tree.nodes.new("ShaderNodeOutputMaterial")

    def node(self, kind: str, settings: Mapping[str, Any] | None = None, **inputs: Any) -> Any:
        """Add ``ShaderNode<kind>``; ``inputs`` use the socket's name with _ for a space."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            self.wire(value, self._socket(node, key))
        return node

    def wire(self, value: Any, socket: Any) -> None:
        """Link a socket, or set a constant."""
        if hasattr(value, "is_output"):
            self.tree.links.new(value, socket)
        elif isinstance(value, tuple) and len(value) == 3 and socket.type == "RGBA":
            socket.default_value = (*value, 1.0)
        else:
            socket.default_value = value

    def surface(self, shader: Any, displacement: Any = None) -> Any:
        self.tree.links.new(shader, self.output.inputs["Surface"])
        return self.material

    def attribute(self, name: str, output: str = "Vector") -> Any:
        node = self.node("Attribute", {"attribute_name": name})
        return self.out(node, output)

    def math(self, operation: str, a: Any, b: Any = 0.0, clamp: bool = False) -> Any:
        node = self.tree.nodes.new("ShaderNodeMath")
        node.operation, node.use_clamp = operation, clamp
        self.wire(a, node.inputs[0])
        self.wire(b, node.inputs[1])
        return node.outputs[0]

    def ramp(self, value: Any, *stops: tuple[float, Any]) -> Any:
        """A colour (or grey) ramp through (position, colour) stops."""
        node = self.node("ValToRGB", Fac=value)
        elements = node.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            rgb = colour if isinstance(colour, tuple) else (colour,) * 3
            element.position, element.color = position, (*rgb, 1.0)
        return node.outputs["Color"]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Any:
        """Mix two colours."""
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type, node.blend_type = "RGBA", blend
        self.wire(factor, node.inputs[0])
        self.wire(a, node.inputs[6])
        self.wire(b, node.inputs[7])
        return node.outputs[2]

    def noise(self, place: Any, scale: float, detail: float = 3.0, **more: Any) -> Any:
        node = self.node("TexNoise", Vector=place, Scale=scale, Detail=detail, **more)
        return node.outputs[0]

    @staticmethod
    def out(node: Any, name: str) -> Any:
        """A node's output by name or identifier."""
        for socket in node.outputs:
            if name in (socket.name, socket.identifier) and socket.enabled:
                return socket
        raise ValueError(f"{node.bl_idname} has no output {name}: {[s.name for s in node.outputs]}")

    @staticmethod
    def _socket(node: Any, key: str) -> Any:
        name = key.replace("_", " ")
        for socket in node.inputs:
            if name in (socket.name, socket.identifier) and socket.enabled:
                return socket
        raise ValueError(f"{node.bl_idname} has no input {name}: {[s.name for s in node.inputs]}")
