# SPDX-License-Identifier: Apache-2.0
"""Choose the bundles that are served, see that each is fit for it, and keep the copies that the server works on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from akd_monai.bundle import load_network, weights_sha256
from akd_monai.bundle.metadata import bundle_path, input_format, output_format, read_metadata
from akd_monai.errors import InputError, UnknownNameError, near_matches

__all__ = ["check_servable", "choose_bundles", "digest", "served_copy"]

logger = logging.getLogger(__name__)

_STAMP = "served_from.json"
_LEFT_OUT = ("eval", "data", "__pycache__", "*.log", _STAMP)


def choose_bundles(bundles_dir: str | Path, models: Sequence[str] = ()) -> dict[str, Path]:
    """Return the folders of the bundles to serve by their names, each seen to be fit; by default all with weights.

    Raises:
        InputError: when there is no bundle, or one that was named cannot be served.
    """
    root = Path(bundles_dir)
    found = {p.parents[1].name: p.parents[1] for p in sorted(root.glob("*/configs/metadata.json"))}
    if not found:
        raise InputError(f"{str(root)!r} holds no bundles; give the folder that the bundles' folders lie in.")
    for name in models:
        if name not in found:
            raise UnknownNameError(
                f"there is no bundle {name!r} in {str(root)!r}.{near_matches(name, found)} There: {', '.join(found)}."
            )
    chosen = {name: found[name] for name in models or found if models or _has_weights(found[name])}
    left_out = [name for name in found if not models and name not in chosen]
    if left_out:
        logger.warning("not served, because they have no weights (models/model.pt): %s", ", ".join(left_out))
    if not chosen:
        raise InputError(f"no bundle in {str(root)!r} has weights (models/model.pt): train one first.")
    for folder in chosen.values():
        check_servable(folder)
    return chosen


def check_servable(bundle_dir: str | Path) -> None:
    """See that MONAI Label can serve a bundle, and that its weights are its own.

    MONAI Label itself loads weights with ``strict=False``: wrong ones give wrong masks and a line in its log.

    Raises:
        InputError: when weights are missing, do not fit the network or have another hash than metadata.json says, or
            when the first input of the network is not called ``image`` or the first output not ``pred``.
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
    if not _has_weights(Path(bundle_dir)):
        raise InputError(f"bundle {str(bundle_dir)!r} has no weights (models/model.pt): train it first.")
    load_network(bundle_dir, config="inference.json", trust_bundle=True)
    wanted_hash = metadata.get("weights_sha256")
    if wanted_hash and (found := weights_sha256(bundle_dir)) != wanted_hash:
        raise InputError(
            f"models/model.pt of {str(bundle_dir)!r} has the hash {found[:12]}..., metadata.json says "
            f"{wanted_hash[:12]}...; get the weights again, or correct metadata.json if you trained them yourself."
        )


def _has_weights(bundle: Path) -> bool:
    return (bundle / "models" / "model.pt").is_file()


def served_copy(bundle: Path, target: Path) -> Path:
    """Copy a bundle to where the server trains it, so that the bundle itself is never changed; return ``target``.

    A copy that is there is kept, with what was trained in it. When the bundle has changed since, the copy is made anew,
    unless something was trained in it.
    """
    wanted = digest(bundle)
    stamp = target / _STAMP
    if target.exists():
        known = json.loads(stamp.read_text(encoding="utf-8"))["digest"] if stamp.is_file() else None
        if known == wanted:
            return target
        if known is None or digest(target) != known:
            logger.warning(
                "%s is kept, since it was changed or trained there; delete it to serve %s as it is now", target, bundle
            )
            return target
        shutil.rmtree(target)
    partial = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(bundle, partial, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    content = {"source": str(bundle.resolve()), "digest": wanted}
    (partial / _STAMP).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(target)
    return target


def digest(folder: Path) -> str:
    """Return a hash of what is copied of a bundle: paths and content, without results and caches."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        parts = path.relative_to(folder).parts
        if any(Path(part).match(pattern) for part in parts for pattern in _LEFT_OUT):
            continue
        total.update("/".join(parts).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
