"""An opened run: the numbers of its training again, and answers, reasons and triples of a text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from relgnn.config import load_config
from relgnn.data.lookup import find_entity, find_relation
from relgnn.errors import InputError
from relgnn.explain.brief import Briefing
from relgnn.loop.opened import OpenRun, Question, open_run, run_graph
from relgnn.loop.records import RoundTable
from relgnn.loop.run import run
from relgnn.loop.why import Explainer
from relgnn.training import load_json, save_json

TEXT = "Ada Abel was born in Cork. She lives in Bern, and Ben Bolt does not."


@pytest.fixture(scope="module")
def opened(own_run: Path) -> OpenRun:
    return open_run(own_run)


@pytest.fixture(scope="module")
def plain(own_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a loop and without valid triples."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(own_config.parent / "data", folder / "data")
    (folder / "data" / "valid.tsv").write_text("")
    changes = [f"data.path={folder / 'data'}", "loop=null", "train.epochs=2", "gnn.kind=none"]
    run(load_config(own_config, changes), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("split", ["test", "valid"])
def test_the_checkpoint_gives_the_metrics_of_the_training(
    opened: OpenRun, own_run: Path, split: str
) -> None:
    assert opened.evaluate(split)[1] == load_json(own_run / "metrics.json")[split]


def test_a_run_with_coreference_reads_new_text_the_same_way(
    own_config: Path, tmp_path: Path
) -> None:
    """The pair model has inputs for pronouns, which a new text must fill as the corpus did."""
    data = tmp_path / "data"
    shutil.copytree(own_config.parent / "data", data)
    people = [line.split("\t")[0] for line in (data / "entities.tsv").read_text().splitlines()]
    (data / "types.tsv").write_text("".join(f"{one}\thuman\n" for one in people[:20]))
    changes = [
        f"data.path={data}", "loop.coreference=true", "loop.pooling=noisy_or", "train.epochs=1",
        "loop.controls=[]",
    ]  # fmt: skip
    run(load_config(own_config, changes), tmp_path / "run")
    again = open_run(tmp_path / "run")
    assert again.text_model.loop.pooling == "noisy_or"
    found = again.extract(TEXT)
    she = TEXT.index("She"), TEXT.index("She") + 3
    lives = [e for e in found if (e.head_name, e.tail_name) == ("Ada Abel", "Bern")]
    assert lives and {e.head_span for e in lives} == {she}
    assert all(0 <= e.probability <= 1 for e in found)


def test_a_score_is_that_of_both_directions(opened: OpenRun) -> None:
    head, relation, tail = opened.graph.test[0].tolist()
    [(score, probability)] = opened.score(opened.graph.test[:1])
    tails = opened.predict(relation, head=head, k=30)
    heads = opened.predict(relation, tail=tail, k=30)
    forward = next(a for a in tails if a.entity == opened.graph.entities[tail])
    backward = next(a for a in heads if a.entity == opened.graph.entities[head])
    assert score == pytest.approx(forward.score + backward.score, abs=1e-4)
    assert probability == pytest.approx(forward.probability) == pytest.approx(backward.probability)
    assert opened.score(np.zeros((0, 3), dtype=np.int64)) == []


def test_answers_are_ranked_and_say_what_was_given(opened: OpenRun) -> None:
    head, relation, tail = opened.graph.train[0].tolist()
    answers = opened.predict(relation, head=head, k=100)
    assert len(answers) == opened.graph.num_entities
    assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    assert np.exp([a.score for a in answers]).sum() == pytest.approx(1, abs=1e-4)
    assert [a.entity for a in answers if a.known] == [opened.graph.entities[tail]]
    assert len(opened.predict(relation, head=head, k=3)) == 3
    with pytest.raises(InputError, match="exactly one of head and tail"):
        opened.predict(relation)
    with pytest.raises(InputError, match="exactly one of head and tail"):
        opened.predict(relation, head=0, tail=1)


def test_many_questions_at_once_get_the_answers_of_each_alone(opened: OpenRun) -> None:
    queries = [
        Question(relation, end, backward, k, why)
        for relation, end, backward, k, why in [
            (0, 0, False, 3, True), (1, 22, True, 10, True), (0, 0, False, 100, False),
            (2, 5, False, 1, True), (0, 0, False, 3, True),
        ]
    ]  # fmt: skip
    together = opened.predict_all(queries)
    assert [len(answers) for answers in together] == [3, 10, 30, 1, 3]
    for query, answers in zip(queries, together, strict=True):
        [alone] = opened.predict_all([query])
        assert [a.entity for a in answers] == [a.entity for a in alone]
        assert [a.why for a in answers] == [a.why for a in alone]
        assert [a.known for a in answers] == [a.known for a in alone]
        np.testing.assert_allclose(
            [(a.score, a.probability) for a in answers],
            [(a.score, a.probability) for a in alone], atol=1e-4,
        )  # fmt: skip
    assert all(a.why == () for a in together[2])
    assert any(a.why for answers in (together[0], together[1], together[3]) for a in answers)


def test_a_run_is_opened_from_its_mapped_vectors(opened: OpenRun, tmp_path: Path) -> None:
    opened.scorer.save(tmp_path / "vectors")
    mapped = open_run(opened.folder, tmp_path / "vectors")
    assert mapped.predict(0, head=0, k=5) == opened.predict(0, head=0, k=5)
    assert mapped.extract(TEXT) == opened.extract(TEXT)
    assert "fitted" not in vars(mapped)


def test_an_accepted_triple_is_believed_for_its_sentence(opened: OpenRun) -> None:
    table = opened.explainer.table
    assert table is not None
    row = int(np.argmax(table.accepted))
    first = opened.explainer.reasons(*table.triples[row].tolist())[0]
    assert (first.kind, first.p) == ("accepted", pytest.approx(table.p[row]))
    assert first.sentence and first.sentence in first.text
    assert any(first.sentence in text.text for text in opened.graph.texts)


def test_paths_link_both_ends_and_never_are_the_triple_itself(opened: OpenRun) -> None:
    graph = opened.graph
    explainer = Explainer(graph, None)
    assert explainer.reasons(0, 0, 0) == []
    for head, relation, tail in graph.train.tolist():
        reasons = explainer.reasons(head, relation, tail)
        assert len(reasons) <= 3
        names = graph.entity_names[head], graph.entity_names[tail]
        for reason in reasons:
            assert reason.kind == "path" and reason.sentence is None
            assert reason.text.startswith(f"given: {names[0]} ") and reason.text.endswith(names[1])
            assert explainer.given(head, relation, tail)
            assert reason.text != f"given: {names[0]} –{graph.relation_names[relation]}→ {names[1]}"


def test_reasons_by_hand(opened: OpenRun) -> None:
    graph = opened.graph
    triples = graph.train[:2]
    table = RoundTable(
        triples, np.array([0.2, 0.1]), np.array([0.3, 0.01]), np.array([np.nan, 0.5]),
        np.full(2, np.nan), np.zeros(2), [["page 0:0-21"], []], {},
    )  # fmt: skip
    explainer = Explainer(graph, table)
    read = explainer.reasons(*triples[0].tolist())[0]
    sentence = graph.texts[0].text[:21]
    assert (read.kind, read.p_graph, read.sentence) == ("text", None, sentence)
    assert read.text == f"read, not accepted at 0.20 (text 0.30): “{sentence}”"
    assert all(r.kind == "path" for r in explainer.reasons(*triples[1].tolist()))


def test_rules_have_their_say_of_a_text(own_config: Path, tmp_path: Path) -> None:
    changes = ["loop.rules={min_support: 1}", "train.epochs=2", "loop.controls=[]"]
    run(load_config(own_config, changes), tmp_path / "run")
    opened = open_run(tmp_path / "run")
    found = opened.extract(TEXT)
    assert found and all(set(one.votes) == {"text", "graph", "rules"} for one in found)
    assert opened.explainer.table is not None
    assert np.isfinite(opened.explainer.table.p_rules).all()


def test_a_text_gives_triples_with_their_places(opened: OpenRun) -> None:
    found = opened.extract(TEXT)
    assert [e.probability for e in found] == sorted((e.probability for e in found), reverse=True)
    names = {"Ada Abel", "Cork", "Bern", "Ben Bolt"}
    for one in found:
        assert {one.head_name, one.tail_name} <= names
        assert 0 <= one.probability <= 1 and set(one.votes) == {"text", "graph"}
        for span, name in ((one.head_span, one.head_name), (one.tail_span, one.tail_name)):
            assert span is None or TEXT[slice(*span)] == name
            assert span is None or one.sentence[0] <= span[0] < span[1] <= one.sentence[1]
    triples = {(e.head_name, e.relation, e.tail_name) for e in found}
    assert ("Ada Abel", "born", "Cork") in triples and ("Ada Abel", "lives", "Bern") in triples
    assert len(triples) == len(found)
    given = {tuple(t) for t in opened.graph.train.tolist()}
    graph = opened.graph
    for one in found:
        ids = (
            find_entity(graph, one.head), find_relation(graph, one.relation),
            find_entity(graph, one.tail),
        )  # fmt: skip
        assert one.known == (ids in given)


def test_entities_are_encoded_once_whatever_the_number_of_texts(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Ada Abel was born in Bern."
    first = opened.extract(text)
    monkeypatch.setattr(opened.world.encoder, "encode", lambda *_: pytest.fail("encoded again"))
    assert first and opened.extract(text) == first


def test_what_a_round_accepted_that_taught_nothing_is_no_reason(
    own_run: Path, tmp_path: Path
) -> None:
    fell = Path(shutil.copytree(own_run, tmp_path / "fell"))
    metrics = load_json(fell / "metrics.json")
    save_json(fell / "metrics.json", metrics | {"round": 0})
    table = open_run(own_run).explainer.table
    assert table is not None
    triple = table.triples[int(table.accepted.argmax())].tolist()
    assert open_run(own_run).explainer.reasons(*triple)[0].kind == "accepted"
    reasons = open_run(fell).explainer.reasons(*triple)
    assert "accepted" not in {one.kind for one in reasons}
    said = [one.text for one in reasons if one.kind == "text"]
    assert all(one.startswith("read and accepted, but not learned at ") for one in said)
    judged = [
        Briefing(open_run(run)).brief((triple[0], triple[1], triple[2])).judged
        for run in (own_run, fell)
    ]
    assert [(x.accepted, x.learned) for x in judged if x] == [(True, True), (True, False)]


@pytest.mark.parametrize(("relation", "head"), [(0, -1), (0, 1000), (-1, 0), (99, 0)])
def test_numbers_that_name_nothing_are_refused(opened: OpenRun, relation: int, head: int) -> None:
    with pytest.raises(InputError, match=r"(entity|relation) -?\d+: expected a number from 0 to"):
        opened.predict(relation, head=head)


def test_no_text_is_kept(opened: OpenRun) -> None:
    for text in (TEXT, "Ada Abel met the unforgettable Zyx in Cork."):
        opened.extract(text)
        extractor = opened.text_model.extractor
        assert extractor is not None
        assert not extractor[0]._texts and not len(extractor[0]._states)


def test_what_a_text_is_about_can_be_told(opened: OpenRun) -> None:
    about = find_entity(opened.graph, "Cleo Carr")
    found = opened.extract("She was born in Hull.", about)
    assert {(e.head_name, e.tail_name) for e in found} >= {("Cleo Carr", "Hull")}
    assert all(e.head_span is None or e.head_name == "Hull" for e in found)
    assert opened.extract("She was born in Hull.") == []
    assert opened.extract("Nothing is named.") == []
    with pytest.raises(InputError, match="the text is empty"):
        opened.extract(" \n")


def test_a_run_without_loop_and_valid(plain: Path) -> None:
    opened = open_run(plain)
    assert opened.evaluate("test")[1] == load_json(plain / "metrics.json")["test"]
    assert opened.score(opened.graph.test[:1])[0][1] is None
    answer = opened.predict(0, head=0, k=1)[0]
    assert answer.probability is None and all(r.kind == "path" for r in answer.why)
    with pytest.raises(InputError, match="no valid triples to evaluate"):
        opened.evaluate("valid")
    with pytest.raises(InputError, match="trained without a loop"):
        opened.extract(TEXT)


def test_what_cannot_be_opened(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        open_run(tmp_path)
    folder = tmp_path / "run"
    shutil.copytree(plain, folder)
    (folder / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        open_run(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="not finished; go on with `relgnn run --resume"):
        open_run(folder)


def test_changed_or_moved_data_are_told(plain: Path) -> None:
    data = plain.parent / "data"
    test = data / "test.tsv"
    before = test.read_text()
    test.write_text(before.split("\n", 1)[1])
    with pytest.raises(InputError, match="have changed since the run began"):
        open_run(plain)
    test.write_text(before)
    open_run(plain)
    data.rename(plain.parent / "moved")
    said = "go to where the run was started, set RELGNN_DATA .* or correct data.path"
    with pytest.raises(InputError, match=said):
        open_run(plain)


def test_data_that_are_elsewhere_are_found_by_their_folders_name(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.copytree(own_run, tmp_path / "run"))
    data = Path(str(load_config(own_run / "config.yaml").data.path))
    path = moved / "config.yaml"
    path.write_text(path.read_text().replace(str(data), "was/here/mine"))
    monkeypatch.setenv("RELGNN_DATA", str(tmp_path / "there"))
    config = load_config(path)
    with pytest.raises(InputError, match="set RELGNN_DATA to the folder that holds mine"):
        run_graph(config, moved)
    shutil.copytree(data, tmp_path / "there" / "mine")
    graph = run_graph(config, moved)
    assert graph.checksum == run_graph(load_config(own_run / "config.yaml"), own_run).checksum
    (tmp_path / "there" / "mine" / "valid.tsv").write_text("")
    with pytest.raises(InputError, match="have changed since the run began"):
        run_graph(config, moved)
