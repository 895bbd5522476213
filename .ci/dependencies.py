"""What the project depends on: every version pinned, installed as pinned, under a known licence.

    make dependencies      one line for each fault, exit status 1 where there is one

It needs no network, so that it knows no advisories: `make advisories` asks for those.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)")
# what makes environments, ourselves, and builds of torch for GPUs, which torch itself pins
NOT_LOCKED = re.compile(r"pip|wheel|setuptools|relgnn|triton|(nvidia|cuda)-.*")
ALLOWED = frozenset(
    """MIT MIT-0 MIT-CMU 0BSD BSD BSD-2-Clause BSD-3-Clause Apache-2.0 ISC PSF-2.0 Zlib CC0-1.0
    BSL-1.0 CNRI-Python Unlicense HPND Public-Domain LLVM-exception MPL-2.0""".split()
)
"""Permissive ones; of the Mozilla licence, changes to its own files alone must be passed on."""
NAMES = {
    "mit license": "MIT", "mit": "MIT", "the mit license": "MIT",
    "bsd license": "BSD", "bsd": "BSD", "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause", "bsd-3": "BSD-3-Clause",
    "apache software license": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache": "Apache-2.0",
    "isc license (iscl)": "ISC", "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "public domain": "Public-Domain",
    "the unlicense (unlicense)": "Unlicense",
}  # fmt: skip
"""What licences are called in older metadata."""


class Installed(NamedTuple):
    """A package as it is installed.

    Args:
        version, licences: as its metadata say.
        needs: canonical names of what it depends on here.
        elsewhere: whether it is not from a package index.
    """

    version: str
    licences: tuple[str, ...]
    needs: tuple[str, ...] = ()
    elsewhere: bool = False


def licences_of(one: Distribution) -> tuple[str, ...]:
    """What a package's metadata say: an SPDX expression, or else classifiers, or else a text."""
    about = one.metadata
    if expression := about.get("License-Expression"):
        return _parts(expression)
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    written = classified or [(about.get("License") or "").split("\n")[0].strip()]
    return tuple(part for name in written if name for part in _parts(name))


def _parts(written: str) -> tuple[str, ...]:
    """The licences of an expression, or the one that a name stands for."""
    if known := NAMES.get(written.lower()):
        return (known,)
    return tuple(part.strip("() ") for part in re.split(r"\b(?:AND|OR|WITH)\b", written))


def needs_of(one: Distribution) -> tuple[str, ...]:
    """Canonical names of what a package depends on in this environment, extras left out."""
    written = map(Requirement, one.requires or ())
    return tuple(
        canonicalize_name(need.name)
        for need in written
        if need.marker is None or need.marker.evaluate({"extra": ""})
    )


def installed() -> dict[str, Installed]:
    """Every package of this environment by its canonical name."""
    return {
        canonicalize_name(one.name): Installed(
            one.version, licences_of(one), needs_of(one),
            one.read_text("direct_url.json") is not None,
        )
        for one in distributions()
    }  # fmt: skip


def faults(lock: str, requirements: Iterable[str], found: Mapping[str, Installed]) -> list[str]:
    """What is wrong, one line each.

    Args:
        lock: text of requirements.lock.
        requirements: of pyproject.toml.
        found: what is installed.
    """
    wrong, pins = [], {}
    for number, line in enumerate(lock.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        pin = PIN.fullmatch(line)
        if pin is None:
            wrong.append(f"requirements.lock:{number}: {line!r} is no exact version")
            continue
        name = canonicalize_name(pin[1])
        if name in pins:
            wrong.append(f"requirements.lock:{number}: {name} is pinned twice")
        pins[name] = pin[2]
    for written in map(Requirement, requirements):
        name = canonicalize_name(written.name)
        if name == "relgnn":
            continue
        if name not in pins:
            wrong.append(f"pyproject.toml: {name} is not in requirements.lock; run `make lock`")
        elif not written.specifier.contains(pins[name], prereleases=True):
            wrong.append(f"pyproject.toml: {written} does not allow the pinned {pins[name]}")
    for name, one in sorted(found.items()):
        if name not in pins:
            continue  # somebody's own
        for need in one.needs:
            if need not in pins and not NOT_LOCKED.fullmatch(need):
                wrong.append(f"{name} needs {need}, which is not in requirements.lock")
        if one.version.partition("+")[0] != pins[name]:
            wrong.append(f"{name} {one.version} is installed, {pins[name]} is pinned")
        if one.elsewhere:
            wrong.append(f"{name} {one.version} was installed from elsewhere than an index")
        unknown = [licence for licence in one.licences if licence not in ALLOWED]
        if unknown or not one.licences:
            said = ", ".join(unknown) or "none told"
            wrong.append(f"{name} {one.version}: licence {said} is not among the allowed ones")
    return wrong


def main() -> int:
    """Tell the faults of this checkout and this environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    written = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    found = installed()
    wrong = faults((ROOT / "requirements.lock").read_text("utf-8"), written, found)
    print("\n".join(wrong) or "all dependencies are pinned, as pinned, under known licences")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
