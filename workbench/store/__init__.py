"""Content-addressed artefacts on disk: written completely or not at all, locked, signed, and verified before use."""

from workbench.store.manifest import Entry, parsed
from workbench.store.store import MANIFEST, Draft, Made, Store, file_digest, key_of

__all__ = ["MANIFEST", "Draft", "Entry", "Made", "Store", "file_digest", "key_of", "parsed"]
