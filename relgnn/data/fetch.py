"""Build a named data set from its public home (`sources.py` says where that is).

Not everything in a developer's copy has a public home. The frozen strata and fractions of codex_s
were made for this project, so a fetched codex_s has none and draws its fractions; Wikidata's
descriptions, gathered from several sources, are left empty, and so are those of fb15k237, which a
loop over it would read.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path

from relgnn.data.sources import TARGETS, Source, Target
from relgnn.data.writing import whole_folder
from relgnn.errors import InputError, MachineError

Opener = Callable[[str], bytes]
"""Fetches a URL's bytes; raises OSError or HTTPException where it cannot."""


def download(url: str) -> bytes:
    """The bytes at a URL."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def get(
    name: str,
    folder: Path,
    opener: Opener = download,
    targets: Mapping[str, tuple[Target, ...]] = TARGETS,
) -> Path:
    """Build a named data set in `folder`/`name`; nothing is left behind where it fails.

    Args:
        name: one of `targets`.
        folder: where data sets are kept, such as ./data.
        opener: fetches a URL.
        targets: what to build for each name.

    Returns:
        The data set's folder.

    Raises:
        InputError: where the name has no public home here, the folder is taken, or the triples are
            not the expected ones.
        MachineError: where a download or a write fails.
    """
    if name not in targets:
        raise InputError(
            f"{name!r} cannot be fetched: expected one of {', '.join(targets)}; for another set "
            "copy its folder and set RELGNN_DATA to where it lies"
        )
    goal = Path(folder) / name
    if goal.exists():
        raise InputError(f"{goal} is already there: delete it to fetch {name} again")
    with whole_folder(goal) as beside:
        cache: dict[str, bytes] = {}
        columns = {"entities.tsv": (0, 2), "relations.tsv": (1,)}
        for target in targets[name]:
            texts = (_read_source(source, opener, cache) for source in target.sources)
            content = target.build(*texts)
            _verify(name, target, content)
            if target.name in columns:
                content = _only_used(content, beside, columns[target.name])
            (beside / target.name).write_bytes(content.encode())
    return goal


def _read_source(source: Source, opener: Opener, cache: dict[str, bytes]) -> str:
    if source.url not in cache:
        try:
            cache[source.url] = opener(source.url)
        except (OSError, HTTPException) as error:
            raise MachineError(
                f"{source.url} could not be downloaded ({error}): check the network, or copy the "
                "data set from elsewhere and set RELGNN_DATA to the folder that holds it"
            ) from error
    content = cache[source.url]
    try:
        return (_member(content, source.member) if source.member else content).decode("utf-8")
    except (tarfile.TarError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"{source.url} is not what was expected ({error}): report it, and copy the data set "
            "from elsewhere"
        ) from error


def _member(archive: bytes, name: str) -> bytes:
    # Archives differ in whether the files lie in a folder, so only the last part has to agree.
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as opened:
        for member in opened.getmembers():
            content = opened.extractfile(member) if member.isfile() else None
            if content is not None and Path(member.name).name == name:
                return content.read()
    raise KeyError(f"no {name} in the archive")


def _only_used(listed: str, folder: Path, columns: tuple[int, ...]) -> str:
    """The rows whose id occurs in the triples of `folder`: lists of names cover larger sets."""
    used: set[str] = set()
    for split in ("train", "valid", "test"):
        for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[:-1]:
            cells = line.split("\t")
            used.update(cells[column] for column in columns)
    rows = listed.split("\n")[:-1]
    return "".join(f"{row}\n" for row in rows if row.split("\t", 1)[0] in used)


def _verify(name: str, target: Target, content: str) -> None:
    found = hashlib.sha256(content.encode()).hexdigest()
    if target.sha256 is not None and target.sha256 != found:
        raise InputError(
            f"{name}/{target.name} has sha256 {found[:12]}…, expected {target.sha256[:12]}…: its "
            "public home changed, so copy the data set from elsewhere"
        )
