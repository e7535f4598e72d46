# SPDX-License-Identifier: Apache-2.0
"""What can be wrong in an experiment's settings, found before anything runs."""

from __future__ import annotations

from akd_monai.errors import InputError
from akd_monai.experiments._plan.bundles import Configs, check_ids, check_values, configs_of, is_new_term
from akd_monai.experiments._plan.matrix import Matrix, Method, Network

__all__ = ["check_matrix"]


def check_matrix(matrix: Matrix) -> None:
    """Refuse settings that no config has, that the experiment sets itself, or whose value is out of range.

    Raises:
        InputError: for a value, or a bundle that cannot be in an experiment.
        UnknownNameError: for an id that does not exist.
    """
    for teacher in matrix.teachers:
        _check_network(matrix, teacher, configs_of(teacher.bundle, student=False))
    for student in matrix.students:
        configs = configs_of(student.bundle, student=True)
        _check_network(matrix, student, configs)
        for method in matrix.methods:
            _check_method(method, student, configs)


def _check_network(matrix: Matrix, network: Network, configs: Configs) -> None:
    for where, settings in (("settings", matrix.settings), (f"settings of {network.name!r}", network.settings)):
        where = f"{where} of experiment {matrix.name!r}"
        check_ids(where, settings, configs)
        check_values(where, settings)


def _check_method(method: Method, student: Network, configs: Configs) -> None:
    where = f"settings of method {method.name!r} with {student.name!r}"
    read = {name: configs[name] for name in ("train.json", "distill.json")}
    check_ids(where, (name for name, value in method.settings.items() if not is_new_term(name, value)), read)
    check_values(where, method.settings)
    for name in method.settings:
        term = name.removeprefix("lambda_")
        if term != name and term not in method.terms:
            raise InputError(f"{name!r} is the weight of a term that the method leaves out", where=where)
