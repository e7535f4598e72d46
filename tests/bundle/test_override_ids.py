# SPDX-License-Identifier: Apache-2.0
"""Ids of overrides that no config has, with those that were meant."""

from __future__ import annotations

import re

import pytest
from monai.bundle import ConfigParser

from akd_monai.bundle._configs import check_overrides
from akd_monai.errors import UnknownNameError

CONFIG = {
    "epochs": 1,
    "distillation": {"terms": {"logits": {"loss": {"temperature": 1.0}}, "gram": {"weight": 0.9}}},
    "train": {"transforms": [{"_target_": "LoadImaged"}, {"_target_": "Resized", "mode": "nearest"}]},
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("epcohs", "unknown config id 'epcohs'. Did you mean 'epochs'? Known: distillation, epochs, train."),
        (
            "distillation#terms#logit#loss#temperature",
            "unknown config id 'distillation#terms#logit' in 'distillation#terms#logit#loss#temperature'. "
            "Did you mean 'distillation#terms#logits', 'distillation#terms#gram'? "
            "Known: distillation#terms#gram, distillation#terms#logits.",
        ),
        ("train::transforms::2::mode", "unknown config id 'train#transforms#2' in 'train::transforms::2::mode'."),
        ("epochs#first#second", "unknown config id 'epochs#first' in 'epochs#first#second'. Known: none."),
    ],
)
def test_the_part_that_does_not_exist_is_named_with_its_neighbours(name, said):
    with pytest.raises(UnknownNameError, match=re.escape(said)):
        check_overrides(ConfigParser(CONFIG), {name: 2})


def test_ids_that_exist_and_new_arguments_are_taken():
    check_overrides(ConfigParser(CONFIG), {"epochs": 2, "train#transforms#1#align_corners": True})
