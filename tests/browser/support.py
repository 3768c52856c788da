"""A demo seen from its host's backend, and a browser window that notes whatever goes wrong in it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PATIENCE_MS = 15_000


class Demo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a demo's line says, and what a host's backend does with it."""

    base_url: str
    account_id: str
    account_key: str
    service_key: str
    support_key: str
    approver_key: str
    admin_key: str
    portal_url: str

    @classmethod
    def read(cls, line: str) -> "Demo":
        return msgspec.json.decode(line, type=cls)

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """A request with the service key; the JSON that comes back."""
        headers = {"authorization": f"Bearer {self.service_key}"}
        if key is not None:
            headers["idempotency-key"] = key
        answer = httpx.request(method, f"{self.base_url}{path}", json=body, headers=headers, timeout=30)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def new_customer(self, plan: str | None = "pro") -> "Customer":
        body = {"email": "someone@customer.example", "name": "Kim Example", "country": "DE"}
        made = self.call("POST", "/v1/accounts", body | ({"plan": plan} if plan else {}))
        return Customer(self, made["accountId"])


@dataclass(frozen=True)
class Customer:
    """One account of a demo."""

    demo: Demo
    account_id: str

    def link(self, return_to: str | None = None) -> str:
        """A fresh one-time link."""
        body = {"returnTo": return_to} if return_to else {}
        return str(self.demo.call("POST", f"/v1/accounts/{self.account_id}/portal-sessions", body)["url"])

    def balance(self) -> int:
        return int(self.demo.call("GET", f"/v1/accounts/{self.account_id}/balance")["balanceCredits"])

    def payments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.demo.call("GET", f"/v1/accounts/{self.account_id}/payments")["payments"]
        return found

    def checkout(self, cents: int) -> dict[str, str]:
        """A checkout that the host started: its purchase and where to pay."""
        made: dict[str, str] = self.demo.call(
            "POST", f"/v1/accounts/{self.account_id}/checkout", {"amountUsdCents": cents}
        )
        return made

    def bought(self, cents: int) -> str:
        """A purchase that was paid; its id."""
        made = self.checkout(cents)
        press(made["checkoutUrl"], "pay")
        return made["purchaseId"]

    def spend(self, credits: int, key: str) -> None:
        body = {"amountCredits": str(credits)}
        self.demo.call("POST", f"/v1/accounts/{self.account_id}/spends", body, key)

    def cookies(self) -> httpx.Cookies:
        """The session that a browser gets from a link."""
        answer = httpx.get(self.link())
        assert answer.status_code == 303
        return answer.cookies


def press(checkout_url: str, action: str) -> None:
    """A button of the sandbox's page."""
    answer = httpx.post(f"{checkout_url}/{action}", timeout=30)
    assert answer.status_code == 303, answer.text


class Window:
    """One browser profile with one page. What the browser complains of, and where it reaches out to, is kept."""

    def __init__(self, browser: Browser, demo: Demo, **options: Any) -> None:
        self.demo = demo
        self.complaints: list[str] = []
        self._context = browser.new_context(base_url=demo.base_url, **options)
        self._context.set_default_timeout(PATIENCE_MS)
        self._context.on("console", self._on_console)
        self._context.on("weberror", lambda error: self.complaints.append(f"script: {error.error}"))
        self._context.on("request", self._on_request)
        self.page: Page = self._context.new_page()

    def close(self) -> None:
        self._context.close()

    def check_clean(self) -> None:
        """No console error, no uncaught error, no request to another host, no violation of the policy."""
        assert not self.complaints, self.complaints

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wide))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") or "Content Security Policy" in message.text:
            self.complaints.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if request.url.startswith(("data:", "blob:")):
            return
        if urlsplit(request.url).netloc != urlsplit(self.demo.base_url).netloc:
            self.complaints.append(f"third party: {request.url}")
