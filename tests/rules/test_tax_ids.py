"""Tax numbers by country: real forms are taken and made plain, others are refused; check digits are told apart."""

import pytest

from engine.rules.countries import COUNTRIES, check_country
from engine.rules.errors import Invalid
from engine.rules.tax_ids import EU_PREFIX, OWN_FORMS, checked_tax_id, is_sound_tax_id


@pytest.mark.parametrize(
    ("country", "given", "plain"),
    [
        ("DE", "DE 123 456 789", "DE123456789"),
        ("DE", "123456789", "DE123456789"),
        ("AT", "atu12345678", "ATU12345678"),
        ("FR", "FR XX 123456789", "FRXX123456789"),
        ("GR", "EL123456789", "EL123456789"),
        ("GR", "123456789", "EL123456789"),
        ("NL", "NL123456789B01", "NL123456789B01"),
        ("ES", "ESX1234567L", "ESX1234567L"),
        ("IE", "IE1234567FA", "IE1234567FA"),
        ("GB", "GB 123 4567 89", "GB123456789"),
        ("CH", "CHE-123.456.789 MWST", "CHE123456789MWST"),
        ("CH", "123.456.789", "CHE123456789"),
        ("US", "12-3456789", "123456789"),
        ("IN", "22AAAAA0000A1Z5", "22AAAAA0000A1Z5"),
        ("JP", "T1234567890123", "T1234567890123"),
        ("AE", "100123456700003", "100123456700003"),
        (None, "ab-12", "AB12"),
    ],
)
def test_a_number_of_the_country_is_made_plain(country: str | None, given: str, plain: str) -> None:
    assert checked_tax_id(given, country) == plain
    assert checked_tax_id(plain, country) == plain


@pytest.mark.parametrize(
    ("country", "given"),
    [
        ("DE", "DE12345678"),
        ("DE", "FR12345678901"),
        ("DE", "DE12345678٩"),
        ("US", "1234567890"),
        ("NL", "NL123456789001"),
        ("GR", "GR123456789"),
        ("AE", "A"),
        ("AE", "A" * 21),
        (None, "Ä12"),
        (None, "--"),
    ],
)
def test_what_is_no_number_of_the_country_is_refused(country: str | None, given: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked_tax_id(given, country)
    assert caught.value.facts == {"field": "taxId"}


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("DE", "DE136695976"),
        ("FR", "FR40303265045"),
        ("BE", "BE0428759497"),
        ("IE", "IE6433435F"),
        ("GB", "GB980780684"),
        ("AU", "51824753556"),
        ("NO", "995525828MVA"),
    ],
)
def test_check_digits_tell_a_sound_number_from_one_with_a_slip(country: str, number: str) -> None:
    assert checked_tax_id(number, country) == number
    assert is_sound_tax_id(number, country)
    place = next(i for i, character in enumerate(number) if i > 2 and character.isdigit())
    slipped = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
    assert checked_tax_id(slipped, country) == slipped, "its form is right"
    assert not is_sound_tax_id(slipped, country)


def test_a_number_that_nobody_can_check_is_not_sound() -> None:
    for number, country in (("100123456700003", "AE"), ("", "DE"), ("FR40303265045", "DE"), ("AB12", "")):
        assert not is_sound_tax_id(number, country)


def test_the_tables_name_countries() -> None:
    assert len(COUNTRIES) == 249 and EU_PREFIX.keys() | OWN_FORMS.keys() <= COUNTRIES
    check_country("country", None)
    for code in ("UK", "EU", "XX", "de"):
        with pytest.raises(Invalid):
            check_country("country", code)
