# SPDX-License-Identifier: Apache-2.0
"""Choose the bundles that are served, and check that each can be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from akd_monai.bundle import bundle_path, load_network, read_metadata, weights_path, weights_sha256
from akd_monai.bundle._configs import load_config
from akd_monai.bundle.metadata import input_format, output_format
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path

__all__ = ["check_servable", "choose_bundles"]

logger = logging.getLogger(__name__)

# what MONAI Label reads, in its order
_CONFIGS = ("inference.json", "inference.yaml")
_WEIGHTS = ("model.pt", "model.ts")
_OTHERS = (".pt", ".pth", ".ckpt", ".safetensors")


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
        remedy = (
            "give the folder that the bundles' folders lie in; python -m akd_monai bundles writes those of this package"
        )
        raise InputError(f"{str(root)!r} holds no bundles", remedy=remedy, code="no-bundle")
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
    chosen = {name: folder for name, folder in found.items() if _weights_in(folder) is not None}
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
    config = _config_of(bundle_dir)
    weights = _weights_of(bundle_dir)
    load_network(bundle_dir, weights=weights, config=config.name, trust_bundle=True)
    wanted_hash = metadata.get("weights_sha256")
    if wanted_hash and (found := weights_sha256(bundle_dir, weights)) != wanted_hash:
        raise InputError(
            f"models/{weights.name} of {str(bundle_dir)!r} has the hash {found[:12]}..., metadata.json says "
            f"{wanted_hash[:12]}...; get the weights again, or correct metadata.json if you trained them yourself."
        )


def _config_of(bundle_dir: str | Path) -> Path:
    """Return the config that MONAI Label reads, the only one: it merges no other with it."""
    paths = [bundle_path(bundle_dir, "configs", name) for name in _CONFIGS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(
            f"bundle {str(bundle_dir)!r} has no configs/inference.json or inference.yaml, the only ones that MONAI Label "
            "reads; write one of these names with network_def, preprocessing, inferer and postprocessing."
        )
    if "network_def" not in load_config(path):
        raise InputError(
            f"configs/{path.name} of bundle {str(bundle_dir)!r} has no network_def, and MONAI Label reads no other config; "
            "add it there."
        )
    return path


def _weights_in(folder: Path) -> Path | None:
    paths = [folder / "models" / name for name in _WEIGHTS]
    return next((path for path in paths if path.is_file()), None)


def _weights_of(bundle_dir: str | Path) -> Path:
    path = _weights_in(Path(bundle_dir))
    if path is not None:
        return path
    others = [path for path in sorted(Path(bundle_dir, "models").glob("*")) if path.suffix in _OTHERS]
    if not others:
        # with its message
        return weights_path(bundle_dir)
    raise InputError(
        f"bundle {str(bundle_dir)!r} has weights of other names ({', '.join(path.name for path in others)}), and MONAI "
        "Label reads models/model.pt alone, or else models/model.ts; copy those to be served to models/model.pt."
    )
