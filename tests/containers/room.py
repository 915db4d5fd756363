"""One stack at a time fits a small machine."""

from pathlib import Path

from tests.containers.stack import ContainerStack

SMALL = {
    "BIOMETRIC_PROFILE": "test",
    "RAY_WORKER_CPUS": "1",
    "BIOMETRIC__PREPROCESS__EXECUTOR": "ray",
    "BIOMETRIC__PREPROCESS__CHUNK_SIZE": "8",
    "BIOMETRIC__SCHEDULES__RETRIES": "3",
    "BIOMETRIC__SCHEDULES__RETRY_DELAY_SECONDS": "5",
    "BIOMETRIC__TRAINING__EPOCHS": "12",
    "BIOMETRIC__TRAINING__PATIENCE": "12",
}


class Room:
    """Where one stack fits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now: ContainerStack | None = None
        self.seconds = 0.0
        self.built_from_cold: float | None = None

    def build(self) -> ContainerStack:
        """The images, from the working tree; where nothing is cached, the time is remembered."""
        self.now = ContainerStack(self.folder, **SMALL)
        self.now.make("secrets")
        cold = not self.now.engine.df()["BuildCache"]
        seconds = self.now.build()
        self.built_from_cold = seconds if cold else None
        return self.now

    def bring_up(self, **settings: str) -> ContainerStack:
        """A stack with nothing in it; the one that was there is removed."""
        self.clear()
        self.now = ContainerStack(self.folder, **settings)
        self.seconds = self.now.up()
        return self.now

    def clear(self) -> None:
        """Remove the stack that is there."""
        if self.now is not None:
            self.now.down()
            self.now = None
