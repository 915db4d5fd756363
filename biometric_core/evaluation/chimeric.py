"""Chimeric subjects: the irises of a person of one source with the finger of one of another.

Irises and fingers of different people are independent of each other, as those of one person nearly
are; pairing them at random, many times over, tells what fusion is worth where no data set has both
(ISO/IEC 19795-1 calls for real subjects where there are any: a report says `chimeric`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from biometric_core.data.capture_sets import CaptureSet, Sets
from biometric_core.errors import DataError
from biometric_core.evaluation.combinations import (
    MISSING_THIRD,
    Round,
    gap_rounds,
    subset_rounds,
    subsets,
)
from biometric_core.evaluation.figures import Encodings
from biometric_core.matching.comparisons import MAX_NON_MATED
from biometric_core.matching.gallery import Gallery, fused_gallery
from biometric_core.recogniser import FUSED, Recogniser
from biometric_core.schemas import Modality

Names = dict[Modality, dict[str, str]]
Mated = Mapping[Modality, frozenset[str]]


def source_of(subject: str) -> str:
    """The source that a subject of merged sources (`<source>:<name>`) comes from."""
    return subject.partition(":")[0]


def mated_sources(sets: Sets) -> dict[Modality, frozenset[str]]:
    """The sources that bring mated pairs, by modality; captures of others can't be measured.

    Raises:
        DataError: no two sources bring an iris and a finger to pair.
    """
    found = {modality: _mated_sources(sets.get(modality)) for modality in Modality}
    eyes, fingers = (found[m] for m in (Modality.IRIS, Modality.FINGERPRINT))
    if not any(eye != finger for eye in eyes for finger in fingers):
        raise DataError(
            "--chimeric pairs the irises of one source with the fingers of another: give at least "
            "two sources, one with several captures of an eye and one with several of a finger"
        )
    return found


def _mated_sources(captures: CaptureSet | None) -> frozenset[str]:
    if captures is None:
        return frozenset()
    identities, counts = np.unique(captures.identity, return_counts=True)
    return frozenset(source_of(str(name)) for name in identities[counts > 1])


def of_sources(sets: Sets, mated: Mated) -> dict[Modality, CaptureSet]:
    """The captures that can be measured: of each modality, those of the sources named."""
    chosen = {m: s.select(np.array(_belongs(s, mated[m]), np.bool_)) for m, s in sets.items()}
    return {modality: captures for modality, captures in chosen.items() if len(captures)}


def _belongs(captures: CaptureSet, sources: frozenset[str]) -> list[bool]:
    return [source_of(str(name)) in sources for name in captures.subject_id]


def pair(sets: Sets, rng: np.random.Generator) -> Names:
    """Pair subjects of different sources at random, as many as there are.

    Args:
        sets: captures of merged sources; subjects of the modality with fewer are all paired, if
            the other has somebody of another source left.
        rng: decides.

    Returns:
        For each modality the chimeric subject of each subject that got a partner. It is named after
        the one of the modality with fewer subjects, the same in every draw, so that intervals can
        be drawn over these.
    """
    people = {
        m: sorted({str(name) for name in sets[m].subject_id}) if m in sets else [] for m in Modality
    }
    few, many = sorted(people, key=lambda modality: len(people[modality]))
    left = [str(name) for name in rng.permutation(people[many])]
    names: Names = {few: {}, many: {}}
    for one in rng.permutation(people[few]):
        partner = next((name for name in left if source_of(name) != source_of(one)), None)
        if partner is not None:
            left.remove(partner)
            names[few][str(one)] = names[many][partner] = f"{one}+"
    return names


def renamed(captures: CaptureSet, names: Mapping[str, str]) -> CaptureSet:
    """The same captures under their new subjects; who has none keeps his own."""
    subjects = [names.get(str(name), str(name)) for name in captures.subject_id]
    return replace(captures, subject_id=np.array(subjects, dtype=np.str_))


def paired(sets: Sets, mated: Mated, rng: np.random.Generator) -> dict[Modality, CaptureSet]:
    """Captures to train on, with chimeric subjects; who found no partner stays as he is."""
    names = pair(of_sources(sets, mated), rng)
    return {modality: renamed(captures, names[modality]) for modality, captures in sets.items()}


def draws(
    recogniser: Recogniser, encodings: Encodings, count: int, seed: int
) -> dict[str, list[Round]]:
    """Compare the visits of chimeric subjects, paired anew in each draw.

    Args:
        recogniser: fuses features.
        encodings: test subjects of merged sources; each comparison of two captures is made once.
        count: number of draws.
        seed: of the pairings and gaps.

    Returns:
        A round for each draw, by `fused`, `fused_feature` and combination; of eyes or fingers
        alone, which pairing makes no difference to, one round of all subjects.
    """
    rng = np.random.default_rng(seed)
    rounds: dict[str, list[Round]] = {}
    for _ in range(count):
        galleries = chimeric_galleries(recogniser, encodings, pair(encodings.sets, rng))
        most = MAX_NON_MATED // count
        found = {name: Round.of(gallery, most) for name, gallery in galleries.items()}
        found |= subset_rounds(_of_both(subsets(galleries[FUSED])))
        found[MISSING_THIRD] = gap_rounds(galleries[FUSED], rng)
        for name, one in found.items():
            rounds.setdefault(name, []).append(one)
    unpaired = fused_gallery(encodings.sets, encodings.encoders)
    return {**{name: [one] for name, one in subset_rounds(subsets(unpaired)).items()}, **rounds}


def _of_both(parts: Mapping[str, Sequence[Gallery]]) -> dict[str, Sequence[Gallery]]:
    """Subsets that pairing makes a difference to."""
    return {
        name: galleries
        for name, galleries in parts.items()
        if len({channel.modality for channel in galleries[0].channels}) > 1
    }


def chimeric_galleries(
    recogniser: Recogniser, encodings: Encodings, names: Names
) -> dict[str, Gallery]:
    """Visits of chimeric subjects that have both modalities: captures of one impression number.

    Nothing is known of the days of their sources: they count as one.
    """
    galleries = _drawn(encodings, names).fused_galleries(recogniser)
    seen = {
        modality: np.any(
            [c.present for c in galleries[FUSED].channels if c.modality == modality], 0
        )
        for modality in Modality
    }
    rows = np.flatnonzero(np.all(list(seen.values()), axis=0))
    return {name: gallery.take(rows) for name, gallery in galleries.items()}


def _drawn(encodings: Encodings, names: Names) -> Encodings:
    rows = {
        m: np.flatnonzero(np.isin(captures.subject_id, list(names[m])))
        for m, captures in encodings.sets.items()
    }
    return Encodings(
        {m: renamed(encodings.sets[m].select(index), names[m]) for m, index in rows.items()},
        {m: encodings.embeddings[m][index] for m, index in rows.items()},
        {m: [one.take(index) for one in encodings.encoders[m]] for m, index in rows.items()},
    )
