# SPDX-License-Identifier: Apache-2.0
"""The MixStyle handler: when it acts, with whom, by which random numbers, and what it leaves behind."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from style_loops import by_loops
from torch import nn
from torch.utils.data import DataLoader

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.generalisation import MixStyle
from akd_monai.handlers import KeyedRandomness

CASES = ["BMC/Case00", "HK/Case00", "BMC/Case01", "BMC/Case02", "HK/Case01", "UCL/Case00"]


def net(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(dropout), nn.Conv2d(3, 1, 1))


def batch(seed=0, names=CASES):
    generator = torch.Generator().manual_seed(seed)
    level = torch.arange(len(names), dtype=torch.float32).reshape(-1, 1, 1, 1)
    image = torch.rand(len(names), 1, 6, 6, generator=generator) * (1 + level) + level
    return {"image": image, "label": torch.ones_like(image), "case_id": list(names)}


def trainer(network, *handlers, batches=None, epochs=1, seed=7, **settings):
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=batches or [batch()],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=nn.MSELoss(),
        train_handlers=[KeyedRandomness(seed), *handlers],
        **settings,
    )


def outputs_of(network, index, run):
    """Return what a layer and the one after it have seen in each forward pass: the layer's own output, and what followed."""
    own, passed = [], []
    own_layer = network[index].register_forward_hook(lambda _, __, out: own.append(out.detach().clone()))
    after = network[index + 1].register_forward_pre_hook(lambda _, args: passed.append(args[0].detach().clone()))
    run()
    own_layer.remove()
    after.remove()
    return own, passed


def styles(maps):
    return np.stack([maps.double().mean((2, 3)).numpy(), maps.double().std((2, 3), correction=0).numpy()], -1)


def test_each_sample_goes_towards_one_of_another_site_and_as_far_as_the_loops_say():
    """Solved back: the share and the partner of a sample follow from one channel, and have to fit all the others."""
    network = net()
    run = trainer(network, MixStyle(["0"], prob=1.0, alpha=1.0), epochs=6)
    own, passed = outputs_of(network, 0, run.run)
    assert len(own) == 6
    partners_seen = set()
    for before, after in zip(own, passed, strict=True):
        old, new = styles(before), styles(after)
        partners, shares = np.zeros(6, int), np.zeros(6)
        for b in range(6):
            fits = {}
            for p in range(6):
                if p != b:
                    share = (new[b, 0, 0] - old[p, 0, 0]) / (old[b, 0, 0] - old[p, 0, 0])
                    fits[p] = np.abs(share * old[b] + (1 - share) * old[p] - new[b]).max(), share
            partners[b] = min(fits, key=lambda p: fits[p][0])
            shares[b] = fits[partners[b]][1]
            assert CASES[b].split("/")[0] != CASES[partners[b]].split("/")[0]
            partners_seen.add((b, partners[b]))
        assert ((shares > 0) & (shares < 1)).all()
        expected, _ = by_loops(before.numpy(), partners, shares)
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-3, atol=1e-3)
    # 3 of the first, 4 of the second and 5 of the third site can be partners: most are
    assert len(partners_seen) > 15


def test_a_sample_without_a_partner_keeps_its_features_bit_for_bit():
    network = net()
    alone = batch(names=["BMC/Case00", "BMC/Case01"])
    run = trainer(network, MixStyle(["0"], prob=1.0), batches=[alone, batch(names=CASES)])
    own, passed = outputs_of(network, 0, run.run)
    assert torch.equal(own[0], passed[0])
    assert not torch.equal(own[1], passed[1])


def test_any_partner_is_a_permutation():
    handler = MixStyle(["0"], partner="any")
    draw = np.random.default_rng(0)
    found = [handler._partners({}, 5, draw).tolist() for _ in range(20)]
    assert all(sorted(one) == list(range(5)) for one in found)
    assert len({tuple(one) for one in found}) > 10


def steps(count, **values):
    """Return what a layer's hook needs of an engine, in each of many steps."""
    for iteration in range(1, count + 1):
        yield SimpleNamespace(state=SimpleNamespace(iteration=iteration, rank=0, **values))


def test_layers_are_mixed_as_often_as_asked_and_each_for_itself():
    handler = MixStyle(["0", "3"], prob=0.3)
    maps = batch()["image"]
    changed = []
    for engine in steps(1000, batch=batch()):
        changed.append([not torch.equal(handler._mixed(engine, layer, maps), maps) for layer in ("0", "3")])
    first, second = np.array(changed).T
    spread = 4 * math.sqrt(1000 * 0.3 * 0.7)
    assert abs(first.sum() - 300) < spread
    assert abs(second.sum() - 300) < spread
    assert abs((first & second).sum() - 90) < 4 * math.sqrt(1000 * 0.09 * 0.91)


def test_every_process_draws_for_itself():
    handler = MixStyle(["0"], prob=1.0)
    here, there = next(steps(1, batch=batch())), next(steps(1, batch=batch()))
    there.state.rank = 1
    maps = batch()["image"]
    assert not torch.equal(handler._mixed(here, "0", maps), handler._mixed(there, "0", maps))


def test_shares_are_those_of_the_beta_distribution():
    """Of Beta(0.1, 0.1), whose variance is 1/4 / 1.2."""
    handler = MixStyle(["0"], prob=1.0, alpha=0.1)
    # maps of one value: the mixed mean is 1 - share for the first and share for the second
    maps = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    shares = []
    for engine in steps(1000, batch={"case_id": ["BMC/Case00", "HK/Case00"]}):
        first, second = handler._mixed(engine, "0", maps).flatten().tolist()
        shares += [1 - first, second]
    assert abs(np.mean(shares) - 0.5) < 4 * math.sqrt(0.25 / 1.2 / 2000)
    assert np.var(shares) == pytest.approx(0.25 / 1.2, rel=0.05)


def test_a_network_in_eval_mode_is_the_one_without_it_bit_for_bit():
    """Also while a training runs, and so is its validation."""
    network, plain = net(), net()
    image = batch(3)["image"]
    found = []
    evaluator = SupervisedEvaluator(device="cpu", val_data_loader=[batch(3)], network=network)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda e: found.extend(e.state.output))
    run = trainer(network, MixStyle(["0", "3"], prob=1.0))

    def compare(engine):
        plain.load_state_dict(network.state_dict())
        evaluator.run()
        with torch.no_grad():
            expected = plain.eval()(image)
            assert torch.equal(network.eval()(image), expected)
        predicted = torch.stack([item["pred"] for item in found])
        assert torch.equal(predicted.as_subclass(torch.Tensor), expected)

    run.add_event_handler(Events.EPOCH_COMPLETED, compare)
    run.run()
    assert len(found) == 6


def test_a_training_leaves_names_types_and_hooks_of_the_network_as_they_were():
    network, plain = net(), net()
    trainer(network, MixStyle(["0", "1"])).run()
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in network.modules()] == [type(m) for m in plain.modules()]
    assert not any(m._forward_hooks for m in network.modules())


def test_a_failed_training_leaves_no_hook():
    network = net()
    run = trainer(network, MixStyle(["0"]), batches=[{"image": torch.ones(1, 2, 6, 6), "label": torch.ones(1)}])
    with pytest.raises(RuntimeError, match="expected input"):
        run.run()
    assert not any(m._forward_hooks for m in network.modules())


def weights_after(handlers=(), seed=7, stop=None, dropout=0.3):
    network = net(dropout)
    batches = [batch(0), batch(1), batch(2)]
    run = trainer(network, *handlers, batches=batches, seed=seed)
    masks = []
    network[2].register_forward_hook(lambda _, args, out: masks.append((out == 0) & (args[0] != 0)))
    run.run()
    return network.state_dict(), masks


def test_random_numbers_are_keyed_and_take_none_from_dropout():
    first, masks = weights_after([MixStyle(["0"])])
    torch.rand(5)
    again, _ = weights_after([MixStyle(["0"])])
    other, _ = weights_after([MixStyle(["0"])], seed=8)
    _, plain_masks = weights_after()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert all(torch.equal(one, two) for one, two in zip(masks, plain_masks, strict=True))


def test_a_probability_of_zero_is_a_training_without_it():
    none, _ = weights_after([MixStyle(["0"], prob=0.0)])
    plain, _ = weights_after()
    assert all(torch.equal(none[name], plain[name]) for name in plain)


class Half(nn.Sequential):
    """A network under autocast, which MONAI's trainer leaves off on a CPU."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


def test_mixed_precision_keeps_the_type_of_the_features():
    network = Half(*net())
    own, passed = outputs_of(network, 0, trainer(network, MixStyle(["0"], prob=1.0)).run)
    assert own[0].dtype == passed[0].dtype == torch.bfloat16
    assert not torch.equal(own[0], passed[0])


def cached(*names):
    cases = [{**{k: v[0] for k, v in batch(names=[name]).items()}, "case_id": name} for name in names]
    return DataLoader(CacheDataset(cases, progress=False), batch_size=2)


def test_cases_of_one_site_are_refused_before_the_first_step():
    network = net()
    with pytest.raises(InputError, match=r"the 2 training cases are of one \('BMC'\); train on several sites, or set"):
        trainer(network, MixStyle(["0"]), batches=cached("BMC/Case00", "BMC/Case01")).run()
    trainer(network, MixStyle(["0"], partner="any"), batches=cached("BMC/Case00", "BMC/Case01")).run()
    trainer(network, MixStyle(["0"]), batches=cached("BMC/Case00", "HK/Case01")).run()


def test_batches_that_do_not_name_their_cases_are_refused():
    unnamed = {name: value for name, value in batch().items() if name != "case_id"}
    with pytest.raises(InputError, match="gives 6 maps for a batch that names 0 cases; the items need 'case_id'"):
        trainer(net(), MixStyle(["0"], prob=1.0), batches=[unnamed]).run()


def test_layers_that_do_not_exist_or_give_no_map_are_refused():
    with pytest.raises(UnknownNameError, match="unknown layer 'frist' in Sequential"):
        trainer(net(), MixStyle(["frist"])).run()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Unflatten(1, (1, 6, 6)))
    with pytest.raises(InputError, match="layer '1' gives no map of features; name a layer before or after it"):
        trainer(flat, MixStyle(["1"], prob=1.0)).run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [None]}, r"MixStyle needs the module paths of layers, such as \['initial'\], got \[None\]"),
        ({"layers": []}, r"got \[\]; name early layers of the network"),
        ({"prob": 1.5}, "prob must be a probability from 0 to 1, got 1.5"),
        ({"prob": "half"}, "prob must be a probability from 0 to 1, got 'half'"),
        ({"alpha": 0}, "alpha must be a finite number above 0, got 0"),
        ({"partner": "sites"}, r"partner must be one of 'site', 'any', got 'sites'. Did you mean 'site'\?"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        MixStyle(**{"layers": ["0"], **changes})


def test_any_pair_of_sites_is_drawn_alike():
    handler = MixStyle(["0"])
    draw = np.random.default_rng(0)
    found = [handler._partners({"case_id": CASES}, 6, draw) for _ in range(600)]
    counts = dict.fromkeys(itertools.product(range(6), range(6)), 0)
    for partners in found:
        for index, partner in enumerate(partners):
            counts[index, partner] += 1
    for (index, partner), count in counts.items():
        others = [n for n in range(6) if CASES[n].split("/")[0] != CASES[index].split("/")[0]]
        expected = 600 / len(others) if partner in others else 0
        assert abs(count - expected) <= 4 * math.sqrt(expected), (index, partner)
