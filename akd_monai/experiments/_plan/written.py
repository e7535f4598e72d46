# SPDX-License-Identifier: Apache-2.0
"""What an experiment writes into its folder before its cells run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from akd_monai.bundle._parts import part_names
from akd_monai.experiments._plan.bundles import put_bundle
from akd_monai.experiments._plan.commands import bundle_settings
from akd_monai.experiments._plan.layers import layer_of, put_layer
from akd_monai.experiments._plan.matrix import Matrix, Network
from akd_monai.experiments._plan.parts import EXPERIMENT, Opened, Part
from akd_monai.files import read_json, write_json

__all__ = ["write_bundles", "write_experiment", "write_parts"]


def write_experiment(part: Part) -> None:
    """Write the experiment's file beside its results, so that they can be read without the original."""
    matrix = part.matrix
    content = {**read_json(part.file), "name": matrix.name, "dataset_dir": str(matrix.dataset_dir)}
    # a recipe of one's own may be named relative to the file
    for role, networks in (("teacher", matrix.teachers), ("student", matrix.students)):
        content[f"{role}s"] = {one.name: _network(role, one) for one in networks}
    for method in matrix.methods:
        if method.recipe is not None:
            content["methods"][method.name]["recipe"] = method.recipe
    write_json(part.folder / EXPERIMENT, content)


def _network(role: str, network: Network) -> dict[str, Any]:
    # a bundle of one's own may be gone when the results are read; its copy is not
    bundle = network.bundle if network.bundle in part_names() else f"bundles/{role}-{network.name}"
    content: dict[str, Any] = {"bundle": bundle, "settings": network.settings}
    return {**content, "adapt": network.adapt} if network.adapt else content


def write_parts(opened: Opened) -> None:
    """Write which parts an experiment has, in the folder that holds theirs."""
    parts = [part.folder.name for part in opened.parts]
    write_json(opened.folder / EXPERIMENT, {"name": opened.name, "parts": parts})


def write_bundles(matrix: Matrix, folder: Path) -> None:
    """Write the bundle of every network once, with the settings of the experiment in its configs."""
    for role, networks in (("teacher", matrix.teachers), ("student", matrix.students)):
        for network in networks:
            settings = bundle_settings(matrix, network)
            put_bundle(network.bundle, settings, folder / "bundles" / f"{role}-{network.name}")
    for method in matrix.methods:
        layer = layer_of(method)
        if layer is not None:
            for student in matrix.students:
                put_layer(layer, folder / "bundles" / f"student-{student.name}")
