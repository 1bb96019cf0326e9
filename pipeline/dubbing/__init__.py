"""Dubbing: the mouth of somebody in a video speaks other words, everything else stays as it was.

``survey`` looks through the video once: who is in it, where it is cut, what their mouths and teeth
look like. ``dubber`` then goes through it frame by frame, with memory that does not grow: ``faces``
follows the person, ``speech`` says what the mouth does, ``painter`` redraws the lower face.
"""
