"""The exceptions a user can meet. Each message says what was wrong, where, and what to do."""


class BiometricError(Exception):
    """Root of every error this package raises on purpose; the CLI prints it as one line."""


class ConfigError(BiometricError):
    """A configuration value is unknown, out of range or missing."""


class SourceError(BiometricError):
    """A source of captures can't be read: a folder, an archive, the Kaggle data set."""


class EmptySourceError(SourceError):
    """A source holds no file that could be a capture: nobody came."""


class DataError(BiometricError):
    """Data fails a gate: too few subjects, too many refused files, a corrupt table."""


class ModelError(BiometricError):
    """A checkpoint, model bundle or registry entry is missing, foreign or damaged."""


class StorageError(BiometricError):
    """The storage root is full, read-only or out of reach, or others write to it all the time."""


class ServiceError(BiometricError):
    """A service the stage needs (MLflow, Ray, Kaggle) can't be reached or refuses."""


class CaptureRefused(BiometricError):
    """One file can't become a capture. `reason` is the code that goes into the quarantine table."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["CaptureRefused"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # else it would be made again of its message


class FailureToAcquire(BiometricError):
    """A capture holds no usable iris or fingerprint (ISO/IEC 19795-1). `reason` is a short code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
