"""The countries of ISO 3166-1, and the forms their tax numbers have."""

import re

from engine.rules.errors import Invalid

COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()
)
"""The alpha-2 codes in use."""

TAX_IDS: dict[str, str] = {
    "AT": r"ATU\d{8}",
    "AU": r"\d{11}",
    "BE": r"BE[01]\d{9}",
    "BG": r"BG\d{9,10}",
    "BR": r"\d{11}|\d{14}",
    "CA": r"\d{9}(RT\d{4})?",
    "CH": r"CHE\d{9}(MWST|TVA|IVA)?",
    "CY": r"CY\d{8}[A-Z]",
    "CZ": r"CZ\d{8,10}",
    "DE": r"DE\d{9}",
    "DK": r"DK\d{8}",
    "EE": r"EE\d{9}",
    "ES": r"ES[A-Z0-9]\d{7}[A-Z0-9]",
    "FI": r"FI\d{8}",
    "FR": r"FR[A-HJ-NP-Z0-9]{2}\d{9}",
    "GB": r"GB(\d{9}|\d{12}|GD\d{3}|HA\d{3})",
    "GR": r"EL\d{9}",
    "HR": r"HR\d{11}",
    "HU": r"HU\d{8}",
    "IE": r"IE(\d{7}[A-W][A-I]?|\d[A-Z+*]\d{5}[A-W])",
    "IN": r"\d{2}[A-Z]{5}\d{4}[A-Z][A-Z0-9]Z[A-Z0-9]",
    "IT": r"IT\d{11}",
    "JP": r"T?\d{13}",
    "LT": r"LT(\d{9}|\d{12})",
    "LU": r"LU\d{8}",
    "LV": r"LV\d{11}",
    "MT": r"MT\d{8}",
    "NL": r"NL\d{9}B\d{2}",
    "NO": r"\d{9}(MVA)?",
    "NZ": r"\d{8,9}",
    "PL": r"PL\d{10}",
    "PT": r"PT\d{9}",
    "RO": r"RO\d{2,10}",
    "SE": r"SE\d{10}01",
    "SG": r"\d{8,9}[A-Z]|[STR]\d{2}[A-Z]{2}\d{4}[A-Z]|M[0-9A-Z]\d{7}[A-Z0-9]",
    "SI": r"SI\d{8}",
    "SK": r"SK\d{10}",
    "US": r"\d{9}",
}
"""Tax numbers as they are written without blanks, dots and dashes, prefix included; their check digits are not."""

_ANY = r"[A-Z0-9]{2,20}"
_FILLING = re.compile(r"[\s./-]+")


def checked_tax_id(tax_id: str, country: str | None) -> str:
    """The tax number in its plain form, or `Invalid`. A country's prefix may be left out, as many write it, where
    the rest does not begin with letters, which could be another country's.

    A country without an entry, or none, takes 2 to 20 letters and digits.
    """
    plain = _FILLING.sub("", tax_id).upper()
    form = TAX_IDS.get(country or "", _ANY)
    prefix = {"GR": "EL", "CH": "CHE"}.get(country or "", country or "")
    if country in TAX_IDS and not plain[:2].isalpha() and re.fullmatch(form, prefix + plain, re.ASCII):
        return prefix + plain
    if re.fullmatch(form, plain, re.ASCII):
        return plain
    raise Invalid(
        "taxId", f"This is no tax number of {country}." if country else "A tax number is 2 to 20 of A-Z, 0-9."
    )


def check_country(field: str, country: str | None) -> None:
    """Refuse two letters that are no country's."""
    if country is not None and country not in COUNTRIES:
        raise Invalid(field, "This is no country code of ISO 3166-1.")
