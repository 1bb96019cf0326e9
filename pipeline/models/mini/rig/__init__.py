"""The parametric body: states, shape, skeleton, skinning, camera, fit."""
