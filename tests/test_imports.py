"""The order of the houses: an import goes to the left, never to the right."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

ORDER = (
    ("dropout", "errors", "spans"),
    ("config",),
    ("runtime", "native", "data", "ranking"),
    ("posterior",),
    ("training",),
    ("text", "gnn", "rules"),
    ("linkpred",),
    ("loop",),
    ("search",),
    ("explain", "audit"),
    ("serving",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
RANK = {house: rank for rank, houses in enumerate(ORDER) for house in houses}
FREE = ("runtime", "native", "data", "ranking")  # may import one another
MODULES = sorted((ROOT / "relgnn").rglob("*.py"))


def house(parts: tuple[str, ...]) -> str | None:
    """The house of a dotted path below `relgnn`; None for the package itself."""
    return parts[1] if len(parts) > 1 and parts[0] == "relgnn" else None


def imported(source: str, module: tuple[str, ...], is_package: bool) -> Iterator[str]:
    """The houses that a module imports from, wherever in the file it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base: tuple[str, ...] = ()
            if node.level:
                base = module[: len(module) - node.level + is_package]
            base += tuple(node.module.split(".")) if node.module else ()
            names = [base] if len(base) > 1 else [(*base, alias.name) for alias in node.names]
        else:
            continue
        yield from (found for found in map(house, names) if found in RANK)


def allowed(importer: str, target: str) -> bool:
    if importer == target or (importer in FREE and target in FREE):
        return True
    return RANK[target] < RANK[importer]


def name_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(name_of(path)))
def test_imports_go_to_the_left(path: Path) -> None:
    module = name_of(path)
    found = set(imported(path.read_text("utf-8"), module, path.name == "__init__.py"))
    importer = house(module)
    if importer is None:
        assert not found, "the package itself imports nothing"
        return
    assert importer in RANK, f"give {importer} its place in ORDER"
    assert [target for target in sorted(found) if not allowed(importer, target)] == []


@pytest.mark.parametrize(
    ("source", "module", "houses"),
    [
        ("import relgnn.gnn.layers as x", "relgnn.text.a", {"gnn"}),
        ("from relgnn import gnn, __version__", "relgnn.text.a", {"gnn"}),
        ("from relgnn.gnn import layers", "relgnn.text.a", {"gnn"}),
        ("from ..gnn.layers import y", "relgnn.text.a", {"gnn"}),
        ("from .. import gnn", "relgnn.text.a", {"gnn"}),
        ("from . import b", "relgnn.text.a", {"text"}),
        ("def f():\n    import relgnn.cli", "relgnn.text.a", {"cli"}),
        ("import relgnnx.gnn, os.path", "relgnn.text.a", set()),
    ],
)
def test_imports_are_seen(source: str, module: str, houses: set[str]) -> None:
    assert set(imported(source, tuple(module.split(".")), False)) == houses


def test_text_and_gnn_do_not_know_each_other() -> None:
    assert not allowed("text", "gnn")
    assert not allowed("gnn", "text")


def test_the_package_and_its_configuration_load_without_torch() -> None:
    code = "import sys, relgnn, relgnn.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
