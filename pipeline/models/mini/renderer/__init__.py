"""Drawing frames: rasterizer, shading, warped layers."""
