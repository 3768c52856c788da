"""An account's profile: who the customer is, as documents and mails name them."""

import msgspec

from engine.rules.countries import check_country
from engine.rules.errors import Invalid
from engine.rules.tax_ids import checked_tax_id


class PostalAddress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where an invoice is addressed to."""

    line1: str | None = None
    line2: str | None = None
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    country: str | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it; what is unknown is `None`. `timezone` is an IANA name."""

    name: str | None = None
    email: str | None = None
    locale: str = "en"
    timezone: str | None = None
    country: str | None = None
    company: str | None = None
    tax_id: str | None = None
    address: PostalAddress | None = None


def merged(profile: Profile, changes: dict[str, object], address_changes: dict[str, object] | None) -> Profile:
    """The profile with these fields changed, checked as a whole; `Invalid` names what does not fit.

    `address_changes` change fields of the address; `changes` may hold `address: None`, which removes it. The tax
    number is one of the billing address's country, or where that has none, of the account's.
    """
    if address_changes is not None:
        address = msgspec.structs.replace(profile.address or PostalAddress(), **address_changes)
        changes = {**changes, "address": address}
    changed = msgspec.structs.replace(profile, **changes)
    check_country("country", changed.country)
    billing = changed.address.country if changed.address is not None else None
    check_country("address.country", billing)
    if changed.tax_id is None:
        return changed
    tax_id = checked_tax_id(changed.tax_id, billing or changed.country)
    if "tax_id" not in changes and tax_id != changed.tax_id:
        raise Invalid("taxId", "The tax number kept is another country's: give one of this country, or null.")
    return msgspec.structs.replace(changed, tax_id=tax_id)
