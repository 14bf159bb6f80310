"""The command line: one module a command, with ``HELP``, ``add_to(parser)`` and ``run``; :mod:`.entry` has the table of them."""

from workbench.cli.entry import main as main
