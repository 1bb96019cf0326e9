"""Who is refused although somebody wrote a record: the protected, the young, the unverified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import ImageOps

from pipeline.consent import Kind, Outcome, Scope
from pipeline.consent.face_models import FaceModels, load_face_models
from pipeline.consent.policy import Policy, load_policy
from pipeline.consent.records import sha256_of
from pipeline.errors import (
    ConsentAgeUnknown,
    ConsentCheckFailed,
    ConsentDenied,
    ConsentError,
    ConsentInvalid,
    ConsentPictureTaken,
    ConsentTerritoryDenied,
    ConsentUnderage,
    ConsentUnverified,
    OverrideRefused,
    PolicyInvalid,
)
from tests.pipeline.consent.conftest import Office, Opened, photo, png


def enrol(office: Office, picture: bytes, **changes: object):  # type: ignore[no-untyped-def]
    record = replace(
        office.draft(),
        image_sha256=sha256_of(picture),
        fingerprint=b"",
        **changes,  # type: ignore[arg-type]
    )
    return office.registry.add(record, picture=picture)


# -- protected people ----------------------------------------------------------------------------


def test_public_figures_are_protected_from_the_start(office: Office) -> None:
    for subject in ("Taylor Swift", "Владимир Путин", "swift, taylor"):
        with pytest.raises(ConsentDenied):
            office.ask(office.write(subject=subject))
    with pytest.raises(ConsentDenied):
        office.ask(office.write(), avatar="taylor-swift")
    with pytest.raises(ConsentDenied):
        office.ask(office.write(subject="Taylor Swift", kind=Kind.SYNTHETIC))


def test_a_protection_added_later_ends_what_runs(office: Office) -> None:
    grant = office.ask(office.write())
    denial = office.registry.denials.add("Example, Ada", reason="she asked")
    with pytest.raises(ConsentDenied, match=denial.id):
        grant.check()
    office.registry.denials.remove(denial.id)
    grant.check()
    assert office.actions()[-2:] == ["denial.added", "denial.removed"]


def test_a_protected_picture_is_recognised_before_and_after(office: Office) -> None:
    copy = png(ImageOps.mirror(photo(1)).crop((20, 0, 300, 290)))
    early = enrol(office, copy)
    office.ask(early)
    office.registry.denials.add("Somebody Else", picture=png(photo(1)))
    with pytest.raises(ConsentDenied, match="picture"):
        office.ask(early)
    with pytest.raises(ConsentDenied):
        office.ask(enrol(office, png(photo(1))))
    office.ask(enrol(office, png(photo(2))))


def test_a_copy_of_somebody_elses_enrolled_picture_is_refused(office: Office) -> None:
    theirs = enrol(office, png(photo(1)))
    copy = enrol(office, png(photo(1).crop((10, 10, 310, 300))), subject="Eve Other")
    with pytest.raises(ConsentPictureTaken, match=theirs.id):
        office.ask(copy)
    own = enrol(office, png(photo(1).resize((200, 200))))
    office.ask(own).check()
    office.registry.revoke(theirs.id)
    with pytest.raises(ConsentPictureTaken):
        office.ask(copy)


def test_only_verified_consent_lifts_a_protection(office: Office) -> None:
    office.registry.denials.add("Ada Example")
    plain = office.write()
    with pytest.raises(OverrideRefused, match="not verified"):
        office.registry.override(plain.id, "she is herself")
    verified = office.verified()
    with pytest.raises(ConsentDenied):
        office.ask(verified)
    with pytest.raises(OverrideRefused, match="reason"):
        office.registry.override(verified.id, " ")
    office.registry.override(verified.id, "identity card seen", actor="Grace")
    grant = office.ask(verified)
    grant.check()
    office.registry.denials.withdraw(verified.id)
    with pytest.raises(ConsentDenied):
        grant.check()
    told = [e for e in office.registry.log.entries() if e.action.startswith("override")]
    assert [e.action for e in told] == ["override.granted", "override.withdrawn"]
    assert told[0].actor == "Grace" and "identity card seen" in told[0].detail


def test_nobody_can_agree_in_the_place_of_a_protected_person(office: Office) -> None:
    synthetic = office.verified(kind=Kind.SYNTHETIC)
    with pytest.raises(OverrideRefused, match="synthetic person"):
        office.registry.override(synthetic.id, "it is only a drawing")


def test_a_protection_needs_a_name(office: Office) -> None:
    with pytest.raises(ConsentInvalid):
        office.registry.denials.add(" ?! ")


# -- age -----------------------------------------------------------------------------------------


def test_age_is_attested_or_nothing_happens(office: Office) -> None:
    year = 2027  # of the test's clock
    with pytest.raises(ConsentAgeUnknown):
        office.ask(office.write(adult=False))
    for born in (year, year - 10, year - 17):
        with pytest.raises(ConsentUnderage):
            office.ask(office.write(birth_year=born))
    with pytest.raises(ConsentAgeUnknown):
        office.ask(office.write(birth_year=year - 18, adult=False))
    office.ask(office.write(birth_year=year - 18, adult=True))
    office.ask(office.write(birth_year=year - 19, adult=False))
    with pytest.raises(ConsentInvalid):
        office.write(birth_year=1066)


# -- policies ------------------------------------------------------------------------------------


def policy(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return load_policy(path)


def test_a_policy_asks_for_checks_and_evidence(opened: Opened, tmp_path: Path) -> None:
    strict = policy(tmp_path, '[live]\nchecks = ["face", "voice"]\nevidence = true\n')
    office = opened(policy=strict)
    record = office.write()
    with pytest.raises(ConsentUnverified, match="evidence.*face.*voice|face.*voice.*evidence"):
        office.ask(record)
    office.ask(record, scope=Scope.RECORDING)
    office.ask(office.verified()).check()


def test_publication_asks_for_verified_evidence_by_default(office: Office) -> None:
    with pytest.raises(ConsentUnverified):
        office.ask(office.write(), scope=Scope.PUBLICATION)
    office.ask(office.verified(), scope=Scope.PUBLICATION)


def test_a_failed_check_is_refused_under_every_policy(office: Office) -> None:
    record = office.write()
    grant = office.ask(record)
    office.registry.verify(record.id, {"face": Outcome.FAILED}, "by eye")
    with pytest.raises(ConsentCheckFailed):
        grant.check()


def test_a_territory_is_held(opened: Opened, tmp_path: Path) -> None:
    office = opened(policy=policy(tmp_path, 'territory = "CH"\n'))
    with pytest.raises(ConsentTerritoryDenied):
        office.ask(office.write(territory="DE,AT"))
    office.ask(office.write(territory="DE,CH"))
    office.ask(office.write())


@pytest.mark.parametrize(
    "text",
    [
        "[live]\nchecks = ['fingerprints']",
        "[everything]\nevidence = false",
        "[live]\nrequired = false",
        "[live]\nleast_age = 'old'",
        "territory = 3",
        "gate = false",
        "not toml",
    ],
)
def test_a_policy_that_says_nothing_known_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PolicyInvalid):
        policy(tmp_path, text)


@pytest.mark.parametrize("text", ["", "[live]\nchecks = []\nevidence = false\nleast_age = 0\n"])
def test_no_policy_switches_the_gate_off(opened: Opened, tmp_path: Path, text: str) -> None:
    office = opened(policy=policy(tmp_path, text))
    revoked = office.write()
    office.registry.revoke(revoked.id)
    states = [revoked, office.write(adult=False), office.write(subject="Taylor Swift")]
    for record in [*states, office.write(scopes=frozenset({Scope.RECORDING}))]:
        with pytest.raises(ConsentError):
            office.ask(record)


# -- models of the operator's own ----------------------------------------------------------------


def brightness_model(folder: Path, name: str, weights: list[list[float]], card: str) -> Path:
    """A model whose answer is the mean colour times a matrix: (1, 3, H, W) -> (1, N)."""
    matrix = numpy_helper.from_array(np.asarray(weights, np.float32), "m")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weights[0])])
    graph = helper.make_graph(nodes, "g", [x], [y], [matrix])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(model, folder / f"{name}.onnx")
    (folder / f"{name}.toml").write_text("size = [8, 8]\nmean = 0.0\nscale = 255.0\n" + card)
    return folder / f"{name}.onnx"


@pytest.fixture
def face_models(tmp_path: Path) -> FaceModels:
    eye = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    face = brightness_model(tmp_path, "face", eye, 'output = "embedding"\nsame = 0.995\n')
    age = brightness_model(tmp_path, "age", [[30.0], [30.0], [0.0]], 'output = "years"\n')
    return load_face_models(face, age)


def coloured(red: int, green: int, blue: int) -> bytes:
    picture = photo(red * 7 + green).convert("L").resize((160, 160))
    return png(ImageOps.colorize(picture, (red // 2, green // 2, blue // 2), (red, green, blue)))


def test_a_face_model_recognises_another_picture_of_a_protected_person(
    opened: Opened, face_models: FaceModels
) -> None:
    office = opened(face_models=face_models)
    office.registry.denials.add("Somebody Else", picture=coloured(200, 40, 40))
    with pytest.raises(ConsentDenied, match="face"):
        office.ask(enrol(office, coloured(220, 44, 44)))
    office.ask(enrol(office, coloured(40, 200, 40)))


def test_an_age_model_is_asked_where_the_policy_says_so(
    opened: Opened, face_models: FaceModels, tmp_path: Path
) -> None:
    rule = policy(tmp_path, "[live]\nleast_age = 21\n")
    office = opened(face_models=face_models, policy=rule)
    old, young = enrol(office, coloured(240, 240, 0)), enrol(office, coloured(60, 60, 0))
    assert old.estimated_age > 25 > 18 > young.estimated_age
    office.ask(old)
    with pytest.raises(ConsentUnderage):
        office.ask(young)
    office.ask(young, scope=Scope.RECORDING)
    without = opened(tmp_path / "other.sqlite", policy=rule, vault=tmp_path / "other")
    with pytest.raises(ConsentAgeUnknown):
        without.ask(without.write())


def test_models_that_cannot_be_used_are_refused_when_they_are_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "face.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(PolicyInvalid, match="card"):
        load_face_models(broken, None)
    (tmp_path / "face.toml").write_text('output = "embedding"\n')
    with pytest.raises(PolicyInvalid, match="loaded"):
        load_face_models(broken, None)
    years = brightness_model(tmp_path, "age", [[1.0]] * 3, 'output = "years"\n')
    with pytest.raises(PolicyInvalid, match="not an embedding"):
        load_face_models(years, None)
    (tmp_path / "age.toml").write_text(json.dumps({"a": 1}))
    with pytest.raises(PolicyInvalid):
        load_face_models(None, years)
