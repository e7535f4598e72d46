# SPDX-License-Identifier: Apache-2.0
"""Shape-aware meta-learning, re-implemented to first order for any 2D network with softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from monai.engines import IterationEvents
from torch import Tensor, nn

from akd_monai.errors import InputError, check_mapping, check_number
from akd_monai.generalisation._companions import Companions, keyed
from akd_monai.generalisation._episode import chosen_regions, clipped, metric_network, shape_compactness
from akd_monai.generalisation._shape import masked_mean, triplet_semihard
from akd_monai.generalisation._site_trainer import SiteTrainer, plain, trained
from akd_monai.losses import Activation
from akd_monai.losses._checks import full_precision, wide
from akd_monai.networks._wrappers import unwrap

__all__ = ["SamlOptions", "SamlTrainer", "saml_name"]

_META_TRAIN = 2
_SITES = _META_TRAIN + 1


@dataclass(frozen=True)
class SamlOptions:
    """The numbers of SAML; the defaults are those of its public code.

    Args:
        inner_learning_rate: of the inner step, and of the optimizer (Adam) that steps the meta-train loss itself.
        gradient_clip: largest norm of each tensor's gradient, in the inner step and in the meta step.
        lambda_compactness: weight of the compactness of the predicted shapes, 0 leaves it out.
        lambda_smoothness: weight of the triplet loss of contours, 0 leaves it out.
        margin: of the triplet loss.
        metric_learning_rate: of the optimizer (Adam) of the metric network.

    Raises:
        InputError: for a number out of its range.

    Example:
        >>> SamlOptions(lambda_smoothness=0.0).margin
        10.0
    """

    inner_learning_rate: float = 1e-4
    gradient_clip: float = 10.0
    lambda_compactness: float = 1.0
    lambda_smoothness: float = 0.005
    margin: float = 10.0
    metric_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.startswith("lambda_"):
                check_number(name, value, at_least=0)
            else:
                check_number(name, value, above=0)


def saml_name(network: nn.Module) -> str:
    """Return the name under which results of :class:`SamlTrainer` are shown.

    Example:
        >>> saml_name(nn.Conv2d(1, 2, 1))
        'SAML (re-implemented, first order, Conv2d)'
    """
    return f"SAML (re-implemented, first order, {type(unwrap(network)).__name__})"


class SamlTrainer(SiteTrainer):
    r"""Learn from two sites so that a step on them also helps on a third, and so that contours look alike at all sites.

    Each iteration is an episode. Its batch has images of three sites, as :class:`SiteSampler` draws them: two meta-train
    sites :math:`a, b`, and a meta-test site :math:`t`, the last one. With the task loss :math:`L`:

    .. math::
        L_\mathrm{train} &= \tfrac{1}{2} (L(a; \theta) + L(b; \theta)) \\
        \theta' &= \theta - \alpha \, \mathrm{clip}(\nabla_\theta L_\mathrm{train}) \\
        L_\mathrm{meta} &= L(t; \theta') + \lambda_c C(t; \theta') + \lambda_s S(a, b, t; \theta')

    The inner gradient carries no graph (first order), so that :math:`\nabla_\theta L_\mathrm{meta}` is the gradient at
    :math:`\theta'`. It is clipped, a tensor at a time, and stepped by the trainer's own optimizer; then an Adam of rate
    :math:`\alpha` steps :math:`\theta` along :math:`\nabla_\theta L_\mathrm{train}`, which is the one of the inner step
    and not clipped.

    * Compactness C: :math:`\sum P^2 / (4 \pi A)` over the meta-test images that have foreground, of the foreground's
      probability; P is 0.01 times the length of its outline in pixels, A its area, at least a pixel.
    * Smoothness S: triplet loss with semi-hard negatives of five embeddings, contour and background of a, contour of b,
      contour and background of t, each of another image with foreground where the site has two. An embedding is the mean
      of the layer's features over the contour (a pixel wide, inside) or over the ring of 5 pixels around it, by a network
      of two layers, C to 24 to 16, which has an Adam of its own. What an image without foreground would give is left out.

    **Batch normalisation.** Each site's images pass the network on their own, with the statistics of this site's images.
    The running statistics, which evaluation uses, are updated once by each of the three sites: by a and b at
    :math:`\theta`, by t at :math:`\theta'`. The pass for S sees images of all three and updates nothing.

    What differs from the published code: the network, and its loss, are those of the bundle; one slice is the input;
    slices without foreground are trained on too, where the bundle does; at test batch normalisation is in ``eval``
    mode, all slices are predicted, and no component is removed; the model is selected on source sites.

    The trainer's output holds the images of site a alone. Its terms are in ``engine.state.loss_terms``: ``meta_train``,
    ``meta_test``, ``compactness`` and ``smoothness``, the last three of which are minimised.

    Args:
        layer: module path of the features, such as ``metadata.json#distillation_layers#low``.
        image_shape: ``(channels, height, width)`` of one input, used once to find the channels of the layer.
        activation: of the network's outputs; SAML is defined for ``"softmax"`` of background and foreground.
        options: a :class:`SamlOptions` or a mapping with its fields.
        initial_seed: of the metric network's initial weights.
        kwargs: all arguments of :class:`monai.engines.SupervisedTrainer`.

    Attributes:
        name: the name under which results are shown.
        options: the numbers.
        companions: metric network and optimizers, a :class:`~akd_monai.handlers.RunMember`: saved in ``resume.pt``, not
            with the network.

    Raises:
        InputError: for fewer than three source sites, 3D images, sigmoid outputs, no layer, several processes, accumulated
            gradients, or a teacher; and in the first iteration for other than two classes, or a batch of other than
            three sites.
        UnknownNameError: if the layer does not exist.

    Example:
        >>> from monai.data import DataLoader, Dataset
        >>> from monai.losses import DiceLoss
        >>> from akd_monai.generalisation import SiteSampler
        >>> entry = {"image": torch.rand(1, 8, 8), "label": torch.zeros(1, 8, 8)}
        >>> entry["label"][:, 2:6, 2:6] = 1
        >>> dataset = Dataset([{**entry, "site": site} for site in ("BMC", "HK", "UCL") for _ in range(2)])
        >>> sampler = SiteSampler(dataset, batch_size=6)
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1))
        >>> trainer = SamlTrainer(
        ...     layer="0", image_shape=(1, 8, 8), device="cpu", max_epochs=1, network=network,
        ...     train_data_loader=DataLoader(dataset, batch_size=6, sampler=sampler),
        ...     optimizer=torch.optim.Adam(network.parameters(), lr=1e-3),
        ...     loss_function=DiceLoss(to_onehot_y=True, softmax=True))
        >>> trainer.run()
        >>> sorted(trainer.state.loss_terms)
        ['compactness', 'meta_test', 'meta_train', 'smoothness']

    Source: Liu, Dou and Heng, "Shape-aware Meta-learning for Generalizing Prostate MRI Segmentation to Unseen Domains",
    MICCAI 2020, arXiv:2007.02035, and its public code (github.com/liuquande/SAML), from which the numbers are.
    """

    def __init__(
        self,
        *,
        layer: str | None,
        image_shape: Sequence[int],
        activation: Activation = "softmax",
        options: SamlOptions | Mapping[str, Any] | None = None,
        initial_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        _check_definition(image_shape, activation)
        super().__init__(method="SAML", sites=_SITES, layer=layer, image_shape=image_shape, **kwargs)
        self.name = saml_name(self.network)
        self.options = _read_options(options)
        self._parameters = trained(self.network)
        self._train_optimizer = torch.optim.Adam(self._parameters.values(), lr=self.options.inner_learning_rate)
        self._train_gradients: dict[str, Tensor] = {}
        metric = keyed(lambda: metric_network(self.feature_shape[1]), initial_seed, "metric network")
        self.companions = Companions(
            self,
            metric.to(self.state.device),
            self.options.metric_learning_rate,
            {"meta_train_optimizer": self._train_optimizer},
        )
        self._prepare = self.prepare_batch
        self.prepare_batch = self._divided_batch
        self._episode: list[tuple[Tensor, Tensor]] = []
        self.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip_meta_gradient)
        self.optimizer.register_step_post_hook(self._step_meta_train)

    def _divided_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Return the images of the first meta-train site, and keep those of the other two."""
        image, label, *rest = self._prepare(*args, **kwargs)
        if rest and any(rest):
            raise self._refusal("passes an image and nothing else to the network", "use MONAI's default prepare_batch")
        image, label = plain(image), plain(label)
        order = list(dict.fromkeys(self._batch_sites))
        if len(order) != _SITES or len(self._batch_sites) != len(image):
            raise self._refusal(
                f"needs batches of {_SITES} sites, got {len(order)} ({', '.join(order)})",
                f"let the data loader draw by SiteSampler with sites_per_batch {_SITES}, and drop the last batch",
            )
        self._episode = []
        for site in order:
            members = torch.tensor([other == site for other in self._batch_sites], device=image.device)
            self._episode.append((image[members], label[members]))
        return self._episode[0]

    def total_loss(self, prediction: Any, label: Tensor) -> Tensor:
        """Return the meta loss, as a function of the parameters before the inner step."""
        first, second, test = self._episode
        logits = self._logits(prediction, first[0])
        if logits.shape[1] != 2:
            raise self._refusal(
                f"is defined for background and one foreground class, the network has {logits.shape[1]} outputs",
                "merge the classes, or choose another baseline",
            )
        other = self._pass(second[0], self._parameters)
        train = (self._task(prediction, label) + self._task(other, second[1])) / 2
        stepped = self._inner_step(train)
        tested = self._pass(test[0], stepped)
        values = {"meta_test": self._task(tested, test[1]), **self._shape_terms(tested, test, stepped)}
        terms = {"meta_train": train, **values}
        self.state.loss_terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack([value.float() for value in values.values()]).sum()

    def _task(self, prediction: Any, label: Tensor) -> Tensor:
        value: Tensor = self._task_loss(prediction, label).mean()
        return value

    def _inner_step(self, loss: Tensor) -> dict[str, Tensor]:
        """Return the parameters after one step of plain gradient descent; their gradient is that of the parameters."""
        scale = 1.0 if self.scaler is None else self.scaler.get_scale()
        names = list(self._parameters)
        found = torch.autograd.grad(loss * scale, list(self._parameters.values()), allow_unused=True)
        gradients = {name: g.detach() / scale for name, g in zip(names, found, strict=True) if g is not None}
        # an overflow of half precision: no inner step, and the scaler lowers its scale
        if self.scaler is not None and not all(bool(g.isfinite().all()) for g in gradients.values()):
            gradients = {}
        self._train_gradients = gradients
        stepped: dict[str, Tensor] = dict(self._parameters)
        for name, gradient in gradients.items():
            step = self.options.inner_learning_rate * clipped(gradient, self.options.gradient_clip)
            stepped[name] = self._parameters[name] - step
        return stepped

    def _shape_terms(
        self, prediction: Any, test: tuple[Tensor, Tensor], parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        values = {}
        if self.options.lambda_compactness:
            logits = self._logits(prediction, test[0])
            values["compactness"] = self.options.lambda_compactness * shape_compactness(logits, test[1])
        if self.options.lambda_smoothness:
            values["smoothness"] = self.options.lambda_smoothness * self._smoothness(parameters)
        return values

    def _smoothness(self, parameters: Mapping[str, Tensor]) -> Tensor:
        chosen = chosen_regions(self._episode)
        if not chosen:
            # nothing to compare, and still a value
            return sum((value.sum() * 0 for value in parameters.values()), torch.zeros((), device=self.state.device))
        self._pass(torch.stack([region.image for region in chosen]), parameters, keep_statistics=True)
        features = self._features()
        with full_precision(features):
            pairs = zip(wide(features), chosen, strict=True)
            means = torch.stack([masked_mean(maps, region.mask) for maps, region in pairs])
            kinds = torch.tensor([region.kind for region in chosen], device=means.device)
            embeddings: Tensor = self.companions.network(means)
            return triplet_semihard(embeddings, kinds, self.options.margin)

    def _clip_meta_gradient(self, _: Any) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        for parameter in self._parameters.values():
            if parameter.grad is not None:
                parameter.grad = clipped(parameter.grad, self.options.gradient_clip)

    def _step_meta_train(self, main: torch.optim.Optimizer, *_: Any) -> None:
        if bool(getattr(main, "found_inf", False)) or not self._train_gradients:
            return
        for name, parameter in self._parameters.items():
            parameter.grad = self._train_gradients.get(name)
        self._train_optimizer.step()
        self._train_gradients = {}


def _read_options(options: SamlOptions | Mapping[str, Any] | None) -> SamlOptions:
    if isinstance(options, SamlOptions):
        return options
    return SamlOptions(**check_mapping("options", options or {}, [field.name for field in fields(SamlOptions)]))


def _check_definition(image_shape: Sequence[int], activation: Activation) -> None:
    if len(image_shape) != 3:
        raise InputError(
            f"SAML is defined for 2D images, got image_shape {list(image_shape)}",
            remedy="choose another baseline for volumes",
        )
    if activation != "softmax":
        raise InputError(
            f"SAML is defined for softmax of background and one foreground class, the network's outputs are {activation}",
            remedy="choose another baseline",
        )
