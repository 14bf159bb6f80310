"""Irrevocably restrict the writes of this process to a few folders by Linux' Landlock: the last defence against a malicious model file.

Without Landlock in the kernel this has no effect. Reading, and files that are already open, are not restricted.
Source: ``Documentation/userspace-api/landlock.rst`` and ``include/uapi/linux/landlock.h`` of the kernel.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION = 1  # flag: return the version instead
PATH_BENEATH = 1
NO_NEW_PRIVS = 38

WRITE_FILE, REMOVE_DIR, REMOVE_FILE = 1 << 1, 1 << 4, 1 << 5
MAKE = sum(1 << bit for bit in range(6, 13))  # devices, folders, files, sockets, pipes, links
REFER, TRUNCATE = 1 << 13, 1 << 14
ADDED = {1: WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE, 2: REFER, 3: TRUNCATE}
"""Write rights, by the version of Landlock that added them."""


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def version() -> int:
    """The kernel's version of Landlock; 0: it is not available."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))))


def writes_only_below(folders: Iterable[str], scratch: str) -> bool:
    """Restrict this thread, and everything that it starts, to writing below ``folders`` and ``scratch``, to devices, to shared
    memory, and to the kernel's entries for this process's threads.

    Call it before any other thread is started. ``scratch`` itself may be removed as well. Returns whether the restriction is active.
    """
    found = version()
    rights = sum(added for since, added in ADDED.items() if since <= found)
    allowed = {
        # removing a folder needs a right on its parent; this right covers empty folders only
        str(Path(scratch).parent): REMOVE_DIR,
        "/dev": WRITE_FILE | (rights & TRUNCATE),
        # CUDA names its threads there, and does not start otherwise (observed with driver 580 on an H200)
        f"/proc/{os.getpid()}/task": WRITE_FILE | (rights & TRUNCATE),
        **dict.fromkeys(("/dev/shm", *folders, scratch), rights),  # noqa: S108 - the place of shared memory
    }
    return found > 0 and _restrict(rights, {folder: some for folder, some in allowed.items() if Path(folder).is_dir()})


def _restrict(rights: int, allowed: Mapping[str, int]) -> bool:
    libc, wanted = _libc(), _Ruleset(rights)
    ruleset = libc.syscall(
        CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return False
    try:
        for folder, some in allowed.items():
            place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = _PathBeneath(some, place)
                added = libc.syscall(
                    ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0)
                )
            finally:
                os.close(place)
            if added < 0:
                return False
        # required by the kernel for users other than root: programs started from here cannot gain privileges
        if libc.prctl(NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
            return False
        return bool(libc.syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
