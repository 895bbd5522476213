"""SimKGC's data folders, as its preprocessing leaves them (Wang et al., ACL 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.data.folder import SPLITS
from relgnn.data.foreign import Foreign, Row, check_ids, one_line, require_file
from relgnn.data.tables import Problems, find_file, raise_alone, read_json

FILE = "{}.txt.json"
ENTITIES, RELATIONS = "entities.json", "relations.json"
TRIPLE = ("head_id", "relation", "tail_id")
ENTITY = ("entity_id", "entity", "entity_desc")


def is_simkgc(folder: Path) -> bool:
    """Whether a folder has triples for training where SimKGC keeps them."""
    return find_file(folder, FILE.format("train")) is not None


def read_simkgc(folder: Path) -> Foreign:
    """Read `{train, valid, test}.txt.json`, `entities.json` and `relations.json`.

    Triples are a list of {head_id, head, relation, tail_id, tail}, entities one of {entity_id,
    entity, entity_desc}; relations an object of id -> words. SimKGC writes the words into the
    triples, so that ids come back only where no two relations have the same words; without the
    file words are the ids. All plain or gzipped.

    Raises:
        InputError: a file is missing or broken.
    """
    problems = Problems()
    entities = _entities(folder, problems)
    relations = _relations(folder, problems)
    by_words = {words: id_ for id_, (words, _) in relations.items()}
    splits = {split: _triples(folder, split, entities, by_words, problems) for split in SPLITS}
    raise_alone(problems, folder)
    named = dict.fromkeys(relation for part in splits.values() for _, relation, _ in part)
    return Foreign(splits, entities, relations or {one: (one_line(one), "") for one in named})


def _entries(path: Path, keys: tuple[str, ...], problems: Problems) -> list[list[str]]:
    """The values of `keys` in each object of a list; a problem for each that lacks one."""
    content: Any = read_json(path, problems)
    if not isinstance(content, list):
        if content is not None or not problems.found:
            problems.error("json", path, None, "expected a list of objects: preprocess it anew")
        return []
    found = []
    for number, entry in enumerate(content, 1):
        values = [entry.get(key) for key in keys] if isinstance(entry, dict) else []
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(keys):
            found.append(texts)
        else:
            problems.error(
                "entry", path, None,
                f"entry {number} of the list: expected texts as {', '.join(keys)}: correct it",
            )  # fmt: skip
    return found


def _entities(folder: Path, problems: Problems) -> dict[str, tuple[str, str]]:
    path = require_file(folder, "entities", (ENTITIES,))
    found: dict[str, tuple[str, str]] = {}
    for id_, name, description in _entries(path, ENTITY, problems):
        if id_ in found:
            problems.error("duplicate_id", path, None, f"{id_!r} is there twice: keep one")
        elif check_ids((id_,), path, None, problems):
            found[id_] = one_line(name), one_line(description)
    return found


def _relations(folder: Path, problems: Problems) -> dict[str, tuple[str, str]]:
    path = find_file(folder, RELATIONS)
    if path is None:
        return {}
    content: Any = read_json(path, problems)
    if not isinstance(content, dict) or not all(isinstance(x, str) for x in content.values()):
        problems.error("json", path, None, "expected an object of id and words: preprocess it anew")
        return {}
    check_ids(content, path, None, problems)
    if len(set(content.values())) < len(content):
        problems.error(
            "words", path, None, "two relations have the same words: give each words of its own"
        )
    return {id_: (words, "") for id_, words in content.items()}


def _triples(
    folder: Path,
    split: str,
    entities: dict[str, tuple[str, str]],
    by_words: dict[str, str],
    problems: Problems,
) -> list[Row]:
    path = require_file(folder, f"{split} triples", (FILE.format(split),))
    found = []
    for number, (head, relation, tail) in enumerate(_entries(path, TRIPLE, problems), 1):
        strange = next((end for end in (head, tail) if end not in entities), None)
        if strange is not None:
            problems.error(
                "unknown_entity", path, None,
                f"triple {number}: {strange!r} is not in {ENTITIES}: add it there",
            )  # fmt: skip
        elif by_words and relation not in by_words:
            problems.error(
                "unknown_relation", path, None,
                f"triple {number}: {relation!r} is not in {RELATIONS}: add it there",
            )  # fmt: skip
        elif check_ids((relation,), path, None, problems):
            found.append((head, by_words.get(relation, relation), tail))
    return found
