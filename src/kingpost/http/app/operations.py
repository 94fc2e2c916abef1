"""What orchestrators and developers ask of any server: health, and the pages that explain problems."""

from collections.abc import Awaitable, Callable

from kingpost.http.app.answers import HTML, HTML_UTF_8, NO_STORE, PUBLIC, Answer, answer
from kingpost.http.app.call import Call
from kingpost.http.app.problems import problem_page
from kingpost.http.app.router import Route, Tag, Who
from kingpost.http.app.schemas import Health
from kingpost.problems import CATALOGUE, NotFound, Unavailable

OPERATIONS = Tag("Operations", "For those who run the server or verify its tokens.", place=100)


class Readiness:
    """Whether this process takes new requests. While it drains it still answers, but asks for no more."""

    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        """`ping` raises `Unavailable` while the database does not answer."""
        self.is_draining = False
        self._ping = ping

    async def check(self) -> None:
        """Return if new requests can be served.

        Raises:
            Unavailable: the server is shutting down, or the database does not answer.
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
        summary="Whether the process is alive",
        result=Health,
    ),
    Route(
        method="GET",
        path="/readyz",
        handler=ready,
        who=Who.ANYONE,
        tag=OPERATIONS,
        summary="Whether requests can be served",
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
        summary="What a problem means",
        is_hidden=True,
    ),
)
