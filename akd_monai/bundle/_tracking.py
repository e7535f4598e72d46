# SPDX-License-Identifier: Apache-2.0
"""How a distillation is tracked: by settings of the bundle, of a file, or of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from akd_monai.bundle._configs import config_path, load_config
from akd_monai.bundle._student import find_handlers
from akd_monai.errors import InputError, unknown_name

__all__ = ["add_tracking_ids", "tracking_settings"]

_MLFLOW = "mlflow"
_OWN_FOLDER = "distillation_dir"
# of MONAI's tracking settings
_PARTS = ("configs", "handlers_id")
_REMEDY = "give 'mlflow' or a file with tracking settings of MONAI"


def tracking_settings(
    tracking: str | dict[str, Any], bundle_dir: Path, parser: ConfigParser, trainer: str
) -> dict[str, Any]:
    """Return settings in the form of MONAI.

    Args:
        tracking: ``"mlflow"`` for the bundle's own ``configs/tracking.json``, and, where it has none, for
            :class:`~akd_monai.handlers.MLflowTracker` on its trainer; another name that MONAI knows; a file; or settings.
        bundle_dir: the student's folder.
        parser: its configs, the overlay included.
        trainer: id of its trainer.

    Raises:
        InputError: for a file that is broken, settings that are none, or a name that MONAI does not know.
    """
    if not isinstance(tracking, str):
        return _checked(tracking, "tracking")
    if tracking == _MLFLOW:
        own = config_path(bundle_dir, "tracking")
        return _generic(parser, trainer) if own is None else _read(own)
    if tracking in DEFAULT_EXP_MGMT_SETTINGS:
        settings: dict[str, Any] = DEFAULT_EXP_MGMT_SETTINGS[tracking]
        return settings
    if Path(tracking).suffix or Path(tracking).exists():
        return _read(Path(tracking))
    raise unknown_name("tracking", tracking, DEFAULT_EXP_MGMT_SETTINGS, remedy=f"Or {_REMEDY}")


def add_tracking_ids(parser: ConfigParser, settings: dict[str, Any]) -> None:
    """Add the ids of a tracking that the configs do not have, such as ``tracking_uri``, so that they can be overridden."""
    for name, value in settings["configs"].items():
        if name not in settings["handlers_id"] and name not in parser:
            parser[name] = value


def _generic(parser: ConfigParser, trainer: str) -> dict[str, Any]:
    defaults: dict[str, Any] = DEFAULT_EXP_MGMT_SETTINGS[_MLFLOW]
    common = defaults["configs"]
    kept = ("output_dir", "tracking_uri", "run_name", "save_execute_config", "is_not_rank0")
    tracker = {
        "_target_": "akd_monai.handlers.MLflowTracker",
        "_disabled_": "@is_not_rank0",
        # where the run is resumed, and so has its name
        "output_dir": f"@{_OWN_FOLDER if _OWN_FOLDER in parser else 'output_dir'}",
        "tracking_uri": "@tracking_uri",
        "experiment_name": "@experiment_name",
        "run_name": "@run_name",
        "artifacts": "@save_execute_config",
        "tags": "@run_tags",
        "run_params": "@run_params",
        "bundle_root": "@bundle_root",
    }
    ids = {"experiment_name": "akd_monai", "run_tags": {}, "run_params": {}}
    return {
        "handlers_id": {"trainer": {"id": trainer, "handlers": find_handlers(parser, trainer)}},
        "configs": {**{name: common[name] for name in kept}, **ids, "trainer": tracker},
    }


def _read(path: Path) -> dict[str, Any]:
    return _checked(load_config(path), str(path))


def _checked(settings: Any, where: str) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise InputError(f"must hold tracking settings, got {settings!r}", where=where, remedy=_REMEDY)
    missing = [name for name in _PARTS if not isinstance(settings.get(name), dict)]
    if missing:
        what = f"has no {' and no '.join(map(repr, missing))} that is a mapping"
        raise InputError(what, where=where, remedy=_REMEDY)
    return settings
