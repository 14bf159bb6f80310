"""Search for mixed precision: which layers lose accuracy in INT8, and which variant is fastest within a budget.

The command ``repair`` uses it. ``questions`` has the functions that a notebook calls; the search runs in a child process (``tasks``).
"""
