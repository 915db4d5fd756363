"""Small sources on disk, made of noise images: each image's content is unique."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np


def image(seed: int, suffix: str = ".bmp", shape: tuple[int, ...] = (48, 64)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    done, data = cv2.imencode(suffix, pixels)
    assert done
    return data.tobytes()


def flat_people(people: int, impressions: int) -> dict[str, bytes]:
    """Two eyes and one thumb of each, in the flat layout."""
    files: dict[str, bytes] = {}
    for person in range(1, people + 1):
        for impression in range(1, impressions + 1):
            for name in (
                f"iris/{person:03d}_L_{impression:02d}.bmp",
                f"iris/{person:03d}_R_{impression:02d}.bmp",
                f"fingerprint/{person:03d}_L_thumb_{impression:02d}.BMP",
            ):
                files[name] = image(len(files) + 1)
    return files


def kaggle_people(root: str, people: int) -> dict[str, bytes]:
    """The Kaggle layout with its clutter, names as they really are."""
    files: dict[str, bytes] = {f"{root}desktop.ini": b"[x]", f"{root}.DS_Store": b"\0"}
    for person in range(1, people + 1):
        files[f"{root}{person}/desktop.ini"] = b"[x]"
        for side, letter in (("left", "l"), ("right", "r")):
            for impression in range(1, 6):
                name = f"{root}{person}/{side}/somebody{letter}{impression}.bmp"
                files[name] = image(len(files) + 1000)
        for side in ("Left", "Right"):
            name = f"{root}{person}/Fingerprint/{person}__F_{side}_thumb_finger.BMP"
            files[name] = image(len(files) + 1000)
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
