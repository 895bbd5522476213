"""What trackers are told, and what they are not."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import Config, make_config
from relgnn.errors import InputError
from relgnn.training import EpochRecord
from relgnn.training.tracking import tracked

RECORD = EpochRecord(epoch=3, loss=0.5, lr=0.25, valid={"macro_f1": 0.75}, seconds=1.0)


def config(kind: str) -> Config:
    return make_config({"data": {"name": "codex_s"}, "tracking": {"kind": kind, "project": "ours"}})


def show(kind: str, folder: Path) -> None:
    seen: list[str] = []
    with tracked(config(kind), folder) as tracker:
        tracker.observer(lambda task, record: seen.append(task))("relation classifier", RECORD)
        tracker.result("test", {"macro_f1": 0.625}, 3)
    assert seen == ["relation classifier"]


def test_tensorboard_has_every_value_at_its_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    show("tensorboard", tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tracking" / "ours"))
    events.Reload()
    found = {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert found == {
        "relation_classifier/loss": [(3, 0.5)],
        "relation_classifier/lr": [(3, 0.25)],
        "relation_classifier/macro_f1": [(3, 0.75)],
        "test/macro_f1": [(3, 0.625)],
    }
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tracking"]


def test_wandb_writes_offline_and_keeps_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    secret = "f00dfeed" * 5
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.setenv("SOME_TOKEN", secret)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_MODE", "online")
    show("wandb", tmp_path / "run")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    (written,) = [path for path in files if path.suffix == ".wandb"]
    assert written.is_relative_to(tmp_path / "run" / "tracking")
    content = written.read_bytes()
    for key in (b"relation_classifier/macro_f1", b"test/macro_f1", b"0.625", b"codex_s"):
        assert key in content
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_none_writes_nothing(tmp_path: Path) -> None:
    show("none", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_names_the_extra(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("accelerate", "wandb"):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        pytest.raises(InputError, match=f"tracking.kind={kind} .* extra 'tracking'") as caught,
        tracked(config(kind), tmp_path),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_tracking_is_not_hashed() -> None:
    assert config("wandb").sha256() == config("none").sha256()
