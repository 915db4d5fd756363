"""Captures prepared as a model was trained, whatever this code and configuration would make now.

Shapes travel in the recogniser; another version of the algorithm travels as code in its bundle.
"""

import logging

from biometric_core.config import Config
from biometric_core.data.preparing import missing, prepare_missing
from biometric_core.errors import ModelError
from biometric_core.imaging.earlier_code import EarlierCode
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.recogniser import with_own_shapes
from biometric_core.storage.store import Store
from biometric_core.tracking import bundle, runs

_log = logging.getLogger(__name__)


def prepare_for(config: Config, store: Store, recogniser: Recogniser, run_id: str) -> int:
    """Prepare what a model lacks of the store's captures.

    Of the version that `config` makes nothing is prepared here: that is what `preprocess` is for.

    Args:
        config: limits and executor.
        store: with captures.
        recogniser: whose own version is needed.
        run_id: the training run that holds the model's bundle.

    Returns:
        How many captures were prepared, acquired or not.

    Raises:
        ModelError: only the code of another release can, and it is missing or doesn't run here.
        StorageError: the disk is full, or images can't be read just now.
    """
    version = recogniser.preprocess_version
    if version == preprocess_version(config):
        return 0
    own = with_own_shapes(config, recogniser)
    earlier = None
    if not recogniser.prepares_here:
        if not missing(store, version).captures.num_rows:
            return 0
        earlier = earlier_code(config, recogniser, run_id)
    done = prepare_missing(store, own, earlier)
    if done.rows:
        _log.warning(
            "%d captures were prepared as %s, as a model in use needs them, beside %s",
            *(done.rows, version, preprocess_version(config)),
        )
    return done.rows


def earlier_code(config: Config, recogniser: Recogniser, run_id: str) -> EarlierCode:
    """The code in a model's bundle, which prepares captures as the model needs them.

    Raises:
        ModelError: the run has no bundle.
    """
    version = recogniser.preprocess_version
    try:
        return EarlierCode(version, runs.download(config, run_id, bundle.CODE))
    except ModelError as error:
        raise ModelError(
            f"captures can't be prepared as {version}, as the model of run {run_id} needs them: "
            f"the run has no {bundle.CODE}, the code that can. Run `biometric preprocess` of the "
            "release that trained it on this store, or register it with that release"
        ) from error
