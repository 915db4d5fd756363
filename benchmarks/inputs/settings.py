"""Mistakes of users in the settings: each is one line that says where, which key and what to write.

Sixty values that can't be, each as a variable, in a profile and by `--set`, and what can go wrong
with files and names of variables alone. A test runs the same cases.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from typer.testing import CliRunner

from benchmarks.rows import Row, at_least
from biometric_core.cli.commands import app
from biometric_core.config import config_dir

_VALUES = {  # kind: settings and the text that can't be theirs
    "wrong type": {
        "training.epochs": ["many", "3.5", "yes", "1,000"],
        "training.learning_rate": ["fast", "0,002"],
        "training.pretrained": ["perhaps", "2"],
        "ray.num_cpus": ["all"],
    },
    "out of range": {
        "training.epochs": ["0", "-1"],
        "monitoring.alpha": ["0.9"],
        "splits.test": ["1.5", "0.9"],
        "preprocess.iris_shape": ["[8, 512]"],
        "schedules.approval_hours": ["0", "1e300"],
    },
    "no finite number": {
        "check.max_refused_share": ["nan", ".nan"],
        "ingest.min_contrast": ["inf", "-inf"],
    },
    "not one of the words": {
        "source.kind": ["floder", "Kaggle"],
        "training.head": ["arc"],
        "notifications.alarm": ["fax", "log,fax", "[log, mail]"],
        "preprocess.executor": ["[ray]"],
    },
    "a list that is none": {
        "preprocess.iris_shape": ["64", "64x512", "[64, 512, 3]", "[64", "{64: 512}"],
        "notifications.to": ["nobody", "a@example.org,,b@example.org", "[[a@example.org]]"],
        "notifications.decision": ["email"],
    },
    "a section that is none": {
        "training": ["5", "epochs", "[epochs, 3]", "{epochs: 3", "{epochs: 3, epochs: 4}", ""],
        "notifications": ["log"],
    },
    "nothing": {
        "training.epochs": ["", "null"],
        "storage.root": ["", "' '"],
        "mlflow.tracking_uri": [""],
    },
    "a day or time that is none": {
        "schedules.start_date": [
            "2026-02-30",
            "tomorrow",
            "20260101",
            "0",
            "1969-12-31",
            "2207-01-01",
        ],
        "schedules.training": ["every monday", "61 0 * * *", "0 3 * *"],
    },
    "a place that is none": {"storage.root": ["~nobody-of-that-name/data"]},
    "an unknown key": {
        "training.epoch": ["3"],
        "training.batch-size": ["3"],
        "gate.max_eer_iris": ["0.1"],
        "mlflow.password": ["hunter2"],
    },
    "an unknown section": {"trainnig.epochs": ["3"], "nonsense.x": ["1"]},
    "a part too many": {"training.epochs.x": ["3"]},
}
_NEAREST = {  # the right name that must be told
    "training.epoch": "epochs",
    "training.batch-size": "batch_size",
    "gate.max_eer_iris": "release",
    "trainnig.epochs": "training",
    "training.epochs.x": "epochs",
}
_FILES: dict[str, tuple[bytes, str]] = {  # kind: a profile, and what must be told of it
    "a tab": (b"training:\n\tepochs: 3\n", "line 2"),
    "a brace left open": (b"training: {epochs: 3\n", "line 1"),
    "a quote left open": (b"source: {sensor: 'door}\n", "line 1"),
    "a colon too many": (b"training: epochs: 3\n", "line 1"),
    "a section twice": (b"training:\n  epochs: 3\ntraining:\n  width: 16\n", "line 1"),
    "a key twice": (b"training:\n  epochs: 3\n  epochs: 4\n", "line 2"),
    "an empty section": (b"training:\n#  epochs: 3\n", "training"),
    "a list": (b"- training\n", "sections"),
    "a text": (b"training.epochs=3\n", "sections"),
    "a dotted key": (b"training.epochs: 3\n", "training: {epochs"),
    "a key of no section": (b"epochs: 3\n", "training: {epochs"),
    "latin-1": ("source: {sensor: T\u00fcr}\n".encode("latin-1"), "UTF-8"),
    "two documents": (b"training: {epochs: 3}\n---\ntraining: {epochs: 4}\n", "line 2"),
    "a tag": (b"source: {sensor: !env DOOR}\n", "line 1"),
}
_VARIABLES = {  # a name that is none, and the right one
    "BIOMETRIC_STORAGE__ROOT": "BIOMETRIC__STORAGE__ROOT",
    "BIOMETRIC_STORAGE_ROOT": "BIOMETRIC__STORAGE__ROOT",
    "BIOMETRIC__STORAGE_ROOT": "BIOMETRIC__STORAGE__ROOT",
    "BIOMETRIC___STORAGE__ROOT": "BIOMETRIC__STORAGE__ROOT",
    "BIOMETRIC_TRAINNIG__EPOCHS": "BIOMETRIC__TRAINING__EPOCHS",
    "BIOMETRICS__TRAINING__EPOCHS": "BIOMETRIC__TRAINING__EPOCHS",
    "BIOMETRIC__EPOCHS": "BIOMETRIC__TRAINING__EPOCHS",
    "BIOMETRIC__PROFILE": "BIOMETRIC_PROFILE",
    "BIOMETRIC_PROFIL": "BIOMETRIC_PROFILE",
    "BIOMETRIC_X__Y": "BIOMETRIC__SECTION__KEY",
}
_HIDDEN = "hunter2"  # a value that no message may repeat


@dataclass(frozen=True)
class Case:
    """One mistake, made in one way.

    Attributes:
        kind: of the mistake.
        way: "variable", "profile" or "--set"; "file" and "name" where only that way has it.
        arguments: before the command.
        environment: what is set beside `BIOMETRIC_CONFIG_DIR`.
        profile: what the profile `mine` holds.
        told: what the line must hold.
    """

    kind: str
    way: str
    told: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    profile: bytes = b""

    def __str__(self) -> str:
        shown = self.profile.decode("latin-1") or " ".join(self.arguments)
        return f"{self.way}, {self.kind}: {shown or self.environment}"


def cases() -> Iterator[Case]:
    """All mistakes, in all ways."""
    for kind, settings in _VALUES.items():
        for setting, texts in settings.items():
            for text in texts:
                yield from _in_each_way(kind, setting, text)
    for kind, (content, told) in _FILES.items():
        yield Case(kind, "file", ("mine.yaml", told), ("--profile", "mine"), profile=content)
    for name, right in _VARIABLES.items():
        yield Case("a wrong name", "name", (f"{name}:", right), environment=((name, "3"),))


def _in_each_way(kind: str, setting: str, text: str) -> Iterator[Case]:
    section, _, key = setting.partition(".")
    variable = f"BIOMETRIC__{setting.replace('.', '__')}".upper()
    near = _NEAREST.get(setting, section)
    told = (variable, near.upper())
    yield Case(kind, "variable", told, environment=((variable, text),))
    option = f"--set {section}" if kind == "a section that is none" else "--set "
    yield Case(kind, "--set", (option, near), ("--set", f"{setting}={text}"))
    yaml = f"{section}:\n  {key.replace('.', ': {')}: {text}{'}' * key.count('.')}\n"
    content = yaml if key else f"{section}: {text}\n"
    yield Case(kind, "profile", ("mine.yaml",), ("--profile", "mine"), profile=content.encode())


def fault(case: Case, folder: Path) -> str | None:
    """Make a mistake; what is wrong about the answer, None where it is right.

    Args:
        case: the mistake.
        folder: an empty one; the configuration is copied there.
    """
    (folder / "base.yaml").write_bytes((config_dir() / "base.yaml").read_bytes())
    (folder / "mine.yaml").write_bytes(case.profile)
    others = dict.fromkeys(name for name in os.environ if name.startswith("BIOMETRIC"))
    environment = {**others, "BIOMETRIC_CONFIG_DIR": str(folder), **dict(case.environment)}
    done = CliRunner().invoke(app, [*case.arguments, "download"], env=environment)
    said = done.output.strip()
    if not isinstance(done.exception, SystemExit) or done.exit_code != 2:
        return f"ended with {done.exit_code} ({done.exception!r}): {said}"
    if "\n" in said or not said.startswith("error: "):
        return f"is not one line: {said}"
    lost = [words for words in case.told if words not in said]
    return f"doesn't say {lost}: {said}" if lost or _HIDDEN in said else None


def rows() -> list[Row]:
    """How many mistakes are answered by one right line, a row for each way to make them."""
    found: dict[str, list[str | None]] = {}
    kinds: dict[str, set[str]] = {}
    for case in cases():
        with TemporaryDirectory() as folder:
            found.setdefault(case.way, []).append(fault(case, Path(folder)))
        kinds.setdefault(case.way, set()).add(case.kind)
    return [
        at_least(
            f"mistakes in the settings, {way}: one line, exit 2",
            100 * faults.count(None) / len(faults),
            100,
            "%",
            mistakes=len(faults),
            kinds=len(kinds[way]),
            wrong=[one for one in faults if one],
        )
        for way, faults in found.items()
    ]
