# SPDX-License-Identifier: Apache-2.0
"""The paper's numbers: against its own means and against what is said about them."""

from __future__ import annotations

import pytest

from akd_monai.data import SITES
from akd_monai.experiments._pages.contradictions import CONTRADICTIONS, resolved
from akd_monai.experiments._pages.paper import PRINTED_BESIDE, paper_dice

NAMES = [site.name for site in SITES]
ALL = ("logits", "gram", "affinity")
# means over the six sites, computed from the paper's tables by another hand
MEANS = {
    ("deeplabv3plus", None, ()): 0.885,
    ("unetplusplus", None, ()): 0.883,
    ("enet", None, ()): 0.685,
    ("enet", "deeplabv3plus", ALL): 0.790,
    ("enet", "unetplusplus", ALL): 0.792,
    ("espnet", None, ()): 0.659,
    ("espnet", "deeplabv3plus", ALL): 0.744,
    ("espnet", "unetplusplus", ALL): 0.760,
    ("erfnet", None, ()): 0.737,
    ("erfnet", "deeplabv3plus", ALL): 0.817,
    ("erfnet", "unetplusplus", ALL): 0.827,
    ("enet", "deeplabv3plus", ("logits",)): 0.641,
    ("enet", "deeplabv3plus", ("affinity",)): 0.693,
    ("enet", "deeplabv3plus", ("gram",)): 0.684,
    ("enet", "deeplabv3plus", ("gram", "logits")): 0.742,
    ("enet", "deeplabv3plus", ("affinity", "logits")): 0.754,
    ("enet", "deeplabv3plus", ("affinity", "gram")): 0.758,
}


def row(network, teacher, terms):
    return [paper_dice(network, site, teacher=teacher, terms=terms).dice for site in NAMES]


@pytest.mark.parametrize(("key", "mean"), MEANS.items(), ids=map(str, MEANS))
def test_means_of_the_rows(key, mean):
    assert sum(row(*key)) / 6 == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize(("method", "mean"), [("MSKD", 0.699), ("EMKD", 0.632), ("SAML", 0.876), ("DRDG", 0.759)])
def test_means_of_the_rows_beside(method, mean):
    assert sum(PRINTED_BESIDE[method]) / 6 == pytest.approx(mean, abs=6e-4)


def test_what_is_said_about_the_modules_is_so():
    alone = row("enet", None, ())
    above = {}
    for terms in [
        ("logits",),
        ("affinity",),
        ("gram",),
        ("gram", "logits"),
        ("affinity", "logits"),
        ("affinity", "gram"),
    ]:
        dice = row("enet", "deeplabv3plus", terms)
        above[terms] = [site.code for site, d, a in zip(SITES, dice, alone, strict=True) if d > a]
    every = [site.code for site in SITES]
    assert list(above.values()) == [[], ["S3"], ["S3"], every, every, every]
    second = [paper_dice("enet", "BMC", teacher="deeplabv3plus", terms=t).dice for t in (*above, ALL)]
    assert second == [0.571, 0.599, 0.583, 0.679, 0.691, 0.611, 0.642]
    said = CONTRADICTIONS[0].printed
    assert all(phrase in said for phrase in ("all six sites", "all but S3", "(.691 and .679)", "(.642)"))


@pytest.mark.parametrize(
    "asked",
    [
        {"network": "enet", "target": "elsewhere"},
        {"network": "enet", "target": "HK", "teacher": "unetplusplus", "terms": ["logits"]},
        {"network": "espnet", "target": "HK", "teacher": "deeplabv3plus", "terms": ["logits"]},
        {"network": "enet", "target": "HK", "teacher": "another", "terms": ALL},
        {"network": "unet", "target": "HK"},
        {"network": "unetplusplus", "target": "HK", "teacher": "deeplabv3plus", "terms": ALL},
    ],
)
def test_what_the_paper_does_not_print_is_none(asked):
    assert paper_dice(**asked) is None


def test_every_contradiction_says_what_is_printed_and_how_it_is_read():
    assert len(CONTRADICTIONS) >= 14
    assert len({one.title for one in CONTRADICTIONS}) == len(CONTRADICTIONS)
    assert all(one.printed.endswith(".") and one.reading.endswith(".") for one in CONTRADICTIONS)


def test_a_reference_in_a_config_is_followed():
    config = {
        "distillation": {"terms": {"gram": {"student_layer": "@student_layer", "weight": "$0.9"}}},
        "student_layer": "e.4",
    }
    assert resolved(config, "distillation#terms#gram#student_layer") == "e.4"
    assert resolved(config, "distillation#terms#gram#weight") is None
    assert resolved(config, "distillation#terms#affinity#weight") is None
