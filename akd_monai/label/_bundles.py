# SPDX-License-Identifier: Apache-2.0
"""Choose the bundles that are served, and check that each can be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from akd_monai.bundle import bundle_path, load_network, read_metadata, weights_path, weights_sha256
from akd_monai.bundle.metadata import input_format, output_format
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path

__all__ = ["check_servable", "choose_bundles"]

logger = logging.getLogger(__name__)


def choose_bundles(bundles_dir: str | Path, models: Sequence[str] = ()) -> dict[str, Path]:
    """Return the folders of the bundles to serve by their names, each checked; by default all that have weights.

    The bundles are trusted, as MONAI Label trusts them: their configs are programs, which run here and in the server.

    Raises:
        InputError: if there is no bundle, or one that was named cannot be served.
        UnknownNameError: for a name that does not exist.
    """
    root = as_path(bundles_dir, "bundles_dir")
    found = {path.parents[1].name: path.parents[1] for path in sorted(root.glob("*/configs/metadata.json"))}
    if not found:
        raise InputError(f"{str(root)!r} holds no bundles; give the folder that the bundles' folders lie in.")
    for name in models:
        if name not in found:
            raise unknown_name("bundle", name, found, where=f"in {str(root)!r}")
    chosen = {name: found[name] for name in models} if models else _with_weights(found)
    if not chosen:
        raise InputError(f"no bundle in {str(root)!r} has weights (models/model.pt): train one first.")
    logger.info(
        "The configs of %s are trusted: the server runs what they say; python -m akd_monai check BUNDLE shows it.",
        ", ".join(chosen),
    )
    for folder in chosen.values():
        check_servable(folder)
    return chosen


def _with_weights(found: dict[str, Path]) -> dict[str, Path]:
    chosen = {name: folder for name, folder in found.items() if (folder / "models" / "model.pt").is_file()}
    left_out = [name for name in found if name not in chosen]
    if left_out:
        logger.warning("not served, because they have no weights (models/model.pt): %s", ", ".join(left_out))
    return chosen


def check_servable(bundle_dir: str | Path) -> None:
    """Check that MONAI Label can serve a bundle, and that its weights are its own.

    The bundle is trusted: expressions in its config run. MONAI Label itself loads weights with ``strict=False``: wrong ones
    give wrong masks and a line in its log.

    Raises:
        InputError: if weights are missing, do not fit the network or have another hash than metadata.json says, or
            if the first input of the network is not called ``image`` or the first output not ``pred``.
    """
    metadata = read_metadata(bundle_dir)
    data_format = metadata.get("network_data_format", {})
    for side, wanted, check in (("inputs", "image", input_format), ("outputs", "pred", output_format)):
        check(metadata)
        first = next(iter(data_format[side]))
        if first != wanted:
            raise InputError(
                f"the first of {side} in metadata.json of {str(bundle_dir)!r} is {first!r}, MONAI Label wants {wanted!r}."
            )
    if not bundle_path(bundle_dir, "configs", "inference.json").is_file():
        raise InputError(f"bundle {str(bundle_dir)!r} has no configs/inference.json, the only one MONAI Label reads.")
    weights_path(bundle_dir)
    load_network(bundle_dir, config="inference.json", trust_bundle=True)
    wanted_hash = metadata.get("weights_sha256")
    if wanted_hash and (found := weights_sha256(bundle_dir)) != wanted_hash:
        raise InputError(
            f"models/model.pt of {str(bundle_dir)!r} has the hash {found[:12]}..., metadata.json says "
            f"{wanted_hash[:12]}...; get the weights again, or correct metadata.json if you trained them yourself."
        )
