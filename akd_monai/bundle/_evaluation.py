# SPDX-License-Identifier: Apache-2.0
"""Which configs of a bundle evaluate it, where its evaluator stands, and the weights that it loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._configs import config_path, load_config
from akd_monai.bundle._student import find_run, has_id
from akd_monai.data._trained_size import RECORD, warn_of_other_size
from akd_monai.errors import InputError

__all__ = ["check_weights", "evaluation_configs", "find_evaluator", "find_evaluator_run"]

_CONFIG = "evaluate"
# MONAI's property first
_EVALUATORS = ("validate#evaluator", "evaluator")
_LOADERS = ("CheckpointLoader", "LoadWeights")
_PATHS = ("load_path", "path")


def evaluation_configs(bundle_dir: str | Path) -> list[Path]:
    """Return the configs that evaluate a bundle, in the order in which they are merged.

    ``configs/evaluate``, JSON or YAML, changes ``configs/train``, unless it has a network of its own and runs alone.

    Raises:
        InputError: if one of the two does not exist, or cannot be read.
    """
    evaluate = config_path(bundle_dir, _CONFIG)
    train = config_path(bundle_dir, "train")
    if evaluate is not None and "network_def" in load_config(evaluate):
        return [evaluate]
    for name, path in (("train", train), (_CONFIG, evaluate)):
        if path is None:
            raise InputError(
                f"bundle {str(bundle_dir)!r} has no configs/{name}.json or .yaml, which evaluation needs",
                remedy="add one: evaluate changes train, and runs an evaluator with the data and weights to be measured",
            )
    return [path for path in (train, evaluate) if path is not None]


def find_evaluator(parser: ConfigParser) -> str:
    """Return the id of the evaluator: that of MONAI's properties, or ``evaluator``.

    Raises:
        InputError: if there is neither.

    Example:
        >>> find_evaluator(ConfigParser({"evaluator": {"_target_": "SupervisedEvaluator"}}))
        'evaluator'
    """
    for name in _EVALUATORS:
        if has_id(parser, name):
            return name
    raise InputError(
        f"the bundle's configs for evaluation have no evaluator ({' or '.join(_EVALUATORS)})",
        remedy="name it 'validate#evaluator', as MONAI's bundle properties do",
    )


def find_evaluator_run(parser: ConfigParser, evaluator: str) -> str:
    """Return the id of the expressions that run the evaluator.

    Raises:
        InputError: if it is not certain which they are.

    Example:
        >>> find_evaluator_run(ConfigParser({"evaluator": {}, "evaluating": ["$@evaluator.run()"]}), "evaluator")
        'evaluating'
    """
    try:
        return find_run(parser, evaluator)
    except InputError as error:
        what = f"the bundle's configs for evaluation have no id 'run', and no other one that alone calls @{evaluator}.run()"
        raise InputError(what, remedy="name it 'run' in configs/evaluate.json") from error


def check_weights(parser: ConfigParser, evaluator: str) -> None:
    """Check that the files exist from which the evaluator's handlers load weights.

    Raises:
        InputError: naming the file that is missing.
    """
    for place in _loaders(parser, f"{evaluator}#val_handlers"):
        path = parser.get_parsed_content(place)
        if not Path(str(path)).is_file():
            raise InputError(
                "the weights do not exist",
                where=str(path),
                remedy="train the bundle first, or set the id of their folder",
            )
        _compare_size(parser, Path(str(path)))


def _compare_size(parser: ConfigParser, weights: Path) -> None:
    if "spatial_size" in parser and "output_dir" in parser:
        record = Path(str(parser.get_parsed_content("output_dir"))) / RECORD.name
        warn_of_other_size(record, weights, parser.get_parsed_content("spatial_size"))


def _loaders(parser: ConfigParser, handlers: str) -> Iterator[str]:
    """Yield the ids of the paths from which handlers load."""
    found = parser.get(handlers)
    if isinstance(found, str) and found.startswith("@"):
        handlers = found[1:].replace("::", "#")
        found = parser.get(handlers)
    for number, handler in enumerate(found if isinstance(found, list) else []):
        if not isinstance(handler, dict) or not _loads(handler):
            continue
        place = f"{handlers}#{number}"
        disabled: Any = parser.get_parsed_content(f"{place}#_disabled_") if "_disabled_" in handler else False
        if str(disabled).lower() != "true":
            yield from (f"{place}#{name}" for name in _PATHS if name in handler)


def _loads(handler: dict[str, Any]) -> bool:
    return str(handler.get("_target_")).rsplit(".", 1)[-1] in _LOADERS
