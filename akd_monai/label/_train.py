# SPDX-License-Identifier: Apache-2.0
"""Additions to MONAI Label's training of a bundle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import monai.bundle

from akd_monai.errors import InputError

if TYPE_CHECKING:
    from monailabel.tasks.train.bundle import BundleTrainTask as Base
else:
    # a mixin, so that this module can be read where MONAI Label is not installed
    Base = object

__all__ = ["SafeTrain"]

logger = logging.getLogger(__name__)

_LOADER = "akd_monai.handlers.LoadWeights"


class SafeTrain(Base):  # type: ignore[misc]  # MONAI Label has no types
    """Mixin for ``monailabel.tasks.train.bundle.BundleTrainTask``.

    - Training begins with the weights that are there, loaded strictly; these are kept as ``models/model_<time>.pt``.
    - Every run has an output folder of its own, ``eval/<time>``: an earlier one with other labels is not resumed.
    - With too few labels to keep one for validation, the training cases serve for validation, and a line says so.
    - Training is tracked by MLflow unless the request says ``None``, with the bundle's own ``configs/tracking.json``
      where it has one.
    - The bundle's ``logging.conf`` leaves the server's log as it is.
    """

    def __init__(self, path: str, conf: Mapping[str, str], **options: Any) -> None:
        super().__init__(path, conf, **{"enable_tracking": True, **options})

    def __call__(self, request: dict[str, Any], datastore: Any) -> Any:
        """Train with the request of a viewer."""
        request = dict(request)
        if not request.get("run_id"):
            request.pop("run_id", None)  # viewers send the empty string that stands for the default
        if not any(self._config_path(name).is_file() for name in self.const.multi_gpu_configs()):
            request["multi_gpu"] = False  # nothing would be trained at all
        return super().__call__(request, datastore)

    def _config_path(self, name: str) -> Path:
        return Path(self.bundle_path, "configs", name)

    def _partition_datalist(
        self, datalist: list[dict[str, Any]], request: dict[str, Any], shuffle: bool = False
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        if not datalist:
            raise InputError("no image has a label yet: save at least one label with the tag 'final', then train.")
        training, validation = super()._partition_datalist(datalist, request, shuffle)
        if validation is None or (training and validation):
            return training, validation
        logger.warning(
            "with %d labelled images and val_split %s there is nothing to validate on: all are used for both, so the "
            "validation says nothing about new images",
            len(datalist),
            request.get("val_split", 0.2),
        )
        return datalist, datalist

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[dict[str, Any]]) -> None:
        # MONAI Label hands out the same list at every request
        train_handlers[:] = [h for h in train_handlers if h.get("_target_") != _LOADER]
        weights = Path(model_pytorch)
        if pretrained and weights.is_file():
            train_handlers.insert(0, {"_target_": _LOADER, "network": "@network", "path": str(weights)})
        current = Path(self.bundle_path, "models", self.const.model_pytorch())
        if current.is_file():
            kept = current.with_name(f"{current.stem}_{_now()}{current.suffix}")
            shutil.copy2(current, kept)
            logger.info("the weights from before training are kept: %s", kept)

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        if "output_dir" in self.bundle_config.config:
            # an expression, because MONAI's tracking appends to it
            overrides["output_dir"] = f"${str(Path(self.bundle_path, 'eval', _now()))!r}"
        if "resume" in self.bundle_config.config:
            # each training replaces the model of the one before, of which a copy was kept
            overrides["resume"] = "never"
        own = self._config_path("tracking.json")
        if overrides.get("tracking") == "mlflow" and own.is_file():
            overrides["tracking"] = str(own)
        return overrides

    def run_single_gpu(self, request: dict[str, Any], overrides: dict[str, Any]) -> None:
        """Train in this process."""
        logger.info("training in %s", overrides.get("output_dir", self.bundle_path))
        monai.bundle.run(
            run_id=request.get("run_id", "run"),
            meta_file=self.bundle_metadata_path,
            config_file=self.bundle_config_path,
            logging_file=False,  # type: ignore[arg-type]
            **overrides,
        )


def _now() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S")
