"""What goes in and out: strict types, bounded sizes; an unknown key is an error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relgnn.audit.queue import State
from relgnn.explain.brief import Judged, Spoken
from relgnn.explain.paths import PathLine
from relgnn.loop.opened import ONE_END, Answer
from relgnn.loop.textmodel import Extraction

Name = Annotated[str, Field(min_length=1, max_length=256, description="Id or exact name.")]


class Asked(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Params(BaseModel):
    """A request's parameters, which come as text."""

    model_config = ConfigDict(extra="forbid")


class Triple(Asked):
    """Head, relation and tail, each an id or an exact name."""

    head: Name
    relation: Name
    tail: Name

    @property
    def cells(self) -> tuple[str, str, str]:
        """The three."""
        return self.head, self.relation, self.tail


class Predict(Asked):
    """An open query: give exactly one of head and tail; the other one is asked for."""

    relation: Name
    head: Name | None = None
    tail: Name | None = None
    k: int = Field(10, ge=1, le=100, description="How many answers.")
    why: bool = Field(True, description="With reasons.")

    @model_validator(mode="after")
    def one_end(self) -> Predict:
        """Refuse both ends, and none."""
        if (self.head is None) == (self.tail is None):
            raise ValueError(ONE_END)
        return self


class Predicted(BaseModel):
    """Answers, likeliest first."""

    answers: list[Answer]
    withheld: int = Field(0, description="Private or harmful ones of the k, which are left out.")


class Score(Asked):
    """Triples to score."""

    triples: list[Triple] = Field(min_length=1, max_length=256)


class Scored(BaseModel):
    """One score."""

    head: str
    relation: str
    tail: str
    score: float | None = Field(
        description="log P(tail | head, relation) + log P(head | relation, tail)"
    )
    probability: float | None = Field(description="Null for a run without valid triples.")
    withheld: bool = Field(False, description="Private or harmful: neither number is told.")


class Scores(BaseModel):
    """Scores in the order of the triples."""

    triples: list[Scored]


class Extract(Asked):
    """A text to read."""

    text: str = Field(min_length=1, max_length=20_000)
    about: Name | None = Field(
        None, description="What the text is about; by default what its first sentence names first."
    )
    at_least: float | None = Field(
        None, ge=0, le=1, description="Least probability; by default the run's own."
    )


class Extracted(BaseModel):
    """Triples that the text states, surest first."""

    triples: list[Extraction]
    withheld: int = Field(0, description="Private or harmful ones, which are left out.")


class Feedback(Triple):
    """A person's word on a triple."""

    verdict: Literal["accept", "reject"]
    reason: str | None = Field(
        None, min_length=1, max_length=500, description="Kept without personal data."
    )


class Recorded(BaseModel):
    """A verdict as it is on disk."""

    head: str
    relation: str
    tail: str
    verdict: str
    by: str
    time: str
    reason: str | None = None
    counts: bool = Field(description="Whether it changes anything: it does not on a given triple.")


class Why(Params):
    """A triple whose reasons are asked for."""

    head: Name
    relation: Name
    tail: Name
    limit: int = Field(5, ge=1, le=50, description="Paths, and sentences, at most.")


class Named(BaseModel):
    """A triple by ids and names."""

    head: str
    relation: str
    tail: str
    head_name: str
    relation_name: str
    tail_name: str


class Explained(Named):
    """What the run believes of a triple, and what speaks for it."""

    score: float
    probability: float | None
    known: bool = Field(description="Whether it was given for training.")
    paths: tuple[PathLine, ...] = Field(
        description="Over given and accepted triples, with their rules."
    )
    judged: Judged | None = Field(
        description="Views and sentences; null where the last round did not judge it."
    )
    verdict: Literal["accept", "reject"] | None = Field(description="What a person said last.")


class Browse(Params):
    """Which events of the ledger are asked for."""

    decision: Literal["accepted", "connected", "told", "rejected", "revoked"] | None = None
    verdict: Literal["accept", "reject", "none"] | None = Field(
        None, description="Only those of which a person said so last, or nothing."
    )
    entity: Name | None = Field(None, description="Id or exact name of either end.")
    relation: Name | None = None
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(20, ge=1, le=100)


class Event(Named):
    """One event, or a triple that only a verdict names: then there is no decision."""

    p: float | None
    p_text: float | None
    p_graph: float | None
    p_rules: float | None
    decision: str | None
    weight: float
    reason: str | None
    sentences: list[Spoken]
    verdict: Literal["accept", "reject"] | None


class Events(BaseModel):
    """Events of the last round, surest first."""

    round: int
    total: int = Field(description="How many there are; `events` is a page of them.")
    events: list[Event]


class Measure(BaseModel):
    """How good a run is on a stratum of a split, by realistic rank over both sides."""

    split: str
    stratum: str
    mrr: float
    hits_at_1: float
    hits_at_3: float
    hits_at_10: float
    queries: int


class Compared(BaseModel):
    """One of two runs."""

    name: str
    graph: str
    measures: list[Measure]


class Difference(BaseModel):
    """A knob that two runs were told differently; null where one does not have it."""

    key: str
    here: str | None
    there: str | None


class Comparison(BaseModel):
    """The served run and the other one."""

    here: Compared
    there: Compared
    differences: list[Difference]


class BothPredicted(BaseModel):
    """Answers of both runs, likeliest first."""

    here: list[Answer]
    there: list[Answer]
    withheld: int = Field(0, description="Private or harmful ones of both, which are left out.")


class Around(Params):
    """An entity whose edges are asked for."""

    entity: Name
    limit: int = Field(50, ge=1, le=500)


class Entity(BaseModel):
    """One entity."""

    id: str
    name: str
    description: str


class Edge(Named):
    """One edge; p is the loop's probability of one that it accepted from text."""

    source: Literal["given", "accepted"]
    p: float | None = None


class Neighbourhood(BaseModel):
    """Edges at an entity."""

    entity: Entity
    edges: list[Edge]
    total: int = Field(description="How many there are; `edges` is cut at the limit.")


class Search(Params):
    """A part of a name or id."""

    q: str = Field(min_length=1, max_length=100)
    limit: int = Field(10, ge=1, le=50)


class Entities(BaseModel):
    """Entities whose name or id holds what was asked: whole, then as a beginning, then within."""

    entities: list[Entity]


class Relation(BaseModel):
    """One relation; triples: how many were given."""

    id: str
    name: str
    description: str
    triples: int


class Relations(BaseModel):
    """All relations."""

    relations: list[Relation]


class Run(BaseModel):
    """Facts of the run."""

    name: str
    graph: str
    entities: int
    relations: int
    triples: int
    reads_texts: bool = Field(description="Whether it answers /v1/extract.")
    takes_feedback: bool = Field(description="Whether it answers /v1/feedback and /v1/ledger.")
    withholds: bool = Field(description="Whether private and harmful statements are left out.")
    compared_with: str | None = Field(description="The other run; null: there is none.")
    version: str


class Waiting(Params):
    """Which withheld statements are asked for."""

    state: State | None = Field(None, description="All of them by default.")
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=1_000_000)


class Statement(BaseModel):
    """A statement that was withheld."""

    id: int
    head: str
    relation: str
    tail: str
    head_name: str
    relation_name: str
    tail_name: str
    category: str
    route: str
    p: float | None = Field(description="Its probability then; null of one that was given.")
    time: str
    state: State
    by: str | None = Field(description="Who decided.")


class Statements(BaseModel):
    """Withheld statements, oldest first."""

    statements: list[Statement]
    total: int


class Decision(Asked):
    """A person's decision on a withheld statement; a later one overrules."""

    id: int = Field(ge=1, le=2**53)
    state: Literal["released", "withheld"]


class Problem(BaseModel):
    """What is wrong, in one line."""

    error: str


class Health(BaseModel):
    """State of the process."""

    status: Literal["ok", "ready", "not ready"]
