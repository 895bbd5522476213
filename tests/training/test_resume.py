"""The state of a training on the disk: whichever write is cut off, what is there fits together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from relgnn.errors import InputError, MachineError
from relgnn.training.checkpoint import save_tensors
from relgnn.training.resume import EpochRecord, FitState, ResumeFolder, TrainLog

RECORD = EpochRecord(epoch=1, loss=0.1, lr=0.2, valid={"mrr": 0.3}, seconds=4.0)
TENSORS = {"model/x": torch.arange(3.0)}


def state(best_epoch: int) -> FitState:
    return FitState(epoch=3, batches=2, best_metric=0.5, best_epoch=best_epoch, history=[RECORD])


def test_a_state_comes_back(tmp_path: Path) -> None:
    folder = ResumeFolder(tmp_path / "new", {"seed": 1, "mode": "max"})
    assert folder.load() is None
    folder.save(state(2), TENSORS, {"x": torch.ones(3)})
    loaded = ResumeFolder(tmp_path / "new", {"seed": 1, "mode": "max"}).load()
    assert loaded is not None and loaded[0] == state(2)
    assert torch.equal(loaded[1]["model/x"], TENSORS["model/x"])
    assert loaded[2] is not None and torch.equal(loaded[2]["x"], torch.ones(3))


def test_a_crash_between_best_and_state_leaves_the_former_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ResumeFolder(tmp_path, {})
    folder.save(state(2), TENSORS, {"x": torch.ones(3)})

    def crash(path: Path, *rest: object) -> None:
        if path.name.startswith("state"):
            raise KeyboardInterrupt
        save_tensors(path, {"x": torch.full((3,), 7.0)})

    monkeypatch.setattr("relgnn.training.resume.save_tensors", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.save(state(3), TENSORS, {"x": torch.full((3,), 7.0)})
    monkeypatch.undo()
    again = ResumeFolder(tmp_path, {})
    loaded = again.load()
    assert loaded is not None and loaded[0].best_epoch == 2
    assert loaded[2] is not None and torch.equal(loaded[2]["x"], torch.ones(3))
    # what the crash left over is not taken for the weights of the epoch that now is best
    again.save(state(3), TENSORS, {"x": torch.full((3,), 8.0)})
    loaded = ResumeFolder(tmp_path, {}).load()
    assert loaded is not None and loaded[2] is not None and loaded[2]["x"][0] == 8.0
    assert len(list(tmp_path.iterdir())) == 2


def test_other_settings_are_named(tmp_path: Path) -> None:
    ResumeFolder(tmp_path, {"seed": 1}).save(state(0), TENSORS, None)
    with pytest.raises(
        InputError, match=r"trained with seed=1, now it is 2; resume with the former"
    ):
        ResumeFolder(tmp_path, {"seed": 2}).load()


def test_a_checkpoint_that_is_no_state_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "state.safetensors", TENSORS)
    with pytest.raises(InputError, match="is not the state of a training"):
        ResumeFolder(tmp_path, {}).load()


def test_best_weights_that_are_gone_are_named(tmp_path: Path) -> None:
    ResumeFolder(tmp_path, {}).save(state(2), TENSORS, {"x": torch.ones(3)})
    (tmp_path / "best-000002.safetensors").unlink()
    with pytest.raises(InputError, match=r"best-000002\.safetensors does not exist"):
        ResumeFolder(tmp_path, {}).load()


def test_what_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").mkdir()
    with pytest.raises(MachineError, match=r"cannot delete .*state\.safetensors"):
        ResumeFolder(tmp_path, {}).clear()


def test_the_log_drops_what_is_done_again_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    log, other = TrainLog(path, "a"), TrainLog(path, "b")
    log.rewind(0)
    for epoch in (1, 2, 3):
        for each in (log, other):
            each.write(EpochRecord(epoch, 0.1, 0.2, {}, 1.0))
    with path.open("a") as file:
        file.write('{"task": "a", "ep')
    log.rewind(1)
    lines = path.read_text().splitlines()
    assert [line[10:11] for line in lines] == ["a", "b", "b", "b"]


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(MachineError, match=r"cannot write .*log\.jsonl"):
        TrainLog(tmp_path / "log.jsonl", "a").write(RECORD)
