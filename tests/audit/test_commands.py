"""`relgnn audit queue` and `verify`, as people call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from relgnn.audit.queue import Withheld, audit_log
from relgnn.serving.keys import KeyFile
from tests.answers import Call, require_one_line


@pytest.fixture
def run(own_run: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(own_run, tmp_path / "run"))
    found = [Withheld(("e0", "knows", f"e{i}"), "friends", "score", 0.25) for i in (1, 2)]
    audit_log(folder).append([one.action for one in found])
    return folder


def test_a_person_goes_through_the_queue(call: Call, run: Path) -> None:
    listed = call("audit", "queue", "list", run).out
    assert "2 statements" in listed and "waiting" in listed and "Ben Bolt" in listed
    told = call("audit", "queue", "release", run, 2, "--by", "ann").out
    assert told == "released by ann: Ada Abel –friend of→ Cleo Carr\n"
    assert json.loads(call("audit", "queue", "withhold", run, 2, "--json").out)["by"]
    rows = json.loads(call("audit", "queue", "list", run, "--state", "waiting", "--json").out)
    assert [(row["id"], row["tail"], row["state"]) for row in rows] == [(1, "e1", "waiting")]
    assert rows[0]["statement"] == "Ada Abel –friend of→ Ben Bolt"
    require_one_line(call("audit", "queue", "release", run, 9), 2, "statement 9: is not in")
    require_one_line(call("audit", "queue", "list", run / "ledger"), 2, "is no run folder")


def test_what_cannot_be_shown_is_not_decided(call: Call, run: Path, tmp_path: Path) -> None:
    config = run / "config.yaml"
    lines = [line for line in config.read_text().splitlines() if "path: " not in line]
    config.write_text("\n".join(lines).replace("data:", f"data:\n  path: {tmp_path / 'gone'}"))
    require_one_line(call("audit", "queue", "release", run, 2), 2, "its data were in")
    assert audit_log(run).verify().entries == 2
    assert json.loads(call("audit", "queue", "release", run, 2, "--json").out)["by"]


def test_a_log_is_checked(call: Call, run: Path) -> None:
    path = audit_log(run).path
    found = json.loads(call("audit", "verify", path, "--json").out)
    assert found["entries"] == 2 and found["head"].startswith("2:")
    assert f"note this head: {found['head']}" in call("audit", "verify", path).out
    assert call("audit", "verify", path, "--head", found["head"]).status == 0
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0])
    assert call("audit", "verify", path).status == 0
    cut = call("audit", "verify", path, "--head", found["head"])
    require_one_line(cut, 2, "entry 2 is missing", "cut off")
    path.write_text(lines[0].replace("friends", "nothing") + lines[1])
    require_one_line(call("audit", "verify", path), 2, "log.jsonl:1: entry 1 was changed")
    require_one_line(call("audit", "verify", path, "--head", "x"), 2, "expected N:HASH")
    require_one_line(call("audit", "verify", run / "none"), 2, "no such file")


def test_keys_are_on_record(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = call("serve-key", "add", path, "--name", "ann", "--scope", "admin").out.strip()
    call("serve-key", "revoke", path, "ann")
    log = KeyFile(path).log
    assert log.path == tmp_path / "keys.audit.jsonl" and log.verify().entries == 2
    made, gone = log.since()[0]
    assert (made["action"], gone["action"]) == ("key made", "key revoked")
    assert (
        made["about"] == gone["about"] == {"id": key.split("_")[1], "name": "ann", "scope": "admin"}
    )
    assert made["by"] and key.split("_", 2)[2] not in log.path.read_text()
