# SPDX-License-Identifier: Apache-2.0
"""A MONAI workflow that reports a broken config and an override without effect before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from akd_monai.bundle._configs import check_overrides, explained, load_config
from akd_monai.bundle._override_values import check_values, with_none
from akd_monai.bundle.metadata import bundle_path
from akd_monai.errors import InputError

__all__ = ["CheckedWorkflow"]


class CheckedWorkflow(ConfigWorkflow):
    """A training workflow of a bundle whose configs are read once, checked, and only then overridden.

    Args:
        bundle_dir: the bundle's folder.
        configs: its config files, merged in order.
        logging_file: as in :class:`monai.bundle.ConfigWorkflow`.

    Raises:
        InputError: if a config is broken.
    """

    def __init__(
        self, bundle_dir: str | Path, configs: Sequence[Path], *, logging_file: str | bool | None = None
    ) -> None:
        for config in configs:
            load_config(config)
        with explained(configs):
            super().__init__(
                config_file=[str(config) for config in configs],
                meta_file=str(bundle_path(bundle_dir, "configs", "metadata.json")),
                logging_file=logging_file,
                workflow_type="train",
            )
        self._bundle_dir = Path(bundle_dir)

    def _override(self, values: Mapping[str, Any], override: Mapping[str, Any]) -> None:
        """Set ``values`` in the config, then ``override``, whose ids must exist, and whose values must fit them."""
        override = with_none(override)
        check_overrides(self.parser, override)
        check_values(self.parser, override, self._bundle_dir)
        self.parser.update({"bundle_root": str(self._bundle_dir.resolve()), **values, **override})

    def _add_tracking_ids(self, tracking: str | dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the settings of a tracking, whose own ids, such as ``tracking_uri``, can then be overridden."""
        if tracking is None:
            return None
        settings = DEFAULT_EXP_MGMT_SETTINGS.get(tracking) if isinstance(tracking, str) else tracking
        if settings is None:
            settings = _tracking_settings(Path(str(tracking)))
        for name, value in settings["configs"].items():
            if name not in settings["handlers_id"] and name not in self.parser:
                self.parser[name] = value
        return settings

    def _track(self, settings: dict[str, Any] | None) -> None:
        """Add a tracking handler as MONAI does; after the overrides, which the settings may refer to."""
        if settings is not None:
            self.patch_bundle_tracking(parser=self.parser, settings=settings)


def _tracking_settings(path: Path) -> dict[str, Any]:
    settings = load_config(path)
    missing = {"handlers_id", "configs"} - settings.keys()
    if missing:
        what = f"has no {' and no '.join(sorted(map(repr, missing)))}"
        raise InputError(what, where=str(path), remedy="give 'mlflow' or a file with tracking settings of MONAI")
    return settings
