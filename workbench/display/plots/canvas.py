"""What the figures share: the look of a variant, scales, rows, and a page with heading and notes."""

from __future__ import annotations

import io
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from workbench.compare.formats import shortened
from workbench.compare.pairs import plain_name, variant_name
from workbench.records import CPU, Precision, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.records import Result, Results

T = TypeVar("T")
WIDTH_IN = 10.0
NAME = 36  # characters of a variant's name
GREY = "#666666"
DASHES = (0, (4, 3))
LOG_TICKS = 12
COLORS_OF_A_PNG = 128
# Okabe and Ito, Color Universal Design; their yellow is left out because it is lost on white
COLORS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", "h", ">")  # 11 and 7: no pair repeats before 77
PRECISIONS = {
    Precision.FP32: ("full", "-"),
    Precision.FP16: ("left", "--"),
    Precision.BF16: ("bottom", "-."),
    Precision.INT8: ("none", ":"),
    Precision.INT4: ("top", (0, (1, 3))),
    Precision.FP8: ("right", (0, (5, 1, 1, 1, 1, 1))),
}
REGIONS = {
    Region.HOST_TO_HOST: "host to host (arrays in, arrays out)",
    Region.COMPUTE: "compute only (inputs already in place)",
    Region.DEVICE: "device only (between two CUDA events around the launches)",
}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.axisbelow": True,
    "axes.labelcolor": "#333333",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}


class Look(NamedTuple):
    """The look of a variant in every figure: color and marker show engine, method and build settings; fill and line show the precision."""

    color: str
    marker: str
    fill: str
    line: Any  # what matplotlib takes for a line's style

    @property
    def marks(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for the marker."""
        return {
            "color": self.color,
            "marker": self.marker,
            "fillstyle": self.fill,
            "markerfacecoloralt": "white",
            "markersize": 7,
        }


def looks(results: Results) -> dict[str, Look]:
    """The look of every variant of these results; the baseline's engine comes first and is black."""
    baseline = plain_name(results, results.baseline)
    rows = sorted(results.rows, key=lambda row: variant_name(row.spec) != baseline)
    engines = list(dict.fromkeys(_engine(row) for row in rows))
    found = {}
    for row in results.rows:
        place = engines.index(_engine(row))
        color, marker = COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]
        found[variant_name(row.spec)] = Look(color, marker, *PRECISIONS[row.spec.precision])
    return found


def _engine(row: Result) -> tuple[object, ...]:
    spec = row.spec
    return spec.address, spec.method, spec.optimization_level, spec.workspace_bytes


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least ``gap`` apart, in the order of ``wanted`` (descending), as near to it as that allows and within 0 to 1.

    Neighbors that would touch form a block which is centered on the mean of what its members want.
    """
    blocks: list[list[float]] = []  # [sum of the wanted places moved to the block's top, members]
    for value in wanted:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] - blocks[-2][1] * gap < blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total + count * blocks[-1][1] * gap
            blocks[-1][1] += count
    places = [total / count - gap * place for total, count in blocks for place in range(int(count))]
    last = len(places) - 1
    places = [max(place, (last - index) * gap) for index, place in enumerate(places)]
    return [min(place, 1 - index * gap) for index, place in enumerate(places)]


def page(results: Results, what: str, height_in: float, notes: Sequence[str], region: str = "") -> Figure:
    """An empty figure with room below its heading for ``height_in`` inches of axes, and notes at its foot. ``region`` is the region that
    was timed, if it differs from the region of the results.
    """
    threads = sorted({row.spec.threads for row in results.measured})
    about = f"{results.machine.label}; {region or enclosed(results)}; threads: {', '.join(map(str, threads))}{devices(results)}"
    lines = fitted(about, 8.5)
    title = fitted(f"{what} · {shortened(results.model.name, 72)}", 13, "bold")
    top, foot = 0.16 + 0.25 * len(title), 0.1 + 0.17 * len(notes)
    head = top + 0.07 + 0.17 * len(lines)
    total = head + height_in + foot
    fig: Any = sheet(total, f"{' '.join(title)}. {about}")
    fig.get_layout_engine().set(rect=(0.005, foot / total, 0.985, height_in / total))
    fig.text(0.012, 1 - 0.12 / total, "\n".join(title), va="top", fontsize=13, fontweight="bold", parse_math=False)
    small = {"fontsize": 8.5, "color": GREY, "parse_math": False, "linespacing": 1.35}
    fig.text(0.012, 1 - top / total, "\n".join(lines), va="top", **small)
    fig.text(0.012, 0.06 / total, "\n".join(notes), va="bottom", **small)
    return cast("Figure", fig)


def legend_beside(ax: Axes, entries: Sequence[tuple[Any, str]], bold: Sequence[bool], **more: Any) -> None:
    """A legend right of the axes; ``bold`` is by entry."""
    options: dict[str, Any] = {
        "loc": "upper left", "bbox_to_anchor": (1.02, 1.0), "borderaxespad": 0, "frameon": False, "fontsize": 8.5,
        "numpoints": 1,
    }  # fmt: skip
    legend = ax.legend([key for key, _ in entries], [text for _, text in entries], **options | more)
    for entry, is_bold in zip(legend.get_texts(), bold, strict=True):
        entry.set_fontweight("bold" if is_bold else "normal")


def shown_batches(batches: Sequence[int], most: int) -> tuple[list[int], list[str]]:
    """The batches that have a panel where there is room for ``most``, the largest among them, and a line on those that have none."""
    if len(batches) <= most:
        return [*batches], []
    shown = [*batches[: most - 1], batches[-1]]
    left = ", ".join(str(batch) for batch in batches if batch not in shown)
    return shown, [f"Measured too, and left out here: batch {left}."]


def draw_grid(fig: Figure, shape: tuple[int, int], panels: Sequence[T], draw: Callable[..., None]) -> None:
    """Axes in lines and columns, each with one panel; ``draw`` also takes whether names stand beside it, as ``names``."""
    for place, ax in enumerate(fig.subplots(*shape, squeeze=False).flat):
        if place < len(panels):
            draw(panels[place], ax, names=place % shape[1] == 0)
        else:
            ax.set_axis_off()


def enclosed(results: Results) -> str:
    """What one timed call encloses, and under whose protocol."""
    plan = results.plan
    region = REGIONS[plan.region]
    if plan.copies:
        region = "device only (copies in, launches and copies out, each between two CUDA events)"
    return f"{region}, by {plan.protocol} ({plan.wait} wait)" if plan.protocol else region


def devices(results: Results) -> str:
    """Which variants ran where, and how on a GPU; empty where all ran on the CPU."""
    rows = [row for row in results.measured if row.timing]
    found = {
        row.device: dict.fromkeys(variant_name(each.spec) for each in rows if each.device == row.device) for row in rows
    }
    if not set(found) - {CPU}:
        return ""
    several = len(found) > 1
    parts = []
    for device, names in found.items():
        here = [row for row in rows if row.device == device]
        ways = dict.fromkeys(_way(row) for row in here)
        how = f" ({'; '.join(way for way in ways if way)})" if any(ways) else ""
        parts.append(f"{', '.join(names)} on {device}{how}" if several else f"on {device}{how}")
    return ("; DIFFERENT DEVICES: " if several else "; ") + "; ".join(parts)


def _way(row: Result) -> str:
    timing = row.timing
    if timing is None or timing.device is None:
        return ""
    ways = ["CUDA graph"] if timing.device.graph else []
    if timing.streams > 1:
        ways.append(f"{timing.streams} calls in flight, times are between two answers")
    if row.spec.precision == Precision.FP32:
        ways.append("TF32 allowed" if row.spec.tf32 else "no TF32")
    return ", ".join(ways)


def sheet(height_in: float, alt: str) -> Figure:
    """An empty figure without a heading, ``height_in`` inches high, with a text for screen readers."""
    fig: Any = _figure_class()(figsize=(WIDTH_IN, height_in), dpi=100, layout="constrained")
    fig.alt = alt
    return cast("Figure", fig)


def as_bytes(figure: Figure, dpi: float, kind: str = "png", **options: Any) -> bytes:
    """The figure as a file of this kind: "png", "svg" or "pdf"; ``options`` are those of ``Figure.savefig``."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi, **options)
    return file.getvalue()


def as_small_png(figure: Figure, dpi: float) -> bytes:
    """The figure as PNG with a palette, a quarter of the size of one in full color, which no eye tells from it."""
    from PIL import Image

    with Image.open(io.BytesIO(as_bytes(figure, dpi, facecolor="white", pil_kwargs={"compress_level": 1}))) as full:
        # by the largest difference, so that a thin line in a rare color keeps it
        reduced = full.convert("RGB").quantize(
            COLORS_OF_A_PNG, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    file = io.BytesIO()
    reduced.save(file, "png", optimize=True)
    return file.getvalue()


@cache
def _figure_class() -> Any:
    from base64 import b64encode

    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """Shows itself in a notebook once, sharp and with a text for screen readers."""

        alt = ""

        def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:  # noqa: ARG002
            png = as_small_png(self, 200)
            width, height = (round(inches * 96) for inches in self.get_size_inches())
            about = {"width": width, "height": height, "alt": self.alt}
            return {"image/png": b64encode(png).decode()}, {"image/png": about}

    return NotebookFigure


def fitted(text: str, size: float, weight: str = "normal") -> list[str]:
    """Lines of ``text`` that fit the page at ``size`` points; what the font has no glyph for becomes a question mark."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(size, 72)
    shown = "".join(sign if sign.isprintable() and font.get_char_index(ord(sign)) else "?" for sign in text)
    lines = [shown]
    for letters in range(140, 20, -3):
        lines = textwrap.wrap(shown, letters)
        widths = []
        for line in lines:
            font.set_text(line)
            widths.append(font.get_width_height()[0] / 64)
        if max(widths, default=0) <= (WIDTH_IN - 0.25) * 72:
            break
    return lines


def scale(ax: Axes, which: str, values: Sequence[float], *, zero: bool = False) -> None:
    """A logarithmic axis where the values span more than a factor of ten, else a linear one; plain numbers on both."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis, limit = getattr(ax, f"{which}axis"), getattr(ax, f"set_{which}lim")
    low, high = min(values), max(values)
    if high > 10 * low > 0:
        getattr(ax, f"set_{which}scale")("log")
        margin = (high / low) ** 0.05
        limit(low / margin, high * margin)
        subs = (1, 2, 5) if high < 60 * low else (1, 3) if high < 1000 * low else (1,)
        # given, because what it is by itself leaves small axes without a label
        axis.set_major_locator(LogLocator(subs=subs, numticks=LOG_TICKS))
        axis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (high - low) or 0.1 * high
        limit(0 if zero else low - margin, high + margin)
        axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def label(ax: Axes, x: str, y: str) -> None:
    """Name both axes, and draw a grid."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color="#DDDDDD", linewidth=0.6)


def label_bars(ax: Axes, names: Sequence[str], x: str, *, grid: bool = True) -> None:
    """Name a bar for each of these rows, the first at the top, and the axis below them."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(x)
    if grid:
        ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)


def doubling(ax: Axes, values: Sequence[int], margin: float) -> None:
    """A horizontal axis in powers of two with a tick at each of these values; ``margin`` is in powers of two."""
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log", base=2)
    ax.set_xlim(values[0] / 2**margin, values[-1] * 2**margin)
    ax.set_xticks(values, [str(value) for value in values])
    ax.xaxis.set_minor_locator(NullLocator())


def drawn(height_in: float, alt: str, draw: Callable[[Axes], None]) -> Figure:
    """A :func:`sheet` with one pair of axes that ``draw`` draws on; it is neither shown nor saved."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        fig = sheet(height_in, alt)
        draw(fig.subplots())
    return fig


def rows(ax: Axes, names: Sequence[str], baseline: str, *, named: bool = True) -> None:
    ax.set_yticks(range(len(names)), [shortened(name, NAME) if named else "" for name in names])
    ax.set_ylim(len(names) - 0.4, -1.0)
    ax.tick_params(axis="y", length=0, pad=17)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    for name, label in zip(names, ax.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == baseline else "normal")


def margin_text(ax: Axes, place: float, text: str) -> None:
    ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
