"""What is needed to build a network again: small, frozen, and JSON-able."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biometric_core.config import Fusion, Positive, Shape
from biometric_core.errors import ModelError
from biometric_core.schemas import Modality

QUARTERS = 4
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


def variants(modality: Modality) -> int:
    """How many classes one eye or finger stands for in training: itself and its symmetric images.

    An iris turned by a quarter or mirrored is an iris nobody has; as a class of its own it teaches
    the network more people than were enrolled. A finger is only mirrored: it is laid down turned.
    """
    return 2 * QUARTERS if modality is Modality.IRIS else 2


class ModelSpec(BaseModel):
    """Shapes and choices of a `BiometricNet`; range-checked, unknown keys refused.

    Attributes:
        shapes: (H, W) of the prepared captures by modality; a modality left out has no branch.
        identities: training identities (classes) by modality, same keys as `shapes`.
        subjects: training subjects, the classes of the fused head.
        width: channels of the first stage; later stages double it.
        embedding_dim: numbers in an embedding.
        fusion: of the kinds that are trained side by side, the one that classifies subjects.
        head: `arcface` (additive angular margin) or `softmax`.
        margin: angular margin in radians, `arcface` only.
        scale: factor on the cosines before the softmax.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shapes: dict[Modality, Shape]
    identities: dict[Modality, Positive]
    subjects: Positive
    width: Annotated[int, Field(ge=4, le=256)] = 32
    embedding_dim: Annotated[int, Field(ge=8, le=2048)] = 128
    fusion: Fusion = "concat"
    head: Literal["arcface", "softmax"] = "arcface"
    margin: Annotated[float, Field(ge=0, lt=1.5)] = 0.3
    scale: Annotated[float, Field(gt=0)] = 24.0

    @model_validator(mode="after")
    def _same_modalities(self) -> Self:
        if not self.shapes or set(self.shapes) != set(self.identities):
            raise ValueError("shapes and identities must name the same modalities, at least one")
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that have a branch, in the order of `Modality`."""
        return tuple(modality for modality in Modality if modality in self.shapes)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; `from_json` is the inverse."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Build a spec from what `to_json` gave.

        Raises:
            ModelError: a key is unknown or missing, or a value is out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "spec"
            raise ModelError(f"model specification, {where}: {first['msg']}; retrain it") from error
