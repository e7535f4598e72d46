# SPDX-License-Identifier: Apache-2.0
"""Check a bundle before anything is run: what MONAI would report only in the middle of a run, or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator

from akd_monai.bundle._code import read_code, short_list
from akd_monai.bundle._configs import CONFIG_SUFFIXES, config_path, load_config, missed_ids
from akd_monai.bundle._references import config_problems
from akd_monai.bundle._transforms import image_transforms
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_sha256
from akd_monai.errors import InputError

__all__ = ["check_bundle", "find_code", "find_problems"]

_REQUIRED = (
    "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format",
)  # fmt: skip
_FILES = ("LICENSE", "docs/README.md")
_ALONE = ("train", "inference", "preprocessing")
_OVERLAYS = ("evaluate", "distill", "multi_gpu_train")
_SHARED = ("network_def", "spatial_size", "device")


def check_bundle(bundle_dir: str | Path) -> None:
    """Check that a bundle is complete and consistent; see :func:`find_problems`.

    Args:
        bundle_dir: the bundle's folder.

    Raises:
        InputError: naming everything that is wrong.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_bundle(write_bundle("enet", folder))
    """
    problems = find_problems(bundle_dir)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError(f"bundle {str(bundle_dir)!r} has {count}: {'; '.join(problems)}")


def find_problems(bundle_dir: str | Path) -> list[str]:
    """Return everything that is wrong with a bundle; nothing of it is run or imported.

    Checked: files of the Model Zoo's layout, required metadata, every ``_target_`` and the names of its arguments, every
    reference, every id that an overlay changes, agreement of ``network_def`` and of the image's deterministic
    preprocessing between training, validation and inference, and the hash of the weights where metadata names one.
    Targets outside torch, MONAI, ignite, ``akd_monai``, NumPy, nibabel and ITK are not checked: they would have to be
    imported. :func:`find_code` names them.

    Args:
        bundle_dir: the bundle's folder; its configs may be JSON or YAML.

    Returns:
        One phrase for each problem; empty if there is none.

    Raises:
        InputError: if the folder is no bundle at all.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (write_bundle("enet", folder) / "LICENSE").unlink()
        ...     find_problems(folder)
        ['LICENSE is missing']
    """
    configs, problems = _readable(bundle_dir)
    metadata = configs.pop("metadata", None)
    problems += _missing_files(bundle_dir)
    if metadata is not None:
        problems += _metadata_problems(bundle_dir, metadata)
    problems += _all_config_problems(bundle_dir, configs, metadata or {})
    problems += _disagreements(configs)
    return problems


def find_code(bundle_dir: str | Path) -> list[str]:
    """Return what a bundle's configs would run, most serious first; nothing of it is run or imported to know.

    The levels are ``network``: why its network is not loaded without trust; ``foreign code``: what lies outside torch,
    MONAI, ignite, ``akd_monai``, NumPy, nibabel, ITK and Python itself and would be imported; ``reaches out``: expressions
    with words that import, read, write or start something; ``expressions``: how many others there are. Every expression is
    code, so the last two say what to read first, not what is harmless.

    Args:
        bundle_dir: the bundle's folder; its configs may be JSON or YAML. Those that cannot be read are left out, see
            :func:`find_problems`.

    Returns:
        One phrase for each, at most eight a level.

    Raises:
        InputError: if the folder is no bundle at all.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import change_bundle, write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = write_bundle("enet", folder)
        ...     change_bundle(root, {"network_def#_target_": "scripts.net.Net"})
        ...     [line.split(",")[0] for line in find_code(root) if line.startswith("network")]
        ["network: train.json: the target 'scripts.net.Net' in 'network_def'"]
    """
    metadata = _readable(bundle_dir)[0].get("metadata", {})
    return short_list(list(read_code(_every_config(bundle_dir), Path(bundle_dir), metadata)))


def _every_config(bundle_dir: str | Path) -> list[Path]:
    """Return the configs of a bundle, those that MONAI knows by name first."""
    found = [path for path in sorted(bundle_path(bundle_dir, "configs").iterdir()) if path.suffix in CONFIG_SUFFIXES]
    known = [path for name in (*_ALONE, *_OVERLAYS) for path in found if path.stem == name]
    return known + [path for path in found if path not in known and path.stem != "metadata"]


def _readable(bundle_dir: str | Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the content of each config that can be read, and what is wrong with the others."""
    contents = {}
    problems = []
    try:
        contents["metadata"] = read_metadata(bundle_dir)
    except InputError as error:
        if error.code != "json":
            raise
        problems.append(f"metadata.json {error.what}")
    for name in (*_ALONE, *_OVERLAYS, "tracking"):
        path = config_path(bundle_dir, name)
        if path is None:
            continue
        try:
            contents[name] = load_config(path)
        except InputError as error:
            problems.append(f"{path.name} {error.what}")
    return contents, problems


def _missing_files(bundle_dir: str | Path) -> Iterator[str]:
    for name in _FILES:
        if not bundle_path(bundle_dir, name).is_file():
            yield f"{name} is missing"
    if config_path(bundle_dir, "inference") is None:
        yield "configs/inference.json is missing"


def _metadata_problems(bundle_dir: str | Path, metadata: Mapping[str, Any]) -> Iterator[str]:
    for name in _REQUIRED:
        if name not in metadata:
            yield f"metadata.json has no {name!r}"
    if metadata.get("version") not in metadata.get("changelog", {}):
        yield f"metadata.json: version {metadata.get('version')!r} is not in changelog"
    wanted = metadata.get("weights_sha256")
    if not wanted:
        return
    try:
        found = weights_sha256(bundle_dir)
    except InputError:
        yield f"models/model.pt is missing, metadata.json gives its hash {wanted[:12]}..."
        return
    if found != wanted:
        yield f"models/model.pt has the hash {found[:12]}..., metadata.json says {wanted[:12]}..."


def _all_config_problems(
    bundle_dir: str | Path, configs: Mapping[str, dict[str, Any]], metadata: Mapping[str, Any]
) -> Iterator[str]:
    # one for all: it searches every module of MONAI once
    locator = ComponentLocator()
    of_train: list[str] = []
    for name in _ALONE:
        if name in configs:
            path = _path(bundle_dir, name)
            found = list(config_problems([path], metadata, locator))
            of_train = found if name == "train" else of_train
            yield from (f"{path.name}: {problem}" for problem in found)
    for name in _OVERLAYS:
        if name in configs and "train" in configs:
            path = _path(bundle_dir, name)
            found = [
                f"{key!r} has no target in the train config" for key in missed_ids(configs["train"], configs[name])
            ]
            if not found:
                merged = config_problems([_path(bundle_dir, "train"), path], metadata, locator)
                # what is wrong in the training config alone has been reported already
                found = [problem for problem in merged if problem not in of_train]
            yield from (f"{path.name}: {problem}" for problem in found)


def _path(bundle_dir: str | Path, name: str) -> Path:
    path = config_path(bundle_dir, name)
    if path is None:
        raise InputError(f"bundle {str(bundle_dir)!r} has no configs/{name}.json.")
    return path


def _disagreements(configs: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Yield in what training, validation and inference differ although they must not."""
    if "train" not in configs or "inference" not in configs:
        return
    train = configs["train"]
    inference = configs["inference"]
    for name in _SHARED:
        if train.get(name) != inference.get(name):
            yield f"{name} differs between train.json and inference.json"
    if "preprocessing" not in inference:
        yield "inference.json has no 'preprocessing'"
        return
    wanted = image_transforms(inference["preprocessing"])
    for place, content in (
        ("train#deterministic_transforms", train.get("train", {}).get("deterministic_transforms")),
        ("validate#preprocessing", train.get("validate", {}).get("preprocessing")),
    ):
        if content is not None and image_transforms(content) != wanted:
            yield f"{place} of train.json prepares the image in another way than inference.json"
