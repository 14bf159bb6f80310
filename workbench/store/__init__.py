"""Content-addressed artefacts on disk: written whole or not at all, locked, signed, and verified before use."""

from workbench.store.store import MANIFEST, Draft, Made, Store, file_digest, key_of

__all__ = ["MANIFEST", "Draft", "Made", "Store", "file_digest", "key_of"]
