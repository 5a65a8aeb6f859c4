"""What the server answers: the files that are shipped, and a search's data as JSON with an ETag."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from harmony_core.errors import UserError
from harmony_core.ui.asked import Asked, one_of
from harmony_core.ui.candidate_facts import candidate_facts
from harmony_core.ui.followed import Followed, Searches
from harmony_core.ui.front_points import front_points
from harmony_core.ui.importance import Importances
from harmony_core.ui.search_facts import overview, search_facts

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# How long the list of all searches waits for what is read anew [s].
_PATIENCE = 1.0
Answer = Callable[[Request], Any]


class _BeingRead(Exception):
    """Nothing is known yet; the page asks again."""


def application(searches: Searches) -> Starlette:
    """The application within the guard.

    Args:
        searches: what is shown.
    """
    importances = Importances()

    def all_searches(request: Request) -> Any:
        followed = [searches.followed(folder.name) for folder in searches.folders()]
        return [overview(one, one.look(_PATIENCE / len(followed))) for one in followed]

    def search(request: Request) -> Any:
        return search_facts(_followed(searches, request))

    def figure(request: Request) -> Any:
        followed = _followed(searches, request)
        view = _read(followed)
        names = [one_of(axis, request.query_params.get(axis, ""), view.columns.metrics) for axis in ("x", "y")]
        if names[0] == names[1]:
            raise UserError("y", names[1], "the same as x; ask for another metric")
        return front_points(view.snapshot, followed.promoted.get(0.5), *names)

    def candidates(request: Request) -> Any:
        view = _read(_followed(searches, request))
        asked = Asked(request.query_params, view.columns)
        total, rows = asked.page_of(view.snapshot.rows)
        front = set(view.snapshot.front["architecture_id"])
        told = rows.drop("kinds").to_dicts()
        for row in told:
            row["on_front"] = row["architecture_id"] in front
        return {"total": total, "all": len(view.snapshot.rows), "version": view.snapshot.version, "rows": told}

    def candidate(request: Request) -> Any:
        followed = _followed(searches, request)
        view = _read(followed)
        return candidate_facts(followed.folder, view.snapshot, view.columns, request.query_params.get("id", ""))

    def importance(request: Request) -> Any:
        followed = _followed(searches, request)
        view = _read(followed)
        name = one_of("metric", request.query_params.get("metric", ""), view.columns.metrics)
        return importances.get(followed.folder, view.manifest, view.snapshot, name)

    answers: dict[str, Answer] = {
        "searches": all_searches,
        "search": search,
        "front": figure,
        "candidates": candidates,
        "candidate": candidate,
        "importance": importance,
    }
    routes = [Route(f"/api/{name}", functools.partial(_answered, answer)) for name, answer in answers.items()]
    return Starlette(routes=[*routes, Route("/{name}", _asset), Route("/", _asset)])


def _answered(answer: Answer, request: Request) -> Response:
    """An answer as JSON, or that it is the one that the browser has; bad input is one line."""
    status = 200
    try:
        content: Any = answer(request)
    except _BeingRead:
        content = {"reading": True}
    except UserError as error:
        status, content = 400, {"error": str(error)}
    except OSError as error:
        status, content = 400, {"error": str(error.strerror or error)}
    body = json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="application/json")


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _asset(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    found = _assets().get(name)
    if found is None:
        return PlainTextResponse("There is no such page.\n", 404)
    return Response(found, media_type=_KINDS[name[name.rindex(".") :]], headers={"cache-control": "private, no-cache"})


@functools.cache
def _assets() -> dict[str, bytes]:
    """The files of the page by name: no name that is asked for becomes a path."""
    folder = resources.files("harmony_core.ui") / "assets"
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name.endswith(tuple(_KINDS))}


def _followed(searches: Searches, request: Request) -> Followed:
    return searches.followed(request.query_params.get("s", ""))


def _read(followed: Followed) -> Any:
    view = followed.look()
    if view.error:
        raise UserError("search", followed.folder.name, view.error)
    if view.snapshot is None or view.columns is None:
        raise _BeingRead
    return view
