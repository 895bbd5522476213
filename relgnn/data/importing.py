"""The data folders of other libraries as folders in the standard format."""

from __future__ import annotations

from pathlib import Path

from relgnn.data.folder import SPLITS, Report, check_folder
from relgnn.data.foreign import Foreign
from relgnn.data.pykeen_folder import is_pykeen, read_pykeen
from relgnn.data.simkgc_folder import is_simkgc, read_simkgc
from relgnn.data.tables import find_file
from relgnn.data.writing import whole_folder
from relgnn.errors import InputError

OWN = ("entities.tsv", "relations.tsv", "texts.jsonl")
READERS = {
    # first, because SimKGC leaves the plain triples beside its own files
    "SimKGC": (is_simkgc, read_simkgc),
    "PyKEEN": (is_pykeen, read_pykeen),
}


def import_folder(source: Path, out: Path) -> tuple[str, Report]:
    """Write what a folder of PyKEEN or SimKGC holds as a folder that `read_folder` reads.

    Args:
        source: the folder; see `read_pykeen` and `read_simkgc`.
        out: the folder that is made, whole or not at all.

    Returns:
        The library, and what a check of the new folder says; there is no error in it.

    Raises:
        InputError: `out` is there, the folder is of neither, a file is missing or broken, or what
            it holds cannot be loaded.
        MachineError: `out` cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; give another --out, or delete it")
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; check the path")
    own = find_file(source, *OWN)
    if own is not None:
        raise InputError(
            f"{own}: is a file of our own format already; run `relgnn data check {source}`"
        )
    library = next((name for name, (fits, _) in READERS.items() if fits(source)), None)
    if library is None:
        raise InputError(
            f"{source}: holds neither PyKEEN's train.txt (or train.tsv, training.tsv, "
            "training/numeric_triples.tsv.gz) nor SimKGC's train.txt.json; give such a folder"
        )
    found = READERS[library][1](source)
    with whole_folder(out) as folder:
        for name, content in _files(found).items():
            (folder / name).write_text(content, encoding="utf-8", newline="")
        report = check_folder(folder)
        if report.errors:
            first = report.errors[0]
            raise InputError(f"{source}: as our format, {first.place}: {first.message}")
    return library, Report(out, report.problems, report.sizes)


def _files(found: Foreign) -> dict[str, str]:
    files = {
        f"{split}.tsv": "".join("\t".join(row) + "\n" for row in found.splits[split])
        for split in SPLITS
    }
    for name, table in (("entities", found.entities), ("relations", found.relations)):
        rows = (f"{id_}\t{words}\t{more}\n" for id_, (words, more) in table.items())
        files[f"{name}.tsv"] = "".join(rows)
    return files
