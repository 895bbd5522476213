"""Where the named data sets live in public, at pinned revisions, and how their files are built."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A file of a public Git repository at a revision; `member` is a file in that archive."""

    repository: str
    revision: str
    path: str
    member: str | None = None

    @property
    def url(self) -> str:
        """Where the file is downloaded from."""
        return f"https://github.com/{self.repository}/raw/{self.revision}/{self.path}"


@dataclass(frozen=True)
class Target:
    """A file to build: from which sources, how, and the sha256 that it has to have."""

    name: str
    sources: tuple[Source, ...]
    build: Callable[..., str]
    sha256: str | None = None


def _plain(text: str) -> str:
    return "".join(line.rstrip("\r") + "\n" for line in text.split("\n") if line.strip())


def _pairs(text: str) -> dict[str, str]:
    cells = (line.split("\t", 1) for line in _plain(text).split("\n"))
    return {pair[0]: " ".join(pair[1].split()) for pair in cells if len(pair) == 2}


def _table(*columns: Mapping[str, str]) -> str:
    """One row for each id of the first column; "" where another column does not know it."""
    return "".join(
        "\t".join([item, *(column.get(item, "") for column in columns)]) + "\n"
        for item in columns[0]
    )


def _names(text: str) -> str:
    return _table(_pairs(text), {})


def _names_and_texts(names: str, texts: str) -> str:
    return _table(_pairs(names), _pairs(texts))


def _names_and_pages(names: str, pages: str) -> str:
    return _table(_pairs(names), {}, _pairs(pages))


def _underscored_names(text: str) -> str:
    return _table({item: name.replace("_", " ") for item, name in _pairs(text).items()}, {})


def _glosses(text: str) -> str:
    parts = {item: text.partition(", ") for item, text in _pairs(text).items()}
    return _table(
        {item: part[0] for item, part in parts.items()},
        {item: part[2] for item, part in parts.items()},
    )


def _labels(text: str) -> str:
    rows = {
        item: {k: " ".join(v.split()) for k, v in row.items()}
        for item, row in json.loads(text).items()
    }
    return _table(
        {item: row["label"] for item, row in rows.items()},
        {item: row["description"] for item, row in rows.items()},
    )


def _archived(archive: str, *sha256: str) -> tuple[Target, ...]:
    return tuple(
        Target(
            f"{split}.tsv",
            (Source("TimDettmers/ConvE", "f3c0eb2", archive, f"{split}.txt"),),
            _plain,
            digest,
        )
        for split, digest in zip(("train", "valid", "test"), sha256, strict=True)
    )


def _listed(repository: str, revision: str, folder: str, **sha256: str) -> tuple[Target, ...]:
    return tuple(
        Target(
            f"{name}.tsv", (Source(repository, revision, f"{folder}/{name}.txt"),), _plain, digest
        )
        for name, digest in sha256.items()
    )


def _kg_bert(path: str) -> Source:
    return Source("yao8839836/kg-bert", "0b8f625", f"data/{path}")


def _kogred(path: str) -> Source:
    return Source("morethan987/KoGReD", "8fc885e", f"data/CoDEx-S/{path}")


# What is checked is the triples: those that our figures were measured on, in the same order,
# whatever the archive around them looks like. The digests are those of the copy that this project
# was developed on. Names are not checked: they change what a model reads, not what it is asked.
TARGETS: Mapping[str, tuple[Target, ...]] = {
    "umls": (
        *_archived(
            "umls.tar.gz",
            "873ef4925516b83e7f6f8cc02b4be51d848828710a7f65a956f0ac4a9e452f35",
            "025c98f8a4891e2a6582ec5b40ee0d904031edad9c52554522f4b7904820c98e",
            "a7eb529a3d2810fcc96341ccc97c625a5e202f8389673aa6bd317eeebbb79014",
        ),
        Target(
            "entities.tsv",
            (_kg_bert("umls/entity2text.txt"), _kg_bert("umls/entity2textlong.txt")),
            _names_and_texts,
        ),
        Target("relations.tsv", (_kg_bert("umls/relation2text.txt"),), _names),
    ),
    "nations": _archived(
        "nations.tar.gz",
        "0830fa9da8e5bba2ccdaa45b7bdc9130451ba66b09ff2708f35fccaf82473e57",
        "2b337a62e51a2f45c283eac98a70d21b7e0e102136be1539b2a52c652a7b0530",
        "3971085165b47b6aeaec68058c6d8d98b3005e929db81268410b95ae4db770ab",
    ),
    "wn18rr": (
        *_listed(
            "intfloat/SimKGC",
            "97cc43e",
            "data/WN18RR",
            train="038612e783c215ee5f3ca9fbfca27b8d0739be1028fe4ee7c174aecf0b83d5df",
            valid="453ce7202afa58094a04d2b1560ee2b02660f1c260b32ce6651c8ccedd1028ab",
            test="0383bceaaa1096cf3c03ec021ed0048068e2355dbfc0239b292cefdac821cec5",
        ),
        Target("entities.tsv", (_kg_bert("WN18RR/entity2text.txt"),), _glosses),
        Target("relations.tsv", (_kg_bert("WN18RR/relation2text.txt"),), _names),
    ),
    "fb15k237": (
        *_archived(
            "FB15k-237.tar.gz",
            "61099230e4439f90885ca9767739e31e8e32f54736fa1c35952b27997bc7c08a",
            "749cbe9d923bac7b9354da5614ecfed2e0220256d442c3e04a6b303db1f273d9",
            "e2e35e8e6113de220140b6f44dc71a5207b0fc6872d575e874aefe13259b655b",
        ),
        Target(
            "entities.tsv",
            (Source("intfloat/SimKGC", "97cc43e", "data/FB15k237/FB15k_mid2name.txt"),),
            _underscored_names,
        ),
        Target("relations.tsv", (_kg_bert("FB15k-237/relation2text.txt"),), _names),
    ),
    "codex_s": (
        *_listed(
            "tsafavi/codex",
            "3132e42",
            "data/triples/codex-s",
            train="64f93b7f314f3936a6f65739721429db3f6a7c8f5a1e1104ec3bb544f7434f59",
            valid="3831c0e57daef03c3a18cdd1a72e370b496f696c5218883d35c7d2ab8a6a772c",
            test="27127fcb34688c4778e88a39ef3c9b540807da846021e9d9685660ac1838aca1",
            valid_negatives="c1d84860d6ee786419f1f118d0e9479c6614283b3e267afc158734389036901f",
            test_negatives="d3fb32c41f3be26d09484ace571965806f1ade0ca712551b0de684c283cdbb22",
        ),
        Target(
            "entities.tsv",
            (_kogred("entity2name.txt"), _kogred("entity2des.txt")),
            _names_and_pages,
        ),
        Target(
            "relations.tsv",
            (Source("tsafavi/codex", "3132e42", "data/relations/en/relations.json"),),
            _labels,
        ),
    ),
}
