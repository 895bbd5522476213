"""The batch whose loss is not finite is reported at its own step, on a GPU one step later."""

from __future__ import annotations

import pytest
import torch

from relgnn.training.watch import LossWatch, Watched


class Stopped(Exception):
    pass


def stop(watched: Watched, value: float) -> None:
    raise Stopped(watched.batch, watched.epoch, watched.step, str(value))


def test_on_the_processor_it_is_read_at_once() -> None:
    watch = LossWatch(stop)
    watch.see(torch.tensor(1.0), "first", 0, 0)
    with pytest.raises(Stopped) as caught:
        watch.see(torch.tensor(float("nan")), "second", 0, 1)
    assert caught.value.args == ("second", 0, 1, "nan")
    watch.check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_is_read_with_the_next_one_or_when_asked() -> None:
    bad = torch.tensor(float("inf"), device="cuda")
    for ask in (lambda w: w.see(bad * 0, "next", 1, 1), lambda w: w.check()):
        watch = LossWatch(stop)
        watch.see(bad, "bad", 1, 0)
        with pytest.raises(Stopped) as caught:
            ask(watch)
        assert caught.value.args == ("bad", 1, 0, "inf")


def test_a_loss_on_its_way_is_read_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            arrived.append(True)

    arrived: list[bool] = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    watch = LossWatch(stop)
    watch.see(torch.tensor(float("inf")), "bad", 2, 5)
    assert not arrived
    with pytest.raises(Stopped) as caught:
        watch.see(torch.tensor(1.0), "next", 2, 6)
    assert caught.value.args == ("bad", 2, 5, "inf") and arrived
