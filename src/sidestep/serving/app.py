"""The HTTP server: its routes and error responses."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from sidestep.data.fields import Column
from sidestep.errors import NotKeptError, SidestepError, UnknownItemError, UnknownModelError
from sidestep.serving import schema
from sidestep.serving.door import Door, failure, overloaded
from sidestep.serving.errors import HistoriesUnavailableError, UnavailableError
from sidestep.serving.events import Event, seconds
from sidestep.serving.server import Server
from sidestep.serving.settings import Settings
from sidestep.serving.watch import CONTENT_TYPE
from sidestep.serving.wording import sentence
from sidestep.serving.worker import Opener

log = logging.getLogger("sidestep.serving")

PAGE_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

ItemId = Annotated[str, Path(max_length=256)]
ModelName = Annotated[str | None, Query(max_length=512)]
SetName = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
Limit = Annotated[int, Query(ge=1, le=1_000)]

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorResponse, "description": text}
    for status, text in {
        400: "Malformed request.",
        401: "Missing or wrong key.",
        403: "Disabled: the server has no admin key.",
        404: "Unknown item, model or prefix.",
        408: "The body arrived too slowly.",
        413: "The body is too large.",
        422: "Invalid request.",
        500: "Internal error, or a bundle that cannot be loaded.",
        503: "Overloaded, starting or stopping; try again after Retry-After.",
    }.items()
}


def make_app(opener: Opener, settings: Settings) -> FastAPI:
    """opener: loads a bundle's model, in its own process; see `serving.worker`."""
    server = Server(opener, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await server.open()
        yield
        await server.close()

    app = FastAPI(
        title="Sidestep",
        description="Recommendations by semantic IDs, one thoughtful step at a time.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses=ERRORS,
    )
    app.state.server = server
    _answer_errors(app)
    _recommend_routes(app, server)
    _catalogue_routes(app, server)
    _user_routes(app, server)
    _operator_routes(app, server)
    _page_routes(app)
    app.add_middleware(Door, settings=settings, numbers=server.numbers, expected=server.expected)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Handlers that turn every error into the same JSON shape with one sentence."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0]
        if request.method == "POST" and kind != "application/json":
            met = ascii(kind)[:60] if kind else "none"
            message = f"The body must be JSON, with the header Content-Type: application/json; got {met}"
            return failure(422, "invalid_request", message)
        field = getattr(request.scope.get("route"), "body_field", None)
        body = schema.SetRequest if request.method == "PUT" else None if field is None else field.field_info.annotation
        return failure(422, "invalid_request", sentence(error.errors(), body))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        messages = {404: f"No route {request.url.path!r}; GET /openapi.json lists all routes"}
        message = messages.get(error.status_code, str(error.detail))
        return failure(error.status_code, "http_error", message, dict(error.headers or {}))

    @app.exception_handler(UnavailableError)
    async def later(request: Request, error: UnavailableError) -> JSONResponse:
        message = str(error)
        if isinstance(error, HistoriesUnavailableError):  # their address goes only into the log
            log.error(message)
            message = "The store of histories does not answer; try again"
        return overloaded(message, error.retry_after)

    @app.exception_handler(SidestepError)
    async def wrong(request: Request, error: SidestepError) -> JSONResponse:
        missing = isinstance(error, UnknownItemError | UnknownModelError | NotKeptError)
        status = 404 if missing and request.method != "POST" else 422
        return failure(status, "unknown" if missing else "invalid_request", str(error))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("internal error", exc_info=error)
        return failure(500, "internal", "Internal error; the server's log has the details")


def _recommend_routes(app: FastAPI, server: Server) -> None:
    @app.post("/v1/recommend", response_model=schema.RecommendResponse)
    async def recommend(body: schema.RecommendRequest) -> Response:
        """The k best items after a history. Unknown items are skipped and listed in `unknown`; for an empty history the
        most popular items are returned.
        """
        return JSONResponse((await server.recommend([body]))[0])

    @app.post("/v1/recommend:batch", response_model=schema.BatchResponse)
    async def recommend_batch(body: schema.BatchRequest) -> Response:
        """Several requests at once; either all are answered or none."""
        return JSONResponse({"responses": await server.recommend(body.requests)})

    @app.get("/v1/models", response_model=schema.ModelsResponse)
    async def models() -> Response:
        """The models of this server; the first is the default."""
        infos = []
        for edition in server.editions.all:
            meta, reads = edition.shelf.bundle.meta, edition.shelf.bundle.reads
            infos.append(
                {
                    "name": edition.name,
                    "bundle": edition.digest,
                    "num_levels": len(meta["codebook_sizes"]),
                    "reads": asdict(reads),
                    "max_history": reads.recent,
                    **{key: meta[key] for key in ("method", "num_items", "codebook_sizes", "thinks")},
                    **{key: meta[key] for key in ("beams", "version")},
                    "slice": meta.get("slice"),
                }
            )
        return JSONResponse({"models": infos, "default": server.editions.names[0]})


def _catalogue_routes(app: FastAPI, server: Server) -> None:
    @app.get("/v1/items", response_model=schema.ItemsResponse)
    async def items(
        query: Annotated[str, Query(max_length=200)] = "", limit: Limit = 20, model: ModelName = None
    ) -> Response:
        """Items whose title or id contains every word, the most popular first."""
        with server.editions.using(model) as edition:
            return JSONResponse({"items": await asyncio.to_thread(edition.shelf.search, query, limit)})

    @app.get("/v1/items/{item_id:path}", response_model=schema.ItemResponse)
    async def item(item_id: ItemId, model: ModelName = None) -> Response:
        with server.editions.using(model) as edition:
            return JSONResponse(edition.shelf.details(edition.shelf.item(item_id)))

    @app.get("/v1/semantic-ids/{item_id:path}", response_model=schema.SemanticIdResponse)
    async def semantic_id(item_id: ItemId, limit: Limit = 20, model: ModelName = None) -> Response:
        """An item's codes, coarse to fine, and the items that share a prefix of them."""
        with server.editions.using(model) as edition:
            shelf = edition.shelf
            number = shelf.item(item_id)
            near = shelf.neighbours(number, limit)
            head = {name: value for name, value in shelf.details(number).items() if name in ("item_id", "title")}
            codes = shelf.details(number)["semantic_id"]
            version = shelf.bundle.meta["version"]
            return JSONResponse(
                {**head, "semantic_id": codes, "bundle": edition.digest, "version": version, "neighbours": near}
            )

    @app.get("/v1/tree", response_model=schema.TreeResponse)
    async def tree(
        prefix: Annotated[str, Query(pattern=r"^([0-9]{1,6}(\.[0-9]{1,6}){0,30})?$")] = "",
        limit: Limit = 256,
        model: ModelName = None,
    ) -> Response:
        """The children or items of a prefix of codes, such as 3.17; the largest branches first."""
        with server.editions.using(model) as edition:
            return JSONResponse(edition.shelf.tree([int(code) for code in prefix.split(".") if code], limit))

    @app.get("/v1/categories", response_model=schema.CategoriesResponse)
    async def categories(model: ModelName = None) -> Response:
        with server.editions.using(model) as edition:
            return JSONResponse({"categories": edition.shelf.filters.category_counts()})

    @app.get("/v1/columns", response_model=schema.ColumnsResponse)
    async def columns(model: ModelName = None) -> Response:
        """The columns that `where` can be put on, with the range of their numbers or the values of their text."""
        with server.editions.using(model) as edition:
            found = await asyncio.to_thread(lambda: edition.shelf.filters.columns)
        return JSONResponse({"columns": [_told(column) for column in found]})

    @app.get("/v1/sets", response_model=schema.SetsResponse)
    async def sets() -> Response:
        """The sets of items that requests can use as filters, such as in-stock."""
        infos = [{"name": each.name, "num_items": len(each.item_ids)} for each in server.sets.values()]
        return JSONResponse({"sets": infos})


def _told(column: Column) -> dict[str, Any]:
    values = [{"name": name, "num_items": count} for name, count in column.values]
    return {**asdict(column), "values": values}


def _user_routes(app: FastAPI, server: Server) -> None:
    @app.post("/v1/events", response_model=schema.EventsResponse)
    async def events(sent: schema.EventsRequest) -> Response:
        """Append to users' histories. Acknowledged events are stored; an event with a known event id is a duplicate.
        Items that no model knows are stored, too, and listed in `unknown`: they count once a bundle has them.
        """
        now = time.time()
        new = []
        for each in sent.events:
            moment = now if each.time is None else seconds(each.time, "time")
            new.append(Event(each.user_id, each.item_id, moment, each.event_id))
        accepted = await server.histories.append(new)
        unknown = server.editions.unknown(event.item_id for event in new)
        return JSONResponse({"accepted": accepted, "duplicates": len(new) - accepted, "unknown": unknown})

    @app.get("/v1/users/{user_id:path}", response_model=schema.UserResponse)
    async def user(user_id: ItemId, model: ModelName = None) -> Response:
        """A user's events, oldest first."""
        events = await server.histories.history(user_id, schema.MAX_HISTORY)
        with server.editions.using(model) as edition:
            number_of, card = edition.shelf.number_of, edition.shelf.card
            history = []
            for event in events:
                plain = {"item_id": event.item_id, "title": event.item_id, "category": None}
                item = card(number_of[event.item_id]) if event.item_id in number_of else plain
                history.append({**item, "time": event.time})
        return JSONResponse({"user_id": user_id, "history": history})

    @app.delete("/v1/users/{user_id:path}", response_model=schema.ForgottenResponse)
    async def forget(user_id: ItemId) -> Response:
        """Delete a user's events."""
        return JSONResponse({"forgotten": await server.histories.forget(user_id)})


def _operator_routes(app: FastAPI, server: Server) -> None:
    @app.post("/v1/admin/reload", response_model=schema.ReloadResponse)
    async def reload() -> Response:
        """Load the current bundles from their folders. If that fails, the old ones stay in service."""
        try:
            return JSONResponse({"reloaded": await server.reload()})
        except SidestepError as error:  # of a folder or a file of this server, not of the request
            log.error("not reloaded, the old bundles stay in service: %s", error)
            return failure(500, "not_reloaded", str(error))

    body = {"required": True, "content": {"application/json": {"schema": schema.SetRequest.model_json_schema()}}}

    @app.put("/v1/admin/sets/{name}", response_model=schema.SetResponse, openapi_extra={"requestBody": body})
    async def put_set(name: SetName, request: Request) -> Response:
        """Set the items of a set until the server stops. A set with a file (--set) is read again at every reload."""
        return JSONResponse(await asyncio.to_thread(server.put_set, name, await request.body()))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_model=schema.HealthResponse)
    async def healthz() -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", response_model=schema.HealthResponse)
    async def readyz() -> Response:
        """All models and the store of histories answer."""
        ready = await server.ready()
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(server.numbers.page(server.editions), media_type=CONTENT_TYPE)


def _page_routes(app: FastAPI) -> None:
    folder = files("sidestep.serving") / "page"
    parts = {part.name: part.read_bytes() for part in folder.iterdir() if part.name.split(".")[-1] in PAGE_TYPES}

    def part(name: str) -> Response:
        if name not in parts:
            raise HTTPException(404)
        kind = PAGE_TYPES[name.split(".")[-1]]
        return Response(parts[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return part("index.html")

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return part(name)
