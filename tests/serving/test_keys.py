"""Keys: only hashes are kept, each key may do what it was made for, revoking works at once."""

from __future__ import annotations

import getpass
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from relgnn.errors import InputError, MachineError
from relgnn.serving.keys import Key, KeyFile, Scope, require_keys
from tests.answers import Call, require_one_line


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_found_and_not_kept(file: KeyFile) -> None:
    ann, bob = file.add("ann", Scope.write), file.add("bob", Scope.read)
    found = file.find(ann)
    assert found is not None and (found.name, found.scope) == ("ann", Scope.write)
    text = file.path.read_text()
    for secret in (ann.split("_", 2)[2], bob.split("_", 2)[2]):
        assert secret not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert len({key.salt for key in file.keys().values()}) == 2


@pytest.mark.parametrize("change", [
    lambda key: key[:-1], lambda key: key + "A", lambda key: key[:-1] + "~",
    lambda key: key.replace("relgnn_", "relgnn_0", 1), lambda key: "", lambda key: "é" * 63,
    lambda key: f"relgnn_{'0' * 12}_{key.split('_', 2)[2]}",
    lambda key: key[:-2] + ("AA" if key[-2:] != "AA" else "BB"),
])  # fmt: skip
def test_what_is_no_key_is_not_found(file: KeyFile, change) -> None:  # type: ignore[no-untyped-def]
    assert file.find(change(file.add("ann", Scope.admin))) is None


def test_a_service_follows_the_file(file: KeyFile) -> None:
    running = KeyFile(file.path)
    assert running.keys() == {}
    ann = file.add("ann", Scope.read)
    assert running.find(ann) is not None
    file.revoke("ann")
    assert running.find(ann) is None
    again = file.add("ann", Scope.read)
    assert running.find(again) is not None and running.find(ann) is None
    file.revoke(next(iter(file.keys())))
    assert file.keys() == {}


def test_who_may_read_the_file_stays_as_it_was(file: KeyFile) -> None:
    file.add("ann", Scope.read)
    file.path.chmod(0o644)
    file.add("bob", Scope.read)
    file.revoke("ann")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_whose_the_file_is_stays_as_it_was(file: KeyFile) -> None:
    file.add("ann", Scope.read)
    os.chown(file.path, 10001, 10002)
    file.add("bob", Scope.read)
    about = file.path.stat()
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (10001, 10002, 0o600)


def test_who_may_give_no_file_away_may_revoke(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    file.add("ann", Scope.read)
    file.path.chmod(0o660)
    monkeypatch.setattr(os, "fchown", refused)
    file.revoke("ann")
    assert file.keys() == {} and stat.S_IMODE(file.path.stat().st_mode) == 0o660


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_what_one_group_may_do_is_not_for_another(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    file.add("ann", Scope.read)
    os.chown(file.path, -1, 10002)
    file.path.chmod(0o640)
    monkeypatch.setattr(os, "fchown", refused)
    file.revoke("ann")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_who_has_no_name_makes_keys_by_number(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    key = call("serve-key", "add", tmp_path / "keys.json", "--name", "ann").out.strip()
    assert KeyFile(tmp_path / "keys.json").find(key) is not None
    assert f"uid {os.getuid()}" in (tmp_path / "keys.audit.jsonl").read_text()


def test_a_revoked_key_never_comes_back(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a key while another one is revoked waits, and reads the file after that."""
    stolen = file.add("stolen", Scope.admin)
    other, note = KeyFile(file.path), KeyFile._note
    assert other.keys()  # it has read the file before
    thread: list[threading.Thread] = []

    def revoking(self: KeyFile, action: str, key: Key, by: str) -> None:
        if action == "key revoked":
            thread.append(threading.Thread(target=other.add, args=("new", Scope.read)))
            thread[0].start()
        note(self, action, key, by)

    monkeypatch.setattr(KeyFile, "_note", revoking)
    file.revoke("stolen")
    thread[0].join()
    assert [key.name for key in file.keys().values()] == ["new"]
    assert file.find(stolen) is None


def test_faults_are_told(file: KeyFile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no key; make one"):
        require_keys(file.path)
    file.add("ann", Scope.read)
    assert require_keys(file.path).keys()
    with pytest.raises(InputError, match="'ann' has a key"):
        file.add("ann", Scope.read)
    with pytest.raises(InputError, match="name 'a b': give 1 to 64"):
        file.add("a b", Scope.read)
    with pytest.raises(InputError, match="no key is called 'eve'; there are: ann"):
        file.revoke("eve")
    for broken in ("{", "[]", '{"keys": [{"id": "x"}]}', '{"keys": [{"scope": "all"}]}'):
        file.path.write_text(broken)
        with pytest.raises(InputError, match="is no file of keys"):
            file.keys()
    with pytest.raises(MachineError, match="cannot be read"):
        require_keys(file.path / "below")


def test_a_file_that_may_not_be_read_is_told_so(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied")

    file.add("ann", Scope.read)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MachineError, match=r"cannot be read \(Permission denied\)"):
        require_keys(file.path)


def test_scopes_include_the_smaller_ones() -> None:
    assert Scope.read < Scope.write < Scope.admin


def test_the_commands(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = call("serve-key", "add", path, "--name", "ann", "--scope", "write").out.strip()
    found = KeyFile(path).find(key)
    assert found is not None and found.scope is Scope.write
    made = json.loads(call("serve-key", "add", path, "--name", "bob", "--json").out)
    assert (made["scope"], KeyFile(path).find(made["key"]) is not None) == ("read", True)
    listed = call("serve-key", "list", path).out
    assert "ann" in listed and "write" in listed and key not in listed
    rows = json.loads(call("serve-key", "list", path, "--json").out)
    assert [row.keys() for row in rows] == [{"id", "name", "scope", "created"}] * 2
    assert call("serve-key", "revoke", path, "bob").out == f"revoked bob ({rows[1]['id']})\n"
    gone = json.loads(call("serve-key", "revoke", path, "ann", "--json").out)
    assert gone == {"revoked": found.id, "name": "ann"} and KeyFile(path).find(key) is None
    require_one_line(call("serve-key", "revoke", path, "ann"), 2, "there are: none")
    require_one_line(call("serve-key", "add", path, "--name", "/"), 2, "give 1 to 64")
    require_one_line(call("serve-key", "add", ".", "--name", "ann"), 2, "is a folder")
    assert call("serve", tmp_path, "--rate", "inf").status == 2
