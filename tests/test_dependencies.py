"""The dependency audit: passes here, and tells every kind of fault."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.conftest import ROOT

AUDIT: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "dependencies.py"))
Installed = AUDIT["Installed"]
GOOD = {"a": Installed("1.0+cpu", ("MIT",), ("b",)), "b-c": Installed("2.0", ("BSD-3-Clause",))}
LOCK = "# pins\na==1.0\nB_c==2.0\nb==1\n"


def test_this_checkout_and_environment_have_no_fault() -> None:
    assert AUDIT["main"]() == 0


def test_what_is_in_order_is_no_fault() -> None:
    own = {"own": Installed("3", ("GPL-3.0-only",), elsewhere=True)}  # nobody depends on it
    assert AUDIT["faults"](LOCK, ["a>=1", "b-c==2.0", "relgnn[x]"], GOOD | own) == []


@pytest.mark.parametrize(
    ("lock", "requirement", "package", "said"),
    [
        (LOCK + "d>=1\n", "a", {}, "requirements.lock:5: 'd>=1' is no exact version"),
        (LOCK + "d @ https://x.example/d.whl\n", "a", {}, "is no exact version"),
        (LOCK + "A==1.0\n", "a", {}, "a is pinned twice"),
        (LOCK, "z", {}, "z is not in requirements.lock"),
        (LOCK, "a>=2", {}, "a>=2 does not allow the pinned 1.0"),
        (LOCK, "a", {"a": Installed("1.1", ("MIT",))}, "a 1.1 is installed, 1.0 is pinned"),
        (LOCK, "a", {"a": Installed("1.0", ("MIT",), ("e",))}, "a needs e, which is not in"),
        (LOCK, "a", {"a": Installed("1.0", ("MIT",), (), True)}, "from elsewhere than an index"),
        (LOCK, "a", {"a": Installed("1.0", ("MIT", "GPL-3.0-only"))}, "licence GPL-3.0-only is"),
        (LOCK, "a", {"a": Installed("1.0", ())}, "licence none told is not among"),
    ],
)
def test_every_fault_is_told(
    lock: str, requirement: str, package: dict[str, Any], said: str
) -> None:
    [fault] = AUDIT["faults"](lock, [requirement], GOOD | package)
    assert said in fault


@pytest.mark.parametrize(
    ("written", "licences"),
    [
        ("MIT License", ("MIT",)),
        ("MPL-2.0 AND MIT", ("MPL-2.0", "MIT")),
        ("Apache-2.0 WITH LLVM-exception OR (BSD-2-Clause)",
         ("Apache-2.0", "LLVM-exception", "BSD-2-Clause")),
        ("GPLv3", ("GPLv3",)),
    ],
)  # fmt: skip
def test_licences_are_read_one_by_one(written: str, licences: tuple[str, ...]) -> None:
    assert AUDIT["_parts"](written) == licences
