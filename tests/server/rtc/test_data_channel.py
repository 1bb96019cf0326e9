"""The data channel's messages: what is understood, what is refused, and with which code."""

import json

import pytest

from pipeline.interface import Cue
from server.rtc import data_channel
from server.rtc.data_channel import (
    Gesture,
    Interrupt,
    Mute,
    Pause,
    Ping,
    Prompt,
    Refused,
    Resume,
    Say,
)


def test_every_documented_message_is_understood() -> None:
    assert data_channel.parse('{"type": "interrupt"}') == Interrupt()
    assert data_channel.parse('{"type": "clear"}') == Interrupt()
    assert data_channel.parse('{"type": "pause"}') == Pause()
    assert data_channel.parse('{"type": "resume"}') == Resume()
    assert data_channel.parse('{"type": "say", "text": "Hi", "id": "a"}') == Say("Hi", "a")
    assert data_channel.parse('{"type": "prompt", "text": "warm"}') == Prompt("warm")
    assert data_channel.parse('{"type": "gesture", "scale": 0.5}') == Gesture(0.5)
    nod = '{"type": "cue", "gesture": "nod", "emotion": "warm", "at": 96000}'
    assert data_channel.parse(nod) == Cue("nod", "warm", 96_000)
    assert data_channel.parse('{"type": "cue", "emotion": "serious"}') == Cue("", "serious", 0)
    assert data_channel.parse('{"type": "mute", "muted": true}') == Mute(True)
    assert data_channel.parse('{"type": "ping", "id": 17}') == Ping(17)
    assert data_channel.parse(b'{"type": "ping", "unknown": 1}') == Ping(None)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[1, 2]", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        ("[" * 4000, "bad_json"),
        ('{"type": "dance"}', "unknown_type"),
        ("{}", "unknown_type"),
        ('{"type": ["interrupt"]}', "unknown_type"),
        ('{"type": "prompt"}', "bad_message"),
        ('{"type": "say"}', "bad_message"),
        ('{"type": "say", "text": "Hi", "voice": 5}', "bad_message"),
        ('{"type": "say", "text": "\\ud800"}', "bad_message"),
        ('{"type": "prompt", "text": 5}', "bad_message"),
        (json.dumps({"type": "prompt", "text": "x" * 501}), "bad_message"),
        ('{"type": "mute", "muted": "yes"}', "bad_message"),
        ('{"type": "gesture"}', "bad_message"),
        ('{"type": "gesture", "scale": true}', "bad_message"),
        ('{"type": "gesture", "scale": 1.6}', "bad_message"),
        ('{"type": "gesture", "scale": 1e999}', "bad_message"),
        ('{"type": "cue"}', "bad_message"),
        ('{"type": "cue", "gesture": "bow"}', "bad_message"),
        ('{"type": "cue", "gesture": 5}', "bad_message"),
        ('{"type": "cue", "gesture": "nod", "at": -1}', "bad_message"),
        ('{"type": "cue", "gesture": "nod", "at": 1.5}', "bad_message"),
        (json.dumps({"type": "cue", "gesture": "nod", "at": 2**60}), "bad_message"),
        ('{"type": "ping", "id": {"deep": 1}}', "bad_message"),
        (json.dumps({"type": "ping", "id": "x" * 65}), "bad_message"),
        (r'{"type": "ping", "id": "\ud800"}', "bad_message"),
        (r'{"type": "prompt", "text": "calm \udfff"}', "bad_message"),
        ('{"type": "ping", "id": 1e999}', "bad_message"),
        ('{"type": "ping", "id": NaN}', "bad_json"),
        ("x" * 5000, "too_large"),
        ('{"type": "prompt", "text": "' + "x" * 1_000_000 + '"}', "too_large"),
    ],
)
def test_anything_else_is_refused_with_a_stable_code(message: str | bytes, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        data_channel.parse(message)
    assert refusal.value.code == code
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("id_", ["null", "-1.5", '"x"', r'"\ud83d\ude00"', "9" * 4000])
def test_an_id_that_is_taken_can_be_sent_back(id_: str) -> None:
    command = data_channel.parse(f'{{"type": "ping", "id": {id_}}}')
    assert isinstance(command, Ping)
    sent = data_channel.build("pong", id=command.id).encode()
    assert json.loads(sent)["id"] == command.id


def test_built_messages_are_compact_json_with_their_type_first() -> None:
    assert data_channel.build("idle", media_time=640) == '{"type":"idle","media_time":640}'
    assert json.loads(data_channel.error("too_large", "no"))["retryable"] is False
