# SPDX-License-Identifier: Apache-2.0
"""MixStyle: in training, features take on the style of another site of the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.generalisation._probability import checked_probability
from akd_monai.generalisation.mixed_statistics import mix_statistics
from akd_monai.handlers._events import on_failure
from akd_monai.keys import random_key
from akd_monai.names import case_name, case_names
from akd_monai.networks import FeatureTaps, unwrap

__all__ = ["MixStyle", "Partner"]

#: The sample whose statistics are mixed in, one of another site or any of the batch.
Partner = Literal["site", "any"]


class MixStyle:
    r"""Mix the channel statistics of layers between samples of different sites, in training alone.

    In each forward pass of the trained network, with probability ``prob`` for each layer, the layer's output is replaced
    by :func:`mix_statistics` of it, with :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` for each sample. The partner
    of a sample is drawn uniformly from the samples of other sites in its batch; a sample without any keeps its features.

    The layers are hooked from outside, and only while a training runs: the network's modules, the names in its
    ``state_dict`` and its outputs in ``eval`` mode stay what they are, so that its weights are those of any training.

    Draws are a function of PyTorch's seed, iteration, process and layer, and take nothing from PyTorch's generators:
    with :class:`~akd_monai.handlers.KeyedRandomness`, a resumed run draws what it would have drawn, and dropout is that
    of a training without MixStyle.

    Args:
        layers: module paths, such as ``["initial"]``; early layers, whose statistics are those of the scanner.
        prob: probability that a layer is mixed in an iteration, 0 to 1.
        alpha: of the Beta distribution, above 0. The smaller, the more often nearly all is of one of the two.
        partner: ``"site"`` as above; ``"any"`` takes the partners by a permutation of the batch, whatever their sites.

    Raises:
        InputError: for values out of range; when the run starts, if its cases are of one site alone (a case's site is its
            name up to the last slash); in a forward pass, if a layer's output is no tensor with one entry for each case of
            the batch.
        UnknownNameError: when the run starts, for a layer that does not exist.

    Example:
        >>> from monai.engines import SupervisedTrainer
        >>> network = nn.Sequential(nn.Identity(), nn.Conv2d(1, 1, 1))
        >>> image = torch.rand(2, 1, 4, 4)
        >>> batch = {"image": image, "label": image, "case_id": ["BMC/Case00", "HK/Case00"]}
        >>> trainer = SupervisedTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[batch], network=network,
        ...     optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=nn.MSELoss(),
        ...     train_handlers=[MixStyle(["0"])])
        >>> trainer.run()
        >>> sorted(network.state_dict())
        ['1.bias', '1.weight']

    Source: Zhou et al., Domain generalization with MixStyle, ICLR 2021, arXiv:2104.02008.
    """

    def __init__(self, layers: Sequence[str], prob: float = 0.5, alpha: float = 0.1, partner: Partner = "site") -> None:
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        if not self.layers or not all(isinstance(layer, str) for layer in self.layers):
            raise InputError(
                f"MixStyle needs the module paths of layers, such as ['initial'], got {self.layers}; name early layers of "
                "the network: akd_monai.networks.list_layers(network) lists all."
            )
        self.prob = checked_probability(prob)
        check_number("alpha", alpha, above=0)
        check_choice("partner", partner, get_args(Partner))
        self.alpha = alpha
        self.partner = partner
        self._handles: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer of MONAI; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._stop)
        on_failure(engine, self._failed)

    def _start(self, engine: Any) -> None:
        self._remove()
        if self.partner == "site":
            _check_sites(engine.data_loader)
        network = unwrap(engine.network)
        # refuses names of layers that do not exist
        FeatureTaps(network, self.layers).close()
        for layer in self.layers:
            module = network.get_submodule(layer)
            self._handles.append(module.register_forward_hook(self._hook(engine, network, layer)))

    def _stop(self, _: Engine) -> None:
        self._remove()

    def _failed(self, _: Engine, __: BaseException) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, engine: Any, network: nn.Module, layer: str) -> Callable[..., torch.Tensor | None]:
        def mix(_: nn.Module, __: Any, output: Any) -> torch.Tensor | None:
            return self._mixed(engine, layer, output) if network.training else None

        return mix

    def _mixed(self, engine: Any, layer: str, output: Any) -> torch.Tensor:
        if not isinstance(output, torch.Tensor) or output.ndim < 3:
            raise InputError(f"MixStyle: layer {layer!r} gives no map of features; name a layer before or after it.")
        rank = getattr(engine.state, "rank", 0)
        # keyed by what KeyedRandomness has set for this iteration
        draw = np.random.default_rng(random_key(torch.initial_seed(), "mixstyle", engine.state.iteration, rank, layer))
        if draw.random() >= self.prob:
            return output
        shares = draw.beta(self.alpha, self.alpha, len(output))
        partners = self._partners(engine.state.batch, len(output), draw)
        shares[partners == np.arange(len(output))] = 1.0
        return mix_statistics(output, torch.from_numpy(partners), torch.from_numpy(shares))

    def _partners(self, batch: Any, count: int, draw: np.random.Generator) -> np.ndarray:
        """Return the partner of each sample, itself where there is none."""
        if self.partner == "any":
            return draw.permutation(count)
        sites = np.array([_site_of(name) for name in case_names(batch)])
        if len(sites) != count:
            raise InputError(
                f"MixStyle: a layer gives {count} maps for a batch that names {len(sites)} cases; the items need "
                "'case_id', as SITE/CASE, or set partner to 'any'."
            )
        partners = np.arange(count)
        for index in range(count):
            others = np.flatnonzero(sites != sites[index])
            if len(others):
                partners[index] = draw.choice(others)
        return partners


def _site_of(name: str) -> str:
    return name.rpartition("/")[0]


def _check_sites(loader: Any) -> None:
    """Refuse cases of one site, of which none has a partner; what a data set does not tell is found in the batches."""
    cases = getattr(getattr(loader, "dataset", None), "data", None)
    if not isinstance(cases, Sequence) or not all(isinstance(case, Mapping) for case in cases):
        return
    sites = sorted({_site_of(case_name(case, "")) for case in cases})
    if len(sites) < 2:
        raise InputError(
            f"MixStyle mixes the statistics of different sites, and the {len(cases)} training cases are of one "
            f"({sites[0]!r}); train on several sites, or set partner to 'any'."
        )
