# SPDX-License-Identifier: Apache-2.0
"""A student whose features hold the content of an image without its site's style, by reconstruction and swaps of styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from akd_monai.errors import InputError, check_mapping, check_number
from akd_monai.generalisation._companions import Companions, keyed
from akd_monai.generalisation._site_trainer import SiteTrainer, plain, trained
from akd_monai.generalisation._style import ContentStyleNetwork, content_of
from akd_monai.losses._checks import check_integer, full_precision, wide

__all__ = ["DisentangleOptions", "DisentangleTrainer"]

_SITES = 2


@dataclass(frozen=True)
class DisentangleOptions:
    """The numbers of the content and style split.

    Args:
        lambda_reconstruction: weight of the reconstruction of an image from its content and its style.
        lambda_content: weight of the content of an image with another site's style against its own.
        lambda_style: weight of the style of such an image against the style that it was given.
        style_size: numbers of a style, at least 1.
        learning_rate: of the optimizer (Adam) of style encoder and decoder.

    Raises:
        InputError: for a number out of its range.

    Example:
        >>> DisentangleOptions(lambda_content=0.0).style_size
        8
    """

    lambda_reconstruction: float = 1.0
    lambda_content: float = 0.1
    lambda_style: float = 0.1
    style_size: int = 8
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.startswith("lambda_"):
                check_number(name, value, at_least=0)
        check_integer("style_size", self.style_size, 1)
        check_number("learning_rate", self.learning_rate, above=0)


class DisentangleTrainer(SiteTrainer):
    r"""Train a student whose features rebuild an image with the help of a style, and stay the same in another style.

    The student's features at a layer, with mean 0 and variance 1 over space for each image and channel, are the content
    :math:`c(x)`. A small encoder gives the style :math:`s(x)`, a vector; a decoder D makes an image of both, in which
    the style sets scale and shift of normalised channels. For each image :math:`x_i` another image :math:`x_j` of the
    batch is drawn, of another site. All terms are means over all entries:

    .. math::
        L_\mathrm{rec} &= |D(c(x_i), s(x_i)) - x_i| \\
        x_{ij} &= D(c(x_i), s(x_j)) \\
        L_\mathrm{content} &= |c(x_{ij}) - \mathrm{sg}(c(x_i))| \\
        L_\mathrm{style} &= |s(x_{ij}) - \mathrm{sg}(s(x_j))| \\
        L &= L_\mathrm{task}(x) + \lambda_r L_\mathrm{rec} + \lambda_c L_\mathrm{content} + \lambda_s L_\mathrm{style}

    sg stops the gradient: an image in another style is pulled to what was found in the real one, not the reverse. Nothing
    is drawn from a distribution of styles, and there is no adversary. Any task and loss, 2D and 3D.

    **Batch normalisation.** Images in another style pass the student in training mode and do not update its running
    statistics: those are of real images alone.

    Encoder and decoder have an optimizer of their own and are not part of the student, which is an ordinary network
    afterwards. With all three weights 0 the training equals a plain one, bit for bit.

    Args:
        layer: module path of the content, such as ``metadata.json#distillation_layers#high``.
        image_shape: ``(channels, *spatial)`` of one input, used once to find the channels of the layer.
        options: a :class:`DisentangleOptions` or a mapping with its fields.
        initial_seed: of the initial weights of encoder and decoder.
        kwargs: all arguments of :class:`monai.engines.SupervisedTrainer`.

    Attributes:
        options: the numbers.
        split: encoder and decoder.
        companions: both and their optimizer, a :class:`~akd_monai.handlers.RunMember`: saved in
            ``resume.pt``, not with the network.

    Raises:
        InputError: for fewer than two source sites, no layer, several processes, accumulated gradients, or a teacher; and
            in an iteration whose batch has one site only.
        UnknownNameError: if the layer does not exist.

    Example:
        >>> from monai.data import DataLoader, Dataset
        >>> from torch import nn
        >>> from akd_monai.generalisation import SiteSampler
        >>> entry = {"image": torch.rand(1, 8, 8), "label": torch.zeros(1, 8, 8)}
        >>> dataset = Dataset([{**entry, "site": site} for site in ("BMC", "HK") for _ in range(2)])
        >>> sampler = SiteSampler(dataset, batch_size=4, sites_per_batch=2)
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1))
        >>> trainer = DisentangleTrainer(
        ...     layer="0", image_shape=(1, 8, 8), device="cpu", max_epochs=1, network=network,
        ...     train_data_loader=DataLoader(dataset, batch_size=4, sampler=sampler),
        ...     optimizer=torch.optim.Adam(network.parameters(), lr=1e-3), loss_function=nn.BCEWithLogitsLoss())
        >>> trainer.run()
        >>> sorted(trainer.state.loss_terms)
        ['content', 'reconstruction', 'style', 'task']

    Source: the split and the swap are the common idea of Huang et al., "Multimodal Unsupervised Image-to-Image
    Translation", ECCV 2018, arXiv:1804.04732, and Chartsias et al., "Disentangled Representation Learning in Cardiac
    Image Analysis", Medical Image Analysis 2019, arXiv:1903.09467; this form, with a student as the encoder of the
    content and neither a distribution of styles nor an adversary, is this package's own.
    """

    def __init__(
        self,
        *,
        layer: str | None,
        image_shape: Sequence[int],
        options: DisentangleOptions | Mapping[str, Any] | None = None,
        initial_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        _check_dimensions(image_shape)
        super().__init__(method="disentangle", sites=_SITES, layer=layer, image_shape=image_shape, **kwargs)
        self.options = _read_options(options)
        size = (len(image_shape) - 1, image_shape[0], self.feature_shape[1], self.options.style_size)
        network = keyed(lambda: ContentStyleNetwork(*size), initial_seed, "content and style")
        self.split: ContentStyleNetwork = network.to(self.state.device)
        self.companions = Companions(self, self.split, self.options.learning_rate)

    def total_loss(self, prediction: Any, label: Tensor) -> Tensor:
        """Return the task loss and the terms of the split."""
        task: Tensor = self._task_loss(prediction, label).mean()
        terms = {"task": task}
        weights = asdict(self.options)
        if any(weights[f"lambda_{name}"] for name in ("reconstruction", "content", "style")):
            terms |= {name: weights[f"lambda_{name}"] * value for name, value in self._split_terms().items()}
        self.state.loss_terms = {name: value.detach() for name, value in terms.items()}
        if len(terms) == 1:
            return task
        return torch.stack([value.float() for value in terms.values()]).sum()

    def _split_terms(self) -> dict[str, Tensor]:
        network = self.split
        features = self._features()
        with full_precision(features):
            image = wide(plain(self.state.output["image"]))
            content = content_of(wide(features))
            styles = network.style(image)
            rebuilt = network.decode(content, styles, image.shape[2:])
            given = styles[self._partners()]
            swapped = network.decode(content, given, image.shape[2:])
        # the student may run in half precision, its content is compared in full
        self._pass(swapped, trained(self.network), keep_statistics=True)
        with full_precision(features):
            return {
                "reconstruction": (rebuilt - image).abs().mean(),
                "content": (content_of(wide(self._features())) - content.detach()).abs().mean(),
                "style": (network.style(swapped) - given.detach()).abs().mean(),
            }

    def _partners(self) -> Tensor:
        """Return for each image the number of one of another site, drawn at random."""
        sites = self._batch_sites
        is_other = torch.tensor([[one != other for other in sites] for one in sites])
        if not bool(is_other.any(1).all()):
            raise self._refusal(
                f"needs batches of at least two sites, got {', '.join(sorted(set(sites)))} alone",
                "let the data loader draw by SiteSampler",
            )
        return torch.multinomial(is_other.float(), 1)[:, 0].to(self.state.device)


def _read_options(options: DisentangleOptions | Mapping[str, Any] | None) -> DisentangleOptions:
    if isinstance(options, DisentangleOptions):
        return options
    names = [field.name for field in fields(DisentangleOptions)]
    return DisentangleOptions(**check_mapping("options", options or {}, names))


def _check_dimensions(image_shape: Sequence[int]) -> None:
    if len(image_shape) not in (3, 4):
        raise InputError(
            f"disentangle is defined for 2D and 3D images, got image_shape {list(image_shape)}, wanted "
            "[channels, *spatial]."
        )
