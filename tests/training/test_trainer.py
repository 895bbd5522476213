"""The trainer: what is resumed, accumulated or selected equals what it should."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from relgnn.errors import InputError, MachineError
from relgnn.training import FitResult, Interrupted, Trainer, TrainSettings
from relgnn.training.checkpoint import load_tensors
from relgnn.training.trainer import BAD_BATCH
from tests.training.toy import ToyTask

SETTINGS = TrainSettings(
    epochs=6, lr=0.05, weight_decay=0.01, schedule="cosine", warmup=0.2, clip=1.0, metric="score"
)


def weights(task: ToyTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def curve(result: FitResult) -> list[tuple[int, float, float, dict[str, float]]]:
    return [(record.epoch, record.loss, record.lr, record.valid) for record in result.history]


def raise_at(count: int, error: type[BaseException], losses: int) -> None:
    if losses == count:
        raise error


def signal_at(count: int, number: int, losses: int) -> None:
    if losses == count:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "at", "save_seconds", "accumulate"),
    [
        (signal.SIGINT, 1, 1000.0, 1),
        (signal.SIGINT, 4, 1000.0, 1),
        (signal.SIGTERM, 5, 1000.0, 1),
        (signal.SIGINT, 13, 0.0, 1),
        (signal.SIGINT, 24, 1000.0, 1),
        (signal.SIGINT, 7, 1000.0, 2),
        (signal.SIGTERM, 12, 0.0, 2),
    ],
)
def test_a_signalled_training_resumes_to_the_same_numbers(
    tmp_path: Path, number: int, at: int, save_seconds: float, accumulate: int
) -> None:
    settings = replace(SETTINGS, accumulate=accumulate)
    whole = ToyTask()
    expected = Trainer(settings, seed=3).fit(whole)
    trainer = Trainer(settings, seed=3, save_seconds=save_seconds)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        trainer.fit(ToyTask(on_loss=partial(signal_at, at, number)), tmp_path)
    assert signal.getsignal(number) is before
    assert caught.value.exit_code == 130 and "\n" not in str(caught.value)
    resumed = ToyTask()
    result = trainer.fit(resumed, tmp_path, resume=True)
    assert curve(result) == curve(expected)
    assert (result.best_metric, result.best_epoch, result.stopped) == (
        expected.best_metric,
        expected.best_epoch,
        "epochs",
    )
    assert_same(weights(resumed), weights(whole))
    # every loss is computed once: nothing of what was saved is done again
    assert resumed.losses + at + at % accumulate == whole.losses


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", [1, 7, 23])
def test_a_training_cut_off_inside_a_step_goes_on_from_the_last_saved_one(
    tmp_path: Path, error: type[BaseException], at: int
) -> None:
    whole = ToyTask()
    expected = Trainer(SETTINGS).fit(whole)
    trainer = Trainer(SETTINGS, save_seconds=0.0)
    with pytest.raises(Interrupted if error is KeyboardInterrupt else RuntimeError):
        trainer.fit(ToyTask(on_loss=partial(raise_at, at, error)), tmp_path)
    resumed = ToyTask()
    assert curve(trainer.fit(resumed, tmp_path, resume=True)) == curve(expected)
    assert_same(weights(resumed), weights(whole))
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in logged] == list(range(1, SETTINGS.epochs + 1))
    assert [line["loss"] for line in logged] == [record.loss for record in expected.history]


def test_a_second_signal_stops_inside_the_step(tmp_path: Path) -> None:
    def twice(losses: int) -> None:
        if losses == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    task = ToyTask(on_loss=twice)
    with pytest.raises(Interrupted, match="relgnn run --resume runs/x"):
        Trainer(SETTINGS, resume_command="relgnn run --resume runs/x").fit(task, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_a_signal_in_the_last_evaluation_is_not_lost(tmp_path: Path) -> None:
    class Signalled(ToyTask):
        def evaluate(self) -> dict[str, float]:
            os.kill(os.getpid(), signal.SIGINT)
            return super().evaluate()

    settings = replace(SETTINGS, epochs=1)
    with pytest.raises(Interrupted):
        Trainer(settings).fit(Signalled(), tmp_path)
    resumed = ToyTask()
    assert Trainer(settings).fit(resumed, tmp_path, resume=True).stopped == "epochs"
    assert resumed.losses == 0


def test_without_a_folder_the_message_says_that_nothing_was_kept() -> None:
    with pytest.raises(Interrupted, match="nothing was kept"):
        Trainer(SETTINGS).fit(ToyTask(on_loss=partial(signal_at, 2, signal.SIGINT)))


def test_a_finished_training_is_read_back_without_training(tmp_path: Path) -> None:
    first, again = ToyTask(), ToyTask()
    expected = Trainer(SETTINGS).fit(first, tmp_path)
    result = Trainer(SETTINGS).fit(again, tmp_path, resume=True)
    assert again.losses == 0
    assert result == expected
    assert_same(weights(again), weights(first))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "state.safetensors"]


def test_resume_without_a_state_starts_and_a_start_drops_the_state(tmp_path: Path) -> None:
    fresh = ToyTask()
    Trainer(SETTINGS).fit(fresh, tmp_path, resume=True)
    assert fresh.losses == 24
    again = ToyTask()
    Trainer(SETTINGS).fit(again, tmp_path)
    assert again.losses == 24
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == SETTINGS.epochs


def test_a_state_of_other_settings_or_another_model_is_refused(tmp_path: Path) -> None:
    Trainer(SETTINGS).fit(ToyTask(), tmp_path)
    with pytest.raises(InputError, match=r"lr=0\.05, now it is 0\.1"):
        Trainer(replace(SETTINGS, lr=0.1)).fit(ToyTask(), tmp_path, resume=True)
    with pytest.raises(InputError, match="does not fit the model"):
        Trainer(SETTINGS).fit(ToyTask(plain=True), tmp_path, resume=True)


def test_accumulated_batches_equal_the_large_batch() -> None:
    # 3, 3, 3 and 2 points: only weights by items make them one batch of 11
    settings = TrainSettings(epochs=5, lr=0.05, clip=0.5)
    small, large = ToyTask(batch_size=3, plain=True), ToyTask(batch_size=11, plain=True)
    parts = Trainer(replace(settings, accumulate=4)).fit(small)
    whole = Trainer(settings).fit(large)
    for name, value in weights(large).items():
        torch.testing.assert_close(weights(small)[name], value)
    assert [r.loss for r in parts.history] == pytest.approx([r.loss for r in whole.history])


@pytest.mark.parametrize(
    ("mode", "valid", "best", "epochs"),
    [
        ("max", [0.1, 0.3, 0.2, 0.3, 0.9], 2, 4),
        ("min", [0.5, 0.4, 0.6, 0.4, 0.1], 2, 4),
        ("max", [float("nan"), 0.2, 0.3, 0.1, float("nan")], 3, 5),
    ],
)
def test_early_stopping_restores_the_best(
    tmp_path: Path, mode: str, valid: list[float], best: int, epochs: int
) -> None:
    settings = replace(SETTINGS, patience=2, mode=mode, schedule="constant", warmup=0.0)
    task = ToyTask(valid=valid)
    result = Trainer(settings).fit(task, tmp_path)
    assert (result.best_epoch, len(result.history), result.stopped) == (best, epochs, "patience")
    assert result.best_metric == valid[best - 1]
    short = ToyTask()
    Trainer(replace(settings, epochs=best, metric=None)).fit(short)
    assert_same(weights(task), weights(short))
    saved, _ = load_tensors(tmp_path / "state.safetensors")
    assert_same({n.removeprefix("model/"): value for n, value in saved.items()}, weights(short))
    assert not task.model.training


def test_a_resumed_training_keeps_its_best_and_its_patience(tmp_path: Path) -> None:
    valid = [0.1, 0.9, 0.2, 0.3, 0.4, 0.5]
    settings = replace(SETTINGS, patience=3)
    whole = ToyTask(valid=valid)
    expected = Trainer(settings).fit(whole)
    cut = ToyTask(valid=valid, on_loss=partial(raise_at, 15, KeyboardInterrupt))
    with pytest.raises(Interrupted):
        Trainer(settings, save_seconds=0.0).fit(cut, tmp_path)
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-000002.safetensors"]
    resumed = ToyTask(valid=valid[3:])
    result = Trainer(settings).fit(resumed, tmp_path, resume=True)
    assert (result.best_epoch, result.stopped, curve(result)) == (2, "patience", curve(expected))
    assert_same(weights(resumed), weights(whole))


def test_evaluation_comes_every_so_many_epochs_and_at_the_end() -> None:
    result = Trainer(replace(SETTINGS, epochs=5, eval_every=2)).fit(ToyTask())
    assert [record.epoch for record in result.history if record.valid] == [2, 4, 5]


def test_without_a_metric_the_last_weights_are_kept() -> None:
    result = Trainer(replace(SETTINGS, metric=None)).fit(ToyTask(valid=[]))
    assert (result.best_metric, result.best_epoch) == (None, SETTINGS.epochs)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"train\.metric=mrr .* choose one of score"):
        Trainer(replace(SETTINGS, metric="mrr")).fit(ToyTask())


def test_a_loss_that_is_not_finite_says_what_to_lower() -> None:
    task = ToyTask()
    task.y[0] = float("inf")
    place = r"is inf in epoch 1, step \d+, at "
    with pytest.raises(InputError, match=place + r"lr=0.05; set runtime\.precision=fp32"):
        Trainer(SETTINGS).fit(task)
    task.rate_keys = ("pretraining.lr",)
    with pytest.raises(InputError, match=r"05; lower pretraining\.lr, or set runtime\.precision"):
        Trainer(SETTINGS).fit(task)
    task.rate_keys = ("joint.lr", "joint.clip")
    known = r"joint\.lr=0.05; lower joint\.lr, set joint\.clip, or set runtime"
    with pytest.raises(InputError, match=place + known):
        Trainer(SETTINGS).fit(task)


def test_a_batch_whose_loss_is_not_finite_is_kept(tmp_path: Path) -> None:
    task = ToyTask()
    task.y[0] = float("nan")
    with pytest.raises(InputError, match="its batch is in") as caught:
        Trainer(SETTINGS).fit(task, tmp_path)
    path = tmp_path / BAD_BATCH
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = load_tensors(path)[0]
    assert any((rows == 0).any() for rows in kept.values())


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    runs = [ToyTask(), ToyTask(), ToyTask()]
    before = torch.get_rng_state()
    for task, seed in zip(runs, (1, 1, 2), strict=True):
        Trainer(SETTINGS, seed=seed).fit(task)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["0.weight"], weights(runs[2])["0.weight"])


def test_frozen_parameters_stay_and_are_not_saved(tmp_path: Path) -> None:
    task = ToyTask()
    task.model.get_parameter("0.weight").requires_grad_(False)
    before = weights(task)
    Trainer(SETTINGS).fit(task, tmp_path)
    assert torch.equal(weights(task)["0.weight"], before["0.weight"])
    assert not torch.equal(weights(task)["3.weight"], before["3.weight"])
    assert "model/0.weight" not in load_tensors(tmp_path / "state.safetensors")[0]


def test_bf16_autocast_computes_losses_and_keeps_weights_in_fp32() -> None:
    seen: list[bool] = []
    task = ToyTask(on_loss=lambda losses: seen.append(torch.is_autocast_enabled("cpu")))
    autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    result = Trainer(SETTINGS, autocast=autocast).fit(task)
    assert all(seen) and seen
    assert all(value.dtype == torch.float32 for value in task.model.parameters())
    assert result.history[-1].loss < result.history[0].loss


def test_a_full_disk_stops_the_training_and_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace
    calls: list[str] = []

    def full(source: Path, target: Path) -> None:
        calls.append(str(target))
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", full)
    trainer = Trainer(SETTINGS, save_seconds=0.0)
    with pytest.raises(MachineError) as caught:
        trainer.fit(ToyTask(), tmp_path)
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    assert not list(tmp_path.glob(".*"))
    whole, resumed = ToyTask(), ToyTask()
    expected = Trainer(SETTINGS).fit(whole)
    assert curve(trainer.fit(resumed, tmp_path, resume=True)) == curve(expected)
    assert 0 < resumed.losses < whole.losses
    assert_same(weights(resumed), weights(whole))


def test_two_trainings_share_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first, second = ToyTask(), ToyTask()
    second.name = "other"
    for task in (first, second, first):
        Trainer(SETTINGS).fit(task, log=log)
    names = [json.loads(line)["task"] for line in log.read_text().splitlines()]
    assert names == ["other"] * 6 + ["toy"] * 6


def test_it_trains_outside_the_main_thread() -> None:
    results: list[FitResult] = []
    thread = threading.Thread(target=lambda: results.append(Trainer(SETTINGS).fit(ToyTask())))
    thread.start()
    thread.join()
    assert curve(results[0]) == curve(Trainer(SETTINGS).fit(ToyTask()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_it_learns_and_resumes(tmp_path: Path) -> None:
    trainer = Trainer(SETTINGS, device="cuda", save_seconds=0.0)
    whole = ToyTask()
    expected = trainer.fit(whole)
    with pytest.raises(Interrupted):
        trainer.fit(ToyTask(on_loss=partial(raise_at, 14, KeyboardInterrupt)), tmp_path)
    result = trainer.fit(ToyTask(), tmp_path, resume=True)
    assert result.history[-1].loss < result.history[0].loss
    assert [r.loss for r in result.history] == pytest.approx([r.loss for r in expected.history])
