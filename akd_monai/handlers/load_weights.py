# SPDX-License-Identifier: Apache-2.0
"""Load a network's weights when a run starts, or end the run with one clear line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from akd_monai.data._trained_size import RECORD, warn_of_other_size
from akd_monai.errors import InputError
from akd_monai.networks import load_weights

__all__ = ["LoadWeights"]

logger = logging.getLogger(__name__)


class LoadWeights:
    """Load a plain state dict strictly into ``network`` at the start of a run.

    Differs from MONAI's ``CheckpointLoader(strict=True)``, which raises PyTorch's own errors, in its messages: they are
    an ``InputError``, one line that names file, keys and remedy. It also reads a state dict that is wrapped or prefixed
    as :func:`akd_monai.networks.load_weights` describes. A network with a method ``check_weights``, such as
    :class:`akd_monai.deploy.ExportedNetwork`, is asked whether the file is the one that it was made from.

    Args:
        network: network that receives the weights.
        path: file written by ``torch.save(network.state_dict(), path)``; read with ``weights_only=True``.
        spatial_size: height and width to which slices are resized. There is a warning if ``eval/training.json`` of the
            weights' bundle says that they have learned from another size.

    Raises:
        InputError: at the start of the run, when the file is missing or does not fit.

    Example:
        >>> from ignite.engine import Engine
        >>> engine = Engine(lambda engine, batch: None)
        >>> LoadWeights(nn.Linear(1, 1), "models/no-such-file.pt").attach(engine)
        >>> engine.run([0])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: weights 'models/no-such-file.pt' do not exist...
    """

    def __init__(self, network: nn.Module, path: str | Path, spatial_size: Sequence[int] | None = None) -> None:
        self.network = network
        self.path = Path(path)
        self.spatial_size = spatial_size

    def attach(self, engine: Engine) -> None:
        """Load at ``Events.STARTED`` of ``engine``."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _: Engine) -> None:
        """Load the weights now."""
        if not self.path.is_file():
            raise InputError(
                f"weights {str(self.path)!r} do not exist: train the bundle first "
                "(python -m monai.bundle run --config_file configs/train.json), or name a file with --ckpt_path."
            )
        network: Any = self.network
        if hasattr(network, "check_weights"):
            # an exported network holds its weights already
            network.check_weights(self.path)
        else:
            load_weights(self.network, self.path)
        if self.spatial_size is not None:
            warn_of_other_size(self.path.parent.parent / RECORD, self.path, self.spatial_size)
        logger.info("Weights: %s", self.path)
