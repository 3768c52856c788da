"""The part of the fake Stripe account that keeps cards: customers, saved cards, charges without the customer,
their confirmation, early fraud warnings, and the list of events."""

from collections.abc import Callable
from datetime import datetime

import stripe.params as params
import stripe.params.billing_portal as portal_params
import stripe.params.radar as radar_params

from tests.psp.stripe_contract import read_params
from tests.psp.stripe_objects import Json, new_card, new_customer, new_intent, new_portal_session, new_warning
from tests.psp.stripe_world import StripeSaysNo, StripeWorld, _utc_now

AUTHENTICATION = "authentication_required"


class CardWorld(StripeWorld):
    """`banks_say[card]` is what its bank says to a charge without the customer: a decline code, `processing`, or
    nothing at all for yes."""

    def __init__(self, now: Callable[[], datetime] = _utc_now, livemode: bool = False) -> None:
        super().__init__(now, livemode)
        self.banks_say: dict[str, str] = {}

    # What the adapter asks for

    def executed_for_cards(self, method: str, path: str, given: Json) -> Json | None:
        """The answer to a request about cards; `None` if it is about something else."""
        match (method, *path.removeprefix("/v1/").strip("/").split("/")):
            case ("POST", "customers"):
                return self._told_customer(read_params(params.CustomerCreateParams, given))
            case ("POST", "payment_intents"):
                return self.charge(read_params(params.PaymentIntentCreateParams, given))
            case ("GET", "payment_intents"):
                return self._intents(read_params(params.PaymentIntentListParams, given))
            case ("POST", "payment_intents", intent_id, "confirm"):
                return self.confirm(intent_id, read_params(params.PaymentIntentConfirmParams, given))
            case ("POST", "payment_intents", intent_id, "cancel"):
                return self.cancel(intent_id)
            case ("GET", "payment_methods", method_id):
                return self.told(self.get(method_id, "payment_method"))
            case ("POST", "payment_methods", method_id, "detach"):
                return self.told(self.detach(method_id))
            case ("POST", "billing_portal", "sessions"):
                return self._portal(read_params(portal_params.SessionCreateParams, given))
            case ("GET", "radar", "early_fraud_warnings"):
                asked = read_params(radar_params.EarlyFraudWarningListParams, given)
                found = self.every("radar.early_fraud_warning", payment_intent=asked["payment_intent"])
                return _list("radar/early_fraud_warnings", list(map(self.told, found)), has_more=False)
            case ("GET", "events"):
                return self._events(read_params(params.EventListParams, given))
        return None

    def make_session(self, given: Json, base_url: str) -> Json:
        if "customer" in given:
            self.get(given["customer"], "customer")
            if "customer_email" in given or "customer_creation" in given:
                raise StripeSaysNo(400, None, "You may only specify one of these parameters: customer, customer_email.")
        session = super().make_session(given, base_url)
        session["customer"] = given.get("customer")
        return session

    def charge(self, given: Json) -> Json:
        """An intent made and confirmed in one request, off-session; a decline is a 402 that names it."""
        customer = self.get(given["customer"], "customer")
        card = self.get(given["payment_method"], "payment_method")
        if card["customer"] != customer["id"]:
            raise StripeSaysNo(400, "resource_missing", "The card is not attached to this customer.")
        if not (given.get("confirm") and given.get("off_session") and given.get("return_url")):
            raise StripeSaysNo(400, "parameter_missing", "A charge without the customer says all three.")
        intent = self._keep(
            new_intent(
                self._id("pi"), given["amount"], given["currency"], given["metadata"], self._unix(), self.livemode
            )
        )
        intent |= {"customer": customer["id"], "description": given.get("description"), "payment_method": card["id"]}
        said = self.banks_say.get(card["id"])
        if said == "processing":
            intent["status"] = "processing"
            self._emit("payment_intent.processing", intent)
        elif said is not None:
            self._decline(intent, said)
        else:
            self._succeed(intent)
        return self.told(intent)

    def confirm(self, intent_id: str, given: Json) -> Json:
        """The customer is there now: their bank gets to show them a page."""
        intent = self.get(intent_id, "payment_intent")
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise StripeSaysNo(400, "payment_intent_unexpected_state", f"The intent is {intent['status']}.")
        intent["payment_method"] = self.get(given["payment_method"], "payment_method")["id"]
        url = f"https://hooks.stripe.com/3d_secure/{intent_id}"
        intent["status"] = "requires_action"
        intent["next_action"] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": given["return_url"], "url": url},
        }
        self._emit("payment_intent.requires_action", intent)
        return self.told(intent)

    def cancel(self, intent_id: str) -> Json:
        intent = self.get(intent_id, "payment_intent")
        if intent["status"] in ("succeeded", "canceled", "processing"):
            raise StripeSaysNo(400, "payment_intent_unexpected_state", f"The intent is {intent['status']}.")
        intent |= {"status": "canceled", "canceled_at": self._unix(), "next_action": None}
        self._emit("payment_intent.canceled", intent)
        return self.told(intent)

    def detach(self, method_id: str) -> Json:
        """A card goes, through the API or by its owner in the portal; afterwards it names no customer."""
        with self.lock:
            card = self.get(method_id, "payment_method")
            if card["customer"] is None:
                raise StripeSaysNo(400, None, "The payment method is not attached to a customer.")
            card["customer"] = None
            self._emit("payment_method.detached", card)
            return card

    # What customers, banks and the dashboard do

    def settle_charge(self, intent_id: str, *, succeeds: bool = True, code: str = "card_declined") -> None:
        """What a charge on its way, or one its customer was asked about, ends in."""
        with self.lock:
            intent = self.get(intent_id, "payment_intent")
            assert intent["status"] in ("processing", "requires_action")
            intent["next_action"] = None
            if succeeds:
                self._succeed(intent)
            else:
                self._fail(intent)
                intent["last_payment_error"]["decline_code"] = code

    def renew_card(self, method_id: str, month: int, year: int, last4: str, *, by_bank: bool = True) -> None:
        """The bank sent a new card for the old one, or its owner changed it."""
        with self.lock:
            card = self.get(method_id, "payment_method")
            card["card"] |= {"exp_month": month, "exp_year": year, "last4": last4}
            self._emit("payment_method.automatically_updated" if by_bank else "payment_method.updated", card)

    def delete_customer(self, customer_id: str) -> None:
        with self.lock:
            self._emit("customer.deleted", self.get(customer_id, "customer"))

    def warn(self, payment_id: str) -> str:
        """The issuer reports fraud, before any dispute."""
        with self.lock:
            charge = self._objects[self.get(payment_id, "payment_intent")["latest_charge"]]
            warning = self._keep(new_warning(self._id("issfr"), charge, self._unix()))
            self._emit("radar.early_fraud_warning.created", warning)
            return str(warning["id"])

    def dispute(self, payment_id: str, amount_minor: int | None = None, status: str = "needs_response") -> str:
        for warning in self.every("radar.early_fraud_warning", payment_intent=payment_id):
            warning["actionable"] = False
        return super().dispute(payment_id, amount_minor, status)

    # Inside

    def _succeed(self, intent: Json) -> None:
        """A paid checkout that saves its card attaches one to its customer."""
        session = next(iter(self.every("checkout.session", payment_intent=intent["id"])), None)
        if session is not None and intent["setup_future_usage"] == "off_session":
            if session["customer"] is None:
                session["customer"] = self._customer({})["id"]
            card = self._keep(new_card(self._id("pm"), session["customer"], self._unix(), self.livemode))
            intent |= {"customer": session["customer"], "payment_method": card["id"]}
        super()._succeed(intent)

    def _decline(self, intent: Json, code: str) -> None:
        """The bank's no, as a card error that carries the intent."""
        card = self._objects[intent["payment_method"]]
        self._fail(intent)
        is_theirs = code == AUTHENTICATION
        error = {
            "type": "card_error",
            "code": code if is_theirs else "card_declined",
            "decline_code": code,
            "message": "Your card was declined.",
            "payment_method": card,
        }
        intent["last_payment_error"] = {**error, "charge": intent["latest_charge"]}
        intent["payment_method"] = None
        no = StripeSaysNo(402, str(error["code"]), "Your card was declined.", "card_error")
        no.error |= {**error, "payment_intent": self.told(intent)}
        raise no

    def _customer(self, given: Json) -> Json:
        return self._keep(new_customer(self._id("cus"), given, self._unix(), self.livemode))

    def _told_customer(self, given: Json) -> Json:
        return self.told(self._customer(given))

    def _portal(self, given: Json) -> Json:
        customer = self.get(given["customer"], "customer")
        made = new_portal_session(self._id("bps"), customer["id"], given["return_url"], self._unix(), self.livemode)
        return self.told(made)

    def _intents(self, given: Json) -> Json:
        found = self.every("payment_intent", customer=given["customer"])
        return _list("payment_intents", list(map(self.told, found)), has_more=False)

    def _events(self, given: Json) -> Json:
        """Newest first, as Stripe lists them, in pages."""
        if len(given.get("types", [])) > 20:
            raise StripeSaysNo(400, None, "At most 20 types.")
        found = [
            event
            for event in reversed(self.events)
            if event["type"] in given["types"] and event["created"] >= given["created"]["gte"]
        ]
        if "starting_after" in given:
            ids = [event["id"] for event in found]
            found = found[ids.index(given["starting_after"]) + 1 :]
        size = given.get("limit", 10)
        return _list("events", found[:size], has_more=len(found) > size)


def _list(collection: str, data: list[Json], *, has_more: bool) -> Json:
    return {"object": "list", "url": f"/v1/{collection}", "has_more": has_more, "data": data}
