"""Figures in pairs: data as a NamedTuple, then drawing it on a given ``Axes``."""
