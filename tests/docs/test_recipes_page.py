# SPDX-License-Identifier: Apache-2.0
"""The page on recipes: its table, its program, its own recipe, and that each flag and id exists."""

from __future__ import annotations

import json
import re
from inspect import signature

import pytest
import torch
from bundle_tools import small_bundle
from docs_tools import DOCS, blocks, commands
from fire.parser import DefaultParseValue

from akd_monai.bundle import DistillationWorkflow, build_network, distill_bundle, list_recipes, recipe_path
from akd_monai.bundle._recipes import Recipe

PAGE = "how-to/choose-a-recipe.md"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    teacher = small_bundle("unetplusplus", folder / "teacher")
    torch.save(build_network(teacher).state_dict(), teacher / "models" / "model.pt")
    return teacher, small_bundle("enet", folder / "student")


def test_every_recipe_is_in_the_table_with_its_weights():
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \|", page, re.MULTILINE))
    assert set(rows) == set(list_recipes())
    for name in set(rows) - {"unlabelled", "careful", "paper"}:
        weights = {key: value for key, value in Recipe(recipe_path(name)).ids.items() if key.startswith("lambda_")}
        for value in weights.values():
            assert not value or re.search(rf"\b{value:g}\b", rows[name]), (name, value)


def test_the_program_runs():
    exec(blocks(PAGE, "python")[0], {})


def test_flags_of_the_page_are_ids(pair):
    for command in commands(PAGE):
        if command[0] == "recipes":
            continue
        flags = {
            word[2:]: value for word, value in zip(command, [*command[1:], ""], strict=True) if word.startswith("--")
        }
        own = signature(distill_bundle).parameters
        ids = {name: DefaultParseValue(value) for name, value in flags.items() if name not in own}
        named = {name: flags[name] for name in ("recipe", "terms") if name in flags}
        DistillationWorkflow(*pair, **named, **(ids | {"sites": None}))


def test_the_recipe_of_ones_own_is_built(pair, tmp_path):
    (tmp_path / "my-recipe.json").write_text(blocks(PAGE, "json")[0])
    content = json.loads(blocks(PAGE, "json")[0])
    found = DistillationWorkflow(*pair, recipe=tmp_path / "my-recipe.json").parser.get_parsed_content("distillation")
    assert [term.name for term in found.active] == ["logits", "dist"]
    assert found.balance == "value"
    assert found.losses["logits"].mask == content["distillation#terms#logits#loss#mask"]
    assert found.active[0].factor(2) == pytest.approx(0.0067, abs=1e-4)
