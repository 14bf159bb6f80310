"""Whether the notebook of this kernel is open in a user interface."""

from __future__ import annotations

import os


def is_interactive() -> bool:
    """Whether the notebook of this kernel is open in a user interface.

    JupyterLab lets code ask for input; nbclient, papermill and nbconvert do not. Voilà shows the notebook although it runs it
    through nbclient. WORKBENCH_HEADLESS=1 always means no.
    """
    if os.environ.get("WORKBENCH_HEADLESS") == "1":
        return False
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))
