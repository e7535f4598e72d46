# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's ``monaibundle`` app with what it lacks for MONAI 1.6, strict weights and active learning."""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from akd_monai.errors import InputError, one_line, unknown_name
from akd_monai.label._infer import SafeInfer
from akd_monai.label._torchvision import torchvision_stand_in
from akd_monai.label._train import SafeTrain

if TYPE_CHECKING:
    from monailabel.interfaces.app import MONAILabelApp as Base
else:
    # a mixin, so that this module can be read where MONAI Label is not installed
    Base = object

__all__ = ["app_class"]

logger = logging.getLogger(__name__)


class _SafeApp(Base):  # type: ignore[misc]  # MONAI Label has no types
    """Mixin for a MONAI Label app: errors reach the viewer, uncertainty chooses images, batches run without a GPU."""

    def init_strategies(self) -> dict[str, Any]:
        """Offer the most uncertain image next where uncertainty is scored."""
        from monailabel.tasks.activelearning.epistemic import Epistemic

        strategies: dict[str, Any] = super().init_strategies()
        if self.conf.get("epistemic_model"):
            strategies["epistemic"] = Epistemic(desc="The image that the model is most uncertain about")
        return strategies

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Segment one image."""
        try:
            self._check_image(request.get("image"), datastore or self.datastore())
            return super().infer(request, datastore)
        except Exception as error:
            _tell(error)

    def _check_image(self, image: Any, datastore: Any) -> None:
        if isinstance(image, str) and not os.path.exists(image) and not datastore.get_image_uri(image):
            raise unknown_name("image", image, datastore.list_images(), where="in the studies")

    def train(self, request: dict[str, Any]) -> Any:
        """Train one model with the labels saved so far."""
        try:
            return super().train(request)
        except Exception as error:
            _tell(error)

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Segment many images."""
        if not torch.cuda.is_available():
            request = {**request, "multi_gpu": False}
        return super().batch_infer(request, datastore)


def _tell(error: Exception) -> NoReturn:
    """Write the traceback to the log and send the viewer one line in place of "Internal Server Error"."""
    from fastapi import HTTPException

    if isinstance(error, HTTPException):
        raise error
    logger.error("the request failed", exc_info=error)
    text = one_line(getattr(error, "msg", error), limit=600)
    if isinstance(error, InputError):
        raise HTTPException(status_code=400, detail=text) from error
    raise HTTPException(status_code=500, detail=f"{type(error).__name__}: {text}") from error


def app_class() -> type:
    """Return the class of the app, for the ``main.py`` that MONAI Label reads.

    Raises:
        ImportError: where MONAI Label or what it needs is not installed.
    """
    with torchvision_stand_in():
        from monailabel.interfaces.app import MONAILabelApp
        from monailabel.main import Main
        from monailabel.tasks.infer.bundle import BundleInferTask
        from monailabel.tasks.train.bundle import BundleTrainTask

        path = Main()._get_installed_dir(None, "sample-apps") + "/monaibundle/main.py"
        spec = importlib.util.spec_from_file_location("akd_monai_label_sample", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"MONAI Label's sample app cannot be read from {path}")
        sample: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sample)
    # names of this one copy of the module; the installed package stays as it is
    sample.BundleInferTask = type("BundleInfer", (SafeInfer, BundleInferTask), {})
    sample.BundleTrainTask = type("BundleTrain", (SafeTrain, BundleTrainTask), {})
    # MONAI Label takes only a class for an app that names MONAILabelApp itself among its bases
    return type("BundleApp", (_SafeApp, sample.MyApp, MONAILabelApp), {})
