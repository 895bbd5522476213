"""Verdicts: the last word counts, replay equals a plain one, files are checked line by line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.loop.ledger import Ledger
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.verdicts import Triple, Verdicts, counts, given_in, numbers, read_verdicts
from tests.linkpred.toy import PEOPLE, TOWNS, toy_graph

A, B, C = ((person, "born", TOWNS[0]) for person in PEOPLE[:3])


def line(triple: Triple, verdict: str = "reject") -> dict[str, str]:
    head, relation, tail = triple
    return {"head": head, "relation": relation, "tail": tail, "verdict": verdict, "by": "me"}


def named(triples: np.ndarray) -> list[Triple]:
    graph = toy_graph()
    return [
        (graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in triples.tolist()
    ]


TRIPLES = st.tuples(st.sampled_from("ab"), st.sampled_from("rs"), st.sampled_from("xy"))


@given(
    rounds=st.lists(st.dictionaries(TRIPLES, st.floats(0.1, 1)), max_size=3),
    said=st.lists(st.tuples(TRIPLES, st.sampled_from(["accept", "reject"])), max_size=8),
)
def test_the_ledgers_state_is_the_plain_replay_of_events_and_verdicts(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[dict[Triple, float]],
    said: list[tuple[Triple, str]],
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for number, accepted in enumerate(rounds, 1):
        events = [
            {
                "head": h, "relation": r, "tail": t, "decision": "accepted", "weight": weight,
                "p": weight, "reason": "sure", "fold": 0, "evidence_ids": [], "p_text": None,
                "p_graph": None, "p_rules": None,
            }
            for (h, r, t), weight in accepted.items()
        ]  # fmt: skip
        ledger.append(number, events)
    ledger.add_verdicts([line(triple, verdict) for triple, verdict in said])
    expected = dict(rounds[-1]) if rounds else {}
    for triple, verdict in said:
        if verdict == "accept":
            expected[triple] = 1.0
        else:
            expected.pop(triple, None)
    assert ledger.state() == expected
    ledger.verify()


def test_a_verdict_on_what_is_given_changes_nothing() -> None:
    graph = toy_graph()
    for split, kept in (("train", 0), ("valid", 0), ("test", 1), ("hidden", 2)):
        [triple] = named(getattr(graph, split)[:1])
        assert given_in(graph, numbers(graph, [triple])) == ["" if split == "hidden" else split]
        found = [Verdicts.of([line(triple, v)], graph) for v in ("reject", "accept")]
        assert [bool(v) for v in found] == [kept > 0, kept > 1]
        assert [counts(v, split) for v in ("reject", "accept")] == [split == "test", False]


def test_pseudo_triples_are_corrected() -> None:
    graph = toy_graph()
    pseudo = Pseudo(numbers(graph, [A, B]), np.array([0.5, 0.6]), p=np.array([0.3, 0.4]))
    assert Verdicts().correct(pseudo, graph) is pseudo
    verdicts = Verdicts.of([line(A, "accept"), line(A), line(B, "accept"), line(C, "accept")])
    found = verdicts.correct(pseudo, graph)
    assert named(found.triples) == [B, C] and found.weight.tolist() == [1, 1]
    assert found.p.tolist() == [1, 1]
    assert dict.fromkeys([B, C], 1.0) == verdicts.replay({A: 0.5, B: 0.6})
    none = Verdicts.of([line(A)]).correct(Pseudo.none(), graph)
    assert len(none) == 0 and none.triples.shape == (0, 3)


def test_verdicts_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "1" / "verdicts.json"
    assert Verdicts.load(path) == Verdicts()
    verdicts = Verdicts.of([line(A), line(B, "accept"), line(C, "accept")])
    verdicts.save(path)
    assert Verdicts.load(path) == verdicts


def test_a_verdict_on_an_unknown_entity_is_one_line() -> None:
    with pytest.raises(InputError, match="a verdict is on 'Nobody', which is not in toy"):
        Verdicts.of([line(("Nobody", "born", TOWNS[0]))], toy_graph())


GOOD = {
    "plain.tsv": "a\tr\tb\taccept\tann\n\na\tr\tc\treject\tann\twrong\t2026-01-31T12:00:00+00:00\n",
    "header.tsv": (
        "time\tby\tverdict\ttail\trelation\thead\treason\n"
        "\tann\taccept\tb\tr\ta\t\n"
        "2026-01-31T12:00:00+00:00\tann\treject\tc\tr\ta\twrong\n"
    ),
    "lines.jsonl": (
        '{"head": "a", "relation": "r", "tail": "b", "verdict": "accept", "by": "ann", '
        '"reason": null}\n'
        '{"head": "a", "relation": "r", "tail": "c", "verdict": "reject", "by": "ann", '
        '"reason": "wrong", "time": "2026-01-31T12:00:00+00:00"}\n'
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_files_of_verdicts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(GOOD[name].replace("\n", "\r\n") if name == "plain.tsv" else GOOD[name])
    first, second = (row for _, row in read_verdicts(path))
    plain = {"head": "a", "relation": "r", "by": "ann"}
    assert first == plain | {"tail": "b", "verdict": "accept"}
    dated = {"reason": "wrong", "time": "2026-01-31T12:00:00+00:00"}
    assert second == plain | {"tail": "c", "verdict": "reject"} | dated


BAD = {
    "columns": ("v.tsv", "a\tr\tb\taccept\n", "v.tsv:1: found 4 columns, expected 5 to 7"),
    "header": ("v.tsv", "head\trelation\ttail\tverdict\na\tr\tb\taccept\n", "v.tsv:1: 'by' is mis"),
    "column": ("v.tsv", "head\trelation\ttail\tverdict\tby\twhy\n", "v.tsv:1: 'why' is unknown"),
    "ragged": ("v.tsv", "head\trelation\ttail\tverdict\tby\na\tr\tb\n", "v.tsv:2: found 3 columns"),
    "verdict": ("v.tsv", "a\tr\tb\taccept\tann\na\tr\tb\tYes\tann\n", "v.tsv:2: verdict 'Yes'"),
    "nobody": ("v.tsv", "a\tr\tb\taccept\t\n", "v.tsv:1: 'by' is missing; give head, relation"),
    "time": ("v.tsv", "a\tr\tb\taccept\tann\t\tsoon\n", "v.tsv:1: time 'soon' is not ISO 8601"),
    "json": ("v.jsonl", "{\n", "v.jsonl:1: not JSON"),
    "list": ("v.jsonl", "[]\n", 'v.jsonl:1: found a list, expected an object: write {"head": …'),
    "key": ("v.jsonl", '{"head": "a"}\n', "v.jsonl:1: 'relation' is missing"),
    "number": (
        "v.jsonl",
        '{"head": 1, "relation": "r", "tail": "b", "verdict": "accept", "by": "ann"}\n',
        "v.jsonl:1: head is 1, expected a text",
    ),
    "absent": ("v.tsv", None, "v.tsv: no such file"),
}


@pytest.mark.parametrize("fault", BAD)
def test_files_that_are_wrong(tmp_path: Path, fault: str) -> None:
    name, content, told = BAD[fault]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_verdicts(tmp_path / name)
    assert told in str(caught.value) and "\n" not in str(caught.value)
