# SPDX-License-Identifier: Apache-2.0
"""Batches of several sites: shares, fairness, keys, resuming, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from monai.data import Dataset
from monai.transforms import Compose

from akd_monai.data import KeyedSampler, SliceDataset
from akd_monai.errors import InputError
from akd_monai.generalisation import SiteSampler
from akd_monai.generalisation._sites import batch_sites, sites_by_case

# one site has far more samples than the others
LISTED = Dataset([{"site": site} for site in ["A"] * 20 + ["B"] * 5 + ["C"] * 2 + ["D"] * 3])


def drawn_sites(sampler, dataset=LISTED):
    return [dataset.data[index]["site"] for index in sampler]


@pytest.mark.parametrize("shares", [(7, 3, [3, 2, 2]), (6, 3, [2, 2, 2]), (4, 2, [2, 2])], ids=str)
def test_each_site_of_a_batch_has_its_share(shares):
    batch_size, sites, expected = shares
    sampler = SiteSampler(LISTED, batch_size=batch_size, sites_per_batch=sites, num_samples=batch_size * 40)
    drawn = drawn_sites(sampler)
    for start in range(0, len(drawn), batch_size):
        batch = drawn[start : start + batch_size]
        order = list(dict.fromkeys(batch))
        assert [batch.count(site) for site in order] == expected
        # the samples of a site stand together
        assert batch == sorted(batch, key=order.index)


def test_all_sites_are_drawn_equally_often_and_at_each_place():
    sampler = SiteSampler(LISTED, batch_size=3, num_samples=3 * 800)
    places = Counter((place % 3, site) for place, site in enumerate(drawn_sites(sampler)))
    assert len(places) == 12
    # 200 expected, standard deviation sqrt(800 * 1/4 * 3/4) = 12
    assert all(abs(count - 200) < 60 for count in places.values())


def test_samples_of_a_site_come_once_before_any_comes_twice():
    sampler = SiteSampler(LISTED, batch_size=4, sites_per_batch=4, num_samples=4 * 20)
    of_a = [index for index in sampler if LISTED.data[index]["site"] == "A"]
    assert sorted(of_a) == list(range(20))
    sampler.epoch = 1
    again = [index for index in sampler if LISTED.data[index]["site"] == "A"]
    assert sorted(again) == sorted(of_a)
    # each epoch has an order of its own
    assert again != of_a


def test_each_epoch_draws_sites_of_its_own():
    sampler = SiteSampler(LISTED, batch_size=3, num_samples=3 * 20)
    episodes = []
    for epoch in range(3):
        sampler.epoch = epoch
        episodes.append(drawn_sites(sampler))
    assert episodes[0] != episodes[1] != episodes[2] != episodes[0]


def test_all_sites_or_as_many_as_the_batch_holds():
    assert SiteSampler(LISTED, batch_size=8, sites_per_batch=None).sites_per_batch == 4
    assert SiteSampler(LISTED, batch_size=3, sites_per_batch=None).sites_per_batch == 3


def test_order_is_a_function_of_seed_and_epoch_and_starts_anywhere():
    sampler = SiteSampler(LISTED, batch_size=6, seed=3)
    first = list(sampler)
    torch.manual_seed(99)
    assert list(sampler) == first
    sampler.start = 12
    assert list(sampler) == first[12:]
    sampler.epoch = 1
    assert list(sampler) != first
    assert list(SiteSampler(LISTED, batch_size=6, seed=4)) != first
    assert isinstance(sampler, KeyedSampler)
    assert len(first) == len(sampler) == 30


def test_slices_are_drawn_with_their_epoch_and_another_key_each_time():
    case = {"image": torch.rand(1, 4, 4, 2), "label": torch.ones(1, 4, 4, 2)}
    cases = [{**case, "case_id": f"{site}/Case00", "site": site} for site in ("A", "B")]
    slices = SliceDataset(cases, Compose([]))
    sampler = SiteSampler(slices, batch_size=4, sites_per_batch=2, num_samples=16)
    sampler.epoch = 5
    drawn = list(sampler)
    assert all(epoch == 5 for epoch, _ in drawn)
    # four slices, each four times, under a key of its own
    assert len(set(drawn)) == 16
    assert Counter(index % 4 for _, index in drawn) == dict.fromkeys(range(4), 4)
    assert sites_by_case(slices) == {"A/Case00": "A", "B/Case00": "B"}
    batch = {"case_id": [slices[pair]["case_id"] for pair in drawn[:4]]}
    assert Counter(batch_sites(batch, sites_by_case(slices))) == {"A": 2, "B": 2}


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Dataset([{"site": "A"}, {"site": "B"}]), {}, "at least 3 sites, got 2 .A, B."),
        (Dataset([{"site": "A"}] * 4), {"sites_per_batch": None}, "at least 2 sites, got 1 .A."),
        (LISTED, {"batch_size": 2}, "a batch of 3 sites needs batch_size of at least 3, got 2"),
        (LISTED, {"sites_per_batch": 1}, "sites_per_batch must be at least 2, or null for all, got 1"),
        (Dataset([{"image": 0}] * 4), {}, "names no site; add the entry 'site'"),
        (Dataset([1, 2, 3]), {}, "a Dataset does not say which site a sample is of; give each entry"),
        ([1, 2, 3], {}, "a list does not say which site a sample is of"),
    ],
)
def test_what_is_refused(dataset, options, message):
    with pytest.raises(InputError, match=message):
        SiteSampler(dataset, **{"batch_size": 6, **options})


def test_a_batch_that_does_not_name_its_sites_is_refused():
    with pytest.raises(InputError, match="names neither site nor case; let each item"):
        batch_sites({"image": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="has case 'X', which the data set does not list"):
        batch_sites({"case_id": ["X"]}, {"Y": "A"})
