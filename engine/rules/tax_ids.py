"""Tax numbers by country, as python-stdnum knows them: their form, and whether their check digits hold.

A number of the right form is taken into a profile; only one whose check digits hold too moves the tax to the buyer.
"""

import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from stdnum import get_cc_module
from stdnum.exceptions import InvalidFormat, InvalidLength, ValidationError

from engine.rules.errors import Invalid

EU_PREFIX = {country: country for country in "AT BE BG CY CZ DE DK EE ES FI FR HR HU IE IT LT LU LV MT NL PL".split()}
EU_PREFIX |= {country: country for country in "PT RO SE SI SK GB".split()} | {"GR": "EL"}
"""What a VAT number begins with where it is written with its country."""

OWN_FORMS = {
    "BR": ("br.cnpj", "br.cpf"),
    "CH": ("ch.vat", "ch.uid"),
    "GB": ("gb.vat",),
    "JP": ("jp.cn",),
    "NO": ("no.mva", "no.orgnr"),
    "NZ": ("nz.ird",),
    "SG": ("sg.uen",),
    "US": ("us.ein",),
}
"""Countries whose companies go by more or other numbers than the one python-stdnum calls `vat`."""

_ANY = re.compile(r"[A-Z0-9]{2,20}", re.ASCII)
_FILLING = re.compile(r"[\s./-]+")


def checked_tax_id(tax_id: str, country: str | None) -> str:
    """The tax number in its plain form, or `Invalid`. A country's prefix may be left out, as many write it, where
    the rest does not begin with letters, which could be another country's.

    A country that python-stdnum does not know, or none, takes 2 to 20 letters and digits.
    """
    plain = _plain(tax_id)
    if _ANY.fullmatch(plain) is not None:
        if not _forms(country or ""):
            return plain
        bare = _bare(plain, country or "")
        if bare is not None and any(_has_form(form, bare) for form in _forms(country or "")):
            return EU_PREFIX.get(country or "", "") + bare
    raise Invalid(
        "taxId", f"This is no tax number of {country}." if country else "A tax number is 2 to 20 of A-Z, 0-9."
    )


def is_sound_tax_id(tax_id: str, country: str) -> bool:
    """Whether the number's check digits hold; `False` for a country that has none to check."""
    bare = _bare(_plain(tax_id), country)
    return bare is not None and any(bool(form.is_valid(_digits(form, bare))) for form in _forms(country))


def _plain(tax_id: str) -> str:
    return _FILLING.sub("", tax_id).upper()


def _bare(plain: str, country: str) -> str | None:
    """The number without its country's prefix; `None` where it begins with letters that are not this country's."""
    prefix = EU_PREFIX.get(country)
    if prefix is None:
        if country == "CH" and not plain.startswith("CHE"):
            return f"CHE{plain}"
        return plain
    if plain.startswith(prefix):
        return plain.removeprefix(prefix)
    return None if plain[:2].isalpha() else plain


def _has_form(form: ModuleType, bare: str) -> bool:
    try:
        form.validate(_digits(form, bare))
    except (InvalidFormat, InvalidLength):
        return False
    except ValidationError:
        return True
    return True


def _digits(form: ModuleType, bare: str) -> str:
    """What the form looks at: an invoice issuer in Japan puts a T before its corporate number."""
    return bare.removeprefix("T") if form.__name__ == "stdnum.jp.cn" else bare


@cache
def _forms(country: str) -> tuple[ModuleType, ...]:
    if country in OWN_FORMS:
        return tuple(import_module(f"stdnum.{name}") for name in OWN_FORMS[country])
    found: Any = get_cc_module(country.lower(), "vat") if country else None
    return (found,) if found is not None else ()
