"""The loop's task as a benchmark: what is given, what is scored, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.loop_benchmark.__main__ import main
from experiments.loop_benchmark.scoring import score_ranks, score_triples
from experiments.loop_benchmark.task import make, open_task
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.ranking.metrics import write_ranks
from relgnn.ranking.ranks import Ranks

pytestmark = pytest.mark.usefixtures("shared_data")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "task"
    make("codex_s", 0.1, 0, folder)
    return folder


@pytest.fixture(scope="module")
def graph(task: Path) -> KnowledgeGraph:
    return open_task(task)


def read(path: Path) -> list[list[str]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.split("\t") for line in data.decode().splitlines()]


def test_a_system_is_given_the_draw_and_no_more(task: Path, graph: KnowledgeGraph) -> None:
    given = {tuple(row) for row in read(task / "given.tsv")}
    assert len(given) == len(graph.train) == 3293
    hidden = {tuple(row) for row in read(task / "hidden.tsv")}
    test = {tuple(row[:3]) for row in read(task / "test.tsv")}
    assert not given & hidden and not given & test and len(test) == len(graph.test)
    assert {row[3] for row in read(task / "test.tsv")} == {"feature", "corpus", "none"}
    sentences = [json.loads("\t".join(row)) for row in read(task / "sentences.jsonl.gz")]
    assert len(sentences) == len(graph.sentences())
    numbers = {str(one["id"]) for one in sentences}
    entities = {row[0] for row in read(task / "entities.tsv")}
    for head, tail, sentence, kind in read(task / "candidates.tsv.gz")[:500]:
        assert head in entities and tail in entities and sentence in numbers and kind


def test_the_same_draw_gives_the_same_files(task: Path, tmp_path: Path) -> None:
    make("codex_s", 0.1, 0, tmp_path / "again")
    for file in task.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def ranks_file(graph: KnowledgeGraph, path: Path, rank: int, rows: slice = slice(None)) -> Path:
    triples = graph.test[rows]
    one = Ranks(*(np.full(len(triples), n) for n in (rank, rank, 500)))
    write_ranks(path, {"head": one, "tail": one}, triples, graph.entities, graph.relations)
    return path


def test_ranks_are_scored_by_stratum(graph: KnowledgeGraph, tmp_path: Path) -> None:
    found = score_ranks(graph, ranks_file(graph, tmp_path / "ranks.tsv", 4))
    assert {"all", "feature", "corpus", "none"} <= found.keys()
    assert all(part["mrr"] == pytest.approx(0.25) for part in found.values())
    lines = (tmp_path / "ranks.tsv").read_text().splitlines()
    (tmp_path / "turned.tsv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert score_ranks(graph, tmp_path / "turned.tsv") == found


def test_triples_are_scored(graph: KnowledgeGraph) -> None:
    none = score_triples(graph, graph.train)
    assert none["triples"] == 0 and none["precision"] is None
    everything = score_triples(graph, np.concatenate([graph.test, graph.hidden]))
    assert everything["precision"] == 1
    assert all(value == 1 for value in everything["recall"].values())
    false = graph.negatives["test"][:100]
    mixed = score_triples(graph, np.concatenate([graph.test[:100], false]))
    assert mixed["triples"] == 200 and mixed["precision"] == pytest.approx(0.5)
    assert mixed["recall"]["test"] == pytest.approx(100 / len(graph.test))


def test_what_cannot_be_scored(task: Path, graph: KnowledgeGraph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1818 of 1828 test triples have no rank of their head"):
        score_ranks(graph, ranks_file(graph, tmp_path / "part.tsv", 1, slice(10)))
    with pytest.raises(InputError, match="ranks of the head are impossible"):
        score_ranks(graph, ranks_file(graph, tmp_path / "high.tsv", 501))
    with pytest.raises(InputError, match="is no task"):
        open_task(tmp_path)
    with pytest.raises(InputError, match="is not empty"):
        make("codex_s", 0.1, 0, task)
    with pytest.raises(InputError, match="has no texts to read"):
        make("umls", 1.0, 0, tmp_path / "umls")


def test_a_changed_task_is_refused(task: Path, tmp_path: Path) -> None:
    shutil.copytree(task, tmp_path / "task")
    given = tmp_path / "task" / "given.tsv"
    given.write_text(given.read_text() + (tmp_path / "task" / "test.tsv").read_text()[:40] + "\n")
    with pytest.raises(InputError, match="given.tsv: is missing or was changed"):
        open_task(tmp_path / "task")


def test_the_command_line(
    task: Path, graph: KnowledgeGraph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(task), "--ranks", str(ranks_file(graph, tmp_path / "r.tsv", 2))]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["mrr"] == pytest.approx(0.5)
    triples = tmp_path / "triples.tsv"
    triples.write_text("".join("\t".join(row[:3]) + "\n" for row in read(task / "test.tsv")[:5]))
    assert main(["score", str(task), "--triples", str(triples)]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == 1
    assert main(["score", str(tmp_path), "--ranks", "none.tsv"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert main(["make", "--data", "umls", "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
