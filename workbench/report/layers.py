"""What a notebook and a report show of layers: figures, tables, two engines side by side, and why some are not faster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from workbench.compare.layer_view import aligned
from workbench.display import layer_tables
from workbench.display.html import bullets, folded, image, tag
from workbench.display.plots.canvas import as_small_png
from workbench.display.table import Table
from workbench.display.why import why_not_faster
from workbench.records import Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from workbench.records import LayerProfile, Results


MOST_BYTES = 600_000
"""Of all figures and tables of layers in one page."""


def parts(results: Results) -> list[str]:
    """HTML, in order: cards of variants that are not faster than FP32; for each profile its figure and tables, folded away; and
    each lower precision beside its FP32 sibling.

    The smallest batches come first, and what would exceed :data:`MOST_BYTES` is named and not shown.
    """
    wanted: list[tuple[int, str, Callable[[], str]]] = [
        (each.batch, f"{each.label}, batch {each.batch}", partial(_profile, each, number))
        for number, each in enumerate(results.layer_profiles)
    ]
    wanted += [
        (one.batch, f"{one.label} → {other.label}, batch {one.batch}", partial(_pair, one, other))
        for one, other in siblings(results)
    ]
    shown, names, left = list[str](), list[str](), MOST_BYTES
    for _, name, make in sorted(wanted, key=lambda each: each[0]):
        made = "" if names else make()
        left -= len(made.encode())
        if names or left < 0:
            names.append(name)
        else:
            shown.append(made)
    cards = str(why_not_faster(results).html())
    return [cards, *shown, *([_not_shown(names)] if names else [])]


def _not_shown(names: list[str]) -> str:
    about = "They are left out to keep the page small; results.layers() and the panel's page Layers have them."
    return folded(f"{len(names)} more engines and pairs", tag("p", about), bullets(names))


def siblings(results: Results) -> list[tuple[LayerProfile, LayerProfile]]:
    """Every profile of a lower precision with that of the same backend in FP32 at the same batch."""
    spec = {row.engine.key: row.spec for row in results.rows if row.engine}
    plain = {
        (spec[each.engine_key].address, each.batch): each
        for each in results.layer_profiles
        if spec[each.engine_key].precision == Precision.FP32
    }
    pairs = []
    for each in results.layer_profiles:
        mine = spec[each.engine_key]
        other = plain.get((mine.address, each.batch))
        if other is not None and mine.precision != Precision.FP32:
            pairs.append((other, each))
    return pairs


def _profile(profile: LayerProfile, number: int) -> str:
    from workbench.display.plots.layers import layer_figure

    picture = _picture(layer_figure(profile), f"Time by layer of {profile.label}, batch {profile.batch}")
    title = f"{profile.label}, batch {profile.batch}: {len(profile.layers)} layers"
    return folded(title, picture, layer_tables.profile_html(profile, number=number))


def _pair(one: LayerProfile, other: LayerProfile) -> str:
    from workbench.display.plots.layers import pair_figure

    picture = _picture(pair_figure(one, other), f"Layers of {one.label} against {other.label}, batch {one.batch}")
    return folded(f"{one.label} → {other.label}, batch {one.batch}", picture, Table.of(aligned(one, other)).html())


def _picture(figure: Figure, alt: str) -> str:
    return image(as_small_png(figure, 120), alt, style="max-width:100%")
