"""What peers and programs may order of a session (docs/protocol.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.interface import Cue, DirectedStream
from server.errors import NoAnswers, NotDirected, ServerError
from server.rtc import data_channel
from server.sessions import description

if TYPE_CHECKING:
    from server.sessions.session import Session


def obey(session: Session, command: data_channel.Command, answer: Callable[[str], None]) -> None:
    """Does what a message says; ``answer`` sends to whoever sent it."""
    if isinstance(command, data_channel.Ping):
        answer(
            data_channel.build("pong", id=command.id, media_time=description.media_time(session))
        )
        return
    session.lifetime.active_s = session.monotonic()
    if isinstance(command, data_channel.Interrupt):
        session.interrupt()
    elif isinstance(command, data_channel.Pause):
        session.pause()
    elif isinstance(command, data_channel.Resume):
        session.resume()
    elif isinstance(command, data_channel.Mute):
        session.receiver.muted = command.muted
    elif isinstance(command, data_channel.Prompt):
        session.prompt = command.text
        session.speak_as(session.speech.style)
    elif isinstance(command, data_channel.Gesture):
        _direct(session, command.scale, answer)
    elif isinstance(command, Cue):
        _direct(session, command, answer)
    elif isinstance(command, data_channel.Ask):
        _ask(session, command, answer)
    else:
        _say(session, command, answer)


def code_of(refusal: ServerError) -> str:
    """The ``code`` of an error event, as the problem's type has it."""
    return refusal.type.rpartition("/")[2].replace("-", "_")


def _ask(session: Session, question: data_channel.Ask, answer: Callable[[str], None]) -> None:
    try:
        if session.conversation is None:
            raise NoAnswers('This session does not answer: make it with "answers": true.')
        session.conversation.ask(question.text)
    except ServerError as refusal:
        answer(data_channel.error(code_of(refusal), refusal.detail, refusal.retryable))


def _direct(session: Session, order: float | Cue, answer: Callable[[str], None]) -> None:
    stream: object = session.stream
    if isinstance(stream, DirectedStream):
        session.order(lambda runner: runner.direct(order))
    else:
        refusal = NotDirected("Gestures and cues are for mini: this model makes whole pictures.")
        answer(data_channel.error(code_of(refusal), refusal.detail))


def _say(session: Session, text: data_channel.Say, answer: Callable[[str], None]) -> None:
    try:
        utterance = session.say(text)
    except ServerError as refusal:
        told = data_channel.error(code_of(refusal), refusal.detail, refusal.retryable, id=text.id)
        answer(told)
    else:
        answer(data_channel.build("utterance_accepted", id=utterance.id))
