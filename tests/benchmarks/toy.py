"""A bench of three sides: one that holds memory, one that holds little, one that cannot run."""

from __future__ import annotations

import os

import torch

from benchmarks.measure import Bench, Call, Pair
from relgnn.errors import InputError


def small() -> Call:
    return lambda: torch.ones(1 << 10)


def large() -> Call:
    return lambda: torch.ones(1 << 24)


def impossible() -> Call:
    return lambda: torch.empty(1 << 45)


def broken() -> Call:
    def call() -> object:
        raise RuntimeError("a mistake")

    return call


def refuse(name: str) -> None:
    raise InputError(f"{name}: is no size")


def die(signal: int) -> None:
    os.kill(os.getpid(), signal)


def leave(code: int) -> None:
    os._exit(code)


BENCH = Bench(
    module=__name__,
    sides={"ours": small, "peer": large, "huge": impossible},
    pairs=[
        Pair("memory", "ours", "peer", "ours"),
        Pair("failure", "ours", "huge", lambda limits: 1 / limits.copy),
    ],
    versions={"peer": "torch"},
    notes=["a note"],
    check=lambda last: [f"peer has {last['peer'].numel()}"],
)
