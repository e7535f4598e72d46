# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's ``monaibundle`` app with what it lacks for MONAI 1.6, strict weights and active learning."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from akd_monai.errors import InputError, near_matches
from akd_monai.label.infer import SafeInfer
from akd_monai.label.train import SafeTrain

if TYPE_CHECKING:
    from monailabel.interfaces.app import MONAILabelApp as Base
else:
    # a mixin, so that this module can be read where MONAI Label is not installed
    Base = object

__all__ = ["SafeApp", "app_class", "torchvision_stand_in"]

logger = logging.getLogger(__name__)


class SafeApp(Base):
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
            known = datastore.list_images()
            raise InputError(f"there is no image {image!r} in the studies.{near_matches(image, known)}")

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
    text = " ".join(str(getattr(error, "msg", error)).split())
    ours = isinstance(error, InputError)
    detail = text[:600] if ours else f"{type(error).__name__}: {text[:600]}"
    raise HTTPException(status_code=400 if ours else 500, detail=detail) from error


def app_class() -> type:
    """Return the class of the app, for the ``main.py`` that MONAI Label looks for.

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
    return type("BundleApp", (SafeApp, sample.MyApp, MONAILabelApp), {})


@contextmanager
def torchvision_stand_in() -> Iterator[None]:
    """Let MONAI Label be imported without torchvision, two functions of which it names but uses for pathology alone.

    Where torchvision is installed nothing is done; else, when the block ends, it counts as not installed again.
    """
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return

    def missing(*_: Any, **__: Any) -> NoReturn:
        raise InputError("this part of MONAI Label needs torchvision, which is not installed.")

    package, utils = types.ModuleType("torchvision"), types.ModuleType("torchvision.utils")
    package.__spec__ = ModuleSpec("torchvision", None, is_package=True)
    package.__dict__.update(utils=utils, __path__=[], __version__="0.0.0")
    utils.__dict__.update(make_grid=missing, save_image=missing)
    modules = {"torchvision": package, "torchvision.utils": utils}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
