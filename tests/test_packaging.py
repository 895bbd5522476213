from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import relgnn
from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def locked() -> dict[str, str]:
    pins = (line.split("==") for line in lock_lines())
    return {canonicalize_name(name): version for name, version in pins}


def requirements() -> list[Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def test_lock_has_one_exact_public_version_each() -> None:
    lines = lock_lines()
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), line
    assert len(locked()) == len(lines)
    assert locked()["torch"] == "2.13.0"


def test_conda_environment_is_in_step_with_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, nested = environment["dependencies"]
    *pins, package = nested["pip"]
    assert environment["name"] == "relgnn"
    assert "python=3.11" in plain
    assert pins == lock_lines()
    assert package == "-e ."


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_lock_satisfies_every_dependency(requirement: Requirement) -> None:
    if requirement.name == PROJECT["name"]:
        assert requirement.extras <= set(PROJECT["optional-dependencies"])
        return
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    core = text.partition("dependencies = [\n")[2].partition("\n]")[0]
    extras = text.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    for line in core.splitlines() + extras.partition("dev = [\n")[2].splitlines():
        assert line == "]" or not line or re.search(r'",\s+# \w', line), line


def test_every_data_file_is_packaged() -> None:
    package = ROOT / "relgnn"
    packaged = {
        path
        for pattern in PYPROJECT["tool"]["setuptools"]["package-data"]["relgnn"]
        for path in package.glob(pattern)
    }
    files = {path for path in package.rglob("*.*") if path.is_file()}
    assert {path for path in files - packaged if path.suffix not in (".py", ".pyc")} == set()


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert newest is not None
    assert PROJECT["dynamic"] == ["version"]
    assert str(citation["version"]) == newest[1] == relgnn.__version__
    assert str(citation["date-released"]) == newest[2]


def test_licence_is_the_one_that_is_named() -> None:
    text = (ROOT / "LICENSE").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
