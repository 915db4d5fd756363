"""From a fitted network to a recogniser: calibrations and thresholds, of people not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.matching import error_rates
from biometric_core.matching.calibration import Calibration, fit_calibration, fit_together
from biometric_core.matching.comparisons import Comparisons, compare_all
from biometric_core.matching.gallery import Encoded, modality_gallery
from biometric_core.matching.templates import Templates
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import ModelSpec
from biometric_core.schemas import Modality
from biometric_core.training import pretrained
from biometric_core.training.outcome import Fitted

SHARES = (0.3, 1.0)
"""How much the learned and the other encoder count in a sum that can't be fitted.

By cross-validation (docs/decisions/0007): 0.2 to 0.5 is best for irises, 0.1 to 0.3 for fingers.
"""
THRESHOLD_FMRS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001)


def recogniser_of(
    fitted: Fitted, validation: Mapping[Modality, CaptureSet], config: Config
) -> Recogniser:
    """Calibrate a fitted network on the validation subjects' comparisons.

    Args:
        fitted: what `fit.fit` made.
        validation: captures of subjects that were not trained on. Where a modality has no mated
            comparison `Calibration.fitted` is False: its calibration is that of pretraining, or
            the identity where there was none; that of minutiae is their default.
        config: `preprocess`, `ingest` and `training.minutiae` are kept with the model.
    """
    known, known_codes = _of_pretraining(fitted.spec, config)
    plain = Recogniser(
        spec=fitted.spec,
        net=fitted.network(),
        calibration={m: known.get(m, Calibration()) for m in fitted.spec.modalities},
        thresholds={},
        subjects=fitted.subjects,
        settings=config.preprocess,
        preprocess_version=preprocess_version(config),
        limits=config.ingest,
        code_calibration=known_codes,
        minutiae=config.training.minutiae,
    )
    return calibrated(plain, validation)


def _of_pretraining(
    spec: ModelSpec, config: Config
) -> tuple[dict[Modality, Calibration], dict[Modality, Calibration]]:
    """By generated people, of both encoders; its counts are 0, so it doesn't pass for fitted."""
    if not pretrained.applies(config):
        return {}, {}
    shipped = Recogniser.load(pretrained.FOLDER)
    if (spec.width, spec.embedding_dim) != (shipped.spec.width, shipped.spec.embedding_dim):
        return {}, {}
    learned, coded = (
        {m: Calibration(found.weight, found.bias) for m, found in one.items()}
        for one in (shipped.calibration, shipped.code_calibration)
    )
    return learned, coded


def calibrated(
    recogniser: Recogniser, validation: Mapping[Modality, CaptureSet], *, real: bool = True
) -> Recogniser:
    """The same network with calibration and thresholds fitted on the given captures.

    Args:
        recogniser: its own calibration stays where a modality has no mated comparisons.
        validation: captures of people it was not trained on.
        real: how much each encoder counts is learnt from these captures. Generated ones can't tell
            how well an encoder carries over to real ones: then it is `SHARES`.
    """
    sets = {m: validation[m] for m in recogniser.modalities if len(validation.get(m, ()))}
    templates = {
        modality: [Encoded(made).compared().templates for made in recogniser.templates(captures)]
        for modality, captures in sets.items()
    }
    calibration = dict(recogniser.calibration)
    code_calibration = dict(recogniser.code_calibration)
    for modality, captures in sets.items():
        learned, *coded = _fitted(captures, templates[modality], real)
        calibration.update({modality: learned} if learned.fitted else {})
        code_calibration.update((modality, found) for found in coded if found.fitted)
    fitted = replace(recogniser, calibration=calibration, code_calibration=code_calibration)
    galleries = fitted.compared(sets, templates) if sets else {}
    thresholds = {name: _thresholds(compare_all(one)) for name, one in galleries.items()}
    return replace(fitted, thresholds=thresholds)


def _fitted(captures: CaptureSet, templates: Sequence[Templates], real: bool) -> list[Calibration]:
    """Of each encoder alone; then, where there are two, their weights in the sum."""
    found = [compare_all(modality_gallery(captures, [Encoded(made)])) for made in templates]
    alone = [fit_calibration(comparisons) for comparisons in found]
    if len(alone) == 1 or not alone[0].fitted:
        return alone
    shares, bias = np.array(SHARES), 0.0
    if real:
        pairs = zip(found, alone, strict=True)
        ratios = np.stack([one.weight * f.scores + one.bias for f, one in pairs])
        shares, bias = fit_together(ratios, found[0].mated, shares)
    extra = (bias, 0.0)
    return [
        replace(one, weight=share * one.weight, bias=share * one.bias + more)
        for one, share, more in zip(alone, shares.tolist(), extra, strict=True)
    ]


def _thresholds(comparisons: Comparisons) -> dict[float, float]:
    non_mated = comparisons.scores[~comparisons.mated]
    found = {fmr: error_rates.threshold_at_fmr(non_mated, fmr) for fmr in THRESHOLD_FMRS}
    return {fmr: value for fmr, value in found.items() if value is not None}
