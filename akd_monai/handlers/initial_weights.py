# SPDX-License-Identifier: Apache-2.0
"""Start a training from weights of a file instead of random ones."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ignite.engine import Engine, Events

from akd_monai.errors import InputError
from akd_monai.files import as_path, sha256_of
from akd_monai.networks import load_weights, unwrap

__all__ = ["InitialWeights"]

logger = logging.getLogger(__name__)


class InitialWeights:
    """Load a plain state dict strictly into the trained network when a training starts.

    With :class:`ResumableCheckpoint` in the same trainer, at any position of the two, a resumed run keeps the weights of
    its checkpoint, and the content of the file is part of what the run is: a resume with another file, with none where
    there was one, or with one where there was none is refused. The file may be moved, but must be there at a resume.

    Args:
        path: file written by ``torch.save(network.state_dict(), path)``, for instance ``models/model.pt`` of a bundle
            with the same ``network_def``; read as :func:`akd_monai.networks.load_weights` describes.

    Raises:
        InputError: when the run starts, if the file is missing, damaged, or does not fit the network.

    Example:
        >>> InitialWeights("models/no-such-file.pt").sha256()
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: initial_weights 'models/no-such-file.pt' do not exist; ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = as_path(path, "initial_weights")

    def attach(self, engine: Engine) -> None:
        """Load at ``Events.STARTED`` of ``engine``, a trainer of MONAI."""
        engine.add_event_handler(Events.STARTED, self)

    def sha256(self) -> str:
        """Return the SHA-256 of the file.

        Raises:
            InputError: if it cannot be read.
        """
        self._check()
        try:
            return sha256_of(self.path)
        except OSError as error:
            raise InputError(
                f"cannot be opened ({error.strerror})",
                where=f"initial_weights {str(self.path)!r}",
                remedy="check its permissions",
            ) from error

    def __call__(self, engine: Engine) -> None:
        """Load the weights now."""
        self._check()
        load_weights(unwrap(engine.network), self.path)  # type: ignore[attr-defined]
        logger.info("initial weights: %s", self.path)

    def _check(self) -> None:
        if not self.path.is_file():
            raise InputError(
                f"initial_weights {str(self.path)!r} do not exist; give the file of weights of a trained bundle with the "
                "same network_def, or leave initial_weights out to start from random weights."
            )
