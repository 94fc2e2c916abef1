"""Problem documents (RFC 9457), and the pages that explain them."""

from html import escape
from typing import Any

import msgspec

from kingpost.http.app.answers import NO_STORE, Answer
from kingpost.problems import Problem, VersionMismatch

MEDIA_TYPE = "application/problem+json"


def problem_answer(problem: Problem, path: str, request_id: str) -> Answer:
    """Return the response for a problem."""
    document: dict[str, Any] = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": path,
        "request_id": request_id,
    }
    if problem.faults:
        document["errors"] = problem.faults
    if problem.has_more_faults:
        document["more"] = True
    if isinstance(problem, VersionMismatch):
        document["current"] = problem.current
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return Answer(problem.status, msgspec.json.encode(document), [NO_STORE, *headers], MEDIA_TYPE)


def problem_page(problem: type[Problem]) -> bytes:
    """Return the HTML page to which the `type` of a problem links."""
    title = escape(f"{problem.status} {problem.slug}")
    paragraphs = f"<h1>{title}</h1><p><strong>{escape(problem.title)}.</strong></p><p>{escape(problem.explanation)}</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body>{paragraphs}</body></html>"
    ).encode()
