"""A round on disk: read back as written, with the contract's columns."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relgnn.data import KnowledgeGraph
from relgnn.data.graph import Text
from relgnn.errors import MachineError
from relgnn.loop.candidates import Candidates
from relgnn.loop.estep import Judgement
from relgnn.loop.records import (
    MAX_EVIDENCE,
    evidence_id,
    ledger_events,
    read_round,
    write_round,
)
from relgnn.posterior.selectors import Accepted
from relgnn.text.evidence import find_evidence
from tests.linkpred.toy import PEOPLE, TOWNS, toy_graph
from tests.loop.toy import posteriors

TOWN = len(PEOPLE)
TRIPLES = np.array([[0, 0, TOWN], [0, 1, TOWN], [TOWN, 2, 0], [1, 0, TOWN + 1], [2, 1, TOWN]])
P = np.array([0.9, 0.4, 0.05, 0.3, 0.7])


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    """Abra and Bremvik are on each other's page; Cyrus is with Bremvik in eight sentences."""
    texts = (
        Text("abra", f"{PEOPLE[0]} was born in {TOWNS[0]}. A second sentence.", 0),
        Text("town", f"{TOWNS[0]} is small. The painter {PEOPLE[0]} lives there.", TOWN),
        Text("bodil", f"Nobody knows. It rained in {TOWNS[1]}.", 1),
        Text("cyrus", " ".join(f"{PEOPLE[2]} saw {TOWNS[0]} {n} times." for n in range(8)), 2),
    )
    return replace(toy_graph(), texts=texts)


@pytest.fixture(scope="module")
def judgement(graph: KnowledgeGraph) -> Judgement:
    evidence = find_evidence(graph, graph.sentences())
    row = {
        pair: i
        for i, pair in enumerate(
            zip(evidence.pair_head.tolist(), evidence.pair_tail.tolist(), strict=True)
        )
    }
    pairs = [(0, TOWN), (TOWN, 0), (TOWN, 0), (1, TOWN + 1), (2, TOWN)]
    fold = np.array([0, 0, 0, 1, 1])
    head, relation, tail = TRIPLES.T
    found = Candidates(
        head, relation, tail, np.array([row[pair] for pair in pairs]), np.zeros(5),
        np.array([False, False, False, True, False]), fold,
    )  # fmt: skip
    features = None  # not recorded
    report = {"fused": {"label_frequency": 0.5}}
    return Judgement(found, posteriors(TRIPLES, P, fold), evidence, features, report)  # type: ignore[arg-type]


@pytest.fixture
def accepted() -> Accepted:
    reason = np.array(["kept", "low", "low", "cap", "kept"], dtype=object)
    return Accepted(np.array([0, 4]), P[[0, 4]], reason)


@pytest.fixture
def folder(tmp_path: Path, graph: KnowledgeGraph, judgement: Judgement, accepted: Accepted) -> Path:
    write_round(tmp_path / "1", graph, graph.sentences(), judgement, accepted)
    return tmp_path / "1"


def test_a_round_is_read_back(folder: Path, graph: KnowledgeGraph) -> None:
    table = read_round(folder, graph)
    assert (table.triples == TRIPLES).all()
    for column in (table.p, table.p_text, table.p_graph):
        assert (column == P).all()
    assert table.accepted.tolist() == [0.9, 0, 0, 0, 0.7]
    assert table.pseudo.triples.tolist() == TRIPLES[[0, 4]].tolist()
    assert table.pseudo.weight.tolist() == [0.9, 0.7]


def test_the_columns_are_those_of_the_contract(folder: Path) -> None:
    columns = {
        "candidates": ["pair_id", "head", "tail", "evidence_ids", "proposer", "fold"],
        "sentences": [
            "evidence_id", "text_id", "start", "end", "head", "tail", "head_span", "tail_span",
            "text_sha256",
        ],
        "posterior": [
            "pair_id", "relation", "p_text", "p_graph", "p_rules", "p", "weight", "calibrator_id",
        ],
    }  # fmt: skip
    for name, expected in columns.items():
        assert list(pd.read_parquet(folder / f"{name}.parquet").columns) == expected
    assert json.loads((folder / "calibration.json").read_text())["fused"]
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_pair_is_one_candidate_with_all_its_evidence(folder: Path) -> None:
    candidates = pd.read_parquet(folder / "candidates.parquet")
    assert list(zip(candidates["head"], candidates["tail"], strict=True)) == [
        (PEOPLE[0], TOWNS[0]), (TOWNS[0], PEOPLE[0]), (PEOPLE[1], TOWNS[1]), (PEOPLE[2], TOWNS[0]),
    ]  # fmt: skip
    assert candidates["proposer"].tolist() == ["text", "text", "graph", "text"]
    assert candidates["fold"].tolist() == [0, 0, 1, 1]
    texts = [[i.split(":")[0] for i in ids] for ids in candidates["evidence_ids"]]
    assert texts[0] == ["abra", "town"] and texts[2] == ["bodil"]
    assert len(texts[3]) == MAX_EVIDENCE


def test_silence_is_null(folder: Path) -> None:
    posterior = pd.read_parquet(folder / "posterior.parquet")
    assert posterior["p_rules"].isna().all()
    assert posterior["calibrator_id"].nunique() == 1


def test_sentences_can_be_found_again(folder: Path, graph: KnowledgeGraph) -> None:
    sentences = pd.read_parquet(folder / "sentences.parquet")
    texts = {text.id: text.text for text in graph.texts}
    for row in sentences.itertuples():
        text = texts[row.text_id][row.start : row.end]
        assert hashlib.sha256(text.encode()).hexdigest() == row.text_sha256
        assert row.evidence_id == f"{row.text_id}:{row.start}-{row.end}"
        start, end = row.tail_span
        assert text[start:end] == row.tail
    unnamed = sentences[sentences["head"] == PEOPLE[1]]
    assert unnamed["head_span"].tolist()[0].tolist() == [-1, -1]
    known = set(sentences["evidence_id"])
    assert {i for ids in read_round(folder, graph).evidence for i in ids} <= known


def test_ids_that_hold_the_separator_stay_apart(
    tmp_path: Path, graph: KnowledgeGraph, judgement: Judgement, accepted: Accepted
) -> None:
    names = list(graph.entities)
    names[0], names[TOWN], names[1], names[TOWN + 1] = "a|b", "c", "a", "b|c"
    odd = replace(graph, entities=tuple(names))
    write_round(tmp_path, odd, odd.sentences(), judgement, accepted)
    assert (read_round(tmp_path, odd).triples == TRIPLES).all()


def test_a_round_without_candidates_is_read_back(
    tmp_path: Path, graph: KnowledgeGraph, judgement: Judgement
) -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = replace(
        judgement, candidates=judgement.candidates.subset(none),
        posteriors=judgement.posteriors.subset(none),
    )  # fmt: skip
    nothing = Accepted(none, np.zeros(0), none.astype(object))
    write_round(tmp_path, graph, graph.sentences(), empty, nothing)
    table = read_round(tmp_path, graph)
    assert table.triples.shape == (0, 3) and len(table.pseudo) == 0 and table.evidence == []


def test_events_tell_what_was_taken_and_what_nearly_was(
    folder: Path, graph: KnowledgeGraph, judgement: Judgement, accepted: Accepted
) -> None:
    table = read_round(folder, graph)
    events = list(ledger_events(graph, table, judgement, accepted, floor=0.1))
    assert [e["p"] for e in events] == [0.9, 0.7, 0.4, 0.3]
    assert [e["decision"] for e in events] == ["accepted"] * 2 + ["rejected"] * 2
    assert [e["reason"] for e in events] == ["kept", "kept", "low", "cap"]
    first = events[0]
    assert (first["head"], first["relation"], first["tail"]) == (PEOPLE[0], "born", TOWNS[0])
    assert first["evidence_ids"] == table.evidence[0] and first["weight"] == 0.9


def test_everything_accepted_is_an_event_whatever_the_floor(
    folder: Path, graph: KnowledgeGraph, judgement: Judgement, accepted: Accepted
) -> None:
    table = read_round(folder, graph)
    events = list(ledger_events(graph, table, judgement, accepted, floor=0.99))
    assert [e["p"] for e in events] == [0.9, 0.7]


def test_an_evidence_id_names_characters_of_a_text(graph: KnowledgeGraph) -> None:
    sentence = graph.sentences()[1]
    assert evidence_id(sentence) == f"abra:{sentence.start}-{sentence.end}"


def test_a_full_disk_is_one_line_and_no_half_file(
    tmp_path: Path, graph: KnowledgeGraph, judgement: Judgement, accepted: Accepted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(self: pd.DataFrame, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(MachineError, match="no space left on the disk") as caught:
        write_round(tmp_path / "1", graph, graph.sentences(), judgement, accepted)
    assert "\n" not in str(caught.value) and not list((tmp_path / "1").iterdir())
