"""The routes under /v1: each checks what is sent, asks the service, and says what comes back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from relgnn.serving import schemas
from relgnn.serving.service import Service

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": said}
    for status, said in (
        (400, "The body is nested too deeply, or holds a number of too many digits."),
        (401, "There is no key, or an unknown one."),
        (403, "The key may not do that, or the statement is withheld."),
        (413, "The body is too large."),
        (422, "It is no JSON, or something in it is wrong or unknown; `error` says what."),
        (429, "Too many requests; ask again after the seconds of the header Retry-After."),
        (503, "The service is stopping, or the machine failed."),
        (504, "It took too long."),
    )
}


def routes(service: Service) -> APIRouter:
    """All of them, for one service."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)

    @router.post("/predict", response_model=schemas.Predicted, tags=["ask"])
    async def predict(asked: schemas.Predict) -> Response:
        """Answer an open query, each answer with probability and why."""
        return _sent(schemas.Predicted.model_construct(**await service.predict(asked)))

    @router.post("/score", response_model=schemas.Scores, tags=["ask"])
    async def score(asked: schemas.Score) -> Response:
        """Give each triple a score and a calibrated probability."""
        rows = await service.score([triple.cells for triple in asked.triples])
        return _sent(schemas.Scores.model_validate({"triples": rows}))

    @router.post("/extract", response_model=schemas.Extracted, tags=["ask"])
    async def extract(asked: schemas.Extract) -> Response:
        """Find the triples that a text states; the text is neither kept nor logged."""
        return _sent(schemas.Extracted.model_construct(**await service.extract(asked)))

    @router.get("/explain", response_model=schemas.Explained, tags=["ask"])
    async def explain(asked: Annotated[schemas.Why, Query()]) -> Response:
        """Say what the run believes of a triple, and what speaks for it."""
        return _sent(schemas.Explained.model_construct(**await service.explain(asked)))

    @router.post("/compare", response_model=schemas.BothPredicted, tags=["ask"])
    async def compare(asked: schemas.Predict) -> Response:
        """Answer an open query by both runs, where the service was given two."""
        return _sent(schemas.BothPredicted.model_construct(**await service.compare(asked)))

    @router.post("/feedback", response_model=schemas.Recorded, tags=["teach"])
    async def feedback(asked: schemas.Feedback, request: Request) -> Response:
        """Record a person's verdict on a triple; it is on disk before this is answered."""
        line = await service.record(asked, request.state.by)
        return _sent(schemas.Recorded.model_validate(line))

    @router.get("/neighbourhood", response_model=schemas.Neighbourhood, tags=["look"])
    async def neighbourhood(asked: Annotated[schemas.Around, Query()]) -> Response:
        """List the edges at an entity: given ones, and those that the loop accepted from text."""
        return _sent(schemas.Neighbourhood.model_validate(await service.surroundings.around(asked)))

    @router.get("/entities", response_model=schemas.Entities, tags=["look"])
    async def entities(asked: Annotated[schemas.Search, Query()]) -> Response:
        """Find entities by a part of their name or id."""
        found = service.names.find(asked.q, asked.limit)
        return _sent(
            schemas.Entities.model_validate(
                {"entities": [service.surroundings.entity(i) for i in found]}
            )
        )

    @router.get("/relations", response_model=schemas.Relations, tags=["look"])
    async def relations() -> Response:
        """List all relations."""
        return _sent(
            schemas.Relations.model_validate({"relations": service.surroundings.relations})
        )

    @router.get("/ledger", response_model=schemas.Events, tags=["look"])
    async def ledger(asked: Annotated[schemas.Browse, Query()]) -> Response:
        """Page through the last round's events, with sentences and what people said of them."""
        return _sent(schemas.Events.model_validate(await service.browse(asked)))

    @router.get("/comparison", response_model=schemas.Comparison, tags=["look"])
    async def comparison() -> Response:
        """Tell how good both runs are, and what they were told differently."""
        return _sent(schemas.Comparison.model_validate(service.comparison_facts))

    @router.get("/run", response_model=schemas.Run, tags=["look"])
    async def run() -> Response:
        """Tell facts of the run."""
        return _sent(schemas.Run.model_validate(service.facts))

    @router.get("/audit/queue", response_model=schemas.Statements, tags=["operate"])
    async def queue(asked: Annotated[schemas.Waiting, Query()]) -> Response:
        """List statements that were withheld, oldest first, and what was decided."""
        return _sent(schemas.Statements.model_validate(service.withholding.statements(asked)))

    @router.post("/audit/queue", response_model=schemas.Statement, tags=["operate"])
    async def decide(asked: schemas.Decision, request: Request) -> Response:
        """Release a withheld statement, or withhold it; on disk before this is answered."""
        found = await service.withholding.decide(asked, request.state.by)
        return _sent(schemas.Statement.model_validate(found))

    return router


def _sent(answer: BaseModel) -> Response:
    """JSON, written once: what we made ourselves needs no second check."""
    return Response(answer.model_dump_json(), media_type="application/json")
