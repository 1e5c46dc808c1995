"""A picture measured in pixels from its upper left corner, as a browser does it."""

from io import BytesIO
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from dashboards.pictures.palette import BORDER, CANVAS, FAINT, PANEL, TEXT

_DPI: Final = 100.0
_CHARACTER: Final = 0.54  # mean width of one, of the font's height


class Box(NamedTuple):
    """Hold a rectangle in pixels, its corner the upper left one."""

    x: float
    y: float
    w: float
    h: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> "Box":
        """Give what is left within margins.

        >>> Box(0, 0, 100, 50).inside(10, 5, 10, 5)
        Box(x=10, y=5, w=80, h=40)
        """
        return Box(self.x + left, self.y + top, self.w - left - right, self.h - top - bottom)


class Sheet:
    """Draw on a picture of a given size.

    Args:
        width: In pixels.
        height: In pixels.
    """

    def __init__(self, width: float, height: float) -> None:
        self._width, self._height = width, height
        size = (width / _DPI, height / _DPI)
        self._figure = Figure(figsize=size, dpi=_DPI, facecolor=CANVAS)

    def axes(self, box: Box) -> Axes:
        """Add empty axes that fill a box."""
        place = (
            box.x / self._width,
            1 - (box.y + box.h) / self._height,
            box.w / self._width,
            box.h / self._height,
        )
        made = self._figure.add_axes(place, facecolor="none")
        made.tick_params(colors=FAINT, labelsize=7.5, length=0)
        for spine in made.spines.values():
            spine.set_visible(False)
        return made

    def frame(self, box: Box, title: str) -> Box:
        """Draw a panel's background and title; give what is left for its content."""
        self.rectangle(box, PANEL, edge=BORDER)
        fits = int((box.w - 16) / (9.5 * 1.15 * _CHARACTER * _DPI / 72))
        shown = title if len(title) <= fits else title[: fits - 1] + "…"
        self.text(box.x + 10, box.y + 16, shown, size=9.5, weight="bold")
        return box.inside(10, 30, 10, 8)

    def rectangle(self, box: Box, colour: str, edge: str = "none") -> None:
        """Fill a box."""
        corner = (box.x / self._width, 1 - (box.y + box.h) / self._height)
        size = (box.w / self._width, box.h / self._height)
        transform = self._figure.transFigure
        patch = Rectangle(corner, *size, facecolor=colour, edgecolor=edge, transform=transform)
        patch.set_zorder(-1 if edge != "none" else 1)  # axes lie at 0, between the two
        self._figure.add_artist(patch)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        colour: str = TEXT,
        size: float = 8.5,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """Write a line, its middle at a height."""
        place = (x / self._width, 1 - y / self._height)
        self._figure.text(
            *place, text, color=colour, fontsize=size, weight=weight, ha=align, va="center"
        )

    def png(self) -> bytes:
        """Give the picture in 256 colours; the same drawing gives the same bytes."""
        FigureCanvasAgg(self._figure)
        drawn = BytesIO()
        self._figure.savefig(drawn, format="png", dpi=_DPI)
        picture = Image.open(drawn).convert("RGB")
        out = BytesIO()
        # By coverage: a legend's colour stays what it is, however few pixels it has.
        few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(out, format="png", optimize=True)
        return out.getvalue()


def text_width(text: str, size: float = 8.5) -> float:
    """Estimate how wide a text is, in pixels.

    >>> round(text_width("twelve chars", size=10))
    90
    """
    return len(text) * size * _CHARACTER * _DPI / 72
