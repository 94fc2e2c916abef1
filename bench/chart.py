"""Draw the chart of the report: one bar for each ratio, with a mark at the target."""

from collections.abc import Sequence

from bench.report import TARGETS, Measured

LEFT, BAR, GAP, SCALE = 190, 18, 8, 260
WIDTH = LEFT + 2 * SCALE + 60
STYLE = "text{font:13px sans-serif;fill:#444}.name{text-anchor:end}.head{font-weight:bold}"


def svg(measured: Sequence[Measured]) -> str:
    """Return the chart: the ratio of Kingpost's rate to the floor's. A ratio of 2 fills the width."""
    shapes: list[str] = []
    y = 10
    for each in measured:
        shapes.append(_text(10, y + 14, each.database, "head"))
        y += BAR + GAP
        for row in each.rows:
            name = f"{row.request}, {row.connections:,} connections"
            color = "#2a7f62" if row.ratio >= TARGETS[row.request] else "#c8743c"
            length, target = min(row.ratio, 2) * SCALE, LEFT + TARGETS[row.request] * SCALE
            shapes += [
                _text(LEFT - 8, y + 14, name, "name"),
                f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{color}"/>',
                f'<path d="M{target:.0f} {y - 2}v{BAR + 4}" stroke="#222" stroke-dasharray="3 2"/>',
                _text(LEFT + round(length) + 6, y + 14, f"{row.ratio:.2f}", ""),
            ]
            y += BAR + GAP
        y += GAP
    shapes.append(f'<path d="M{LEFT + SCALE} 10V{y}" stroke="#bbb"/>')
    shapes.append(_text(LEFT + SCALE - 16, y + 14, "1.0, the floor; dashed: the target", ""))
    size = f'width="{WIDTH}" height="{y + 24}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>'
        f'<rect {size} fill="#fff"/>{"".join(shapes)}</svg>\n'
    )


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{text}</text>'
