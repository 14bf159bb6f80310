"""What a notebook and a report show of layers: figures, tables, two engines side by side, and why some are not faster."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from workbench.compare import layer_view, why
from workbench.records import Precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.records import LayerProfile, Results


def parts(results: Results) -> list[str]:
    """HTML, in order: cards of variants that are not faster than FP32; for each profile its figure and tables, folded away; and
    each lower precision beside its FP32 sibling.
    """
    found = results.layer_profiles
    shown = [why.html(why.why_not_faster(results))]
    shown += [_profile(profile, number) for number, profile in enumerate(found)]
    return shown + [_pair(one, other) for one, other in siblings(results)]


def siblings(results: Results) -> list[tuple[LayerProfile, LayerProfile]]:
    """Every profile of a lower precision with that of the same backend in FP32 at the same batch."""
    spec = {row.engine.key: row.spec for row in results.rows if row.engine}
    plain = {
        (spec[each.engine_key].backend_and_mode, each.batch): each
        for each in results.layer_profiles
        if spec[each.engine_key].precision == Precision.FP32
    }
    pairs = []
    for each in results.layer_profiles:
        mine = spec[each.engine_key]
        other = plain.get((mine.backend_and_mode, each.batch))
        if other is not None and mine.precision != Precision.FP32:
            pairs.append((other, each))
    return pairs


def _profile(profile: LayerProfile, number: int) -> str:
    from workbench.plots.layers import layer_figure

    picture = _picture(layer_figure(profile), f"Time by layer of {profile.label}, batch {profile.batch}")
    title = escape(f"{profile.label}, batch {profile.batch}: {len(profile.layers)} layers")
    return f"<details><summary>{title}</summary>{picture}{layer_view.html(profile, number=number)}</details>"


def _pair(one: LayerProfile, other: LayerProfile) -> str:
    from workbench.plots.layers import pair_figure

    picture = _picture(pair_figure(one, other), f"Layers of {one.label} against {other.label}")
    table = layer_view.aligned(one, other).to_html(index=False, border=0, float_format=lambda value: f"{value:.3g}")
    title = escape(f"{one.label} → {other.label}, batch {one.batch}")
    return f"<details><summary>{title}</summary>{picture}<div class='wb-scroll'>{table}</div></details>"


def _picture(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img style="max-width:100%" alt="{escape(alt)}" src="data:image/png;base64,{data}">'
