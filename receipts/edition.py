"""The edition of the press: what, beside the frozen data, the bytes of a PDF depend on, as one short text."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

PARTS = ("fonts", "templates", "locales")
LIBRARIES = ("weasyprint", "pydyf", "babel")


@cache
def edition() -> str:
    """`weasyprint 70.0, pydyf 0.13.0, babel 2.18.0, files 3f2a…`: two documents of one edition can be compared."""
    files = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for part in PARTS for path in (root / part).rglob("*") if path.is_file()):
        files.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{libraries}, files {files.hexdigest()[:16]}"
