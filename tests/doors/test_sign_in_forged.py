"""Forged answers to a sign-in: another browser's, another issuer's, a used code, an id token that is not for it."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
import pytest

from api.oidc import TokenReader
from api.settings import read_settings
from api.sign_in import ATTEMPT_LIFE, PURPOSE, SignIn, attempt_in, new_attempt
from engine.clock import real_now
from engine.rules.errors import Unauthenticated, Unavailable
from engine.runtime import Secrets
from tests.api.host import SECRET
from tests.doors.issuer import STRANGER
from tests.doors.provider import CLIENT_ID, Provider, fields_of
from tests.doors.test_sign_in import ATTEMPT, COOKIE, Browser, browser, provider

__all__ = ["browser", "provider"]


def check_refused(browser: Browser, answer: httpx.Response, status: int, words: str) -> None:
    """Nobody is signed in, the page says so, and the attempt is over: the right answer comes too late too."""
    assert answer.status_code == status and words in answer.text, answer.text
    assert COOKIE not in browser.http.cookies and ATTEMPT not in browser.http.cookies
    assert browser.get("/v1/billing/balance").status_code == 401


def changed(path: str, **query: str | None) -> str:
    parts = urlsplit(path)
    told = fields_of(parts.query) | query
    return f"{parts.path}?{urlencode({name: value for name, value in told.items() if value is not None})}"


OVER = "it began in another browser"
ANSWERS: dict[str, Callable[[str], str]] = {
    "another state": lambda path: changed(path, state="A" * 43),
    "no state": lambda path: changed(path, state=None),
    "an empty state": lambda path: changed(path, state=""),
    "a state that stands twice": lambda path: f"{path}&state=x",
    "a code that stands twice": lambda path: f"{path}&code=x",
    "another issuer": lambda path: changed(path, iss="https://evil.example"),
    "no issuer where the issuer always names itself": lambda path: changed(path, iss=None),
    "an issuer with a slash more": lambda path: changed(path, iss=fields_of(urlsplit(path).query)["iss"] + "/"),
}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("forgery", ANSWERS, ids=str)
def test_an_answer_that_is_not_this_browsers_or_not_the_issuers_asks_for_no_token(
    browser: Browser, forgery: str
) -> None:
    right = browser.answer_of(browser.leave_for())
    check_refused(browser, browser.get(ANSWERS[forgery](right)), 400, OVER)
    assert not browser.provider.asked_token
    check_refused(browser, browser.get(right), 400, OVER)
    assert browser.signed_in().status_code == 303


def test_another_browsers_answer_signs_nobody_in(browser: Browser) -> None:
    """A stranger's finished sign-in, opened in the customer's browser, would sign them in as the stranger."""
    strangers = browser.answer_of(browser.leave_for(), "stranger")
    browser.http.cookies.clear()
    check_refused(browser, browser.get(strangers), 400, OVER)
    browser.leave_for()
    check_refused(browser, browser.get(strangers), 400, OVER)
    assert not browser.provider.asked_token


def test_a_code_works_once_even_with_the_cookie_kept(browser: Browser) -> None:
    answer = browser.answer_of(browser.leave_for())
    kept = browser.http.cookies[ATTEMPT]
    assert browser.get(answer).status_code == 303
    browser.http.cookies.clear()
    check_refused(browser, browser.get(answer), 400, OVER)
    browser.http.cookies.set(ATTEMPT, kept, domain="testserver.local")
    check_refused(browser, browser.get(answer), 401, "could not be confirmed")


def test_a_code_of_another_attempt_fails_at_its_verifier_and_nonce(browser: Browser) -> None:
    stolen = fields_of(urlsplit(browser.answer_of(browser.leave_for(), "mira")).query)["code"]
    own = browser.answer_of(browser.leave_for(), "mallory")
    check_refused(browser, browser.get(changed(own, code=stolen)), 401, "could not be confirmed")


def test_a_cookie_that_was_made_up_or_is_too_old_is_none(browser: Browser) -> None:
    keys = Secrets((SECRET,)).all_for(PURPOSE)
    now = real_now()
    attempt = new_attempt(keys[0], "/account/usage", now)
    assert attempt_in(attempt.cookie(), keys, now) == attempt
    assert attempt_in(attempt.cookie(), (b"another", *keys), now) == attempt
    assert attempt_in(attempt.cookie(), keys, now + ATTEMPT_LIFE) is None
    assert attempt_in(attempt.cookie(), (b"another",), now) is None
    text, _, signature = attempt.cookie().partition(".")
    for wrong in ("", ".", text, f"{text}.", f"{text}.{signature[:-1]}", f"x{text}.{signature}", "é.é", "a" * 9_000):
        assert attempt_in(wrong, keys, now) is None
    right = browser.answer_of(browser.leave_for())
    browser.http.cookies.set(ATTEMPT, f"{text}.{signature}", domain="testserver.local")
    check_refused(browser, browser.get(right), 400, OVER)
    values = {attempt.state, attempt.nonce, attempt.verifier, attempt.challenge, attempt.seed}
    assert len(values) == 5 and not any(value in attempt.cookie() for value in values - {attempt.seed})


CLAIMS: dict[str, dict[str, object]] = {  # a span is one from now
    "another sign-in's nonce": {"nonce": "A" * 43},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 5},
    "another issuer": {"iss": "https://evil.example"},
    "another client": {"aud": "another"},
    "no client": {"aud": None},
    "several clients and no party": {"aud": [CLIENT_ID, "another"]},
    "another party": {"azp": "another"},
    "another party among several": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "an access token": {"token_use": "access", "client_id": CLIENT_ID},
    "ended": {"exp": timedelta(seconds=-60)},
    "made in the future": {"iat": timedelta(seconds=600)},
    "not yet valid": {"nbf": timedelta(seconds=600)},
    "no end": {"exp": None},
    "nobody": {"sub": None},
    "an empty name": {"sub": ""},
}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("forgery", CLAIMS, ids=str)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(browser: Browser, forgery: str) -> None:
    browser.provider.claims_told = {
        name: int((real_now() + value).timestamp()) if isinstance(value, timedelta) else value
        for name, value in CLAIMS[forgery].items()
    }
    check_refused(browser, browser.signed_in(), 401, "could not be confirmed")
    browser.provider.claims_told = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert browser.signed_in().status_code == 303


@pytest.mark.parametrize("kind", ["sqlite"])
def test_an_id_token_by_another_key_or_of_another_kind_is_refused(browser: Browser) -> None:
    provider = browser.provider
    for sign in (
        lambda claims: provider.sign(claims, typ="at+jwt"),
        lambda claims: provider.sign(claims, kid="r9"),
        lambda claims: jwt.encode(claims, STRANGER, algorithm="RS256", headers={"kid": "r1"}),
        lambda claims: "e30." + provider.sign(claims).partition(".")[2],
        lambda claims: "nonsense",
    ):
        url = browser.leave_for()
        asked = fields_of(urlsplit(url).query)
        token = sign(provider.claims("mira", aud=CLIENT_ID, nonce=asked["nonce"]))
        provider.token_told = (200, {"id_token": token})
        check_refused(browser, browser.get(browser.answer_of(url)), 401, "could not be confirmed")


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize(
    "told",
    [
        (500, None), (503, {"error": "busy"}), (401, {"error": "invalid_client"}), (200, {"access_token": "x"}),
        (200, ["x"]), (200, {"id_token": "x" * 300_000}), (302, None), (400, {"error": ["invalid_grant"]}),
    ],
    ids=str,
)  # fmt: skip
def test_an_issuer_that_answers_nonsense_signs_nobody_in_and_may_be_asked_again(
    browser: Browser, told: tuple[int, object]
) -> None:
    browser.provider.token_told = told
    check_refused(browser, browser.signed_in(), 503, "does not answer right now")
    browser.provider.token_told = None
    assert browser.signed_in().status_code == 303


DOCUMENTS: dict[str, dict[str, object]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "no issuer": {"issuer": None},
    "a token address that is not https": {"token_endpoint": "http://evil.example/token"},
    "a page that is not https": {"authorization_endpoint": "javascript:alert(1)"},
    "a page with a user": {"authorization_endpoint": "https://u:p@evil.example/"},
    "no token address": {"token_endpoint": None},
    "a token address that is no text": {"token_endpoint": 5},
    "a way out that is not https": {"end_session_endpoint": "http://evil.example/"},
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_document_of_another_issuer_or_with_unsafe_addresses_is_not_followed(document: str) -> None:
    now = [10.0]
    with Provider() as provider:
        oidc = read_settings({"PURSER_SECRET_KEY": SECRET} | provider.environ).oidc
        assert oidc is not None
        door = SignIn(oidc, TokenReader(oidc), "http://testserver.local/back", lambda: now[0])
        attempt = new_attempt(b"k" * 32, "/account/usage", real_now())
        provider.document = DOCUMENTS[document]
        for _ in range(3):
            with pytest.raises(Unavailable):
                door.url(attempt)
        assert len(provider.requests) == 1, "it is asked again, but not at once"
        provider.document = {}
        now[0] += 1
        assert door.url(attempt).startswith(provider.base_url)
        provider.document = DOCUMENTS[document]
        now[0] += 7_200
        assert door.url(attempt).startswith(provider.base_url), "what was known stays"
        assert len(provider.requests) == 3


def test_an_issuer_that_never_names_itself_need_not_but_if_it_does_it_must_be_itself() -> None:
    with Provider() as provider:
        provider.document = {"authorization_response_iss_parameter_supported": None}
        oidc = read_settings({"PURSER_SECRET_KEY": SECRET} | provider.environ).oidc
        assert oidc is not None
        door = SignIn(oidc, TokenReader(oidc), "http://testserver.local/back")
        assert [door.is_from_issuer(name) for name in (None, provider.base_url, "https://evil.example", "")] == [
            True, True, False, False
        ]  # fmt: skip
        attempt = new_attempt(b"k" * 32, "/account/usage", real_now() - timedelta(minutes=1))
        for code in ("", "x" * 4_000, "a\nb"):
            with pytest.raises(Unauthenticated):
                door.person(code, attempt)
        assert not provider.asked_token


@pytest.mark.parametrize("kind", ["sqlite"])
def test_failed_sign_ins_count_as_tries_of_their_address(browser: Browser) -> None:
    for _ in range(80):
        answer = browser.get("/account/sign-in/callback?code=x&state=y")
        if answer.status_code != 400:
            break
    assert answer.status_code == 429 and "Retry-After" in answer.headers
