# SPDX-License-Identifier: Apache-2.0
"""The methods of an experiment's file: how a student learns, beside the plain one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.data.protocols import Protocol
from akd_monai.errors import InputError, check_choice, check_mapping, unknown_name
from akd_monai.experiments._plan.bundles import is_new_term
from akd_monai.experiments._plan.named import find_baseline, find_recipe
from akd_monai.experiments._plan.values import folder_name, folder_names, mapping

__all__ = ["TERMS", "Context", "Method", "Teaching", "read_methods"]

TERMS = ("logits", "gram", "affinity")
# where a method's teacher has learned
Teaching = Literal["sources", "adapted", "several"]

_KEYS = ("terms", "settings", "recipe", "initial", "teacher", "generalise", "base", "labelled_cases")
# what only a student that is distilled can have
_DISTILLED = ("terms", "recipe", "initial", "teacher")


@dataclass(frozen=True)
class Method:
    """A way to learn.

    Args:
        name: what its rows are called.
        terms: the terms of the distillation that have a weight; none where a recipe says which.
        settings: config ids that are changed in the training.
        recipe: a recipe of the distillation, whose settings stand below ``settings``.
        initial: ``"sources"`` for a student that starts from what it learned at the sources.
        teacher: a teacher trained at the sources; the same ``"adapted"``, which is fine-tuned on the labelled cases that
            the student has; or ``"several"``, one teacher for each source site.
        generalise: a baseline of domain generalisation, in place of a distillation; it has no teacher.
        base: another method of the experiment with which this one is compared, beside the plain student and the control.
        labelled_cases: the numbers of labelled cases at which the method is run; ``None`` for all of the experiment's.
    """

    name: str
    terms: tuple[str, ...] = TERMS
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    initial: Literal["sources"] | None = None
    teacher: Teaching = "sources"
    generalise: str | None = None
    base: str | None = None
    labelled_cases: tuple[int | None, ...] | None = None

    @property
    def is_distilled(self) -> bool:
        """Whether the method has a teacher."""
        return self.generalise is None

    @property
    def is_as_printed(self) -> bool:
        """Whether it is the recipe of the paper, with the paper's teacher and first weights."""
        return self.recipe == "paper" and (self.initial, self.teacher) == (None, "sources") and not self.settings

    def is_run(self, labelled: int | None) -> bool:
        """Return whether the method has a row for that number of labelled cases."""
        return self.labelled_cases is None or labelled in self.labelled_cases


@dataclass(frozen=True)
class Context:
    """What the rest of an experiment's file says about its methods.

    Args:
        protocol: of the experiment.
        labelled_cases: of the experiment.
        reserved: names that no method can have.
        beside: folder of the experiment's file.
        where: the experiment, for messages.
    """

    protocol: Protocol
    labelled_cases: tuple[int | None, ...]
    reserved: tuple[str, ...]
    beside: Path
    where: str


def read_methods(given: Any, context: Context) -> tuple[Method, ...]:
    """Read the methods of an experiment.

    Args:
        given: entries by name.
        context: what the rest of the file says.

    Raises:
        InputError: if a value is of another kind, or what a method asks for does not exist under the protocol.
        UnknownNameError: for a key, term, recipe or baseline that does not exist.
    """
    methods = []
    for name, entry in mapping("methods", given, context.where).items():
        if name in context.reserved:
            raise InputError(
                f"a method cannot be called {name!r}, which is the name of another row", where=context.where
            )
        method = _read(folder_name("method", name, context.where), entry, context)
        _check_protocol(method, context)
        methods.append(method)
    for method in methods:
        _check_base(method, methods, context)
    return tuple(methods)


def _read(name: str, entry: Any, context: Context) -> Method:
    where = context.where
    values = check_mapping(f"method {name!r} of {where}", entry, _KEYS)
    settings = mapping(f"settings of {name!r}", values.get("settings", {}), where)
    of_method = f"of method {name!r} of {where}"
    generalise = find_baseline(values.get("generalise"), of_method)
    if generalise is not None:
        _check_alone(name, values, where)
    initial = values.get("initial")
    if initial is not None:
        check_choice(f"initial {of_method}", initial, ("sources",))
    teacher = values.get("teacher", "sources")
    check_choice(f"teacher {of_method}", teacher, get_args(Teaching))
    return Method(
        name=name,
        terms=() if generalise is not None else _terms(name, values, settings, where),
        settings=settings,
        recipe=find_recipe(values.get("recipe"), context.beside, of_method),
        initial=initial,
        teacher=teacher,
        generalise=generalise,
        base=values.get("base"),
        labelled_cases=_labelled(name, values.get("labelled_cases"), context),
    )


def _terms(name: str, values: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if values.get("recipe") is not None:
        if "terms" in values:
            raise InputError(
                f"method {name!r} has a recipe, which says which terms have a weight",
                where=where,
                remedy='take "terms" away and change weights by "settings", such as {"lambda_gram": 0.9}',
            )
        return ()
    listed = values.get("terms", list(TERMS))
    terms = () if listed == [] else folder_names("term", listed, where)
    for term in terms:
        if term not in TERMS:
            raise unknown_name("term", term, TERMS, where=f"of method {name!r}")
    if not terms and not any(is_new_term(*entry) for entry in settings.items()):
        raise InputError(f"method {name!r} has no term", where=where, remedy=f"name one of {', '.join(TERMS)}")
    return terms


def _check_alone(name: str, values: Mapping[str, Any], where: str) -> None:
    surplus = [key for key in _DISTILLED if key in values]
    if surplus:
        raise InputError(
            f"method {name!r} learns to generalise without a teacher and cannot have {', '.join(surplus)}",
            where=where,
            remedy="make two methods of it",
        )


def _check_protocol(method: Method, context: Context) -> None:
    """Refuse what does not exist under a protocol: baselines of generalisation need several sites, the rest a target."""
    name = method.name
    if context.protocol == "cross_site" and method.generalise is not None:
        raise InputError(
            f"method {name!r} generalises from several sites, and a student learns at one under 'cross_site'",
            where=context.where,
            remedy="run it in an experiment with the protocol 'loso'",
        )
    if context.protocol != "loso":
        return
    if method.initial is not None:
        raise InputError(
            f"method {name!r} starts from weights of the sources, where every student learns under 'loso'",
            where=context.where,
            remedy="take 'initial' away, or use the protocol 'cross_site'",
        )
    if method.teacher == "adapted":
        raise InputError(
            f"method {name!r} adapts its teacher to labelled cases of the target, from which nothing learns under 'loso'",
            where=context.where,
            remedy="take 'teacher' away, or use the protocol 'cross_site'",
        )


def _check_base(method: Method, methods: Sequence[Method], context: Context) -> None:
    """Refuse a method to be compared with that does not exist, or is not run where this one is."""
    if method.base is None:
        return
    others = {other.name: other for other in methods if other.name != method.name}
    if method.base not in others:
        raise unknown_name("base", method.base, others, where=f"of method {method.name!r} of {context.where}")
    base = others[method.base]
    if base.is_distilled != method.is_distilled:
        raise InputError(
            f"method {method.name!r} has a teacher and its base {method.base!r} has none, or the other way round",
            where=context.where,
        )
    for count in context.labelled_cases:
        if method.is_run(count) and not base.is_run(count):
            raise InputError(
                f"method {method.name!r} is run with {count} labelled cases, and its base {method.base!r} is not",
                where=context.where,
            )


def _labelled(name: str, given: Any, context: Context) -> tuple[int | None, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not given or len(set(map(repr, given))) != len(given):
        raise InputError(
            f"labelled_cases of method {name!r} must be a list without repetition, got {given!r}", where=context.where
        )
    for count in given:
        if isinstance(count, bool) or count not in context.labelled_cases:
            raise InputError(
                f"method {name!r} names {count!r} labelled cases, and the experiment has {list(context.labelled_cases)}",
                where=context.where,
            )
    return tuple(given)
