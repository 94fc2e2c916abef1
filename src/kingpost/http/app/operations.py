"""Health checks for orchestrators, and the pages that explain problems to developers."""

from collections.abc import Awaitable, Callable

from kingpost.http.app.answers import HTML, HTML_UTF_8, NO_STORE, PUBLIC, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.problems import problem_page
from kingpost.http.app.router import Route, Tag, Who
from kingpost.http.app.schemas import Health
from kingpost.problems import CATALOGUE, NotFound, Unavailable

OPERATIONS = Tag("Operations", "Health checks, and the public keys that verify access tokens.", place=100)


class Readiness:
    """The readiness of this process for new requests. While it drains, it is not ready but still serves."""

    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        """Use `ping` to check the database. It raises `Unavailable` if the database does not respond."""
        self.is_draining = False
        self._ping = ping

    async def check(self) -> None:
        """Check that the process can serve new requests.

        Raises:
            Unavailable: the server is shutting down, or the database does not respond.
        """
        if self.is_draining:
            raise Unavailable("The server is shutting down")
        await self._ping()


async def live(call: Call, readiness: Readiness) -> Answer:
    return answer(Health("ok"), NO_STORE)


async def ready(call: Call, readiness: Readiness) -> Answer:
    await readiness.check()
    return answer(Health("ok"), NO_STORE)


async def problem(call: Call, readiness: Readiness) -> Answer:
    kind = CATALOGUE.get(call.path["slug"])
    if kind is None:
        raise NotFound()
    return Answer(200, problem_page(kind), [PUBLIC], HTML_UTF_8)


ROUTES: tuple[Route[Readiness], ...] = (
    Route(
        method="GET",
        path="/livez",
        handler=live,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="Check whether the process is alive",
        result=Health,
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=ready,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="Check whether the server is ready for requests",
        result=Health,
        problems=(Unavailable,),
    ),
    Route(
        method="GET",
        path="/problems/{slug}",
        handler=problem,
        who=Who.ANYONE,
        tag=OPERATIONS,
        media_type=HTML,
        summary="Explain a problem type",
        is_hidden=True,
    ),
)
