"""What can go wrong in the server, as one tree; each leaf is one status and one stable type.

    ServerError
    ├── BadRequest              400   JSON, query or fragment that cannot be read
    │   └── BadSdp              400   the body is not SDP
    ├── Unauthorized            401
    ├── ConsentRequired         403
    ├── Forbidden               403   known, but not allowed
    │   ├── LocalOnly, OriginRefused, RecordingRefused, PushRefused
    ├── NotFound                404
    │   ├── UnknownAvatar, UnknownSession, UnknownPeer, UnknownConsent, UnknownRecording,
    │   │   UnknownPush
    ├── SessionMoved            410   its worker ended; ``resume`` calls it again
    ├── SourceTaken             409   retryable, with Retry-After
    ├── AvatarBundled           409   it came with the model and cannot be removed
    ├── AvatarsTaken            409   as many avatars are enrolled as may be
    ├── RecordingState          409   recorded already, or not recorded
    ├── TooManyPushes           409   it is sent to as many places as may be
    ├── TooLarge                413
    ├── UnsupportedMediaType    415
    ├── Unprocessable           422
    │   ├── UnusableOffer, IceRestart, CannotMeasure
    │   ├── AvatarRefused       no name for an avatar, or one that another picture has
    │   ├── SoundRefused        a body that holds no sound that can be read
    │   ├── TextRefused         text that a voice cannot speak
    │   ├── NotInCluster        what only a server by itself does
    │   ├── UnknownVoice, NoVoice, NoAnswers
    │   ├── ResumeRefused       no session goes on by this token
    │   ├── ConsentRefused      a record, challenge or check that cannot be written
    │   └── PictureRefused      the picture or its landmarks; ``code`` says which way
    ├── RateLimited             429   retryable, with Retry-After
    │   ├── TooManySessions
    │   └── QueueFull           as many utterances, or senders of them, as may wait
    └── Unavailable             503   retryable, with Retry-After
        ├── NoSlot, PortsTaken, NotReady, Draining, RegistryDown
        ├── WorkerLost          the process that was asked has ended
        ├── ServiceFailed       a service that another machine may run
        │   ├── VoiceFailed     the voice, or the service behind it, gave no speech
        │   ├── ChatFailed, RecognitionFailed   no answer, or no words, came
        └── AvatarUnusable, ModelUnusable   until an operator has mended them: not retryable

Knows RFC 9457 (problem+json); knows nothing of aiohttp.
"""

from __future__ import annotations

from typing import ClassVar


class ServerError(Exception):
    """Root of all errors that are answered as problem+json."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "/problems/internal"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra
        self.headers: dict[str, str] = {}

    def problem(self) -> dict[str, object]:
        """The RFC 9457 body."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "retryable": self.retryable,
            **self.extra,
        }


class BadRequest(ServerError):
    status, type, title = 400, "/problems/bad-request", "The request cannot be read"


class BadSdp(BadRequest):
    type, title = "/problems/bad-sdp", "The body is not an SDP offer"


class Unauthorized(ServerError):
    status, type, title = 401, "/problems/unauthorized", "Token missing or wrong"

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.headers["WWW-Authenticate"] = "Bearer"


class ConsentRequired(ServerError):
    status, type, title = 403, "/problems/consent-required", "Consent required"


class Forbidden(ServerError):
    status, type, title = 403, "/problems/forbidden", "Not allowed"


class LocalOnly(Forbidden):
    type, title = "/problems/local-only", "This server has no keys and serves its own machine only"


class OriginRefused(Forbidden):
    type, title = "/problems/origin-refused", "Pages of this origin may not do that"


class RecordingRefused(Forbidden):
    type, title = "/problems/recording-refused", "This session may not be recorded"


class PushRefused(Forbidden):
    type, title = "/problems/push-refused", "This session may not be sent there"


class NotFound(ServerError):
    status, type, title = 404, "/problems/not-found", "Not found"


class UnknownAvatar(NotFound):
    type, title = "/problems/unknown-avatar", "No such avatar"


class UnknownSession(NotFound):
    type, title = "/problems/unknown-session", "No such session"


class UnknownConsent(NotFound):
    type, title = "/problems/unknown-consent", "No such consent record"


class UnknownRecording(NotFound):
    type, title = "/problems/unknown-recording", "No such recording"


class UnknownPeer(NotFound):
    type, title = "/problems/unknown-peer", "No such peer"


class SessionMoved(ServerError):
    status, type, title = 410, "/problems/session-moved", "The session goes on elsewhere"


class SourceTaken(ServerError):
    status, type, title = 409, "/problems/source-taken", "The session has a source already"
    retryable = True

    def __init__(self, detail: str, retry_after_s: int = 2, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.headers["Retry-After"] = str(retry_after_s)


class AvatarBundled(ServerError):
    status, type, title = 409, "/problems/avatar-bundled", "Bundled avatars cannot be removed"


class AvatarsTaken(ServerError):
    status, type, title = 409, "/problems/avatars-taken", "As many avatars are enrolled as may be"


class RecordingState(ServerError):
    status, type, title = 409, "/problems/recording-state", "Not in this state of the recording"


class UnknownPush(NotFound):
    type, title = "/problems/unknown-push", "No such push"


class TooManyPushes(ServerError):
    status, type, title = 409, "/problems/too-many-pushes", "Too many pushes of this session"


class TooLarge(ServerError):
    status, type, title = 413, "/problems/too-large", "The body is too large"


class UnsupportedMediaType(ServerError):
    status, type, title = 415, "/problems/unsupported-media-type", "Unsupported media type"


class Unprocessable(ServerError):
    status, type, title = 422, "/problems/unprocessable", "Understood, but cannot be done"


class UnusableOffer(Unprocessable):
    type, title = "/problems/unusable-offer", "The offer cannot be served"


class IceRestart(Unprocessable):
    type, title = "/problems/ice-restart", "ICE restarts are not supported"


class ConsentRefused(Unprocessable):
    type, title = "/problems/consent-refused", "This consent cannot be recorded"


class SoundRefused(Unprocessable):
    type, title = "/problems/sound-refused", "This sound cannot be spoken"


class TextRefused(Unprocessable):
    type, title = "/problems/text-refused", "This text cannot be spoken"


class NotInCluster(Unprocessable):
    type, title = "/problems/not-in-a-cluster", "A front of a cluster does not carry this"


class UnknownVoice(Unprocessable):
    type, title = "/problems/unknown-voice", "No such voice"


class NoVoice(Unprocessable):
    type, title = "/problems/no-voice", "This server reads no text"


class NoAnswers(Unprocessable):
    type, title = "/problems/no-answers", "This server answers nothing"


class ResumeRefused(Unprocessable):
    type, title = "/problems/resume-refused", "No session goes on by this token"


class NotDirected(Unprocessable):
    type, title = "/problems/not-directed", "This model's body cannot be told what to do"


class CannotMeasure(Unprocessable):
    type, title = "/problems/cannot-measure", "Frames are too narrow for the measuring strip"


class AvatarRefused(Unprocessable):
    type, title = "/problems/avatar-refused", "No avatar can be enrolled under this name"


class PictureRefused(Unprocessable):
    type, title = "/problems/picture-refused", "This picture cannot be animated"


class RateLimited(ServerError):
    status, type, title = 429, "/problems/rate-limited", "Too many requests"
    retryable = True

    def __init__(self, detail: str, retry_after_s: int = 5, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.headers["Retry-After"] = str(retry_after_s)


class TooManySessions(RateLimited):
    type, title = "/problems/too-many-sessions", "This key or token has as many sessions as it may"


class QueueFull(RateLimited):
    type, title = "/problems/queue-full", "As much speech waits as may wait"


class Unavailable(ServerError):
    status, type, title = 503, "/problems/unavailable", "Not now"
    retryable = True

    def __init__(self, detail: str, retry_after_s: int = 5, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.headers["Retry-After"] = str(retry_after_s)


class NoSlot(Unavailable):
    type, title = "/problems/no-slot", "Every slot is taken"


class PortsTaken(Unavailable):
    type, title = "/problems/no-udp-port", "Every UDP port for media is taken"


class NotReady(Unavailable):
    type, title = "/problems/not-ready", "The server is starting"


class Draining(Unavailable):
    type, title = "/problems/draining", "The server is shutting down"


class WorkerLost(Unavailable):
    type, title = "/problems/worker-lost", "The worker has ended"


class RegistryDown(Unavailable):
    type, title = "/problems/registry-down", "Consent registry unreachable"

    def __init__(self, detail: str, retry_after_s: int = 5, **extra: object) -> None:
        super().__init__(detail, retry_after_s, **{"code": "registry_unavailable", **extra})


class ServiceFailed(Unavailable):
    type, title = "/problems/service-failed", "A service did not answer"


class VoiceFailed(ServiceFailed):
    type, title = "/problems/voice-failed", "The voice gave no speech"


class ChatFailed(ServiceFailed):
    type, title = "/problems/chat-failed", "No answer came"


class RecognitionFailed(ServiceFailed):
    type, title = "/problems/recognition-failed", "What was said could not be recognised"


class AvatarUnusable(Unavailable):
    type, title = "/problems/avatar-unusable", "The avatar's files are damaged"
    retryable = False


class ModelUnusable(Unavailable):
    type, title = "/problems/model-unusable", "The model cannot perform this avatar"
    retryable = False
