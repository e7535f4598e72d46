# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package: imports go one way, every name is public and documented or private, code stays airy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "akd_monai"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """Return the room of a dotted module name below the package."""
    return module.split(".")[0]


def floors() -> dict[str, int]:
    line = re.search(r"```text\n(.*<.*)\n```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert line is not None, "CONTRIBUTING.md states no order"
    return {room: floor for floor, rooms in enumerate(line[1].split("<")) for room in rooms.split()}


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "akd_monai":
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("akd_monai."):
            yield node.lineno, room_of(str(node.module).removeprefix("akd_monai."))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("akd_monai."):
                    yield node.lineno, room_of(alias.name.removeprefix("akd_monai."))


def upward_imports(path: Path, own: str, order: dict[str, int]) -> list[str]:
    found = []
    for line, room in imported_rooms(path):
        if room != own and order[room] >= order[own]:
            found.append(f"{path.name}:{line} imports {room}")
    return found


def test_every_room_has_its_place_in_the_order():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms == set(floors())


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name):
    own = room_of(name.replace("/", ".").removesuffix(".py"))
    if own != "__init__":
        assert upward_imports(PACKAGE / name, own, floors()) == []


def test_an_upward_import_is_found(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def run():\n    from akd_monai.bundle.load import load_network\n    return load_network\n")
    assert upward_imports(path, "losses", floors()) == ["bad.py:2 imports bundle"]


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "__all__":
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_exported_or_private(name):
    tree = parsed(PACKAGE / name)
    public = exported(tree)
    assert public is not None, "the module has no __all__"
    assert len(set(public)) == len(public)
    defined = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    astray = [n.name for n in defined if not n.name.startswith("_") and n.name not in public]
    assert astray == []
    undocumented = [n.name for n in defined if n.name in public and not ast.get_docstring(n)]
    assert undocumented == []


def module_file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def documented_names() -> set[str]:
    """Return every name that a reference page shows, by a module or alone."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").rglob("*.md"))
    found = set(re.findall(r"(?:auto(?:data|class|function)|py:data):: akd_monai[\w.]*\.(\w+)", pages))
    for module in re.findall(r"automodule:: (akd_monai[\w.]*)", pages):
        found |= set(exported(parsed(module_file(module))) or ())
    return found


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in Path(name).parts)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not is_private(name) and name not in ("__init__.py", "__main__.py")]
)
def test_every_public_name_is_on_a_reference_page(name):
    public = exported(parsed(PACKAGE / name)) or []
    assert sorted(set(public) - documented_names()) == []


@pytest.mark.parametrize("name", NAMES)
def test_code_is_airy(name):
    tree = parsed(PACKAGE / name)
    nested = []
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            inner = [n for part in (node.test, node.body, node.orelse) for n in ast.walk(part)]
            nested += [node.lineno for n in inner if isinstance(n, ast.IfExp)]
    assert nested == [], "a conditional expression stands inside another"
    crowded = []
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__init__"):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                targets = node.targets[0].elts
                crowded += [node.lineno for target in targets[:1] if isinstance(target, ast.Attribute)]
    assert crowded == [], "several attributes are set on one line of __init__"


# A word of its own for what the field has a word for; the second entry is the field's.
PRIVATE_WORDS = {
    r"\bcures?\b": "remedy",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bjudge[sd]?\b": "evaluate",
    r"\banew\b": "again",
    r"\bwhole numbers?\b": "integer",
    r"\bgoes on\b|\bgo on\b": "continue or resume",
    r"\blook(s|ed)? at\b": "forward pass, see or inspect",
    r"\bunder the eyes of\b": "by distillation from",
    r"\bleft aside\b": "skipped",
}


@pytest.mark.parametrize("name", NAMES)
def test_words_are_those_of_the_field(name):
    source = (PACKAGE / name).read_text(encoding="utf-8")
    found = []
    for pattern, better in PRIVATE_WORDS.items():
        for match in re.finditer(pattern, source, re.IGNORECASE):
            line = source.count("\n", 0, match.start()) + 1
            found.append(f"line {line}: {match[0]!r}, better {better}")
    assert found == []
