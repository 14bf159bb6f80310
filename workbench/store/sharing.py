"""Who can read and write a store, and remarks on entries that others have written."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.store.keys import SHARED_KEY, share

TRUST, SHARED = "WORKBENCH_TRUST_STORE", "WORKBENCH_SHARED_STORE"


def trusted() -> bool:
    """Whether the user has allowed the use of entries that are not signed with a trusted key (WORKBENCH_TRUST_STORE)."""
    return os.environ.get(TRUST, "") not in ("", "0")


def is_shared(root: Path) -> bool:
    """Whether the store is shared with a group."""
    return (root / SHARED_KEY).is_file() and bool(root.stat().st_mode & 0o020)


def restrict(root: Path) -> None:
    """Remove other users' permissions, because entries may be private; a store that others can write to is shared on purpose.

    The store is shared with the group that the variable WORKBENCH_SHARED_STORE names.
    """
    if group := os.environ.get(SHARED):
        os.umask(0o007)
        share(root, group)
        return
    found = root.stat()
    if is_shared(root):
        os.umask(0o007)  # files that this process adds are accessible to the group
        return
    is_store = (root / "locks").is_dir()  # rather than a folder with other files
    if found.st_uid == os.getuid() and is_store and found.st_mode & 0o077 and not found.st_mode & 0o022:
        root.chmod(found.st_mode & 0o700)


def remark(root: Path, foreign: int) -> str:
    """A remark on the number of entries of a store that are not signed with a trusted key; "" for 0."""
    if not foreign:
        return ""
    some = f"{foreign} entries" if foreign > 1 else "One entry"
    said = f"{some} of the store {root} {'were' if foreign > 1 else 'was'} not signed with your key: another user, another machine or"
    if trusted():
        return f"{said} an earlier version made them. They are used because {TRUST} is set."
    return (
        f"{said} an earlier version made them. Only results are shown; all other entries are made again. If you trust their author, add "
        "--trust-store."
    )
