"""What was measured, as values and as Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from bench.wrk import Result

AIMS = {"get": 0.9, "list": 0.8, "create": 0.9}


class Row(msgspec.Struct, frozen=True):
    """One kind of request at one number of connections: the results of each round."""

    work: str
    connections: int
    kingpost: list[Result]
    floor: list[Result]

    @property
    def ratio(self) -> float:
        """Kingpost's rate over the floor's in the same round; the median of all rounds."""
        return median(ours.rate / theirs.rate for ours, theirs in zip(self.kingpost, self.floor, strict=True))


class Footprint(msgspec.Struct, frozen=True):
    """What a server takes: milliseconds until it is ready, and a worker's memory in MiB."""

    server: str
    ready: float
    idle_rss: int
    idle_pss: int
    busy_rss: int
    busy_pss: int


class Measured(msgspec.Struct, frozen=True):
    """All about one database."""

    database: str
    rows: list[Row]
    footprints: list[Footprint]


def middle(results: Sequence[Result], name: str) -> float:
    """The median of one of the numbers."""
    return float(median(getattr(result, name) for result in results))


def progress(turn: int, row: Row) -> str:
    """One line for those who wait."""
    ours, theirs = row.kingpost[-1], row.floor[-1]
    return (
        f"  round {turn + 1}: {row.work:6} at {row.connections:4} connections   kingpost {ours.rate:6.0f}/s"
        f"   floor {theirs.rate:6.0f}/s   p95 {ours.p95:5.0f} and {theirs.p95:5.0f} ms"
        f"   errors {_errors(ours)} and {_errors(theirs)}"
    )


def _errors(result: Result) -> str:
    parts = [f"{n} {name}" for name in ("refused", "broken", "late") if (n := getattr(result, name))]
    return ", ".join(parts) or "0"


def markdown(facts: Mapping[str, str], measured: Sequence[Measured]) -> str:
    """The page."""
    parts = [
        "# Benchmarks",
        "Written by `python3 dev.py python -m bench`. The floor is a bare ASGI application with the same server, "
        "driver, statement and JSON, but without token, checks, limits or headers (`bench/floor.py`). Kingpost runs "
        "as `kingpost serve`. Both work on the same database, filled with resources whose data has about 400 bytes; "
        "*get* takes random ones, *list* the newest 20 of the caller. All numbers are medians of the rounds; read the "
        "ratios, since the rest is the machine's. *CPU* is the server's own for each request, PostgreSQL's not "
        "included; busy neighbours disturb it least.",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "![Kingpost's rate over the floor's](results.svg)",
    ]
    for each in measured:
        parts += [f"## {each.database}", _rates(each.rows), _footprints(each.footprints)]
    return "\n\n".join(parts) + "\n"


def _rates(rows: Sequence[Row]) -> str:
    head = [
        "",
        "connections",
        "Kingpost",
        "floor",
        "ratio",
        "aim",
        "p50",
        "p95",
        "p99",
        "floor's p95",
        "CPU",
        "floor's CPU",
        "errors",
        "over 2 s",
    ]
    lines = []
    for row in rows:
        rate, p50, p95, p99 = (middle(row.kingpost, name) for name in ("rate", "p50", "p95", "p99"))
        errors = sum(result.refused + result.broken for result in row.kingpost)
        late = sum(result.late for result in row.kingpost)
        lines.append([
            row.work, f"{row.connections:,}", f"{rate:,.0f}/s", f"{middle(row.floor, 'rate'):,.0f}/s",
            f"**{row.ratio:.2f}**", f"{AIMS[row.work]}", f"{p50:.0f} ms", f"{p95:.0f} ms", f"{p99:.0f} ms",
            f"{middle(row.floor, 'p95'):.0f} ms", f"{middle(row.kingpost, 'cpu'):.0f} µs",
            f"{middle(row.floor, 'cpu'):.0f} µs", str(errors), str(late),
        ])  # fmt: skip
    return _table(head, lines)


def _footprints(footprints: Sequence[Footprint]) -> str:
    head = ["", "ready after", "idle RSS", "idle PSS", "RSS after the load", "PSS after the load"]
    lines = [
        [f.server, f"{f.ready:.0f} ms", *[f"{size} MiB" for size in (f.idle_rss, f.idle_pss, f.busy_rss, f.busy_pss)]]
        for f in footprints
    ]
    return _table(head, lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
