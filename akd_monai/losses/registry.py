# SPDX-License-Identifier: Apache-2.0
"""Names of the losses, for configs and the command line.

Another package adds a loss by an entry point, read only when its name is asked for:

.. code-block:: toml

    [project.entry-points."akd_monai.losses"]
    attention = "their_package.losses:AttentionLoss"
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monai.utils import ComponentStore
from torch import nn

from akd_monai.errors import InputError, unknown_name
from akd_monai.losses import compared
from akd_monai.losses.affinity import AdaptiveAffinityLoss
from akd_monai.losses.gram import GramKernelLoss
from akd_monai.losses.logits import LogitsKLLoss

__all__ = ["LOSSES", "get_loss", "loss_names"]

Factory = Callable[..., nn.Module]

_ENTRY_POINTS = "akd_monai.losses"

#: The losses of this package by name, and those added by ``LOSSES.add(name, description, class)``.
LOSSES = ComponentStore("Distillation losses", "Classes whose instances compare (student, teacher) maps.")
LOSSES.add("affinity", "Neighbouring pixels follow the borders the teacher sees.", AdaptiveAffinityLoss)
LOSSES.add("gram", "Similarities of samples, channels or pixels follow the teacher's.", GramKernelLoss)
LOSSES.add("logits", "Class probabilities follow the teacher's.", LogitsKLLoss)
# losses of other methods, see the module
LOSSES.add("attention_transfer", "Energy of all channels at each pixel, AT.", compared.AttentionTransferLoss)
LOSSES.add("channel_wise", "Distribution of each channel over pixels, CWD.", compared.ChannelWiseLoss)
LOSSES.add("cross_image_relation", "Pixels across a batch, CIRKD without its memory.", compared.CrossImageRelationLoss)
LOSSES.add("dist", "Correlation of class probabilities, DIST.", compared.DISTLoss)
LOSSES.add("importance_map", "Attention transfer with a fourth power, of EMKD.", compared.ImportanceMapLoss)
LOSSES.add("intra_class_variation", "Pixels and the mean of their class, IFVD.", compared.IntraClassVariationLoss)
LOSSES.add("mskd_style_filter", "Our reading of MSKD's abstract, filtered maps.", compared.MSKDStyleFilterLoss)
LOSSES.add("mskd_style_graph", "Our reading of MSKD's abstract, graph of patches.", compared.MSKDStyleGraphLoss)
LOSSES.add("pairwise_structure", "Similarities of pooled nodes, SKD.", compared.PairwiseStructureLoss)
LOSSES.add("region_affinity", "Similarities of labelled regions, of EMKD.", compared.RegionAffinityLoss)
LOSSES.add("similarity_preserving", "Similarities of the images of a batch.", compared.SimilarityPreservingLoss)


def loss_names() -> list[str]:
    """Return the names of all losses, those of other packages included, sorted.

    Example:
        >>> [name for name in loss_names() if name in ("affinity", "gram", "logits")]
        ['affinity', 'gram', 'logits']
    """
    return sorted({*LOSSES.names, *_plugins()})


def get_loss(name: str, **options: Any) -> nn.Module:
    """Build the loss called ``name``.

    Args:
        name: one of :func:`loss_names`.
        options: arguments of its class.

    Raises:
        UnknownNameError: if no loss or option has this name.
        InputError: if an option is missing or out of range, or a plugin cannot be imported.

    Example:
        >>> get_loss("logits", temperature=4.0)
        LogitsKLLoss(direction='student_teacher', temperature=4.0)
    """
    _check_loss_name(name)
    factory: Factory = LOSSES[name] if name in LOSSES else _load(_plugins()[name])
    _check_options(name, factory, options)
    return factory(**options)


def _check_loss_name(name: object) -> None:
    """Raise :class:`~akd_monai.errors.UnknownNameError` unless ``name`` is a known loss."""
    if not isinstance(name, str):
        raise InputError(f"a loss is given by its name or as a module, got {type(name).__name__}.")
    names = loss_names()
    if name not in names:
        raise unknown_name("loss", name, names)


def _check_options(name: str, factory: Factory, options: Mapping[str, Any]) -> None:
    """Raise ``InputError`` unless ``factory`` can be called with ``options``."""
    signature = inspect.signature(factory)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for option in options:
        if option not in signature.parameters and not takes_any:
            raise unknown_name("option", option, signature.parameters, where=f"of loss {name!r}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise InputError(f"loss {name!r} cannot be built from {dict(options)}: {error}.") from error


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_ENTRY_POINTS)}


def _load(point: EntryPoint) -> Factory:
    try:
        factory: Factory = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"loss {point.name!r} ({point.value}) cannot be imported: {error}",
            remedy="install or repair its package",
        ) from error
    return factory
