"""Helpers of the tests of the panel."""

from __future__ import annotations

from workbench.panel.panel import Panel


def control(panel: Panel, name: str):
    return panel._controls.control[name]
