"""A fitted network, and how it got there."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.training.trainer import Trainer

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass
class Fitted:
    """A trained network and how it got there.

    Attributes:
        spec: how to build the network.
        state: its tensors after the best epoch, on the CPU.
        subjects: classes of the fused head, in order.
        identities: classes of the identity heads, in order.
        history: per epoch: `epoch`, `loss` and its parts, `lr`, `seconds`, `samples_per_second`,
            `data_seconds` and `data_share` (time spent waiting for batches),
            and `eer_<modality>`, `separation_<modality>` of the validation subjects.
        epochs_run: epochs that were run.
        best_epoch: the one whose tensors these are, from 1.
    """

    spec: ModelSpec
    state: dict[str, Tensor]
    subjects: tuple[str, ...]
    identities: dict[Modality, tuple[str, ...]]
    history: list[dict[str, float]]
    epochs_run: int
    best_epoch: int

    @classmethod
    def of(cls, trainer: Trainer) -> "Fitted":
        """What a trainer has reached."""
        state, classes = trainer.state, trainer.classes
        return cls(
            trainer.spec,
            state.best,
            classes.subjects,
            classes.identities,
            state.history,
            state.epochs_run,
            state.best_epoch,
        )

    def network(self) -> BiometricNet:
        """The trained network, in evaluation mode."""
        net = BiometricNet(self.spec)
        net.load_state_dict(self.state)
        return net.eval()
