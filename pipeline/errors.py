"""What can go wrong in the pipeline, as one tree.

    ContinuumError
    ├── ConsentError          no valid consent for what was asked
    │   ├── ConsentMissing        no record was named, or none has this id
    │   ├── ConsentMismatch       the record belongs to another picture
    │   ├── ConsentScopeDenied    the record does not cover this use
    │   ├── ConsentExpired        the record has run out
    │   ├── ConsentRevoked        the record was withdrawn
    │   ├── ConsentInvalid, ConsentIncomplete  the record lacks what this release asks for
    │   ├── ConsentTampered       the record is not what the operator signed
    │   ├── ConsentUnverified     checks that the policy requires were not made
    │   ├── ConsentCheckFailed    a check of the evidence failed
    │   ├── ConsentAgeUnknown     it is not attested that the subject is an adult
    │   ├── ConsentUnderage       the subject is, or looks, too young
    │   ├── ConsentTerritoryDenied  the record does not cover this country
    │   ├── ConsentDenied         the person, or the picture, is protected
    │   ├── ConsentPictureTaken   the picture is a copy of somebody else's
    │   ├── OverrideRefused       only verified consent lifts a protection
    │   ├── ChallengeInvalid      the code was not issued, is used, or too old
    │   ├── EvidenceInvalid       a file of the vault is missing, altered or too large
    │   ├── PolicyInvalid         the policy file, or a model it relies on, cannot be used
    │   ├── AuditBroken           the audit log is not what was written
    │   ├── GrantExpired          the grant is too old: ask the gate again
    │   ├── GrantForged           the grant did not come from the gate, or was changed
    │   └── RegistryUnavailable   the consent registry cannot be opened or written
    ├── AvatarError
    │   ├── UnknownAvatar         no avatar has this name
    │   ├── AvatarNameInvalid     a name that is taken, or cannot be one
    │   ├── AvatarsFull           as many are enrolled as may be
    │   └── AvatarDamaged         a bundled avatar's folder is incomplete or altered
    ├── PictureError          the reference picture
    │   ├── PictureMissing, PictureUnreadable, PictureTooSmall, PictureTooLarge,
    │   ├── PictureAnimated, PictureTooCostly, LandmarksMissing, LandmarksInvalid
    │   └── PersonNotFound, SeveralPeople, FaceTooSmall, FaceTurned, FaceCovered
    ├── AudioError            the speech
    │   └── AudioMissing, AudioUnreadable, AudioEmpty, AudioTruncated, AudioNotFinite
    ├── ModelError            weights and configuration
    │   ├── ModelUnknown, ModelDamaged, ModelUnsafe (a pickle that would run code)
    │   ├── ModelMismatch         weights of another model, or used outside their training
    │   ├── ModelTooLarge         it does not fit into this memory
    │   └── BackendRefused        a fast path is absent or failed its self-check
    ├── StreamError: StreamClosed, StreamOverrun (more speech was pushed than it may hold)
    └── OutputError           the file to be written
        ├── OutputFolderMissing, OutputUnwritable, OutputSizeInvalid, OutputFull
        ├── BackgroundInvalid     no background of this name, or the person cannot be cut out
        └── SealUnusable, LabelInvalid  its provenance cannot be signed, its mark not be left out

Every leaf has a stable ``code`` for machines, says in its message what is wrong and what to do,
and is ``retryable`` when the same request may succeed later without being changed.
"""

from __future__ import annotations

from typing import ClassVar


class ContinuumError(Exception):
    """Root of every error that the pipeline raises on purpose."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False


class ConsentError(ContinuumError):
    """Generation is refused: no consent covers it."""

    code = "consent"


class ConsentMissing(ConsentError):
    code = "consent_missing"


class ConsentMismatch(ConsentError):
    code = "consent_mismatch"


class ConsentScopeDenied(ConsentError):
    code = "consent_scope"


class ConsentExpired(ConsentError):
    code = "consent_expired"


class ConsentRevoked(ConsentError):
    code = "consent_revoked"


class ConsentInvalid(ConsentError):
    code = "consent_invalid"


class ConsentIncomplete(ConsentError):
    code = "consent_incomplete"


class ConsentTampered(ConsentError):
    code = "consent_tampered"


class ConsentUnverified(ConsentError):
    code = "consent_unverified"


class ConsentCheckFailed(ConsentError):
    code = "consent_check_failed"


class ConsentAgeUnknown(ConsentError):
    code = "consent_age_unknown"


class ConsentUnderage(ConsentError):
    code = "consent_underage"


class ConsentTerritoryDenied(ConsentError):
    code = "consent_territory"


class ConsentDenied(ConsentError):
    code = "consent_denied"


class ConsentPictureTaken(ConsentError):
    code = "consent_picture_taken"


class OverrideRefused(ConsentError):
    code = "override_refused"


class ChallengeInvalid(ConsentError):
    code = "challenge_invalid"


class EvidenceInvalid(ConsentError):
    code = "evidence_invalid"


class PolicyInvalid(ConsentError):
    code = "policy_invalid"


class AuditBroken(ConsentError):
    code = "audit_broken"


class GrantExpired(ConsentError):
    code = "grant_expired"
    retryable = True


class GrantForged(ConsentError):
    code = "grant_forged"


class RegistryUnavailable(ConsentError):
    code = "registry_unavailable"
    retryable = True


class AvatarError(ContinuumError):
    """A bundled avatar cannot be used."""

    code = "avatar"


class UnknownAvatar(AvatarError):
    code = "avatar_unknown"


class AvatarNameInvalid(AvatarError):
    code = "avatar_name_invalid"


class AvatarsFull(AvatarError):
    code = "avatars_full"


class AvatarDamaged(AvatarError):
    code = "avatar_damaged"


class PictureError(ContinuumError):
    """A reference picture, or what is known about it, cannot be used."""

    code = "picture"


class PictureMissing(PictureError):
    code = "picture_missing"


class PictureUnreadable(PictureError):
    code = "picture_unreadable"


class PictureTooSmall(PictureError):
    code = "picture_too_small"


class PictureTooLarge(PictureError):
    code = "picture_too_large"


class PictureAnimated(PictureError):
    code = "picture_animated"


class PictureTooCostly(PictureError):
    code = "picture_too_costly"


class LandmarksMissing(PictureError):
    code = "landmarks_missing"


class LandmarksInvalid(PictureError):
    code = "landmarks_invalid"


class PersonNotFound(PictureError):
    code = "person_not_found"


class SeveralPeople(PictureError):
    code = "several_people"


class FaceTooSmall(PictureError):
    code = "face_too_small"


class FaceTurned(PictureError):
    code = "face_turned"


class FaceCovered(PictureError):
    code = "face_covered"


class AudioError(ContinuumError):
    """Speech cannot be read."""

    code = "audio"


class AudioMissing(AudioError):
    code = "audio_missing"


class AudioUnreadable(AudioError):
    code = "audio_unreadable"


class AudioEmpty(AudioError):
    code = "audio_empty"


class AudioTruncated(AudioError):
    code = "audio_truncated"


class AudioNotFinite(AudioError):
    code = "audio_not_finite"


class ModelError(ContinuumError):
    """Weights, configuration or compute backends cannot be used."""

    code = "model"


class ModelUnknown(ModelError):
    code = "model_unknown"


class ModelDamaged(ModelError):
    code = "model_damaged"


class ModelUnsafe(ModelError):
    code = "model_unsafe"


class ModelMismatch(ModelError):
    code = "model_mismatch"


class ModelTooLarge(ModelError):
    code = "model_too_large"


class BackendRefused(ModelError):
    code = "backend_refused"


class StreamError(ContinuumError):
    """A stream was asked for what it cannot do now."""

    code = "stream"


class StreamClosed(StreamError):
    code = "stream_closed"


class StreamOverrun(StreamError):
    code = "stream_overrun"
    retryable = True


class OutputError(ContinuumError):
    """The result cannot be written."""

    code = "output"


class OutputFolderMissing(OutputError):
    code = "output_folder_missing"


class OutputUnwritable(OutputError):
    code = "output_unwritable"


class OutputSizeInvalid(OutputError):
    code = "output_size_invalid"


class BackgroundInvalid(OutputError):
    code = "background"


class OutputFull(OutputError):
    code = "output_full"
    retryable = True


class SealUnusable(OutputError):
    code = "output_seal"


class LabelInvalid(OutputError):
    code = "output_label"
