"""What can be wrong with footage, a branch of the tree in ``pipeline.errors``.

VideoError
├── VideoMissing, VideoUnreadable
├── VideoUnsupported      its pixel format, size, fields or rotation
├── VideoNoFace           nobody in it can be dubbed
├── VideoPersonUnknown    there is no person of this number
└── VideoSpanInvalid      start and end are no part of it
"""

from __future__ import annotations

from pipeline.errors import ContinuumError


class VideoError(ContinuumError):
    """A video cannot be dubbed."""

    code = "video"


class VideoMissing(VideoError):
    code = "video_missing"


class VideoUnreadable(VideoError):
    code = "video_unreadable"


class VideoUnsupported(VideoError):
    code = "video_unsupported"


class VideoNoFace(VideoError):
    code = "video_no_face"


class VideoPersonUnknown(VideoError):
    code = "video_person_unknown"


class VideoSpanInvalid(VideoError):
    code = "video_span"
