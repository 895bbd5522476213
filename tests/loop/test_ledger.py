"""The ledger: append-only, chained, replayed, and whole on a full disk."""

from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relgnn.errors import InputError, MachineError
from relgnn.loop.ledger import GENESIS, SCHEMA, Ledger, event_hash
from tests.loop.toy import add_verdict


def event(head: str, decision: str = "accepted", p: float = 0.75) -> dict[str, Any]:
    return {
        "head": head, "relation": "born", "tail": "t", "evidence_ids": [f"page:{head}"],
        "p_text": np.float64(p), "p_graph": 0.5, "p_rules": np.float64(np.nan), "p": p,
        "decision": decision, "weight": p if decision == "accepted" else 0.0,
        "reason": "because", "fold": np.int64(1),
    }  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    ledger.append(1, [event("a"), event("b"), event("c", "rejected", 0.2)])
    ledger.append(2, [event("b", p=0.9), event("d", p=0.8)])
    return ledger


def rewrite(ledger: Ledger, round_: int, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), ledger.path(round_))


def test_events_are_read_back_with_the_contracts_columns(ledger: Ledger) -> None:
    assert pq.read_schema(ledger.path(1)).names == [
        "event_id", "time", "round", "head", "relation", "tail", "evidence_ids", "p_text",
        "p_graph", "p_rules", "p", "decision", "weight", "reason", "fold", "prev_hash",
    ]  # fmt: skip
    first, second, third = ledger.read(1)
    assert (first["event_id"], first["round"], first["head"]) == ("1-0", 1, "a")
    assert first["prev_hash"] == GENESIS and second["prev_hash"] == event_hash(first)
    assert first["p_rules"] is None and first["evidence_ids"] == ["page:a"]
    assert (third["decision"], third["weight"], third["fold"]) == ("rejected", 0.0, 1)
    assert ledger.rounds == [1, 2]
    ledger.verify()


def test_an_empty_ledger_is_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none")
    assert ledger.rounds == [] and ledger.state() == {} and ledger.verdicts() == []
    ledger.verify()


@pytest.mark.parametrize("round_", [1, 2, 0])
def test_what_is_recorded_never_changes(ledger: Ledger, round_: int) -> None:
    before = ledger.path(2).read_bytes()
    with pytest.raises(InputError, match=f"round {round_} is recorded already") as caught:
        ledger.append(round_, [event("z")])
    assert "\n" not in str(caught.value)
    assert ledger.path(2).read_bytes() == before and ledger.rounds == [1, 2]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda rows: [{**rows[0], "weight": 0.99}, *rows[1:]],
        lambda rows: [rows[0], {**rows[1], "decision": "rejected"}, rows[2]],
        lambda rows: rows[1:],
        lambda rows: rows[:-1],
        lambda rows: [rows[1], rows[0], rows[2]],
        lambda rows: [*rows, {**rows[2], "event_id": "1-3"}],
        lambda rows: [rows[0], rows[1], {**rows[2], "evidence_ids": []}],
    ],
    ids=["weight", "decision", "first gone", "last gone", "order", "added", "evidence"],
)
def test_a_change_to_the_past_shows(ledger: Ledger, tamper: Any) -> None:
    rewrite(ledger, 1, tamper(ledger.read(1)))
    with pytest.raises(InputError, match="the ledger was changed"):
        ledger.verify()


FIELDS = {
    "head": "x", "relation": "x", "tail": "x", "evidence_ids": ["x"], "p_text": 0.125,
    "p_graph": None, "p_rules": 0.125, "p": 0.125, "decision": "x", "weight": 0.125,
    "reason": "x", "fold": 7, "time": "x", "event_id": "x", "round": 9, "prev_hash": "x",
}  # fmt: skip


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    how=st.sampled_from(["change", "remove", "add", "swap"]),
    field=st.sampled_from(sorted(FIELDS)),
    data=st.data(),
)
def test_whatever_is_changed_wherever_shows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], how: str, field: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for round_, size in enumerate(sizes, 1):
        ledger.append(round_, [event(f"{round_} {i}") for i in range(size)])
    ledger.verify()
    round_ = data.draw(st.integers(1, len(sizes)))
    rows = ledger.read(round_)
    place = data.draw(st.integers(0, len(rows) - 1))
    if how == "change":
        rows[place] = rows[place] | {field: FIELDS[field]}
    elif how == "remove":
        del rows[place]
    elif how == "add":
        previous = event_hash(rows[place])
        rows.insert(place + 1, rows[place] | {"event_id": "x", "prev_hash": previous})
    else:
        assume(len(rows) > 1)
        rows[0], rows[-1] = rows[-1], rows[0]
    rewrite(ledger, round_, rows)
    with pytest.raises(InputError, match="the ledger was changed"):
        ledger.verify()


def test_the_last_round_cannot_be_lost_unseen(ledger: Ledger) -> None:
    ledger.path(2).unlink()
    with pytest.raises(InputError, match=r"does not end with the event that head\.json names"):
        ledger.verify()
    ledger.append(2, [event("again")])
    ledger.verify()


def test_a_ledger_from_before_there_was_a_head_is_read(ledger: Ledger) -> None:
    (ledger.folder / "head.json").unlink()
    ledger.verify()


def test_a_damaged_file_is_one_line(ledger: Ledger) -> None:
    ledger.path(1).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"events-1\.parquet: cannot be read") as caught:
        ledger.verify()
    assert "\n" not in str(caught.value)


def test_a_lost_round_shows(ledger: Ledger) -> None:
    ledger.path(1).unlink()
    with pytest.raises(InputError, match=r"events-2\.parquet: event 2-0"):
        ledger.verify()


def test_a_round_without_events_keeps_the_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(1, [event("a")])
    ledger.append(2, [])
    ledger.append(3, [event("b")])
    ledger.verify()
    assert ledger.read(3)[0]["prev_hash"] == event_hash(ledger.read(1)[0])


def test_the_last_round_and_then_the_verdicts_count(ledger: Ledger) -> None:
    b, d = ("b", "born", "t"), ("d", "born", "t")
    assert ledger.state() == {b: 0.9, d: 0.8}
    add_verdict(ledger, *d, "reject", "me")
    add_verdict(ledger, "a", "born", "t", "accept", "me")
    assert ledger.state() == {b: 0.9, ("a", "born", "t"): 1.0}
    ledger.append(3, [event("d"), event("e")])
    assert ledger.state() == {("e", "born", "t"): 0.75, ("a", "born", "t"): 1.0}
    add_verdict(ledger, *d, "accept", "you")
    assert ledger.state()[d] == 1.0
    assert [v["by"] for v in ledger.verdicts()] == ["me", "me", "you"]
    ledger.verify()


def test_a_verdict_is_on_disk_before_the_call_returns(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, before = [], os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        before(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = ledger.folder / "verdicts.jsonl"
    for _ in range(2):
        add_verdict(ledger, "é", "born", "t", "accept", "me")
        assert synced[-1] == path.stat().st_size
    assert [v["head"] for v in ledger.verdicts()] == ["é", "é"]


def test_a_verdict_that_was_cut_off_is_not_read_and_goes(ledger: Ledger) -> None:
    """What a process leaves that dies while it writes; nobody was told that it is recorded."""
    add_verdict(ledger, "a", "born", "t", "accept", "me")
    path = ledger.folder / "verdicts.jsonl"
    whole = path.read_bytes()
    for cut in (b"{", b'{"head": "b\xc3', whole[: len(whole) // 2]):
        path.write_bytes(whole + cut)
        assert [v["head"] for v in ledger.verdicts()] == ["a"]
        add_verdict(ledger, "c", "born", "t", "reject", "me")
        assert [v["head"] for v in ledger.verdicts()] == ["a", "c"]
        assert path.read_bytes().startswith(whole + b'{"time"')


def test_a_last_line_without_a_break_is_kept(ledger: Ledger) -> None:
    """An editor may leave it out."""
    add_verdict(ledger, "a", "born", "t", "accept", "me")
    path = ledger.folder / "verdicts.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [v["head"] for v in ledger.verdicts()] == ["a"]
    add_verdict(ledger, "b", "born", "t", "accept", "me")
    assert [v["head"] for v in ledger.verdicts()] == ["a", "b"]


def test_many_may_add_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece is written apart, as a full pipe or a signal may have it: none may mix."""
    written = io.FileIO.write

    class Piecewise(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return written(self, data[:7])

    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **options: Piecewise(path, mode.replace("b", ""))
    )

    def add(number: int) -> None:
        lines = [
            {"head": f"{number}", "relation": "born", "tail": f"{i}", "verdict": "accept",
             "by": "x" * 40}
            for i in range(2)
        ]  # fmt: skip
        Ledger(ledger.folder).add_verdicts(lines)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    found = [(v["head"], v["tail"]) for v in ledger.verdicts()]
    assert sorted(found) == sorted((f"{n}", f"{i}") for n in range(40) for i in range(2))
    # those that were given together stand together
    assert all(a[0] == b[0] for a, b in zip(found[::2], found[1::2], strict=True))


def test_an_unknown_verdict_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="verdict 'maybe': expected one of accept, reject"):
        add_verdict(ledger, "a", "born", "t", "maybe", "me")
    assert ledger.verdicts() == []


@pytest.mark.parametrize("line", ["{", "[]", '{"head": "a"}', '{"verdict": "accept"}', "3"])
def test_a_line_that_is_no_verdict_is_told(ledger: Ledger, line: str) -> None:
    add_verdict(ledger, "a", "born", "t", "accept", "me")
    path = ledger.folder / "verdicts.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"verdicts\.jsonl:2: is no verdict"):
        ledger.state()


def test_many_verdicts_are_all_recorded_or_none(ledger: Ledger) -> None:
    one = {"head": "a", "relation": "born", "tail": "t", "verdict": "accept", "by": "me"}
    with pytest.raises(InputError, match="'maybe'"):
        ledger.add_verdicts([one, one | {"verdict": "maybe"}])
    assert ledger.verdicts() == []
    dated = one | {"time": "2026-01-02", "reason": "seen"}
    ledger.add_verdicts([one, dated])
    first, second = ledger.verdicts()
    assert second == dated and first.keys() == one.keys() | {"time"}


def test_only_exact_repetitions_are_old(ledger: Ledger) -> None:
    yes = {"head": "a", "relation": "born", "tail": "t", "verdict": "accept", "by": "me"}
    no = yes | {"verdict": "reject"}
    assert ledger.unheard([yes, yes, no]) == [yes, no]
    ledger.add_verdicts([yes])
    assert ledger.unheard([yes]) == []
    assert ledger.unheard([yes | {"by": "you"}, yes | {"reason": "seen"}]) != []
    # who changes their mind twice says something new
    ledger.add_verdicts([no])
    assert ledger.unheard([yes]) == [yes]
    dated = yes | {"time": "2026-01-02"}
    ledger.add_verdicts([dated, no])
    assert ledger.unheard([dated, yes]) == [yes]


def test_a_full_disk_leaves_no_half_verdict(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_verdict(ledger, "a", "born", "t", "accept", "me")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MachineError, match="the verdict is not recorded") as caught:
            add_verdict(ledger, "b", "born", "t", "accept", "me")
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    add_verdict(ledger, "c", "born", "t", "accept", "me")
    assert [v["head"] for v in ledger.verdicts()] == ["a", "c"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
def test_a_verdict_on_a_full_device_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "verdicts.jsonl").symlink_to("/dev/full")
    with pytest.raises(MachineError, match="No space left"):
        add_verdict(Ledger(tmp_path), "a", "born", "t", "accept", "me")


def test_a_full_disk_leaves_no_half_round(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: pa.Table, path: Path, **options: Any) -> None:
        Path(path).write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(MachineError, match=r"events-3\.parquet: no space left"):
            ledger.append(3, [event("z")])
    assert ledger.rounds == [1, 2]
    assert {p.name for p in ledger.folder.iterdir()} == {
        "events-1.parquet", "events-2.parquet", "head.json",
    }  # fmt: skip
    ledger.verify()
    ledger.append(3, [event("z")])
    ledger.verify()
