"""Private statements: withheld on every route, queued once, released by a person."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from relgnn.audit.guard import STATED
from relgnn.audit.queue import Queue, Withheld, audit_log
from relgnn.serving.app import create_app
from relgnn.serving.keys import KeyFile, Scope
from relgnn.serving.settings import Settings
from tests.serving.conftest import HERE

PRIVATE = {"head": "Ada Abel", "relation": "knows", "tail": "Ben Bolt"}
"""Nobody's business, by the policy of these tests."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text('private: {friends: ["friend of"]}\nphrases: ["today", "a town"]\n')
    return path


@pytest.fixture
def run(own_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_run, tmp_path / "run"))


@contextmanager
def served(run: Path, vectors: Path, **changes: Any) -> Iterator[TestClient]:
    settings = Settings(run=run, vectors=vectors, **changes)
    with TestClient(create_app(settings), HERE, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(run: Path, vectors: Path, policy: Path) -> Iterator[TestClient]:
    with served(run, vectors, policy=policy) as client:
        yield client


def test_no_route_tells_a_private_statement(client: TestClient) -> None:
    answer = client.post("/v1/predict", json={"relation": "knows", "head": "Ada Abel", "k": 7})
    assert answer.json() == {"answers": [], "withheld": 7}
    answer = client.post("/v1/predict", json={"relation": "knows", "tail": "Ada Abel", "k": 100})
    # every end is a living person's: whoever the head is, the tail is one
    assert answer.json() == {"answers": [], "withheld": 30}
    open_one = {"head": "Ada Abel", "relation": "born", "tail": "Cork"}
    rows = client.post("/v1/score", json={"triples": [PRIVATE, open_one]}).json()["triples"]
    assert (rows[0]["score"], rows[0]["probability"], rows[0]["withheld"]) == (None, None, True)
    assert rows[1]["score"] is not None and rows[1]["withheld"] is False
    for told in (
        client.get("/v1/explain", params=PRIVATE),
        client.post("/v1/feedback", json=PRIVATE | {"verdict": "accept"}),
    ):
        assert told.status_code == 403 and "withheld until a person" in told.json()["error"]
    text = "Ada Abel has been a friend of Ben Bolt for years."
    found = client.post("/v1/extract", json={"text": text, "at_least": 0}).json()
    assert found["withheld"] and all(e["relation"] != "knows" for e in found["triples"])
    for entity in ("Ada Abel", "Ben Bolt", "Cork"):
        around = client.get("/v1/neighbourhood", params={"entity": entity, "limit": 500}).json()
        assert around["total"] == len(around["edges"])
        assert all(e["relation"] != "knows" for e in around["edges"])
    assert client.get("/v1/run").json()["withholds"] is True


def test_reasons_pass_over_what_is_private(client: TestClient, run: Path, vectors: Path) -> None:
    people, towns = range(0, 20), range(20, 30)
    asked = [{"head": f"e{p}", "relation": "born", "tail": f"e{t}"} for p in people for t in towns]

    def reasons(client: TestClient) -> str:
        found = (client.get("/v1/explain", params=one).json() for one in asked)
        return json.dumps([(one["paths"], one["judged"]) for one in found], ensure_ascii=False)

    with served(run, vectors, withhold=False) as everything:
        told = reasons(everything)
    assert "–friend of→" in told and "today" in told
    told = reasons(client)
    assert "–friend of→" not in told and "←friend of–" not in told and "today" not in told
    assert "→" in told


def test_the_ledger_is_paged_without_what_is_private(
    client: TestClient, run: Path, vectors: Path
) -> None:
    def events(client: TestClient) -> list[dict[str, Any]]:
        asked = {"limit": 100}
        found = client.get("/v1/ledger", params=asked).json()
        rest = [
            client.get("/v1/ledger", params=asked | {"offset": start}).json()["events"]
            for start in range(100, found["total"], 100)
        ]
        told = [one for part in (found["events"], *rest) for one in part]
        assert len(told) == found["total"]
        return told

    with served(run, vectors, withhold=False) as everything:
        told = events(everything)
    assert any(one["relation"] == "knows" for one in told) and "today" in json.dumps(told)
    shown = events(client)
    assert shown and all(one["relation"] != "knows" for one in shown)
    assert "today" not in json.dumps(shown)
    assert len(shown) == sum(one["relation"] != "knows" for one in told)


def test_a_sentence_that_states_what_is_withheld_is_shown_of_nothing_else(
    client: TestClient, run: Path, vectors: Path
) -> None:
    def events(client: TestClient) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            asked = {"limit": 100, "offset": len(found)}
            more = client.get("/v1/ledger", params=asked).json()["events"]
            if not more:
                return found
            found += more

    def ids(told: list[dict[str, Any]]) -> set[str]:
        return {sentence["id"] for one in told for sentence in one["sentences"]}

    with served(run, vectors, withhold=False) as everything:
        told = events(everything)
    private = ids([
        one for one in told
        if one["relation"] == "knows" and (one["weight"] > 0 or (one["p_text"] or 0) >= STATED)
    ])  # fmt: skip
    others = [one for one in told if one["relation"] != "knows"]
    assert private & ids(others)
    shown = events(client)
    assert shown and ids(shown) and not private & ids(shown)
    for one in others:
        if ids([one]) & private:
            asked = {name: one[name] for name in ("head", "relation", "tail")}
            judged = client.get("/v1/explain", params=asked).json()["judged"]
            assert not private & {sentence["id"] for sentence in judged["sentences"]}
    # once a person has released what it states, a sentence is shown again
    key = private & ids(others)
    for one in client.get("/v1/audit/queue", params={"limit": 100}).json()["statements"]:
        client.post("/v1/audit/queue", json={"id": one["id"], "state": "released"})
    for one in told:
        if one["relation"] == "knows" and ids([one]) & key:
            client.get("/v1/explain", params={n: one[n] for n in ("head", "relation", "tail")})
    for one in client.get("/v1/audit/queue", params={"limit": 100}).json()["statements"]:
        client.post("/v1/audit/queue", json={"id": one["id"], "state": "released"})
    assert ids(events(client)) & private


def test_the_other_run_tells_no_private_statement_either(
    run: Path, own_run: Path, vectors: Path, policy: Path
) -> None:
    with served(run, vectors, policy=policy, compare=own_run, compare_vectors=vectors) as client:
        asked = {"relation": "knows", "head": "Ada Abel", "k": 7, "why": False}
        told = client.post("/v1/compare", json=asked).json()
        assert told == {"here": [], "there": [], "withheld": 14}
        asked = {"relation": "born", "head": "Ada Abel", "k": 3}
        told = client.post("/v1/compare", json=asked).json()
        assert len(told["here"]) == len(told["there"]) == 3 and told["withheld"] == 0


def test_descriptions_with_a_phrase_are_not_shown(client: TestClient) -> None:
    found = client.get("/v1/entities", params={"q": "Cork"}).json()["entities"]
    assert found == [{"id": "e22", "name": "Cork", "description": ""}]
    found = client.get("/v1/entities", params={"q": "Ada"}).json()["entities"]
    assert found[0]["description"] == "a person"


def test_what_is_withheld_waits_once_and_a_person_decides(
    client: TestClient, run: Path, vectors: Path, policy: Path
) -> None:
    for _ in range(2):
        client.post("/v1/score", json={"triples": [PRIVATE, PRIVATE]})
        client.get("/v1/explain", params=PRIVATE)
    listed = client.get("/v1/audit/queue").json()
    [one] = listed["statements"]
    assert listed["total"] == 1 and (one["state"], one["by"]) == ("waiting", None)
    assert (one["head_name"], one["relation"], one["tail"]) == ("Ada Abel", "knows", "e1")
    assert (one["category"], one["route"]) == ("friends", "score") and 0 <= one["p"] <= 1
    assert "relgnn_statements_waiting 1.0" in client.get("/metrics").text
    released = client.post("/v1/audit/queue", json={"id": one["id"], "state": "released"})
    assert released.json() == one | {"state": "released", "by": "anonymous"}
    assert "relgnn_statements_waiting 0.0" in client.get("/metrics").text
    assert client.get("/v1/explain", params=PRIVATE).status_code == 200
    with served(run, vectors, policy=policy) as other:  # another worker follows
        assert other.get("/v1/explain", params=PRIVATE).status_code == 200
        other.post("/v1/audit/queue", json={"id": one["id"], "state": "withheld"})
    assert client.get("/v1/explain", params=PRIVATE).status_code == 403
    assert client.get("/v1/audit/queue", params={"state": "waiting"}).json()["total"] == 0
    assert client.get("/v1/audit/queue", params={"offset": 1}).json()["statements"] == []
    unknown = client.post("/v1/audit/queue", json={"id": 99, "state": "released"})
    assert unknown.status_code == 422 and "not in the queue" in unknown.json()["error"]
    log = audit_log(run)
    assert log.verify().entries == 3
    assert [e["action"] for e in log.since()[0]] == ["queued", "released", "withheld"]


def test_the_queue_is_for_admins(run: Path, vectors: Path, policy: Path, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    keys = {scope: {"Authorization": f"Bearer {file.add(scope.name, scope)}"} for scope in Scope}
    with served(run, vectors, policy=policy, keys=file.path) as client:
        client.get("/v1/explain", params=PRIVATE, headers=keys[Scope.read])
        for path in ("/v1/audit/queue", "/v1/audit/queue/", "/v1/audit/nothing"):
            for scope in (Scope.read, Scope.write):
                assert client.get(path, headers=keys[scope]).status_code == 403
            assert client.get(path).status_code == 401
        decision = {"id": 1, "state": "released"}
        assert client.post("/v1/audit/queue", json=decision).status_code == 401
        for scope, status in ((Scope.write, 403), (Scope.admin, 200)):
            answer = client.post("/v1/audit/queue", json=decision, headers=keys[scope])
            assert answer.status_code == status
        assert answer.json()["by"] == "admin"


def test_feedback_is_in_the_log(client: TestClient, run: Path) -> None:
    said = {"head": "Ben Bolt", "relation": "born", "tail": "Bern", "verdict": "reject"}
    assert client.post("/v1/feedback", json=said | {"reason": "told by Ada Abel"}).is_success
    [entry], _ = audit_log(run).since()
    assert (entry["action"], entry["by"]) == ("feedback", "anonymous")
    assert entry["about"] == {"head": "e1", "relation": "born", "tail": "e21", "verdict": "reject"}


def test_what_cannot_be_queued_is_withheld_all_the_same(
    client: TestClient, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert client.get("/v1/explain", params=PRIVATE).status_code == 403
    assert client.get("/v1/audit/queue").json()["total"] == 0
    client.get("/v1/explain", params=PRIVATE)
    [one] = client.get("/v1/audit/queue").json()["statements"]
    client.post("/v1/audit/queue", json={"id": one["id"], "state": "released"})
    path = audit_log(run).path
    path.write_bytes(path.read_bytes() + b"[]\n")  # a damaged log releases nothing further
    assert "relgnn_statements_waiting NaN" in client.get("/metrics").text
    other = PRIVATE | {"tail": "Cleo Carr"}
    assert client.get("/v1/explain", params=other).status_code == 403
    said = {"head": "Ben Bolt", "relation": "born", "tail": "Bern", "verdict": "reject"}
    (run / "ledger" / "verdicts.jsonl").write_text("no verdict\n")
    for told in (
        client.get("/v1/audit/queue"),
        client.post("/v1/audit/queue", json={"id": 1, "state": "released"}),
        client.post("/v1/feedback", json=said),
        client.get("/v1/ledger"),
    ):  # none of it is the asker's mistake, nor are they told where the files are
        assert told.status_code == 503 and str(run) not in told.text


def test_the_queue_is_bounded(run: Path) -> None:
    queue = Queue(audit_log(run), limit=2)
    found = [Withheld(("e0", "knows", f"e{i}"), "friends", "score") for i in range(3)]
    queue.log.append(queue.new(found))
    assert [one.tail for one in queue.items()] == ["e0", "e1"] and queue.new(found) == []
    queue.log.append([queue.decision(1, "withheld", "ann")])
    assert [action.about["tail"] for action in queue.new(found)] == ["e2"]


def test_nobody_changes_the_queue_while_it_is_listed(tmp_path: Path) -> None:
    queue, held = Queue(audit_log(tmp_path)), []

    class Watched:
        @property
        def state(self) -> str:
            held.append(queue._changing.locked())
            return "waiting"

    queue._items = {1: Watched(), 2: Watched()}  # type: ignore[dict-item]
    assert len(queue.items("waiting")) == 2 and held == [True, True]


def test_a_filter_that_is_off_withholds_nothing(run: Path, vectors: Path) -> None:
    with served(run, vectors, withhold=False) as client:
        assert client.get("/v1/explain", params=PRIVATE).status_code == 200
        assert client.get("/v1/run").json()["withholds"] is False
        around = client.get("/v1/neighbourhood", params={"entity": "e0"}).json()["edges"]
        assert any(e["relation"] == "knows" for e in around)
    assert not audit_log(run).path.exists()
