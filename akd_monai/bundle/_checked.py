# SPDX-License-Identifier: Apache-2.0
"""A MONAI workflow that reports a broken config and an override without effect before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from akd_monai.bundle._configs import check_overrides, explained, load_config
from akd_monai.bundle._override_values import check_values, with_none
from akd_monai.bundle.metadata import bundle_path

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
