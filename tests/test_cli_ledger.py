"""`relgnn ledger`: what a run accepted and why, verdicts in, the state out, further rounds."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from relgnn.config import load_config
from relgnn.loop.extend import extend
from relgnn.loop.history import History
from relgnn.loop.ledger import Ledger
from relgnn.loop.opened import open_run
from relgnn.loop.run import run as start
from relgnn.loop.verdicts import Triple, triple_of
from relgnn.training import load_json, load_tensors, save_json
from tests.answers import Call, require_one_line
from tests.loop.test_verdicts import line
from tests.loop.toy import add_verdict


@pytest.fixture
def run(own_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be judged."""
    return Path(shutil.copytree(own_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def events(own_run: Path) -> list[dict[str, Any]]:
    return Ledger(own_run / "ledger").read(1)


def accepted(events: list[dict[str, Any]]) -> Triple:
    return next(triple_of(e) for e in events if e["decision"] == "accepted" and e["evidence_ids"])


def context(folder: Path) -> dict[tuple[int, int, int], float]:
    """The typed triples that the run's model passes messages over."""
    tensors = load_tensors(folder / "context.safetensors")[0]
    rows = zip(tensors["triples"].tolist(), tensors["weight"].tolist(), strict=True)
    return {(h, r, t): w for (h, r, t), w in rows if r < 3}


def test_show(call: Call, own_run: Path, events: list[dict[str, Any]]) -> None:
    answer = call("ledger", "show", own_run)
    assert answer.status == 0
    assert answer.out.startswith(f"Round 1: {len(events):,} events, hashes verified")
    assert answer.err == f"{len(events) - 20:,} more; see --limit\n"
    told = json.loads(call("ledger", "show", own_run, "--limit", 10_000, "--json").out)
    names = ("head_name", "relation_name", "tail_name")
    assert [{k: v for k, v in e.items() if k not in (*names, "verdict")} for e in told] == events
    graph = History(own_run).graph
    for one in told[:5]:
        assert one["head_name"] == graph.entity_names[graph.entities.index(one["head"])]
    assert all(one["verdict"] is None for one in told)


def test_show_chooses(call: Call, own_run: Path, events: list[dict[str, Any]]) -> None:
    def shown(*words: object) -> list[dict[str, Any]]:
        out = call("ledger", "show", own_run, *words, "--limit", 10_000, "--json").out
        return [{k: e[k] for k in events[0]} for e in json.loads(out)]

    for decision in ("accepted", "connected", "rejected", "revoked"):
        chosen = [e for e in events if e["decision"] == decision]
        assert shown("--decision", decision) == chosen
    first = events[0]
    assert shown("--head", first["head"]) == [e for e in events if e["head"] == first["head"]]
    by_name = ("--relation", "born in", "--tail", "Cork")
    chosen = [e for e in events if e["relation"] == "born" and e["tail"] == "e22"]
    assert shown(*by_name) == shown("--relation", "born", "--tail", "e22") == chosen != []
    assert shown("--round", 1) == events
    require_one_line(call("ledger", "show", own_run, "--round", 7), 2, "give one of 1")
    require_one_line(call("ledger", "show", own_run, "--head", "Cor"), 2, "did you mean 'Cork'")
    assert call("ledger", "show", own_run, "--decision", "maybe").status == 2
    assert call("ledger", "show", own_run, "--limit", 0).status == 2


def test_what_has_no_ledger(call: Call, own_config: Path, run: Path, tmp_path: Path) -> None:
    require_one_line(call("ledger", "show", tmp_path), 2, "is no run folder")
    config = load_config(own_config, ["loop=null", "train.epochs=1", "gnn.kind=none"])
    start(config, tmp_path / "plain")
    require_one_line(call("ledger", "show", tmp_path / "plain"), 2, "trained without a loop")
    require_one_line(
        call("run", "--resume", tmp_path / "plain", "loop.rounds=3"), 2, "trained without a loop"
    )
    shutil.rmtree(run / "ledger")
    assert "Round 0: 0 events" in call("ledger", "show", run).out


def test_a_changed_ledger_is_refused(call: Call, run: Path) -> None:
    path = run / "ledger" / "events-1.parquet"
    table = pq.read_table(path).to_pandas()
    table.loc[0, "weight"] = 0.999
    table.to_parquet(path)
    for words in (("show", run), ("why", run, "e0", "born", "e21"), ("export", run, run / "x.tsv")):
        require_one_line(call("ledger", *words), 2, "the ledger was changed")
    assert not (run / "x.tsv").exists()


def test_why(call: Call, run: Path, events: list[dict[str, Any]]) -> None:
    triple = accepted(events)
    event = next(e for e in events if triple_of(e) == triple)
    found = json.loads(call("ledger", "why", run, *triple, "--json").out)
    [judged] = found["rounds"]
    assert found["verdicts"] == [] and found["state"] == {
        "decision": "accepted", "split": None, "weight": event["weight"], "pending": False,
    }  # fmt: skip
    columns = ("round", "time", "p", "p_text", "p_graph", "p_rules", "decision", "weight", "reason")
    assert {k: judged[k] for k in columns} == {k: event[k] for k in columns}
    assert [one["id"] for one in judged["evidence"]] == event["evidence_ids"]
    text = "\n".join(page.text for page in History(run).graph.texts)
    assert all(one["text"] in text for one in judged["evidence"])
    printed = call("ledger", "why", run, *triple).out
    assert f"round 1: accepted at {event['p']:.2f} (text" in printed and event["reason"] in printed
    assert f"“{judged['evidence'][0]['text']}”" in printed
    assert f"now: accepted with weight {event['weight']:.2f}\n" in printed
    names = (found["head_name"], found["relation_name"], found["tail_name"])
    assert call("ledger", "why", run, *names).out == printed
    require_one_line(call("ledger", "why", run, "Nobody", *triple[1:]), 2, "entity 'Nobody'")


def test_why_of_what_the_ledger_leaves_out(
    call: Call, own_run: Path, events: list[dict[str, Any]]
) -> None:
    posterior = pd.read_parquet(own_run / "rounds/1/posterior.parquet")
    told = {triple_of(e) for e in events}
    low = next(
        (*row.pair_id.split("\t"), row.relation, row.p)
        for row in posterior.itertuples()
        if (row.pair_id.split("\t")[0], row.relation, row.pair_id.split("\t")[1]) not in told
    )
    head, tail, relation, p = low
    [judged] = json.loads(call("ledger", "why", own_run, head, relation, tail, "--json").out)[
        "rounds"
    ]
    assert judged["p"] == p and judged["decision"] == "rejected" and judged["p_rules"] is None
    assert judged["reason"] == "below the ledger's floor of 0.1"
    given = History(own_run).graph.train[0]
    graph = History(own_run).graph
    words = graph.entities[given[0]], graph.relations[given[1]], graph.entities[given[2]]
    printed = call("ledger", "why", own_run, *words).out
    assert "round 1: was no candidate" in printed and "now: given in train" in printed


def test_revoke(call: Call, run: Path, events: list[dict[str, Any]]) -> None:
    triple = accepted(events)
    words = ("ledger", "revoke", run, *triple, "--by", "ann", "--reason", "the town is another")
    answer = call(*words)
    assert answer.out == "new verdicts: 1, there already: 0\n"
    more = f"verdicts count from the next round on: relgnn run --resume {run} loop.rounds=2\n"
    assert answer.err == more
    [verdict] = Ledger(run / "ledger").verdicts()
    assert verdict.pop("time") and verdict == line(triple) | {
        "by": "ann", "reason": "the town is another",
    }  # fmt: skip
    again = call(*words, "--json")
    assert json.loads(again.out) == {"new": 0, "known": 1, "without_effect": 0}
    found = json.loads(call("ledger", "why", run, *triple, "--json").out)
    assert (found["state"]["decision"], found["state"]["pending"]) == ("revoked", True)
    assert found["verdicts"][0]["reason"] == "the town is another"
    printed = call("ledger", "why", run, *triple).out
    assert "verdict: reject by ann, 20" in printed and ": the town is another\n" in printed
    assert f"now: revoked; the trained model does not know that yet: {more}" in printed
    shown = json.loads(call("ledger", "show", run, "--decision", "revoked", "--json").out)
    assert [(triple_of(e), e["decision"], e["verdict"]) for e in shown] == [
        (triple, "accepted", "reject")
    ]
    call("ledger", "export", run, run / "state.tsv")
    assert triple not in {tuple(x) for x in _exported(run / "state.tsv")}
    require_one_line(call(*words[:-4], "--by", " "), 2, "--by ' ': expected a text")
    require_one_line(call("ledger", "revoke", run, "e0", "born", "Bernn", "--by", "x"), 2, "'Bern'")
    assert call(*words[:-4]).status == 2


def _exported(path: Path) -> list[list[str]]:
    return [row.split("\t")[:3] for row in path.read_text().splitlines()[1:]]


def test_a_verdict_that_cannot_be_written(
    call: Call, run: Path, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    answer = call("ledger", "revoke", run, *accepted(events), "--by", "ann")
    require_one_line(answer, 3, "the verdict is not recorded")
    assert Ledger(run / "ledger").verdicts() == []
    answer = call("ledger", "export", run, run / "state.tsv")
    require_one_line(answer, 3, "state.tsv: no space left")
    assert not (run / "state.tsv").exists() and not list(run.glob(".*"))


def test_import(call: Call, run: Path, events: list[dict[str, Any]], tmp_path: Path) -> None:
    taken, graph = accepted(events), History(run).graph
    h, r, t = graph.test[0].tolist()
    test = (graph.entities[h], graph.relations[r], graph.entities[t])
    path = tmp_path / "verdicts.tsv"
    rows = [
        (*taken, "reject", "ann", "no"),
        ("Ada Abel", "friend of", "Hull", "accept", "ann", ""),
        (*test, "accept", "ann", ""),
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    untouched = History(run).state()
    answer = call("ledger", "import", run, path)
    assert answer.out == "new verdicts: 3, there already: 0\n"
    warning, more = answer.err.splitlines()
    assert warning.startswith("warning: verdicts without effect, because their triples are given")
    assert "test: 1, such as " in warning
    assert more.endswith(f"relgnn run --resume {run} loop.rounds=2")
    unheard = ("e0", "knows", "e27")
    said = {triple_of(v): v["verdict"] for v in Ledger(run / "ledger").verdicts()}
    assert said == {taken: "reject", unheard: "accept", test: "accept"}
    again = json.loads(call("ledger", "import", run, path, "--json").out)
    assert again == {"new": 0, "known": 3, "without_effect": 1}
    # another run's own file is one to import
    log = run / "ledger" / "verdicts.jsonl"
    assert json.loads(call("ledger", "import", run, log, "--json").out)["known"] == 3
    state = {triple_of(one): one for one in History(run).state()}
    assert taken not in state
    # what the loop itself read of test stays as it is
    assert [state[test]] == [one for one in untouched if triple_of(one) == test]
    assert (state[unheard]["weight"], state[unheard]["round"]) == (1.0, None)
    standing = History(run).standing(unheard)
    assert (standing["decision"], standing["pending"]) == ("accepted", True)
    standing = History(run).standing(test)
    assert (standing["split"], standing["pending"]) == ("test", False)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("e0\tborn\tNowhere\taccept\tann", "v.tsv:2: entity 'Nowhere' is not in"),
        ("e0\tbornn\te21\taccept\tann", "v.tsv:2: relation 'bornn'"),
        ("e0\tborn\te21\tyes\tann", "v.tsv:2: verdict 'yes': expected one of accept, reject"),
        ("e0\tborn\te21\taccept", "v.tsv:2: found 4 columns, expected 5 to 7"),
    ],
)
def test_nothing_of_a_wrong_file_is_imported(
    call: Call, run: Path, tmp_path: Path, row: str, told: str
) -> None:
    path = tmp_path / "v.tsv"
    path.write_text(f"e0\tborn\te21\taccept\tann\n{row}\n")
    require_one_line(call("ledger", "import", run, path), 2, told)
    assert not (run / "ledger" / "verdicts.jsonl").exists()
    require_one_line(call("ledger", "import", run, tmp_path / "none"), 2, "no such file")


def test_export(call: Call, run: Path, events: list[dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "state.parquet"
    answer = call("ledger", "export", run, out)
    taken = {triple_of(e): e for e in events if e["decision"] == "accepted"}
    assert answer.out == f"{out}: {len(taken)} accepted triples\n"
    rows = pq.read_table(out).to_pylist()
    assert {triple_of(row): row["weight"] for row in rows} == {
        triple: e["weight"] for triple, e in taken.items()
    }
    for row in rows:
        event = taken[triple_of(row)]
        assert (row["p"], row["round"], row["reason"]) == (event["p"], 1, event["reason"])
        assert row["evidence_ids"] == event["evidence_ids"]
        assert len(row["sentences"]) == len(row["evidence_ids"])
    tsv = tmp_path / "state.tsv"
    told = json.loads(call("ledger", "export", run, tsv, "--json").out)
    assert told == {"path": str(tsv), "triples": len(rows)}
    header, *lines = tsv.read_text().splitlines()
    cells = [dict(zip(header.split("\t"), one.split("\t"), strict=True)) for one in lines]
    assert [json.loads(c["sentences"]) for c in cells] == [row["sentences"] for row in rows]
    assert [float(c["weight"]) for c in cells] == [row["weight"] for row in rows]
    call("ledger", "export", run, out, "--format", "tsv")
    assert out.read_text() == tsv.read_text()
    # it is what the model was trained on
    graph = History(run).graph
    weights = {
        (
            graph.entities.index(row["head"]),
            graph.relations.index(row["relation"]),
            graph.entities.index(row["tail"]),
        ): row["weight"]
        for row in rows
    }
    assert context(run) == pytest.approx(weights)


def test_a_finished_run_goes_on_for_a_round_that_hears_the_verdicts(
    call: Call, run: Path, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    taken = accepted(events)
    path = tmp_path / "v.tsv"
    path.write_text("\t".join((*taken, "reject", "ann")) + "\ne0\tknows\te27\taccept\tann\n")
    call("ledger", "import", run, path)
    before = load_json(run / "metrics.json") | {"seconds": 1e4}
    save_json(run / "metrics.json", before)
    first = (run / "ledger" / "events-1.parquet").read_bytes()
    for wrong, told in (
        (("loop.rounds=1",), "give 2 or more"),
        (("train.epochs=9",), "only loop.rounds of a run can change"),
        (("loop.rounds=2", "data.fraction=0.5"), "only loop.rounds"),
        (("loop.round=2",), "did you mean"),
    ):
        require_one_line(call("run", "--resume", run, *wrong), 2, told)
    assert load_json(run / "metrics.json") == before
    answer = call("run", "--resume", run, "loop.rounds=2", "--json", "--quiet")
    assert answer.status == 0, answer.err
    metrics = load_json(run / "metrics.json")
    assert [entry["round"] for entry in metrics["rounds"]] == [0, 1, 2] and metrics["round"] == 2
    assert metrics["rounds"][:2] == before["rounds"]
    assert load_json(run / "metrics.previous.json") == before
    assert metrics["seconds"] > before["seconds"]
    assert metrics["peak_memory_mb"] >= before["peak_memory_mb"]
    assert (run / "ledger" / "events-1.parquet").read_bytes() == first
    history = History(run)
    graph = history.graph
    state = {triple_of(row): row["weight"] for row in history.state()}
    names = {
        (graph.entities[h], graph.relations[r], graph.entities[t]): w
        for (h, r, t), w in context(run).items()
    }
    assert names == pytest.approx(state)
    assert state["e0", "knows", "e27"] == 1 and taken not in state
    told = history.why(taken)
    assert [one["decision"] for one in told["rounds"]] == ["accepted", "revoked"]
    assert told["state"] == {
        "decision": "revoked", "split": None, "weight": 0.0, "pending": False,
    }  # fmt: skip
    opened = open_run(run)
    assert opened.evaluate("test")[1] == metrics["test"]
    answer = call("run", "--resume", run)
    assert answer.status == 0 and "is finished already" in answer.err


def test_a_run_that_has_not_ended_is_not_extended(call: Call, run: Path) -> None:
    (run / "metrics.json").unlink()
    answer = call("run", "--resume", run, "loop.rounds=2")
    require_one_line(answer, 2, "has not ended; end it first with `relgnn run --resume")
    assert History(run).round == 1


def test_a_loop_that_stopped_early_goes_on_only_after_a_verdict(call: Call, run: Path) -> None:
    metrics = load_json(run / "metrics.json")
    # round 1 was worse on valid, and the loop kept round 0
    save_json(run / "metrics.json", metrics | {"round": 0})
    answer = call("run", "--resume", run, "loop.rounds=2")
    require_one_line(answer, 2, "stopped after round 1, worse on valid than round 0, and would")
    assert not (run / "metrics.previous.json").exists()
    add_verdict(Ledger(run / "ledger"), "e0", "knows", "e27", "accept", "ann")
    assert extend(run, ["loop.rounds=2"]).loop.rounds == 2
    assert (run / "metrics.previous.json").exists()
