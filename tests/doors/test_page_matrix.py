"""Every page, every reader, an account of one's own and another's: opened or refused as SPEC §9 and §10 say.

What is expected stands here in the words of the contract, by the page's path, and not in the code's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.pages import all_pages, page_handlers
from api.pages.frame import Page
from api.portal import new_link, new_staff_link
from api.settings import read_settings
from engine.rules.facts import Card
from engine.store import cards, documents, identities
from engine.store.database import reading, transact
from receipts.render import Renderer
from tests.api.desk import Desk, open_desk
from tests.api.host import BASE_URL, SECRET, Host
from tests.docs.routes import READERS, every_page, may_open
from tests.doors.issuer import Issuer

CUSTOMERS = {"account", "owner", "member"}
BUYERS = {"account", "owner"}
STAFF = {"support", "approver", "admin"}
EVERYBODY = "everybody"
BY_PATH: tuple[tuple[str, str, set[str] | str], ...] = (
    # method (or *), how the path begins, who may
    ("*", "/account/sign-in", EVERYBODY),
    ("*", "/account/sign-out", EVERYBODY),
    ("*", "/top-up-credits/return", CUSTOMERS),
    ("*", "/top-up-credits", BUYERS),
    ("*", "/auto-recharge/confirm/", EVERYBODY),
    ("GET", "/account/subscribe/preview", {"owner"}),
    ("GET", "/account/", CUSTOMERS),
    ("POST", "/account/settings/coupon", BUYERS),
    ("POST", "/account/", {"owner"}),
    ("*", "/support/sign-in", EVERYBODY),
    ("*", "/support/reversals/", {"approver", "admin"}),
    ("*", "/support/accounts/{account_id}/corrections", {"admin"}),
    ("*", "/support", STAFF),
)


def plain(page: Page) -> str:
    return page.path.replace(":str", "")


def expected(page: Page) -> set[str] | str:
    """Who may, by the first line of the table that speaks of this page."""
    found = [who for method, start, who in BY_PATH if method in (page.method, "*") and plain(page).startswith(start)]
    assert found, f"no line speaks of {page.method} {page.path}"
    return found[0]


@dataclass
class House:
    """A host's pages with accounts `a` and `b`, and what every reader shows: keys, tokens, and browsers' cookies.

    Readers are named by their role; with `browser` after it, by their session's cookie. Customers' ones are of `a`.
    """

    desk: Desk
    pages: tuple[Page, ...]
    shown: dict[str, dict[str, str]]

    def ask(self, page: Page, reader: str, ids: dict[str, str] | None = None) -> int:
        client, url = self.desk.host.client, plain(page)
        for name in ("purchase_id", "file", "method_id", "key_id"):
            url = url.replace(f"{{{name}}}", (ids or {}).get(name, "nothing"))
        while "{" in url:
            url = url[: url.index("{")] + "nothing" + url[url.index("}") + 1 :]
        if url.startswith("/top-up-credits/return"):
            url += f"?purchase={(ids or {}).get('purchase_id', 'nothing')}"
        headers, more = self.shown[reader], {}
        if page.method == "POST":
            headers = headers | {"Origin": BASE_URL, "Content-Type": "application/x-www-form-urlencoded"}
            more = {"content": "name=another"}
        sent: Any = more
        return client.request(page.method, url, headers=headers, follow_redirects=False, **sent).status_code

    def things_of(self, account_id: str) -> dict[str, str]:
        """One object of every sort that a customer's page may name."""
        desk, db = self.desk, self.desk.host.runtime.db
        path, now = f"/v1/accounts/{account_id}", desk.host.clock.now()
        purchase_id = desk.buy(path, 2_000)
        made = Card(f"pm_{account_id}", f"cus_{account_id}", "visa", "4242", 12, 2_099)
        card = transact(db, lambda session: cards.keep_card(session, account_id, "stripe", made, now).method_id)
        with reading(db) as session:
            (document,) = documents.documents_of(session, account_id, purchase_id)
        key = desk.host.post(f"{path}/api-keys", {"name": "k"}).json()["id"]
        return {"purchase_id": purchase_id, "file": document.document_id, "method_id": card, "key_id": key}

    def count_of(self, account_id: str) -> tuple[int, int]:
        """How many cards and keys of the account work."""
        listed = self.desk.host.get(f"/v1/accounts/{account_id}/api-keys").json()
        with reading(self.desk.host.runtime.db) as session:
            return len(cards.live_cards(session, account_id)), int(listed["pagination"]["total"])


@pytest.fixture
def house(host: Host) -> Iterator[House]:
    with Renderer() as renderer, Issuer() as issuer:
        environ = {"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL, "PURSER_RATE_LIMIT": "0"}
        app = create_app(host.runtime, read_settings(environ | issuer.environ), page_handlers(renderer))
        with TestClient(app, base_url=BASE_URL) as client:
            host.client, host.site = client, app.state["site"]
            for account_id in ("a", "b"):
                host.open(account_id, "pro")
            desk = open_desk(host)
            yield House(desk, all_pages(renderer), {"nobody": {}} | _keys(desk, issuer) | _browsers(host))


def _keys(desk: Desk, issuer: Issuer) -> dict[str, dict[str, str]]:
    host = desk.host
    shown = {"account": host.new_key("account", "a"), "service": host.service_key, "auditor": host.new_key("auditor")}
    shown |= {"support": desk.support, "approver": desk.approver, "admin": desk.admin}
    for number, role in enumerate(("owner", "member")):
        made = identities.Identity(issuer.base_url, role, f"idn_{number}", "a", role, host.clock.now())
        transact(host.runtime.db, lambda session, made=made: identities.add_identity(session, made))
        shown[role] = issuer.token(role)
    return {role: {"Authorization": f"Bearer {secret}"} for role, secret in shown.items()}


def _browsers(host: Host) -> dict[str, dict[str, str]]:
    staff: tuple[Literal["support", "approver", "admin"], ...] = ("support", "approver", "admin")
    links = {role: new_staff_link(host.runtime, role, "Kim") for role in staff}
    links |= {"owner": new_link(host.runtime, "a")[0], "owner of b": new_link(host.runtime, "b")[0]}
    shown = {}
    for role, url in links.items():
        answer = host.client.get(url.removeprefix(BASE_URL), follow_redirects=False)
        shown[f"{role} browser"] = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
        host.client.cookies.clear()
    return shown


def role_of(reader: str) -> str:
    return reader.removesuffix(" browser").removesuffix(" of b")


def test_every_reader_opens_exactly_the_pages_that_are_theirs(house: House) -> None:
    wrong, asked = [], 0
    for page in house.pages:
        who = expected(page)
        for reader in house.shown:
            if page.path == "/account/sign-out" or page.path.startswith("/account/sign-in"):
                continue
            asked += 1
            code, role = house.ask(page, reader), role_of(reader)
            if who == EVERYBODY or role in who:
                is_right = code not in (403, 405, 500) and (code != 401 or page.path == "/support/sign-in")
            elif role == "nobody" or (page.path.startswith("/support") and role in CUSTOMERS):
                is_right = code == 401
            else:
                is_right = code == 403
            if not is_right:
                wrong.append((page.method, page.path, reader, code))
    assert not wrong, wrong
    assert asked > 500 and len(house.pages) > 40


def test_the_page_of_routes_says_the_same(house: House) -> None:
    for page in every_page():
        who = expected(page)
        for role in READERS:
            assert may_open(page, role) == (who == EVERYBODY or role in who), (page.method, page.path, role)


def test_another_customers_things_are_not_there(house: House) -> None:
    things = house.things_of("a")
    house.things_of("b")
    named = [page for page in house.pages if page.reader == "customer" and "{" in page.path.replace("{act:str}", "")]
    named += [page for page in house.pages if page.path.startswith("/top-up-credits/return")]
    assert len(named) >= 9
    ending = ("/remove", "/revoke")  # what is gone is gone: no difference shows, and nothing of others ends
    for page in sorted(named, key=lambda page: page.path.endswith(ending)):
        ids = dict(things)
        if page.method == "GET" and "{file" in page.path:
            ids["file"] += ".pdf"
        foreign, nowhere = (house.ask(page, "owner of b browser", each) for each in (ids, None))
        assert foreign == nowhere, page.path
        assert foreign == (303 if page.path.endswith(ending) else 404), page.path
        if page.path.endswith(ending):
            assert house.count_of("a")[page.path.endswith("/revoke")] == (2 if page.path.endswith("/revoke") else 1)
        assert house.ask(page, "owner browser", ids) in (200, 303, 400), page.path
    assert (house.count_of("a"), house.count_of("b")) == ((0, 1), (1, 1))


def test_a_form_from_another_site_changes_nothing_on_any_page(house: House) -> None:
    client = house.desk.host.client
    asked = 0
    for page in house.pages:
        if page.method != "POST":
            continue
        url = plain(page)
        while "{" in url:
            url = url[: url.index("{")] + "nothing" + url[url.index("}") + 1 :]
        headers = house.shown["admin browser" if url.startswith("/support") else "owner browser"]
        for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Referer": f"{BASE_URL}.evil/"}):
            more = origin | {"Content-Type": "application/x-www-form-urlencoded"}
            answer = client.post(url, content="a=1", headers=headers | more, follow_redirects=False)
            assert answer.status_code == 403, (url, origin, answer.status_code)
            asked += 1
    assert asked > 80
