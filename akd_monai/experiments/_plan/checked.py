# SPDX-License-Identifier: Apache-2.0
"""What can be wrong in an experiment's settings, found before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from monai.bundle import ConfigParser

from akd_monai.errors import InputError, unknown_name
from akd_monai.experiments._plan.bundles import Configs, check_ids, check_values, configs_of, is_new_term
from akd_monai.experiments._plan.layers import Layer, layer_of
from akd_monai.experiments._plan.matrix import Matrix, Network
from akd_monai.experiments._plan.methods import Method

__all__ = ["check_matrix"]

# which cases are for what, which the experiment says once for all that is compared
_SPLIT = ("folds", "split_seed")


def check_matrix(matrix: Matrix) -> None:
    """Refuse settings that no config has, that the experiment sets itself, or whose value is out of range.

    Raises:
        InputError: for a value, or a bundle that cannot be in an experiment.
        UnknownNameError: for an id that does not exist.
    """
    for teacher in matrix.teachers:
        configs = configs_of(teacher.bundle, student=False)
        # it may leave test cases out of its sources
        _check_network(matrix, teacher, configs, ("split_seed",))
        is_adapted = any(matrix.has_adapted(labelled) for labelled in matrix.labelled_cases)
        _check_start(teacher, configs, is_adapted)
        if is_adapted or "teacher_at_target" in matrix.controls:
            _check_labelled(matrix, teacher, configs)
    for student in matrix.students:
        configs = configs_of(student.bundle, student=True)
        _check_network(matrix, student, configs, _SPLIT)
        _check_start(student, configs, matrix.has_pretrained)
        _check_labelled(matrix, student, configs)
        for method in matrix.methods:
            _check_method(method, student, configs)


def _check_network(matrix: Matrix, network: Network, configs: Configs, own: Sequence[str]) -> None:
    given = (
        ("settings", matrix.settings, ("folds",)),
        (f"settings of {network.name!r}", network.settings, own),
        # what learns at the target must not learn from its test cases
        (f"adapt of {network.name!r}", network.adapt, (*own, "folds")),
    )
    for what, settings, reserved in given:
        where = f"{what} of experiment {matrix.name!r}"
        check_ids(where, settings, configs, reserved)
        check_values(where, settings)


def _check_start(network: Network, configs: Configs, is_used: bool) -> None:
    """Check that a network which starts from the sources can, and that nothing is said of another one."""
    if network.adapt and not is_used:
        raise InputError(
            f"'adapt' of {network.name!r} has no effect: no row of it starts from weights of the sources",
            remedy='take it away, or add the control \'pretrained\', a method with "initial": "sources", or for a '
            'teacher one with "teacher": "adapted"',
        )
    if is_used:
        _check_has(network, configs, "initial_weights", "starts from weights of the sources")


def _check_labelled(matrix: Matrix, network: Network, configs: Configs) -> None:
    if matrix.labelled_cases != (None,):
        _check_has(network, configs, "labelled_cases", "learns from a number of labelled cases")


def _check_has(network: Network, configs: Configs, name: str, reason: str) -> None:
    if name not in configs["train.json"]:
        raise InputError(
            f"bundle {network.bundle!r} cannot be in this experiment, where it {reason}: its train.json has no {name}",
            remedy="python -m akd_monai new_bundle writes bundles of any network that have it",
        )


def _check_method(method: Method, student: Network, configs: Configs) -> None:
    where = f"settings of method {method.name!r} with {student.name!r}"
    files = ("train.json", "distill.json") if method.is_distilled else ("train.json",)
    read = {name: configs[name] for name in files}
    layer = layer_of(method)
    if layer is not None:
        _check_layer(layer, method, read)
        read["method"] = ConfigParser(layer.content)
    own = (name for name, value in method.settings.items() if not is_new_term(name, value))
    check_ids(where, own, read, _SPLIT)
    check_values(where, method.settings)
    if layer is None:
        _check_weights(method, where)


def _check_weights(method: Method, where: str) -> None:
    for name in method.settings:
        term = name.removeprefix("lambda_")
        if term != name and term not in method.terms:
            raise InputError(f"{name!r} is the weight of a term that the method leaves out", where=where)


def _check_layer(layer: Layer, method: Method, configs: Configs) -> None:
    """Refuse a recipe whose ids have no effect or are the experiment's own, or that needs what is not given."""
    named = method.recipe or method.generalise
    where = f"recipe {named!r} of method {method.name!r}"
    _check_needs(layer, method, where)
    plain = {name.removeprefix("+"): value for name, value in layer.content.items()}
    check_ids(where, (name for name in plain if _has(configs, name)), configs)
    for name, value in plain.items():
        # MONAI would accept the id and ignore it; an argument that has a default may be new
        parent = name.rpartition("#")[0] or name
        is_used = _has(configs, parent) or name in layer.referred or is_new_term(name, value)
        if not is_used and method.recipe is not None:
            known = sorted({str(key) for parser in configs.values() for key in parser.get()})
            raise unknown_name("config id", name, known, where=f"in {where}")


def _check_needs(layer: Layer, method: Method, where: str) -> None:
    given = {*method.settings, *(() if method.initial is None else ("initial_weights",))}
    missing = {name: what for name, what in layer.needs.items() if name not in given}
    if missing:
        needed = ", ".join(f"{name!r} ({what})" for name, what in missing.items())
        remedy = "add it to the settings of the method"
        if "initial_weights" in missing:
            remedy = 'let the method have "initial": "sources"'
        raise InputError(f"needs {needed}", where=where, remedy=remedy)


def _has(configs: Configs, name: str) -> bool:
    return any(name in parser for parser in configs.values())
