"""The routes: the same answers as the command line's, and one line for whatever is wrong."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from relgnn.explain.brief import Briefing
from relgnn.loop.ledger import Ledger
from relgnn.loop.opened import open_run
from relgnn.loop.verdicts import triple_of
from relgnn.serving import compare
from relgnn.text.linking import stem
from tests.answers import Call
from tests.loop.toy import add_verdict
from tests.serving.conftest import Open

TEXT = "Ada Abel was born in Cork."


def test_predictions_are_those_of_the_command(
    client: TestClient, call: Call, own_run: Path
) -> None:
    for end in ("head", "tail"):
        asked = {"relation": "born in", end: "Ada Abel" if end == "head" else "Cork", "k": 4}
        got = client.post("/v1/predict", json=asked).json()["answers"]
        told = json.loads(
            call("predict", own_run, "--relation", "born in", f"--{end}", asked[end], "-k", 4,
                 "--json").out
        )  # fmt: skip
        assert [a["entity"] for a in got] == [a["entity"] for a in told]
        for one, other in zip(got, told, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            assert one | {"score": 0, "probability": 0} == other | {"score": 0, "probability": 0}
    silent = client.post("/v1/predict", json=asked | {"why": False}).json()["answers"]
    assert [a["why"] for a in silent] == [[]] * 4


def test_scores_and_reasons_are_those_of_the_commands(
    client: TestClient, call: Call, own_run: Path, tmp_path: Path
) -> None:
    written = [("Ada Abel", "born", "Cork"), ("e1", "knows", "e2")]
    rows = [dict(zip(("head", "relation", "tail"), cells, strict=True)) for cells in written]
    got = client.post("/v1/score", json={"triples": rows}).json()["triples"]
    file = tmp_path / "triples.tsv"
    file.write_text("".join("\t".join(cells) + "\n" for cells in written))
    told = json.loads(call("score", own_run, file, "--json").out)
    for one, other in zip(got, told, strict=True):
        assert one == pytest.approx(other | {"withheld": False}, abs=1e-4)
    explained = client.get("/v1/explain", params=rows[0]).json()
    assert explained["score"] == pytest.approx(got[0]["score"], abs=1e-4)
    brief = Briefing(open_run(own_run)).brief((0, 0, 22))
    assert explained["paths"] == [asdict(path) for path in brief.paths]
    assert explained["judged"] == json.loads(json.dumps(brief.judged and asdict(brief.judged)))
    assert (explained["head"], explained["tail_name"]) == ("e0", "Cork")
    assert explained["verdict"] is None
    client.post("/v1/feedback", json=rows[1] | {"verdict": "reject"})
    assert client.get("/v1/explain", params=rows[1]).json()["verdict"] == "reject"


def test_texts_are_read_as_the_command_reads_them(
    client: TestClient, call: Call, own_run: Path
) -> None:
    got = client.post("/v1/extract", json={"text": TEXT, "at_least": 0}).json()["triples"]
    told = json.loads(call("extract", own_run, TEXT, "--at-least", 0, "--json").out)
    assert [(e["head"], e["relation"], e["tail"]) for e in got] == [
        (e["head"], e["relation"], e["tail"]) for e in told
    ]
    assert got[0].keys() == told[0].keys()
    for one, other in zip(got, told, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
        assert one["sentence"] == other["sentence"] and one["head_span"] == other["head_span"]
    least = json.loads(call("extract", own_run, TEXT, "--json").out)
    assert len(client.post("/v1/extract", json={"text": TEXT}).json()["triples"]) == len(least)
    about = client.post("/v1/extract", json={"text": "She lives in Hull.", "about": "Ada Abel"})
    assert {e["head_name"] for e in about.json()["triples"]} <= {"Ada Abel", "Hull"}
    assert client.post("/v1/extract", json={"text": " "}).status_code == 422


def test_nothing_of_a_text_is_kept(client: TestClient, own_cache: Path, served_run: Path) -> None:
    def files() -> dict[Path, int]:
        found = (path for folder in (own_cache, served_run) for path in folder.rglob("*"))
        return {path: path.stat().st_size for path in found}

    before = files()
    text = "Ada Abel once lived in Genoa, as nobody but Gus Gray knows."
    assert client.post("/v1/extract", json={"text": text, "at_least": 0}).json()["triples"]
    assert files() == before


def test_feedback_is_a_verdict_without_personal_data(
    client: TestClient, served_run: Path, call: Call
) -> None:
    said = {
        "head": "Ben Bolt", "relation": "lives in", "tail": "Bern", "verdict": "reject",
        "reason": "Ben Bolt told me, me@x.org",
    }  # fmt: skip
    answer = client.post("/v1/feedback", json=said)
    assert answer.status_code == 200
    last = Ledger(served_run / "ledger").verdicts()[-1]
    assert answer.json() == last | {"counts": answer.json()["counts"]}
    assert (last["head"], last["relation"], last["verdict"]) == ("e1", "lives", "reject")
    assert (last["by"], last["reason"]) == ("anonymous", "[name] told me, [mail]")
    history = json.loads(call("ledger", "why", served_run, "e1", "lives", "Bern", "--json").out)
    assert history["verdicts"][-1]["verdict"] == "reject"
    assert history["state"]["decision"] == "revoked"
    head, relation, tail = open_run(served_run).graph.train[0].tolist()
    graph = open_run(served_run).graph
    given = {
        "head": graph.entities[head], "relation": graph.relations[relation],
        "tail": graph.entities[tail], "verdict": "reject",
    }  # fmt: skip
    assert client.post("/v1/feedback", json=given).json()["counts"] is False


def test_a_disk_that_is_full_acknowledges_nothing(
    client: TestClient, served_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = Ledger(served_run / "ledger").verdicts()
    said = {"head": "e1", "relation": "knows", "tail": "e2", "verdict": "accept"}
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        answer = client.post("/v1/feedback", json=said)
    assert answer.status_code == 503 and "nothing was recorded" in answer.json()["error"]
    assert str(served_run) not in answer.text
    assert Ledger(served_run / "ledger").verdicts() == before


def test_what_can_be_looked_at(client: TestClient, own_run: Path) -> None:
    graph = open_run(own_run).graph
    around = client.get("/v1/neighbourhood", params={"entity": "Cork", "limit": 500}).json()
    assert around["entity"] == {"id": "e22", "name": "Cork", "description": "a town"}
    given = {(e["head"], e["relation"], e["tail"]) for e in around["edges"] if e["p"] is None}
    cork = [t for t in graph.train.tolist() if 22 in (t[0], t[2])]
    assert given == {(f"e{h}", graph.relations[r], f"e{t}") for h, r, t in cork}
    assert around["total"] == len(around["edges"])
    accepted = [e for e in around["edges"] if e["source"] == "accepted"]
    assert all(0 <= e["p"] <= 1 and "e22" in (e["head"], e["tail"]) for e in accepted)
    few = client.get("/v1/neighbourhood", params={"entity": "Cork", "limit": 1}).json()
    assert len(few["edges"]) == 1 and few["total"] == around["total"]
    found = client.get("/v1/entities", params={"q": "ab"}).json()["entities"]
    assert found == [{"id": "e0", "name": "Ada Abel", "description": "a person"}]
    relations = client.get("/v1/relations").json()["relations"]
    assert [r["id"] for r in relations] == list(graph.relations)
    assert sum(r["triples"] for r in relations) == len(graph.train)
    facts = client.get("/v1/run").json()
    assert (facts["entities"], facts["reads_texts"]) == (30, True)


def test_the_ledger_in_pages(client: TestClient, served_run: Path) -> None:
    ledger = Ledger(served_run / "ledger")
    add_verdict(ledger, "e3", "knows", "e4", "accept", "ann")
    events = ledger.read(ledger.rounds[-1])
    last = {triple_of(line): line["verdict"] for line in ledger.verdicts()}
    beside = [triple for triple in last if triple not in {triple_of(e) for e in events}]
    assert ("e3", "knows", "e4") in beside or last["e3", "knows", "e4"] == "accept"

    def pages(**asked: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            params = asked | {"offset": len(found), "limit": 7}
            page = client.get("/v1/ledger", params=params).json()
            found += page["events"]
            if not page["events"] or len(found) == page["total"]:
                return found

    everything = pages()
    assert [triple_of(e) for e in everything] == beside + [triple_of(e) for e in events]
    for one, event in zip(everything[len(beside) :], events, strict=True):
        assert (one["p"], one["decision"]) == (event["p"], event["decision"])
        assert [s["id"] for s in one["sentences"]] == event["evidence_ids"]
        assert one["verdict"] == last.get(triple_of(event))
    taken = pages(decision="accepted", entity="Ada Abel", relation="lives in")
    assert [triple_of(e) for e in taken] == [
        triple_of(e) for e in events
        if e["decision"] == "accepted" and e["relation"] == "lives" and "e0" in triple_of(e)
    ]  # fmt: skip
    assert {triple_of(e) for e in pages(verdict="accept")} == {
        triple for triple, said in last.items() if said == "accept"
    }
    assert len(pages(verdict="none")) == len(everything) - len(last)
    assert client.get("/v1/ledger", params={"entity": "Eve"}).status_code == 422


def test_two_runs_side_by_side(open_service: Open, own_run: Path, vectors: Path) -> None:
    both = open_service(compare=own_run, compare_vectors=vectors)
    asked = {"head": "Ada Abel", "relation": "born in", "k": 5, "why": False}
    answers = both.post("/v1/compare", json=asked).json()
    alone = both.post("/v1/predict", json=asked).json()["answers"]
    assert answers == {"here": alone, "there": alone, "withheld": 0}
    facts = both.get("/v1/comparison").json()
    assert (facts["here"]["name"], facts["there"]["name"]) == ("run", own_run.name)
    assert facts["differences"] == [] and facts["here"]["measures"] == facts["there"]["measures"]
    told = json.loads((own_run / "metrics.json").read_text())["test"]["all"]["both"]["realistic"]
    [whole] = [
        m for m in facts["here"]["measures"] if (m["split"], m["stratum"]) == ("test", "all")
    ]
    assert (whole["mrr"], whole["hits_at_1"]) == (told["mrr"], told["hits@1"])
    assert both.get("/v1/run").json()["compared_with"] == own_run.name


def test_a_comparison_names_no_folder_of_the_machine(own_run: Path) -> None:
    config = open_run(own_run).world.config
    text = config.text.model_copy(update={"model": "/home/ann/models/tiny", "cache": Path("/c/d")})
    config = config.model_copy(update={"text": text})
    told = compare._told(config)
    assert told["text"]["model"] == "tiny" and told["text"]["cache"] is None
    assert told["data"]["path"] is None and "/" not in json.dumps(told["text"])
    assert str(own_run.parent) not in json.dumps(told)


def test_words_of_texts_are_forgotten(client: TestClient) -> None:
    client.post("/v1/extract", json={"text": "Ada Abel met the unforgettable Zyx in Cork."})
    assert stem.cache_info().currsize == 0


def test_without_another_run_there_is_nothing_to_compare(client: TestClient) -> None:
    assert client.get("/v1/run").json()["compared_with"] is None
    for answer in (
        client.get("/v1/comparison"),
        client.post("/v1/compare", json={"head": "e0", "relation": "born"}),
    ):
        assert answer.status_code == 422 and "--compare OTHER" in answer.json()["error"]


def test_what_operates_it(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/v1/score", json={})
    text = client.get("/metrics").text
    assert 'relgnn_requests_total{method="POST",route="/v1/score",status="422"}' in text
    assert "relgnn_resident_bytes" in text


def test_the_pages_need_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        for rule in (
            "default-src 'none'",
            "script-src 'self'",
            "require-trusted-types-for 'script'",
        ):
            assert rule in policy
        assert "unsafe" not in policy and "http" not in policy
        assert " style=" not in answer.text and "<script>" not in answer.text
        links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert links and all(re.match(r"/(?!/)|#", link) for link in links)
    file = client.get("/static/vendor/cytoscape.esm.min.mjs")
    assert "javascript" in file.headers["content-type"]
    assert file.headers["cache-control"] == "no-cache"
    again = client.get("/static/main.js", headers={
        "if-none-match": client.get("/static/main.js").headers["etag"]
    })  # fmt: skip
    assert again.status_code == 304
    docs = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert all(path in docs for path in paths) and "/v1/predict" in paths
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


WRONG = {
    "no JSON": ("{", 422, "request: the body is no JSON"),
    "not UTF-8": (b"\xff\xfe", 422, "request: the body is no JSON"),
    "nested": ("[" * 100_000, 400, ""),
    "a long number": ('{"k": ' + "9" * 5000 + "}", 400, ""),
    "no object": ("[]", 422, "request: send a JSON object, with the header Content-Type"),
    "two ends": ('{"relation": "born", "head": "e0", "tail": "e1"}', 422, "exactly one of head"),
    "no end": ('{"relation": "born"}', 422, "exactly one of head"),
    "unknown key": ('{"relation": "born", "head": "e0", "x": 1}', 422, "x: Extra inputs"),
    "wrong type": ('{"relation": "born", "head": "e0", "k": "3"}', 422, "k: Input should be"),
    "too many": ('{"relation": "born", "head": "e0", "k": 101}', 422, "k: Input should be"),
    "a surrogate": ('{"relation": "born", "head": "\\ud800"}', 422, "head: "),
    "a surrogate key": ('{"relation": "born", "head": "e0", "\\ud800": 1}', 422, ""),
    "unknown entity": ('{"relation": "born", "head": "Eve"}', 422, "'Eve' is not in data; GET"),
    "an empty name": ('{"relation": "born", "head": ""}', 422, "head: String should have"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_one_line(client: TestClient, fault: str) -> None:
    body, status, told = WRONG[fault]
    answer = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"} and told in answer.json()["error"]
    assert "\n" not in answer.text and "Traceback" not in answer.text


def test_a_body_without_its_type_is_told_so(client: TestClient) -> None:
    answer = client.post("/v1/predict", content='{"relation": "born", "head": "e0"}')
    assert answer.status_code == 422 and "Content-Type: application/json" in answer.json()["error"]


def test_methods_and_paths_that_are_not_there(client: TestClient) -> None:
    assert client.get("/v1/predict").status_code == 405
    assert client.get("/v1/nothing").json() == {"error": "Not Found"}
    assert client.post("/v1/score", json={"triples": []}).status_code == 422
    wrong = client.post(
        "/v1/score",
        json={"triples": [{"head": "e0", "relation": "born", "tail": t} for t in ("e20", "x")]},
    )
    assert wrong.status_code == 422 and wrong.json()["error"].startswith("triples[1]: entity 'x'")
    assert client.get("/v1/entities", params={"q": "a", "x": "1"}).status_code == 422


def test_requests_at_once_get_each_its_own_answer(open_service: Open, own_run: Path) -> None:
    client, opened = open_service(batch=4), open_run(own_run)
    asked = [(f"e{i}", "born") for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda one: client.post("/v1/predict", json={"head": one[0], "relation": one[1]}),
                asked,
            )
        )
    for i, answer in enumerate(answers):
        alone = [a.entity for a in opened.predict(0, head=i)]
        assert [a["entity"] for a in answer.json()["answers"]] == alone
