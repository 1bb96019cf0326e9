"""The pure policies: slots, bounds, offers, TURN credentials, origins, speech."""

from __future__ import annotations

import numpy as np
import pytest

from server.errors import Draining, NoSlot, NotReady
from server.media.encoders import Bitrates
from server.media.resampler import Decimator
from server.media.source_timestamps import SourceTimestamp, SourceTimestamps
from server.media.vad import VoiceActivityDetector
from server.rtc import ice
from server.sessions.admission import AdmissionState, Cost, Slots
from tests.server.caller import voice


class TestSlots:
    def test_what_a_stream_costs_says_how_many_fit(self) -> None:
        assert Cost(generate_s=0.030, media_s=0.020, cores=2).slots() == 2
        assert Cost(generate_s=0.010, media_s=0.020, cores=2).slots() == 4
        assert Cost(generate_s=0.200, media_s=0.020, cores=2).slots() == 1, "one, if not well"
        assert Cost(generate_s=0.030, media_s=0.001, cores=8).slots() == 2, "one engine for all"

    def test_nobody_comes_in_before_warm_up_or_while_draining(self) -> None:
        slots = Slots()
        with pytest.raises(NotReady):
            slots.take("a")
        slots.open(2)
        slots.take("a")
        slots.drain()
        with pytest.raises(Draining):
            slots.take("b")
        assert slots.door is AdmissionState.DRAINING and slots.taken == 1

    def test_a_slot_given_back_twice_is_one_slot(self) -> None:
        slots = Slots()
        slots.open(1)
        slots.take("a")
        with pytest.raises(NoSlot) as refusal:
            slots.take("b")
        assert refusal.value.status == 503 and refusal.value.headers["Retry-After"]
        slots.give_back("a")
        slots.give_back("a")
        slots.take("b")
        assert slots.taken == 1


def test_bounds_of_the_bitrate_out_of_order_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="500 <= start 100"):
        Bitrates(start=100, least=500, most=1000)


def test_turn_credentials_are_what_coturn_computes() -> None:
    name, password = ice.turn_credentials("secret", "s-1", 1_700_000_000)
    assert name == "1700003600:s-1"
    assert password == "JxLasdwv3gy8YRiVUWnnR5K5Plg="


def test_an_origin_is_found_by_media_time() -> None:
    origins = SourceTimestamps()
    origins.add(SourceTimestamp(0, 640, 1000, False, False))
    origins.add(SourceTimestamp(640, 1280, None, False, False))
    assert origins.at(10)[0] == 1030
    assert origins.at(700)[0] is None and origins.at(5000) == (None, None)


class TestHearing:
    def test_decimation_has_no_seam_between_blocks(self) -> None:
        wave = (10_000 * np.sin(2 * np.pi * 440 * np.arange(9600) / 48_000)).astype(np.int16)
        whole, pieces = Decimator(), Decimator()
        at_once = whole(wave)
        joined = np.concatenate([pieces(part) for part in np.split(wave, [960, 963, 2400, 9000])])
        assert np.allclose(at_once, joined, atol=1e-6) and len(at_once) == 3200
        assert 0.28 < np.abs(at_once[100:]).max() < 0.32

    def test_what_16_khz_cannot_hold_is_removed(self) -> None:
        wave = (10_000 * np.sin(2 * np.pi * 12_000 * np.arange(9600) / 48_000)).astype(np.int16)
        assert np.abs(Decimator()(wave)[100:]).max() < 0.005

    def test_a_block_that_is_no_multiple_of_three_is_refused(self) -> None:
        with pytest.raises(ValueError, match="3.* 4"):
            Decimator()(np.zeros(4, np.int16))

    def test_speech_has_one_start_and_one_end_near_the_truth(self) -> None:
        detector, decimate = VoiceActivityDetector(), Decimator()
        quiet = np.zeros(960, np.int16)
        edges = []
        for block in range(150):
            edges += detector.push(decimate(voice(block) if 50 <= block < 90 else quiet))
        assert [edge.speaking for edge in edges] == [True, False]
        assert abs(edges[0].media_time / 320 - 50) < 10 and 70 < edges[1].media_time / 320 < 100

    def test_silence_has_no_edges(self) -> None:
        detector = VoiceActivityDetector()
        assert detector.push(np.zeros(16_000 * 5, np.float32)) == []
