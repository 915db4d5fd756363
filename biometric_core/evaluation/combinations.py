"""What is compared beside the whole: each encoder alone, subsets of eyes and fingers, gaps.

A figure may come from several *rounds* (each eye in turn, random gaps, random pairings): the
comparisons of all rounds are pooled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np

from biometric_core.matching import comparisons
from biometric_core.matching.comparisons import (
    MAX_NON_MATED,
    Comparisons,
    Identification,
    compare_all,
    identify,
)
from biometric_core.matching.gallery import Channel, Gallery
from biometric_core.recogniser import FUSED
from biometric_core.schemas import EYES, BoolArray, Modality

MISSING_THIRD = "missing_third"
MISSING_SHARE = 1 / 3
_MOST_ITEMS = 1500  # beyond, a sample of the subjects is compared: figures here only inform
_MOST_NON_MATED = 50_000


@dataclass(frozen=True)
class Round:
    """Comparisons of one gallery, or of several rounds pooled.

    Attributes:
        comparisons: all pairs.
        identification: with one gallery image for each identity.
        probes: how many items there were.
        lost: how many of them had nothing left to compare: failures to acquire.
        distinct: non-mated pairs that an FMR can rest on: the same people paired again are no new
            evidence.
    """

    comparisons: Comparisons
    identification: Identification
    probes: int
    lost: int
    distinct: int

    @classmethod
    def of(cls, gallery: Gallery, most: int = MAX_NON_MATED, seed: int = 0) -> "Round":
        """Compare the items of a gallery; at most about `most` non-mated pairs."""
        left = np.zeros(len(gallery), dtype=np.bool_)
        for channel in gallery.channels:
            presented = channel.present if channel.presented is None else channel.presented
            left |= channel.present & presented
        lost = int((~left).sum())
        compared = compare_all(gallery, most, seed)
        return cls(compared, identify(gallery), len(gallery), lost, compared.n_non_mated)


def pooled(rounds: Sequence[Round], *, again: bool = False) -> Round:
    """The comparisons and probes of all rounds as one; subjects keep their names.

    Args:
        rounds: of different eyes or fingers, or of the same ones.
        again: they are of the same ones, paired or left out at random.
    """
    distinct = [one.distinct for one in rounds]
    return Round(
        comparisons=comparisons.pooled([one.comparisons for one in rounds]),
        identification=Identification(
            ranks=np.concatenate([one.identification.ranks for one in rounds]),
            subjects=np.concatenate([one.identification.subjects for one in rounds]),
        ),
        probes=sum(one.probes for one in rounds),
        lost=sum(one.lost for one in rounds),
        distinct=min(distinct) if again else sum(distinct),
    )


def combinations(galleries: Mapping[str, Gallery], *, seed: int, repeats: int) -> dict[str, Round]:
    """Encoders alone, and subsets and gaps of what is fused.

    Args:
        galleries: by modality and `fused`, any of them; more than 1,500 items are thinned out to a
            random sample of subjects.
        seed: of samples and gaps.
        repeats: how often gaps are drawn.
    """
    small = {name: _sampled(gallery, seed) for name, gallery in galleries.items()}
    alone = {
        name: Round.of(gallery, _MOST_NON_MATED, seed)
        for name, gallery in encoders_alone(small).items()
    }
    if FUSED not in small:
        return alone
    rng = np.random.default_rng(seed)
    gaps = gap_rounds(small[FUSED], rng, repeats)
    return {**alone, **subset_rounds(subsets(small[FUSED])), MISSING_THIRD: gaps}


def encoders_alone(galleries: Mapping[str, Gallery]) -> dict[str, Gallery]:
    """`<modality>_<encoder>` for each encoder of each modality."""
    found = {}
    for modality in Modality:
        if (gallery := galleries.get(modality.value)) is not None:
            for encoder in dict.fromkeys(one.templates.encoder for one in gallery.channels):
                found[f"{modality}_{encoder}"] = gallery.only(_made_by(encoder))
    return found


def subset_rounds(parts: Mapping[str, Sequence[Gallery]]) -> dict[str, Round]:
    """Compare what `subsets` found; the galleries of a name are pooled."""
    return {
        name: pooled([Round.of(one, _MOST_NON_MATED // len(galleries)) for one in galleries])
        for name, galleries in parts.items()
    }


def gap_rounds(gallery: Gallery, rng: np.random.Generator, repeats: int = 1) -> Round:
    """Compare visits with random gaps, `repeats` times; see `with_gaps`."""
    most = _MOST_NON_MATED // repeats
    rounds = [Round.of(with_gaps(gallery, rng), most) for _ in range(repeats)]
    return pooled(rounds, again=True)


def subsets(gallery: Gallery) -> dict[str, list[Gallery]]:
    """Eyes and fingers that a system could ask for, from those that there are.

    Returns:
        `one_iris`, `both_irises`, `one_finger`, `one_iris+one_finger`, `both_irises+one_finger`:
        for each a gallery for every eye or finger in turn, of the visits that have all of it.
    """
    eyes, fingers = (
        sorted({_place(c) for c in gallery.channels if c.modality == modality})
        for modality in (Modality.IRIS, Modality.FINGERPRINT)
    )
    chosen = {
        "one_iris": [{eye} for eye in eyes],
        "both_irises": [set(eyes)] if len(eyes) == len(EYES) else [],
        "one_finger": [{finger} for finger in fingers],
    }
    for name in ("one_iris", "both_irises"):
        turns = max(len(chosen[name]), len(chosen["one_finger"]))
        both = zip(cycle(chosen[name]), cycle(chosen["one_finger"]), strict=False)
        chosen[f"{name}+one_finger"] = [eye | finger for eye, finger in islice(both, turns)]
    found = {name: [_complete(gallery, places) for places in one] for name, one in chosen.items()}
    filled = {name: [part for part in parts if len(part)] for name, parts in found.items()}
    return {name: parts for name, parts in filled.items() if parts}


def with_gaps(gallery: Gallery, rng: np.random.Generator) -> Gallery:
    """Visits in random order, of which each position is missing with probability 1/3 as a probe.

    The order decides which side of a pair is the probe.
    """
    mixed = gallery.take(rng.permutation(len(gallery)))
    kept = {
        place: rng.random(len(mixed)) >= MISSING_SHARE
        for place in sorted({_place(channel) for channel in mixed.channels})
    }
    channels = tuple(replace(c, presented=kept[_place(c)]) for c in mixed.channels)
    return replace(mixed, channels=channels)


def _place(channel: Channel) -> tuple[str, str]:
    return str(channel.modality), channel.position


def _made_by(encoder: str) -> Callable[[Channel], bool]:
    return lambda channel: channel.templates.encoder == encoder


def _complete(gallery: Gallery, places: set[tuple[str, str]]) -> Gallery:
    """These positions alone, of the visits that have them all."""
    chosen = gallery.only(lambda channel: _place(channel) in places)
    whole: BoolArray = np.all([channel.present for channel in chosen.channels], axis=0)
    return chosen.take(np.flatnonzero(whole))


def _sampled(gallery: Gallery, seed: int) -> Gallery:
    if len(gallery) <= _MOST_ITEMS:
        return gallery
    names, codes = np.unique(gallery.subjects, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))[codes]
    share = _MOST_ITEMS / len(gallery)
    return gallery.take(np.flatnonzero(order < max(2, round(share * len(names)))))
