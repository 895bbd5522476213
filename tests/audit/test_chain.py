"""The log: whatever is done to it afterwards shows; several processes add to one chain."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.audit.chain import NOTHING, Action, AuditLog, Head
from relgnn.errors import InputError, MachineError

ENTRIES = 5


def written(folder: Path, count: int = ENTRIES) -> AuditLog:
    log = AuditLog(folder / "log.jsonl")
    log.path.unlink(missing_ok=True)
    log.append([Action("said", f"ann {i}", {"number": i, "what": "ü"}) for i in range(count)])
    return log


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return written(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    """Where a changed one is put."""
    return AuditLog(tmp_path_factory.mktemp("copy") / "log.jsonl")


def lines_of(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def rechained(lines: list[bytes], start: int) -> list[bytes]:
    """What a forger who knows the format writes: every hash from a line on made to fit again."""
    scratch = AuditLog(Path("/dev/null"))
    found, head = lines[:start], NOTHING
    if start:
        head = scratch._head_of(lines[start - 1].rstrip(b"\n"))
    from relgnn.audit import chain

    for line in lines[start:]:
        entry = {k: v for k, v in json.loads(line).items() if k != "hash"}
        entry |= {"n": head.entries + 1, "prev": head.hash}
        entry["hash"] = chain._hash(entry)
        head = Head(entry["n"], entry["hash"])
        found.append(chain._line(entry).encode() + b"\n")
    return found


def test_what_was_recorded_is_read_and_verified(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "below" / "log.jsonl")
    assert log.verify() == NOTHING and log.since() == ([], 0)
    log.append([])
    assert not log.path.exists()
    log.append([Action("key made", "ann", {"id": "x"})])
    first, offset = log.since()
    head = log.verify()
    log.append([Action("key revoked", "bob", {"id": "x"}), Action("released", "bob", {})])
    rest, end = log.since(offset)
    assert [e["action"] for e in (*first, *rest)] == ["key made", "key revoked", "released"]
    assert [e["n"] for e in (*first, *rest)] == [1, 2, 3]
    assert end == log.path.stat().st_size and log.since(end) == ([], end)
    last = log.verify(head)
    assert last.entries == 3 and log.verify(last) == last
    assert Head.parse(str(last)) == last


@given(st.data())
def test_a_changed_byte_is_found(original: AuditLog, copy: AuditLog, data: st.DataObject) -> None:
    head, content = original.verify(), bytearray(original.path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda b: b != content[place]))
    line = content[:place].count(b"\n") + 1
    content[place] = other
    copy.path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=rf"entry {line} ") as told:
        copy.verify(head)
    assert f"log.jsonl:{line}:" in str(told.value)


MOVES: dict[str, Callable[[list[bytes], int, int], list[bytes]]] = {
    "removed": lambda lines, i, j: lines[:i] + lines[i + 1 :],
    "doubled": lambda lines, i, j: [*lines[:i], lines[i], *lines[i:]],
    "inserted": lambda lines, i, j: [*lines[:i], lines[j], *lines[i:]],
    "moved": lambda lines, i, j: [
        lines[j] if k == i else lines[i] if k == j else one for k, one in enumerate(lines)
    ],
    "cut": lambda lines, i, j: lines[:i],
    "emptied": lambda lines, i, j: [*lines[:i], b"\n", *lines[i:]],
    "foreign": lambda lines, i, j: [*lines[:i], b"{}\n", *lines[i:]],
}


@given(
    st.sampled_from(sorted(MOVES)), st.integers(0, ENTRIES - 1), st.integers(0, ENTRIES - 1),
    st.booleans(),
)  # fmt: skip
def test_entries_that_are_gone_new_or_elsewhere_are_found(
    original: AuditLog, copy: AuditLog, move: str, i: int, j: int, forged: bool
) -> None:
    head, before = original.verify(), lines_of(original)
    after = MOVES[move](before, i, j)
    if after == before:
        return
    if forged and move not in ("emptied", "foreign"):
        after = rechained(after, 0)
        if after[:ENTRIES] == before:
            return  # nothing but a further entry
    copy.path.write_bytes(b"".join(after))
    with pytest.raises(InputError, match=r"entry \d"):
        copy.verify(head)


@given(st.data())
def test_a_cut_tail_is_found(original: AuditLog, copy: AuditLog, data: st.DataObject) -> None:
    head, content = original.verify(), original.path.read_bytes()
    kept = data.draw(st.integers(0, len(content) - 1))
    copy.path.write_bytes(content[:kept])
    with pytest.raises(InputError, match=rf"entry {content[:kept].count(10) + 1} is"):
        copy.verify(head)


def test_a_forger_who_rewrites_the_chain_needs_the_noted_head(tmp_path: Path) -> None:
    log = written(tmp_path)
    head, lines = log.verify(), lines_of(log)
    lines[1] = lines[1].replace(b"ann 1", b"eve 1")
    log.path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="log.jsonl:2: entry 2 was changed"):
        log.verify()
    log.path.write_bytes(b"".join(rechained(lines, 1)))
    assert log.verify().entries == ENTRIES
    with pytest.raises(InputError, match="entry 5 is not the one that the noted head names"):
        log.verify(head)
    log.path.unlink()
    with pytest.raises(InputError, match="entry 1 is missing: the noted head counts 5"):
        log.verify(head)


def test_what_a_dying_process_left_is_taken_away(tmp_path: Path) -> None:
    log = written(tmp_path, 2)
    head, whole = log.verify(), log.path.read_bytes()
    log.path.write_bytes(whole + whole.splitlines()[1][:50])
    with pytest.raises(InputError, match="entry 3 is not whole"):
        log.verify()
    assert [e["n"] for e in log.since()[0]] == [1, 2]
    log.append([Action("said", "ann", {})])
    assert log.verify(head).entries == 3
    log.path.write_bytes(whole[:-1])
    log.append([Action("said", "ann", {})])
    assert log.verify(head).entries == 3


def test_faults_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path, 1)
    whole = log.path.read_bytes()
    for broken in (b'{"n": 1}\n', b"[]\n", whole.replace(b"ann 0", b"eve 0")):
        log.path.write_bytes(broken)
        with pytest.raises(InputError, match="its last entry was changed"):
            log.append([Action("said", "ann", {})])
        assert log.path.read_bytes() == broken
    log.path.write_bytes(b"[]\n")
    with pytest.raises(InputError, match="holds a line that is no entry"):
        log.since()
    for wrong in ("", "5", "x:" + "0" * 64, "5:" + "G" * 64):
        with pytest.raises(InputError, match="expected N:HASH"):
            Head.parse(wrong)
    with pytest.raises(MachineError, match="cannot be read"):
        AuditLog(tmp_path).verify()
    log.path.write_bytes(whole)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(MachineError, match="is not recorded"):
            log.append([Action("said", "ann", {})])
    assert log.path.read_bytes() == whole


def _add(path: Path, name: str) -> None:
    for number in range(20):
        AuditLog(path).append([Action("said", name, {"number": number})] * 2)


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_add, args=(path, name)) for name in ("ann", "bob", "cleo")]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert AuditLog(path).verify().entries == 120
    entries, _ = AuditLog(path).since()
    for name in ("ann", "bob", "cleo"):
        own = [e["about"]["number"] for e in entries if e["by"] == name]
        assert own == [n for n in range(20) for _ in range(2)]
