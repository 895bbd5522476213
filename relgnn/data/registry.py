"""Data sets by name: where they are looked for, and how each is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from relgnn.config.base import DataConfig
from relgnn.data.described import read_descriptions
from relgnn.data.folder import read_folder
from relgnn.data.formats import read_findkg, read_grail, read_lastfm
from relgnn.data.graph import KnowledgeGraph
from relgnn.data.sources import TARGETS
from relgnn.errors import InputError

_CHECKOUT = Path(__file__).resolve().parents[2]
_EMBEDDED = Path(__file__).resolve().parent / "embedded"
_EMBEDDED_NAME = "atlas"
_DEFAULT_NAME = "codex_s"


@dataclass(frozen=True)
class DataSet:
    """A named data set: its sizes, what it is for, its reader, and where it was found."""

    name: str
    train: int
    valid: int
    test: int
    entities: int
    relations: int
    description: str
    read: Callable[[Path, str], KnowledgeGraph] = field(repr=False)
    path: Path | None = None


_GRAIL_SIZES = {
    "fb237_v1": (4245, 489, 492, 1594, 180),
    "fb237_v1_ind": (1993, 206, 205, 1093, 180),
    "fb237_v2": (9739, 1166, 1180, 2608, 200),
    "fb237_v2_ind": (4145, 469, 478, 1660, 200),
    "fb237_v3": (17986, 2194, 2214, 3668, 215),
    "fb237_v3_ind": (7406, 866, 865, 2501, 215),
    "fb237_v4": (27203, 3352, 3361, 4707, 219),
    "fb237_v4_ind": (11714, 1416, 1424, 3051, 219),
    "WN18RR_v1": (5410, 630, 638, 2746, 9),
    "WN18RR_v1_ind": (1618, 185, 188, 922, 9),
    "WN18RR_v2": (15262, 1838, 1868, 6954, 10),
    "WN18RR_v2_ind": (4011, 411, 441, 2757, 10),
    "WN18RR_v3": (25901, 3097, 3152, 12078, 11),
    "WN18RR_v3_ind": (6327, 538, 605, 5084, 11),
    "WN18RR_v4": (7940, 934, 968, 3861, 9),
    "WN18RR_v4_ind": (12334, 1394, 1429, 7084, 9),
}
_ICEWS = partial(read_folder, allow=frozenset({"untrained_relation"}))
_DATA_SETS = {
    entry.name: entry
    for entry in (
        DataSet(
            "codex_s",
            32888,
            1827,
            1828,
            2034,
            42,
            "Wikidata with a Wikipedia page per entity; the main job",
            read_folder,
        ),
        DataSet(
            "codex_m",
            185584,
            10310,
            10311,
            17050,
            51,
            "Wikidata, larger, with checked negatives",
            read_folder,
        ),
        DataSet(
            "wn18rr", 86835, 3034, 3134, 40943, 11, "WordNet with names and glosses", read_folder
        ),
        DataSet(
            "fb15k237",
            272115,
            17535,
            20466,
            14541,
            237,
            "Freebase with names and first sentences",
            read_folder,
        ),
        DataSet(
            "umls",
            5216,
            652,
            661,
            135,
            46,
            "medical concepts; a smoke test in seconds",
            read_folder,
        ),
        DataSet(
            "nations",
            1592,
            199,
            201,
            14,
            55,
            "relations of 14 countries; a smoke test in seconds",
            read_folder,
        ),
        DataSet(
            "litwd1k",
            26115,
            1451,
            1451,
            1533,
            47,
            "Wikidata with numeric literals",
            partial(read_folder, fourth="aliases"),
        ),
        DataSet(
            "icews14",
            74845,
            8514,
            7371,
            7128,
            230,
            "dated political events: predict the future",
            _ICEWS,
        ),
        DataSet(
            "findkg",
            110121,
            10618,
            12201,
            13645,
            15,
            "financial news by week: predict the future",
            read_findkg,
        ),
        DataSet(
            "lastfm_kg",
            15518,
            0,
            0,
            9366,
            60,
            "knowledge around musicians, for recommendation",
            read_lastfm,
        ),
        *(
            DataSet(
                f"grail_inductive/{graph}",
                *sizes,
                "unseen entities: support graph and queries"
                if graph.endswith("_ind")
                else "inductive link prediction: the graph to train on",
                read_grail,
            )
            for graph, sizes in _GRAIL_SIZES.items()
        ),
    )
}


def search_folders() -> list[Path]:
    """Where named data sets are looked for, in order.

    `RELGNN_DATA`, then `data` and `../shared/data` beside the current directory and beside the
    checkout.
    """
    roots = (Path.cwd(), _CHECKOUT)
    named = [Path(os.environ["RELGNN_DATA"])] if os.environ.get("RELGNN_DATA") else []
    beside = [root / "data" for root in roots] + [root.parent / "shared/data" for root in roots]
    return list(dict.fromkeys(named + beside))


def find(name: str) -> Path | None:
    """The folder of a named data set; None where no search folder has it."""
    if name == _EMBEDDED_NAME:
        return _EMBEDDED / name
    folders = (folder / name for folder in search_folders())
    return next((folder for folder in folders if folder.is_dir()), None)


def folder_of(data: DataConfig) -> Path:
    """The folder that a configuration names.

    Raises:
        InputError: it is nowhere.
    """
    folder = data.path if data.path is not None else find(str(data.name))
    if folder is None:
        raise InputError(f"data.name: {_not_found(str(data.name))}")
    return folder


def load(name_or_path: str | Path) -> KnowledgeGraph:
    """The knowledge graph of a named data set or of a folder in the standard format.

    Args:
        name_or_path: a name that `list_datasets` gives, "atlas" (the embedded graph), or a path.

    Raises:
        InputError: where the name is unknown, its files are nowhere, or a file is broken.
    """
    name = str(name_or_path)
    if name == _EMBEDDED_NAME:
        return read_folder(_EMBEDDED / name, name)
    if name in _DATA_SETS:
        path = find(name)
        if path is None:
            raise InputError(_not_found(name))
        return _DATA_SETS[name].read(path, name)
    if Path(name).is_dir():
        return read_folder(Path(name))
    near = difflib.get_close_matches(name, [*_DATA_SETS, _EMBEDDED_NAME], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"{name!r} is neither a named data set nor a folder: {hint}`relgnn data list` gives the "
        "names"
    )


def load_graph(data: DataConfig) -> KnowledgeGraph:
    """A configuration's graph, cut to its fraction.

    Raises:
        InputError: see `load`, or the fraction cannot be drawn.
    """
    # a folder may have the name of a data set, and is meant all the same
    if str(data.path) in _DATA_SETS and not Path(str(data.path)).is_dir():
        raise InputError(
            f"data.path={data.path}: no such folder; the data set of that name is "
            f"data.name={data.path}"
        )
    graph = read_folder(data.path) if data.path is not None else load(str(data.name))
    if data.descriptions == "texts":
        graph = read_descriptions(graph)
    return graph.at_fraction(data.fraction, data.split_seed)


def load_default() -> tuple[KnowledgeGraph, str]:
    """The best data at hand, and a sentence that says which it is and why.

    CoDEx-S where a search folder has it, else the embedded graph.
    """
    path = find(_DEFAULT_NAME)
    if path is not None:
        return load(_DEFAULT_NAME), f"{_DEFAULT_NAME} from {path}"
    return load(_EMBEDDED_NAME), (
        f"the embedded graph {_EMBEDDED_NAME}, because {_not_found(_DEFAULT_NAME)}"
    )


def list_datasets() -> list[DataSet]:
    """Every named data set; `path` is None for one that was not found."""
    return [replace(entry, path=find(name)) for name, entry in _DATA_SETS.items()]


def _not_found(name: str) -> str:
    tried = ", ".join(str(folder) for folder in search_folders())
    get = f", or run `relgnn data get {name}`" if name in TARGETS else ""
    return (
        f"{name} was not found in {tried}: set RELGNN_DATA=FOLDER to the folder that holds "
        f"{name}{get}"
    )
