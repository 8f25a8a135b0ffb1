"""Draws measurements as bars in SVG: one panel for each; bars are in proportion to the longest of their panel. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import Measurement
from bench.table import figure

_WIDTH, _COLUMNS, _MARGIN = 860, 2, 16
_PANEL = (_WIDTH - _MARGIN * (_COLUMNS + 1)) // _COLUMNS
_NAME, _VALUE = 110, 70
"""Width in pixels of the name before a bar, and of the figure after it."""
_TITLE, _BAR, _PITCH, _GAP = 22, 13, 18, 16

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-weight: 600 }
.ours { fill: #1f6feb }
.theirs { fill: #9aa4b2 }"""


def draw(measurements: Sequence[Measurement], title: str, unit: str) -> str:
    """Draw those of ``measurements`` that have the unit ``unit`` and compare peers."""
    chosen = [measurement for measurement in measurements if measurement.unit == unit and not measurement.growth]
    panels: list[str] = []
    tops = [_MARGIN] * _COLUMNS
    for measurement in chosen:
        column = tops.index(min(tops))
        panels += _panel(measurement, _MARGIN + column * (_PANEL + _MARGIN), tops[column])
        tops[column] += _TITLE + _PITCH * len(measurement.peers) + _GAP
    height = max(tops)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            *panels,
            "</svg>",
            "",
        ]
    )


def _panel(measurement: Measurement, left: int, top: int) -> list[str]:
    medians = {peer: measurement.median(peer) or 0.0 for peer in measurement.peers}
    longest = max(medians.values(), default=0.0) or 1.0
    room = _PANEL - _NAME - _VALUE
    lines = [_text(left, top + 13, f"{measurement.scenario}, {measurement.unit}", "title")]
    for number, (peer, median) in enumerate(medians.items()):
        y = top + _TITLE + number * _PITCH
        length = max(1.0, room * median / longest)
        kind = "ours" if peer == measurement.baseline else "theirs"
        lines.append(_text(left, y + 11, peer))
        lines.append(f'<rect class="{kind}" x="{left + _NAME}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>')
        lines.append(_text(left + _NAME + length + 6, y + 11, figure(median)))
    return lines


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.0f}" y="{y}">{escape(text)}</text>'
