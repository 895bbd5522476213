"""Rewrites the embedded data set `atlas`: `python -m relgnn.data.embedded.build_atlas`."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random

from relgnn.data.embedded.atlas_source import (
    FOLDER,
    SYMMETRIC,
    Entity,
    Facts,
    Triple,
    read_facts,
    slug,
)
from relgnn.data.embedded.atlas_text import PageSentence, Writer, stated_in

SEED = 7
HELD_OUT = 0.1
SPLITS = ("train", "valid", "test")


def split_triples(triples: list[Triple], rng: Random) -> dict[str, list[Triple]]:
    """Splits 80/10/10 within each relation; the two directions of a border stay together.

    Args:
        triples: all triples, each once.
        rng: every draw comes from here.

    Returns:
        "train", "valid", "test" -> sorted triples. Every entity and relation is in train.
    """
    units: dict[str, list[list[Triple]]] = defaultdict(list)
    for head, relation, tail in triples:
        if relation != SYMMETRIC:
            units[relation].append([(head, relation, tail)])
        elif head < tail:
            units[relation].append([(head, relation, tail), (tail, relation, head)])
    degree = Counter(end for head, _, tail in triples for end in (head, tail))
    splits: dict[str, list[Triple]] = {name: [] for name in SPLITS}
    for relation in sorted(units):
        quota = round(HELD_OUT * len(units[relation]))
        wanted = {"test": quota, "valid": quota}
        rng.shuffle(units[relation])
        for unit in units[relation]:
            split = next((name for name, left in wanted.items() if left), "train")
            ends = Counter(end for head, _, tail in unit for end in (head, tail))
            if split != "train" and all(degree[end] > taken for end, taken in ends.items()):
                wanted[split] -= 1
                degree.subtract(ends)
            else:
                split = "train"
            splits[split] += unit
    return {name: sorted(rows) for name, rows in splits.items()}


def gloss_mentions(entities: dict[str, Entity]) -> dict[str, set[str]]:
    """Per entity the other entities that its description names."""
    by_name = {entity.name: key for key, entity in entities.items()}
    longest_first = sorted(by_name, key=len, reverse=True)
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b")
    return {
        key: {by_name[name] for name in pattern.findall(entity.description)} - {key}
        for key, entity in entities.items()
    }


def build() -> dict[str, bytes]:
    """Builds the data set in memory.

    Returns:
        File name -> content, for every file that is made from `source/`.
    """
    facts = read_facts()
    writer = Writer(facts, Random(SEED))
    pages = {key: writer.page(key, parts) for key, parts in writer.plan().items()}
    splits = split_triples(facts.triples, Random(SEED))
    files = {f"{name}.tsv": _tsv(splits[name]) for name in SPLITS}
    entities = facts.entities.values()
    files["entities.tsv"] = _tsv((e.id, e.name, e.description) for e in entities)
    files["types.tsv"] = _tsv((e.id, slug(kind), kind) for e in entities for kind in e.types)
    files["strata.tsv"] = _tsv(_strata(facts, pages, splits))
    files["texts.jsonl.gz"] = _texts(pages)
    return files


def _strata(
    facts: Facts, pages: dict[str, list[PageSentence]], splits: dict[str, list[Triple]]
) -> list[tuple[str, ...]]:
    in_node = gloss_mentions(facts.entities)
    in_page: dict[str, set[str]] = {}
    for key, (first, *others) in pages.items():
        in_node[key] |= first.mentions
        in_page[key] = {mention for sentence in others for mention in sentence.mentions}
    return [
        (name, *triple, stated_in(triple, in_node, in_page))
        for name in SPLITS
        for triple in splits[name]
    ]


def _tsv(rows: Iterable[Iterable[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _texts(pages: dict[str, list[PageSentence]]) -> bytes:
    lines = (
        {"id": f"page/{key}", "text": " ".join(s.text for s in sentences), "entity": key}
        for key, sentences in pages.items()
    )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    packed = io.BytesIO()
    # No time stamp and no file name: the same text gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(text.encode())
    return packed.getvalue()


def main(folder: Path = FOLDER) -> None:
    """Writes all built files into `folder`."""
    for name, content in build().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
