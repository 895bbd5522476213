"""The explorer's files: what is vendored is what it says it is, and nothing parses text as HTML."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from relgnn.serving.app import STATIC

VENDOR = STATIC / "vendor"
OWN = sorted(STATIC.glob("*.js"))


def test_vendored_files_are_those_that_are_named() -> None:
    listed = json.loads((VENDOR / "VENDORED.json").read_text())
    for one in listed:
        content = (VENDOR / one["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
        licence = (VENDOR / one["licence_file"]).read_text()
        assert one["licence"] == "MIT" and "Permission is hereby granted, free of charge" in licence
        assert one["name"] and re.fullmatch(r"\d+\.\d+\.\d+", one["version"])
    code = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".mjs")}
    assert code == {one["file"] for one in listed}


def test_every_module_is_asked_for_before_another_one_names_it() -> None:
    """So that a page opens in one round of requests, not in one for each step of the imports."""
    page = (STATIC / "index.html").read_text()
    asked = re.findall(r'(?:modulepreload" href|module" src)="/static/([^"]+)"', page)
    assert sorted(asked) == [path.name for path in OWN]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_module_of_ours_makes_html_or_code_from_text(path: Path) -> None:
    text = path.read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http"):
        assert word not in text
    imported = re.findall(r'(?:from|import\()\s*"([^"]+)"', text)
    assert all((STATIC / name).resolve().is_relative_to(STATIC.resolve()) for name in imported)
    assert all((STATIC / name).is_file() for name in imported)
