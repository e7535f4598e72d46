# SPDX-License-Identifier: Apache-2.0
"""What the output channels of a bundle's network mean."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle._class_names import class_count, class_names, folded
from akd_monai.bundle._evidence import Evidence, read_evidence
from akd_monai.bundle._static import StaticConfig, read_static, try_static
from akd_monai.errors import InputError
from akd_monai.losses import Activation

__all__ = ["output_activation"]

logger = logging.getLogger(__name__)

_ASK = "say which it is with --activation softmax or --activation sigmoid"


def output_activation(bundle_dir: str | Path, override: Mapping[str, Any] | None = None) -> Activation:
    """Return what turns the logits of a bundle's network into probabilities; nothing of the bundle is run or imported.

    A network of one channel is of the kind ``"sigmoid"``. Otherwise the configs inference, train and evaluate (laid over
    train) are read, macros and references followed, for what names an activation:

    * ``softmax`` or ``sigmoid`` of MONAI's ``Activations`` on an output,
    * ``softmax``, ``use_softmax`` or ``sigmoid`` of a loss; ``CrossEntropyLoss`` (softmax), ``BCEWithLogitsLoss`` and
      ``FocalLoss`` (sigmoid).

    Only if nothing names it, what goes with one of them decides: ``argmax`` of ``AsDiscrete`` or ``to_onehot_y`` of a loss
    (softmax), a threshold of ``AsDiscrete`` (sigmoid). At last a first class called ``background`` in ``metadata.json``
    stands for softmax, with a warning. Words in descriptions are not read.

    Args:
        bundle_dir: the bundle's folder.
        override: values by id that a run sets in the train config.

    Raises:
        InputError: if the configs contradict each other or say nothing, or the folder is no bundle.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     output_activation(write_bundle("enet", folder))
        'softmax'
    """
    if class_count(bundle_dir) == 1:
        return "sigmoid"
    found = [evidence for config in _configs(bundle_dir, override) for evidence in read_evidence(config)]
    strong = [evidence for evidence in found if evidence.is_strong]
    deciding = [*strong, *_exclusive(found)] if strong else found
    kinds: dict[Activation, Evidence] = {}
    for evidence in deciding:
        kinds.setdefault(evidence.activation, evidence)
    if len(kinds) > 1:
        listed = " and ".join(f"{e.activation} ({e.what} in {e.where})" for e in kinds.values())
        raise InputError(f"bundle {str(bundle_dir)!r} speaks for {listed}", remedy=_ASK, code="activation")
    return next(iter(kinds)) if kinds else _of_metadata(bundle_dir)


def _exclusive(found: Iterable[Evidence]) -> list[Evidence]:
    """Return the evidence that channels exclude each other, which a threshold of softmax probabilities does not deny."""
    return [evidence for evidence in found if not evidence.is_strong and "argmax" in evidence.what]


def _configs(bundle_dir: str | Path, override: Mapping[str, Any] | None) -> Iterator[StaticConfig]:
    train = read_static(bundle_dir, "train", override=override)
    given: tuple[Any, ...] = (read_static(bundle_dir, "inference"), train)
    # an overlay that fits nothing is reported by check_bundle
    evaluate = try_static(bundle_dir, "train", "evaluate", override=override)
    yield from (config for config in (*given, evaluate) if config is not None)


def _of_metadata(bundle_dir: str | Path) -> Activation:
    names = class_names(bundle_dir)
    if names and folded(names[0]) == "background":
        logger.warning(
            "bundle %r: no config names the activation of its network; softmax is taken, since its first class is the "
            "background; --activation sets it.",
            str(bundle_dir),
        )
        return "softmax"
    what = "has no config that tells whether its channels are softmax classes or overlapping sigmoid channels"
    raise InputError(f"bundle {str(bundle_dir)!r} {what}", remedy=_ASK, code="activation")
