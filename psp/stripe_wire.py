"""Asking Stripe: its errors as ours, and the moment of its answer by its own clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import stripe

from engine.payments import ProviderRefused, ProviderUnreachable

_LATER = frozenset({401, 403, 408, 409, 425, 429})


def seen_at(answer: stripe.StripeObject) -> int:
    """When Stripe gave this answer, by its own clock, in Unix seconds."""
    response = answer.last_response
    date = response.headers.get("date") if response is not None else None
    if date is None:
        raise ProviderUnreachable("The answer has no Date, so it can't be put in order with others.")
    return int(parsedate_to_datetime(date).timestamp())


@contextmanager
def asking() -> Iterator[None]:
    """Stripe's errors as ours, around one request.

    For good is only what says no to this very request. A key that is wrong or may not do this (401, 403) is
    the operator's to mend, so the same request is asked again later; and an idempotency key that named other
    parameters means that something was done under it, which is not a no either.
    """
    try:
        yield
    except stripe.StripeError as error:
        status = error.http_status or 0
        is_no = 400 <= status < 500 and status not in _LATER and not isinstance(error, stripe.IdempotencyError)
        if is_no:
            raise ProviderRefused(error.code or f"http_{status}", error.user_message or "") from error
        raise ProviderUnreachable(f"Stripe, HTTP {status or 'none'}: {error.user_message}") from error
