"""Draw every dashboard from a Prometheus' data: ``python -m dashboards.pictures``.

One PNG for each, its folded sections opened. Needs the extra ``plots``.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from dashboards.pictures.asked import Panel, Prometheus, Span
from dashboards.pictures.drawn import draw
from dashboards.pictures.sheet import Box, Sheet

_HERE: Final = Path(__file__).parents[1] / "grafana"
_COLUMN, _UNIT, _GAP = 61.0, 33.0, 8.0  # pixels of Grafana's grid
_TOP: Final = 44.0


def main() -> int:
    """Draw what the command line asks for; give the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.pictures",
        description="Draw the Grafana dashboards from a Prometheus' data.",
        epilog="example: python -m dashboards.pictures http://127.0.0.1:9090 --minutes 30",
    )
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("--minutes", type=float, default=15.0, help="how far back (default: 15)")
    parser.add_argument("--scrape-s", type=float, default=5.0, help="between scrapes (default: 5)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder (default: this one)")
    chosen = parser.parse_args()
    now_s = time.time()
    span = Span(start_s=now_s - 60 * chosen.minutes, end_s=now_s, scrape_s=chosen.scrape_s)
    try:
        for path in draw_all(chosen.prometheus, span, chosen.out):
            print(path)  # noqa: T201  # what it has to say
    except httpx.HTTPError as error:
        print(f"{chosen.prometheus}: {error}", file=sys.stderr)  # noqa: T201  # likewise
        return 1
    return 0


def draw_all(url: str, span: Span, out: Path) -> Iterator[Path]:
    """Draw each dashboard into a folder; give the files as they are written.

    Raises:
        httpx.HTTPError: Prometheus cannot be reached, or refuses an expression.
    """
    out.mkdir(parents=True, exist_ok=True)
    prometheus = Prometheus(url, span)
    try:
        for path in sorted(_HERE.glob("*.json")):
            dashboard = json.loads(path.read_text())
            for name, panels in _parts(path.stem, dashboard["panels"]):
                target = out / f"{name}.png"
                target.write_bytes(picture(dashboard["title"], panels, prometheus, span))
                yield target
    finally:
        prometheus.close()


def picture(title: str, panels: list[Panel], prometheus: Prometheus, span: Span) -> bytes:
    """Draw panels as they lie on a dashboard, headings included."""
    first = min(panel["gridPos"]["y"] for panel in panels)
    last = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    sheet = Sheet(24 * _COLUMN + _GAP, _TOP + (last - first) * _UNIT + _GAP)
    sheet.text(16, _TOP / 2, title, size=14, weight="bold")
    for panel in panels:
        place = panel["gridPos"]
        box = Box(
            _GAP + place["x"] * _COLUMN,
            _TOP + (place["y"] - first) * _UNIT,
            place["w"] * _COLUMN - _GAP,
            place["h"] * _UNIT - _GAP,
        )
        if panel["type"] == "row":
            sheet.text(box.x + 6, box.y + box.h / 2, f"⌄  {panel['title']}", size=11)
            continue
        answers = [prometheus.curves(target) for target in panel["targets"]]
        draw(sheet, box, panel, answers, span)
    return sheet.png()


def _parts(name: str, panels: list[Panel]) -> Iterator[tuple[str, list[Panel]]]:
    """Give what is seen at first, and apart from it what unfolds, opened."""
    folded = [panel for panel in panels if panel.get("panels")]
    yield name, [panel for panel in panels if panel not in folded]
    opened: list[Panel] = []
    y = 0
    for row in folded:
        top = row["gridPos"]["y"]
        for each in [row, *row["panels"]]:
            place = each["gridPos"]
            opened.append({**each, "gridPos": {**place, "y": place["y"] - top + y}})
        y = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in opened)
    if opened:
        yield f"{name}-folded", opened


if __name__ == "__main__":
    sys.exit(main())
