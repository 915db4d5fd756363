"""From a fitted network to a recogniser: calibrations and thresholds, of people not trained on."""

from collections.abc import Mapping
from dataclasses import replace

from biometric_core import metrics, pretrained
from biometric_core.calibration import Calibration, fit_calibration
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet
from biometric_core.gallery import Encoded, modality_gallery
from biometric_core.match import Comparisons, compare_all
from biometric_core.preprocess import preprocess_version
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.templates import Templates
from biometric_core.train import Fitted

FMRS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001)


def recogniser_of(
    fitted: Fitted, validation: Mapping[Modality, CaptureSet], config: Config
) -> Recogniser:
    """Calibrate a fitted network on the validation subjects' comparisons.

    Args:
        fitted: what `train.fit` made.
        validation: captures of subjects that were not trained on. Where a modality has no mated
            comparison `Calibration.fitted` is False: its calibration is that of pretraining, or
            the identity where there was none; that of minutiae is their default.
        config: `preprocess`, `ingest` and `training.minutiae` are kept with the model.
    """
    known = _of_pretraining(config)
    plain = Recogniser(
        spec=fitted.spec,
        net=fitted.network(),
        calibration={m: known.get(m, Calibration()) for m in fitted.spec.modalities},
        thresholds={},
        subjects=fitted.subjects,
        settings=config.preprocess,
        preprocess_version=preprocess_version(config),
        limits=config.ingest,
        minutiae=config.training.minutiae,
    )
    return calibrated(plain, validation)


def _of_pretraining(config: Config) -> dict[Modality, Calibration]:
    """By generated people; its counts are 0, so that it doesn't pass for fitted."""
    if not pretrained.applies(config):
        return {}
    shipped = Recogniser.load(pretrained.FOLDER).calibration
    return {m: Calibration(found.weight, found.bias) for m, found in shipped.items()}


def calibrated(recogniser: Recogniser, validation: Mapping[Modality, CaptureSet]) -> Recogniser:
    """The same network with calibration and thresholds fitted on the given captures."""
    sets = {m: validation[m] for m in recogniser.modalities if len(validation.get(m, ()))}
    templates = {
        modality: [Encoded(made).compared().templates for made in recogniser.templates(captures)]
        for modality, captures in sets.items()
    }
    calibration = dict(recogniser.calibration)
    code_calibration = dict(recogniser.code_calibration)
    for modality, captures in sets.items():
        learned, *coded = (_fitted(captures, made) for made in templates[modality])
        calibration.update({modality: learned} if learned.fitted else {})
        code_calibration.update((modality, found) for found in coded if found.fitted)
    fitted = replace(recogniser, calibration=calibration, code_calibration=code_calibration)
    usable = {m: captures for m, captures in sets.items() if calibration[m].fitted}
    galleries = fitted.compared(usable, templates) if usable else {}
    thresholds = {name: _thresholds(compare_all(one)) for name, one in galleries.items()}
    return replace(fitted, thresholds=thresholds)


def _fitted(captures: CaptureSet, templates: Templates) -> Calibration:
    """The calibration of one encoder alone."""
    return fit_calibration(compare_all(modality_gallery(captures, [Encoded(templates)])))


def _thresholds(comparisons: Comparisons) -> dict[float, float]:
    non_mated = comparisons.scores[~comparisons.mated]
    found = {fmr: metrics.threshold_at_fmr(non_mated, fmr) for fmr in FMRS}
    return {fmr: value for fmr, value in found.items() if value is not None}
