"""The page behind the mailed link: opening it does nothing, its button leads to the bank for that very payment."""

from collections.abc import Iterator

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.pages import page_handlers
from api.settings import read_settings
from engine.flows.recharge_outcome import confirm_link
from engine.store.database import Database
from receipts.render import Renderer
from tests.api.host import SECRET
from tests.engine.support import FakeClock
from tests.flows.cards import USD, EcoWorld

BASE = "https://purser.example"


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[EcoWorld]:
    opened = EcoWorld(db, clock)
    yield opened
    opened.world.close()


def test_a_customer_confirms_the_same_payment_by_a_link_that_nobody_can_guess(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "authentication_required"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    link = confirm_link(eco.world.runtime, purchase.purchase_id).removeprefix(BASE)
    path, token = link.split("?token=")
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE})
    with Renderer() as renderer:
        app = create_app(eco.world.runtime, settings, page_handlers(renderer))
        with TestClient(app, base_url=BASE) as browser:
            page = browser.get(link)
            assert page.status_code == 200 and "$50.00" in page.text and "bank.example" not in page.text
            pressed = browser.post(path, data={"token": token}, headers={"Origin": BASE})
            assert f"https://bank.example/pi_{purchase.purchase_id}" in pressed.text
            assert (
                browser.post(path, data={"token": token}, headers={"Origin": "https://evil.example"}).status_code == 403
            )
            assert browser.get(f"{path}?token={'0' * 64}").status_code == 404
            assert browser.get(path).status_code == 404
            eco.world.deliver(eco.bank.move(purchase.purchase_id, "paid"))
            assert "nothing to confirm" in browser.get(link).text
