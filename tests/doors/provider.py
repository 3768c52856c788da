"""A small OIDC provider: it asks who is there on a page of its own, gives codes that work once, and signs id tokens."""

import base64
import hashlib
import html
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from tests.doors.issuer import Issuer
from tests.stores.loopback import Answer, Text

CLIENT_ID = "wallet pages"
SECRET = "a secret: of +the% client"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title>
<link rel="icon" href="data:,"></head><body><h1>Who are you?</h1><form method="post"><label for="login">Name</label>
<input id="login" name="login"><button name="act" value="allow">Go on</button>
<button name="act" value="deny">Never mind</button></form><p>{client}</p></body></html>"""


class Provider(Issuer):
    """`secret=None` is a public client's. `document`, `claims_told` and `answer_told` change what is said.

    `grants` are the codes that were given and not used, each with what was asked for it.
    """

    def __init__(self, secret: str | None = SECRET) -> None:
        super().__init__()
        self.secret = secret
        self.document: dict[str, Any] = {}
        self.claims_told: dict[str, object] = {}
        self.answer_told: dict[str, str | None] = {}
        self.token_told: Answer | None = None
        self.grants: dict[str, dict[str, str]] = {}
        self.asked_token: list[tuple[str | None, dict[str, str]]] = []

    @property
    def environ(self) -> dict[str, str]:
        more = {"PURSER_OIDC_CLIENT_ID": CLIENT_ID}
        return super().environ | more | ({} if self.secret is None else {"PURSER_OIDC_CLIENT_SECRET": self.secret})

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        form = fields_of(body.decode())
        if path == "/.well-known/openid-configuration":
            return 200, {name: told for name, told in self._document().items() if told is not None}
        if path == "/authorize":
            asked = fields_of(query)
            return (
                self._decide(asked, form) if method == "POST" else (200, Text(PAGE.format(client=asked["client_id"])))
            )
        if path == "/token":
            return self.token_told or self._exchange(headers.get("authorization"), form)
        if path == "/leave":
            return 200, Text('<!doctype html><link rel="icon" href="data:,"><title>Bye</title><h1>Signed out</h1>')
        return super().answer(method, path, query, headers, body)

    def _document(self) -> dict[str, Any]:
        return {
            "issuer": self.base_url,
            "authorization_endpoint": f"{self.base_url}/authorize?tenant=a",
            "token_endpoint": f"{self.base_url}/token",
            "end_session_endpoint": f"{self.base_url}/leave",
            "authorization_response_iss_parameter_supported": True,
        } | self.document

    def _decide(self, asked: dict[str, str], form: dict[str, str]) -> Answer:
        assert asked["response_type"] == "code" and "openid" in asked["scope"].split() and asked["tenant"] == "a"
        assert asked["code_challenge_method"] == "S256" and asked["client_id"] == CLIENT_ID
        told: dict[str, str | None] = {"state": asked["state"], "iss": self.base_url}
        if form.get("act") == "deny":
            told["error"] = "access_denied"
        else:
            code = f"code-{len(self.grants)}-{html.escape(form['login'])}"
            self.grants[code] = asked | {"login": form["login"]}
            told["code"] = code
        given = {name: value for name, value in (told | self.answer_told).items() if value is not None}
        return 303, Text(f"{asked['redirect_uri']}?{urlencode(given)}")

    def _exchange(self, shown: str | None, form: dict[str, str]) -> Answer:
        """An id token for a code, as RFC 6749 and 7636 have it: one client, one use, one verifier."""
        self.asked_token.append((shown, form))
        asked = self.grants.pop(form.get("code", ""), None)
        if not self._is_client(shown, form):
            return 401, {"error": "invalid_client"}
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        told = self.claims(asked["login"], aud=CLIENT_ID, nonce=asked["nonce"]) | self.claims_told
        signed = self.sign({name: value for name, value in told.items() if value is not None})
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": signed}

    def _is_client(self, shown: str | None, form: dict[str, str]) -> bool:
        if self.secret is None:
            return shown is None and form.get("client_id") == CLIENT_ID and "client_secret" not in form
        if self.document.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            return shown is None and (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, self.secret)
        pair = base64.urlsafe_b64decode((shown or "").removeprefix("Basic ")).decode().split(":")
        return [unquote(part) for part in pair] == [CLIENT_ID, self.secret] and "client_secret" not in form


def fields_of(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
