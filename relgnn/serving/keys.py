"""API keys: a file of salted hashes, what each may do, and a look-up that tells nothing by time."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from relgnn.audit.chain import Action, AuditLog
from relgnn.errors import InputError, MachineError
from relgnn.training.appending import alone
from relgnn.training.checkpoint import atomic_file, require_file_name

PREFIX = "relgnn"
_WRITTEN = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")
_NAME = re.compile(r"[\w.@-]{1,64}")


class Scope(IntEnum):
    """What a key may do; a larger one may also do what a smaller one may."""

    read = 1
    write = 2
    admin = 3


@dataclass(frozen=True)
class Key:
    """One key as the file holds it.

    The secret is 256 random bits, so that one salted SHA-256 is as good as a slow hash: nobody
    guesses it, and a wrong key costs the service no time.

    Args:
        id: names the key in logs; a part of what its owner holds.
        name: whose it is; `by` of verdicts.
        scope: what it may do.
        salt, hash: hexadecimal; sha256(salt + secret).
        created: when, ISO 8601.
    """

    id: str
    name: str
    scope: Scope
    salt: str
    hash: str
    created: str

    def matches(self, secret: str) -> bool:
        """Whether it is the key's secret; takes as long whatever differs."""
        return hmac.compare_digest(_hash(self.salt, secret), self.hash)


_NOBODY = Key("", "", Scope.read, "00" * 16, "0" * 64, "")


class KeyFile:
    """The keys of a service, read again whenever the file changes.

    Args:
        path: the file; keys of an absent one are none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    @property
    def log(self) -> AuditLog:
        """The audit log beside the file: who made and revoked which key."""
        return AuditLog(self.path.with_suffix(".audit.jsonl"))

    def keys(self) -> dict[str, Key]:
        """Keys by id, in the order they were made.

        Raises:
            InputError: the file is no file of keys.
            MachineError: it cannot be read.
        """
        try:
            about = self.path.stat()
            seen = (about.st_mtime_ns, about.st_ino)
            if seen != self._seen:
                self._keys, self._seen = self._read(), seen
        except FileNotFoundError:
            self._seen, self._keys = None, {}
        except OSError as error:
            raise MachineError(
                f"{self.path}: cannot be read ({error.strerror}); check its rights"
            ) from None
        return self._keys

    def find(self, written: str) -> Key | None:
        """The key that somebody holds; None where there is no such key."""
        found = _WRITTEN.fullmatch(written)
        id_, secret = found.groups() if found else ("", "")
        key = self.keys().get(id_)
        # an unknown id takes the time of a known one
        return key if (key or _NOBODY).matches(secret) and key is not None else None

    def add(self, name: str, scope: Scope, by: str = "") -> str:
        """Make a key, on record before it counts.

        Args:
            name: whose it is.
            scope: what it may do.
            by: who makes it, for the log.

        Returns:
            The key for its owner; it cannot be found out again.

        Raises:
            InputError: the name is taken, or is none.
            MachineError: the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"name {name!r}: give 1 to 64 letters, digits, or any of . _ @ -")
        id_, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = Key(id_, name, scope, salt, _hash(salt, secret), now)
        with self._changing() as kept:
            if any(key.name == name for key in kept.values()):
                raise InputError(
                    f"{self.path}: {name!r} has a key; revoke it first, or name another"
                )
            self._note("key made", made, by)
            self._write({**kept, id_: made})
        return f"{PREFIX}_{id_}_{secret}"

    def revoke(self, name: str, by: str = "") -> Key:
        """Remove the key of that name or id, on record before; running services follow at once.

        Raises:
            InputError: there is none.
            MachineError: the file cannot be written.
        """
        with self._changing() as kept:
            found = next((key for key in kept.values() if name in (key.name, key.id)), None)
            if found is None:
                known = ", ".join(key.name for key in kept.values()) or "none"
                raise InputError(f"{self.path}: no key is called {name!r}; there are: {known}")
            self._note("key revoked", found, by)
            self._write({id_: key for id_, key in kept.items() if id_ != found.id})
        return found

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, which nobody else changes meanwhile: else one revoked might come back."""
        require_file_name(self.path)
        with ExitStack() as stack:
            try:
                stack.enter_context(alone(self.path.with_suffix(".lock")))
            except OSError as error:
                raise MachineError(
                    f"{self.path}: cannot be written ({error.strerror}); check the folder's rights"
                ) from None
            yield self.keys()

    def _note(self, action: str, key: Key, by: str) -> None:
        about = {"id": key.id, "name": key.name, "scope": key.scope.name}
        self.log.append([Action(action, by, about)])

    def _read(self) -> dict[str, Key]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
            keys = [Key(**{**row, "scope": Scope[row["scope"]]}) for row in rows]
        except (IsADirectoryError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path}: is no file of keys; make one with `relgnn serve-key add`"
            ) from None
        return {key.id: key for key in keys}

    def _write(self, keys: dict[str, Key]) -> None:
        rows: list[dict[str, Any]] = [
            asdict(key) | {"scope": key.scope.name} for key in keys.values()
        ]
        # who may read it stays as it was: a container's user may be somebody else
        before = self.path.stat() if self.path.exists() else None
        with atomic_file(self.path) as beside:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                if before is not None:
                    for owner in (-1, before.st_uid):
                        with suppress(PermissionError):  # only root may give a file away
                            os.fchown(file.fileno(), owner, before.st_gid)
                    mode = before.st_mode & 0o777
                    if os.fstat(file.fileno()).st_gid != before.st_gid:
                        mode &= ~0o070  # what one group may do is not for another
                    os.fchmod(file.fileno(), mode)
                json.dump({"keys": rows}, file, indent=2)
        self._seen = None


def require_keys(path: Path) -> KeyFile:
    """The keys of a file, of which there must be some.

    Raises:
        InputError: there is none, or the file is no file of keys.
        MachineError: it cannot be read.
    """
    found = KeyFile(path)
    if found.keys():
        return found
    raise InputError(f"{path}: holds no key; make one with `relgnn serve-key add {path} --name me`")


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()
