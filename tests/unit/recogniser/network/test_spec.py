import json

import pytest

from biometric_core.errors import ModelError
from biometric_core.recogniser.network import ModelSpec
from biometric_core.schemas import Modality

SPEC = ModelSpec(shapes={"iris": (64, 512)}, identities={"iris": 5}, subjects=3)


def test_survives_json():
    assert ModelSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


def test_modalities_have_a_fixed_order():
    spec = ModelSpec(
        shapes={"fingerprint": (224, 224), "iris": (64, 512)},
        identities={"fingerprint": 2, "iris": 2},
        subjects=2,
    )
    assert spec.modalities == (Modality.IRIS, Modality.FINGERPRINT)


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": "magic"},
        {"head": "__import__('os')"},
        {"subjects": 0},
        {"unknown": 1},
        {"identities": {}},
        {"shapes": {"face": (64, 64)}, "identities": {"face": 2}},
    ],
)
def test_refuses_what_it_does_not_know(change):
    with pytest.raises(ModelError):
        ModelSpec.from_json({**SPEC.to_json(), **change})


def test_refuses_what_is_no_object():
    with pytest.raises(ModelError):
        ModelSpec.from_json("spec")
