"""Every knob of the service, with its one default."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names of this machine that nobody else can be reached by."""


class Settings(BaseModel):
    """What `relgnn serve` was told; the same in every worker.

    Args:
        run: the run folder.
        compare: folder of another run to show beside it.
        vectors: file that workers map the model from; None passes the messages in the process.
        compare_vectors: the same of the other run.
        keys: file of hashed keys; None lets everybody in.
        host, port: where to listen; port 0 takes a free one.
        workers: processes.
        threads: of torch's operations in each of them.
        batch: requests that are scored together at most.
        queue: predictions and scores that may wait in a worker; one more is told 429.
        slow_queue: texts to extract that may wait.
        timeout_s: a request that takes longer is told 504.
        drain_s: how long a stopping worker waits for the requests that it has.
        max_body: bytes of a request's body.
        rate: requests a second for each key, or for each address where there are no keys.
        burst: how many of them may come at once.
        in_flight: requests that a worker has at once; one more is told 429.
        cors: origins whose pages may ask; none by default.
        withhold: private and harmful statements wait for a person.
        policy: file that says which they are; None takes relgnn/audit/policy.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path
    compare: Path | None = None
    vectors: Path | None = None
    compare_vectors: Path | None = None
    keys: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1)
    threads: int = Field(1, ge=1)
    batch: int = Field(32, ge=1)
    queue: int = Field(32, ge=1)
    slow_queue: int = Field(8, ge=1)
    timeout_s: float = Field(10.0, gt=0)
    drain_s: float = Field(20.0, ge=0)
    max_body: int = Field(128 * 1024, ge=1)
    rate: float = Field(500.0, gt=0, allow_inf_nan=False)
    burst: int = Field(1000, ge=1)
    in_flight: int = Field(256, ge=1)
    cors: tuple[str, ...] = ()
    withhold: bool = True
    policy: Path | None = None

    @property
    def rate_here(self) -> float:
        """The share of `rate` that one worker lets pass: they do not count together."""
        return self.rate / self.workers

    @property
    def burst_here(self) -> int:
        """The same of `burst`."""
        return max(1, self.burst // self.workers)
