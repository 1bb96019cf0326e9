"""Portraits: path-traced reference pictures of synthetic people, with the exact fit of each.

The people are posed by ``pipeline.models.mini.rig.body`` and rendered by Blender's Cycles (``bpy``,
Python 3.11), so the picture, its mask and its fit agree by construction. One file per noun:
``characters`` says who they are, ``figure`` poses them, ``smooth`` subdivides, ``skin``, ``eyes``,
``hair``, ``haircuts``, ``facial_hair`` and ``wardrobe`` dress them, ``studio`` lights them,
``portrait_render`` takes the picture, ``bundle`` writes the avatar folder.
"""
