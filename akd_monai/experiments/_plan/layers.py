# SPDX-License-Identifier: Apache-2.0
"""The config file that a method lays over those of its student: a recipe, or a baseline of domain generalisation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akd_monai.bundle import recipe_path
from akd_monai.bundle._recipes import Recipe
from akd_monai.experiments._plan.methods import Method
from akd_monai.files import read_json, write_json

__all__ = ["Layer", "layer_of", "put_layer", "value_of"]


@dataclass(frozen=True)
class Layer:
    """A config file.

    Args:
        path: where it stands in a bundle.
        content: values by config id.
        needs: ids that only the experiment's file can give, and what each stands for.
    """

    path: str
    content: dict[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def referred(self) -> set[str]:
        """The ids to which its values refer; a bundle need not know them."""
        return set(re.findall(r"[@%](\w+)", json.dumps(list(self.content.values()))))


def layer_of(method: Method) -> Layer | None:
    """Return the config file of a method; ``None`` for one that has neither recipe nor baseline."""
    path = f"configs/method_{method.name}.json"
    if method.recipe is not None:
        recipe = Recipe(recipe_path(method.recipe))
        return Layer(path, dict(recipe.ids), dict(recipe.needs))
    if method.generalise is not None:
        # imports the transforms that the baselines add
        from akd_monai.generalisation import baseline_config

        return Layer(path, read_json(baseline_config(method.generalise)))
    return None


def value_of(method: Method, name: str) -> Any:
    """Return what a method sets a config id to; ``None`` where it leaves the bundle's value."""
    layer = layer_of(method)
    below = {} if layer is None else layer.content
    return method.settings.get(name, below.get(name))


def put_layer(layer: Layer, bundle: Path) -> None:
    """Write a config file into a bundle, unless it is there; a cell of an earlier run may be reading it."""
    path = bundle / layer.path
    if not path.is_file() or read_json(path) != layer.content:
        write_json(path, layer.content)
