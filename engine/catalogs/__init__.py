"""Catalogue files: the three that ship, and how one is loaded by name or from a path."""

from importlib import resources
from pathlib import Path

from engine.rules.catalog import Catalog, CatalogError, read_catalog

SHIPPED = ("alphio", "acn", "ecolink")


def load_catalog(name_or_path: str) -> Catalog:
    """A shipped catalogue by its name, which comes first, or the one in that file; `CatalogError` if unusable."""
    try:
        return read_catalog(_text(name_or_path))
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(SHIPPED)
        raise CatalogError(name_or_path, f"neither a shipped catalogue ({known}) nor readable: {error}") from error


def _text(name_or_path: str) -> str:
    if name_or_path in SHIPPED:
        return resources.files("engine.catalogs").joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")
    return Path(name_or_path).read_text(encoding="utf-8")
