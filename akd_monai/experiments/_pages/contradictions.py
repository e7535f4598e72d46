# SPDX-License-Identifier: Apache-2.0
"""Where arXiv 2404.02738 contradicts itself or leaves a choice, and which choice an experiment made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CONTRADICTIONS", "Contradiction", "resolved", "setting"]


@dataclass(frozen=True)
class Contradiction:
    """One place of the paper.

    Attributes:
        title: what it is about.
        printed: what the paper prints.
        reading: how this package reads it.
        ids: config ids of a distillation whose values say what was run.
    """

    title: str
    printed: str
    reading: str
    ids: tuple[str, ...] = ()


_GRAM = "distillation#terms#gram"
_KL = "distillation#terms#logits#loss"
_AFFINITY = "distillation#terms#affinity"

CONTRADICTIONS = (
    Contradiction(
        "Single modules hurt, pairs help",
        "In the table of modules (printed as table 4) each module alone lowers ENet: the logits at all six sites, "
        "affinity and kernel at all but S3. Every pair raises it at every site. At S2 two pairs (.691 and .679) are "
        "above the full method (.642), which is printed in bold. One run, no spread.",
        "All eight rows are run with the same seeds and splits; nothing is bold without a test.",
    ),
    Contradiction(
        "Three kinds of Gram matrix",
        "Equation 5 has one entry for each pair of samples; the abstract speaks of style across features, which is one "
        "for each pair of channels; section 2 of pixel similarity, which is one for each pair of pixels.",
        "The equation's: one entry for each pair of samples of the mini-batch, on samples scaled to unit length. "
        "Unscaled, as printed, it starts near 1e14 at full size. “auto” is the matrix over the batch where "
        "batches have several samples, else that over channels.",
        (f"{_GRAM}#loss#mode", f"{_GRAM}#loss#normalize", f"{_GRAM}#loss#reduction"),
    ),
    Contradiction(
        "What the 1×1 convolution aligns",
        "It is said to align the spatial resolution. A 1×1 convolution changes channels and leaves the resolution.",
        "It aligns the channels; both networks have stride 8 at the layer in use.",
        (f"{_GRAM}#adapter", f"{_GRAM}#student_layer", f"{_GRAM}#teacher_layer"),
    ),
    Contradiction(
        "A sum from 0 to n",
        "Equation 6 sums over i from 0 to n, which are n + 1 terms of n samples, and squares a matrix.",
        "Over all pairs of the n samples, squared entry by entry; both of its terms are means.",
        (f"{_GRAM}#loss#reduction",),
    ),
    Contradiction(
        "Classes and pixels in equation 7",
        "The index i is the class, but the sum is divided by the number of pixels; a sum over pixels is missing. The "
        "divergence is printed as student from teacher, while the code of the method it builds on computes the other.",
        "Summed over classes and averaged over pixels; the direction is the printed one unless a row says otherwise.",
        (f"{_KL}#direction", f"{_KL}#temperature"),
    ),
    Contradiction(
        "Affinity on features or on probabilities",
        "The affinity is that of feature maps in six places, and of classification probabilities in one. The margin is "
        "not given.",
        "A softmax over the channels of the student's feature map; the margin is that of the method it cites.",
        (f"{_AFFINITY}#student_layer", f"{_AFFINITY}#loss#margin", f"{_AFFINITY}#loss#kernel"),
    ),
    Contradiction(
        "Sources of the segmentation loss",
        "The reference numbers for Dice loss and focal loss are off by one.",
        "MONAI's Dice and focal loss, half each.",
    ),
    Contradiction(
        "The learning rate",
        "It is said to fall from 0.01 to 1e-6; PyTorch's CyclicLR with the printed numbers starts at 1e-6, rises to 0.01 "
        "at iteration 2000 and falls again.",
        "Falling first, as the words say, unless a row says otherwise.",
        ("schedule", "learning_rate", "epochs", "batch_size"),
    ),
    Contradiction(
        "What is segmented",
        "It is called a tumour; the labels of the data sets in use outline the gland.",
        "The complete gland.",
    ),
    Contradiction(
        "Which ESPNet",
        "ESPNet is called ESPNetV2 in places; the printed parameters are those of ESPNet.",
        "ESPNet.",
    ),
    Contradiction(
        "Which DeepLab",
        "The reference given for DeepLabV3+ is that of versions 1 and 2; the printed parameters are those of V3+.",
        "DeepLabV3+ with an Xception backbone.",
    ),
    Contradiction(
        "What “unseen” means",
        "The introduction speaks of generalisation to unseen data; in the experiments students are trained on the target "
        "site, with a loss against its ground truth.",
        "cross_site: unseen by the teacher, while the students see labels of the target's training cases. "
        "loso: unseen by both.",
    ),
    Contradiction(
        "The comparison with SAML",
        "SAML is said to exceed the method. Its numbers come from another protocol, leave-one-site-out.",
        "Printed beside the table, compared with nothing; only a run under loso could be compared.",
    ),
    Contradiction(
        "Sites and data sets",
        "“Sites 1, 2, 3 … respectively” name two data sets for three sites.",
        "S1 and S2 from NCI-ISBI 2013, S3 from I2CVB, S4 to S6 from PROMISE12.",
    ),
    Contradiction(
        "The graphics card",
        "An RTX 3050 Ti with 16 GB is said to have been used; there is no such version of that card.",
        "No size or time is taken from it.",
    ),
    Contradiction(
        "The supplementary table",
        "A table called supplementary is printed as table 4.",
        "It is table 4 here.",
    ),
)


def setting(config: Mapping[str, Any], name: str) -> Any:
    """Return the value of a config id from a nested mapping; None where it is not there.

    Example:
        >>> setting({"a": {"b": 1}, "c#d": 2}, "a#b"), setting({"a": {"b": 1}, "c#d": 2}, "c#d"), setting({}, "a#b")
        (1, 2, None)
    """
    if name in config:
        return config[name]
    value: Any = config
    for part in name.split("#"):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def resolved(config: Mapping[str, Any], name: str) -> Any:
    """Return the value of a config id, or of the id that it refers to; None for an expression.

    Example:
        >>> resolved({"layer": "@high", "high": "encoder.2"}, "layer"), resolved({"layer": "$1 + 1"}, "layer")
        ('encoder.2', None)
    """
    value = setting(config, name)
    if isinstance(value, str) and value.startswith("@"):
        value = setting(config, value.removeprefix("@"))
    return None if isinstance(value, str) and value.startswith("$") else value
