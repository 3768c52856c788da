"""Session tokens: whose they are, what owner and member may do with them, and forgeries that nobody believes."""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from litestar.testing import TestClient

from api.app import create_app
from api.environ import SettingsError
from api.oidc import OidcSettings, TokenReader
from api.settings import read_settings
from engine.clock import real_now
from engine.rules.errors import Unauthenticated, Unavailable
from tests.api.host import BASE_URL, SECRET, Host, assert_problem
from tests.doors.issuer import AUDIENCE, STRANGER, Issuer, part, text_of


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


@pytest.fixture
def door(host: Host, issuer: Issuer) -> Iterator[Host]:
    """A host whose sessions the issuer signs, with an account `a` that `mira` owns and another, `b`."""
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL} | issuer.environ)
    app = create_app(host.runtime, settings)
    with TestClient(app) as client:
        made = replace(host, client=client, site=app.state["site"])
        made.open("a")
        made.open("b")
        assert bind(made, "a", issuer, "mira").status_code == 200
        yield made


def bind(door: Host, account_id: str, issuer: Issuer, subject: str, role: str = "owner"):  # type: ignore[no-untyped-def]
    body = {"issuer": issuer.base_url, "subject": subject, "role": role}
    headers = {"Authorization": f"Bearer {door.service_key}"}
    return door.client.put(f"/v1/accounts/{account_id}/identities", json=body, headers=headers)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256"])
def test_a_token_of_the_issuer_opens_the_account_that_the_host_bound(
    door: Host, issuer: Issuer, algorithm: str
) -> None:
    token = issuer.sign(issuer.claims(), algorithm)
    answer = door.get("/v1/billing/balance", bearer=token)
    assert (answer.status_code, answer.json()) == (200, door.balance("/v1/accounts/a"))
    assert door.get("/v1/accounts/a/balance", bearer=token).status_code == 200
    assert_problem(door.get("/v1/accounts/b/balance", bearer=token), 404, "NOT-FOUND")


def test_cognitos_access_tokens_name_their_client_instead_of_an_audience(door: Host, issuer: Issuer) -> None:
    told = {"aud": None, "token_use": "access"}
    assert door.get("/v1/billing/balance", bearer=issuer.token(**told, client_id=AUDIENCE)).status_code == 200
    assert door.get("/v1/billing/balance", bearer=issuer.token(aud=["x", AUDIENCE])).status_code == 200
    for client_id in ("another", None, [AUDIENCE]):
        refused = door.get("/v1/billing/balance", bearer=issuer.token(**told, client_id=client_id))
        assert_problem(refused, 401, "AUTH-001")


def test_a_member_reads_and_only_an_owner_changes(door: Host, issuer: Issuer) -> None:
    bind(door, "a", issuer, "max", "member")
    owner, member = issuer.token("mira"), issuer.token("max")
    for bearer in (owner, member):
        assert door.get("/v1/billing/limits", bearer=bearer).status_code == 200
    change = {"json": {"perCallLimitCredits": "5"}}
    refused = door.client.put("/v1/billing/limits", headers={"Authorization": f"Bearer {member}"}, **change)  # type: ignore[arg-type]
    assert_problem(refused, 403, "AUTH-002")
    done = door.client.put("/v1/billing/limits", headers={"Authorization": f"Bearer {owner}"}, **change)  # type: ignore[arg-type]
    assert done.status_code == 200
    assert_problem(door.post("/v1/billing/checkout", {"amountUsdCents": 1000}, bearer=member), 403, "AUTH-002")
    assert_problem(door.post("/v1/accounts/a/spends", {"amountCredits": "1"}, bearer=owner), 403, "AUTH-002")


def test_an_email_address_binds_nobody(door: Host, issuer: Issuer) -> None:
    token = issuer.token("somebody", email="mira@customer.example", email_verified=True)
    assert_problem(door.get("/v1/billing/balance", bearer=token), 401, "AUTH-001")


def test_the_host_lists_changes_and_unbinds_people(door: Host, issuer: Issuer) -> None:
    listed = door.get("/v1/accounts/a/identities").json()
    (one,) = listed["identities"]
    assert (one["issuer"], one["subject"], one["role"]) == (issuer.base_url, "mira", "owner")
    assert listed["pagination"]["total"] == 1
    token = issuer.token()
    assert door.get("/v1/billing/balance", bearer=token).status_code == 200
    assert bind(door, "a", issuer, "mira", "member").json()["id"] == one["id"]
    assert_problem(door.post("/v1/billing/checkout", {"amountUsdCents": 1000}, bearer=token), 403, "AUTH-002")
    assert_problem(bind(door, "b", issuer, "mira"), 400, "INVALID", field="subject")
    assert_problem(bind(door, "nobody", issuer, "new"), 404, "NOT-FOUND")
    headers = {"Authorization": f"Bearer {door.service_key}"}
    other = door.client.delete(f"/v1/accounts/b/identities/{one['id']}", headers=headers)
    assert_problem(other, 404, "NOT-FOUND")
    assert door.client.delete(f"/v1/accounts/a/identities/{one['id']}", headers=headers).status_code == 204
    assert_problem(door.get("/v1/billing/balance", bearer=token), 401, "AUTH-001")
    assert bind(door, "b", issuer, "mira").status_code == 200


def test_only_the_host_binds_people(door: Host, issuer: Issuer) -> None:
    body = {"issuer": issuer.base_url, "subject": "mallory"}
    for bearer in (issuer.token(), door.new_key("account", "a"), door.new_key("admin")):
        headers = {"Authorization": f"Bearer {bearer}"}
        assert_problem(door.client.put("/v1/accounts/a/identities", json=body, headers=headers), 403, "AUTH-002")


def _confused(issuer: Issuer) -> str:
    """HS256, keyed with the public key as text: what a careless verifier would take."""
    public = issuer.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = part(text_of({"alg": "HS256", "kid": "r1", "typ": "JWT"}))
    signed = f"{header}.{part(text_of(issuer.claims()))}"
    return f"{signed}.{part(hmac.digest(public, signed.encode(), 'sha256'))}"


def _by_a_stranger(issuer: Issuer, **headers: object) -> str:
    return jwt.encode(issuer.claims(), STRANGER, algorithm="RS256", headers={"kid": "r1"} | headers)


def _unsigned(issuer: Issuer, algorithm: str) -> str:
    header = part(text_of({"alg": algorithm, "kid": "r1"}))
    return f"{header}.{part(text_of(issuer.claims()))}."


def _resigned_for_another(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{part(text_of(issuer.claims('max')))}.{signature}"


HEADER = '{"alg":"RS256","kid":"r1"}'


def now() -> int:
    return int(real_now().timestamp())


FORGERIES: dict[str, Callable[[Issuer], str]] = {
    "no algorithm": lambda i: _unsigned(i, "none"),
    "no algorithm in capitals": lambda i: _unsigned(i, "NONE"),
    "no signature": lambda i: _unsigned(i, "RS256"),
    "no signature but a blank one": lambda i: _unsigned(i, "none") + "AA",
    "HMAC with the public key": _confused,
    "another's key under our id": _by_a_stranger,
    "a key that the token brings along": lambda i: _by_a_stranger(
        i, jwk=RSAAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)
    ),
    "a key set that the token names": lambda i: _by_a_stranger(i, jku=f"{i.base_url}/evil.json"),
    "a certificate that the token names": lambda i: _by_a_stranger(i, x5u=f"{i.base_url}/evil.pem", x5c=["MIIB"]),
    "claims under another's signature": _resigned_for_another,
    "another issuer": lambda i: i.token(iss="https://evil.example"),
    "an issuer with a slash more": lambda i: i.token(iss=i.base_url + "/"),
    "another audience": lambda i: i.token(aud="another"),
    "an unknown key id": lambda i: i.sign(i.claims(), kid="r9"),
    "the id of the other key": lambda i: i.sign(i.claims(), kid="e1"),
    "a key id that is no text": lambda i: i.sign_text('{"alg":"RS256","kid":1}', text_of(i.claims())),
    "ended": lambda i: i.token(exp=now() - 60),
    "not yet valid": lambda i: i.token(nbf=now() + 300),
    "made in the future": lambda i: i.token(iat=now() + 300),
    "an end that is text": lambda i: i.sign_text(HEADER, text_of(i.claims() | {"exp": "2099"})),
    "an end beyond all calendars": lambda i: i.sign_text(HEADER, text_of(i.claims() | {"exp": 10**30})),
    "an id token": lambda i: i.token(token_use="id", client_id=AUDIENCE),
    "an id token by its nonce": lambda i: i.token(nonce="n-1"),
    "another kind of token": lambda i: i.sign(i.claims(), typ="logout+jwt"),
    "no subject": lambda i: i.token(sub=None),
    "an empty subject": lambda i: i.token(""),
    "no end": lambda i: i.token(exp=None),
    "no issue time": lambda i: i.token(iat=None),
    "no issuer": lambda i: i.token(iss=None),
    "no audience": lambda i: i.token(aud=None),
    "a subject that stands twice": lambda i: i.sign_text(HEADER, text_of(i.claims("max"))[:-1] + ',"sub":"mira"}'),
    "an algorithm that stands twice": lambda i: i.sign_text(
        '{"alg":"none","kid":"r1","alg":"RS256"}', text_of(i.claims())
    ),
    "demands that we do not know": lambda i: i.sign(i.claims(), crit=["exp"]),
    "claims that are a list": lambda i: i.sign_text(HEADER, "[]"),
    "claims that are nested without end": lambda i: i.sign_text(HEADER, "[" * 3_000),
    "a token of 20 kB": lambda i: i.token(padding="x" * 20_000),
    "a token with blanks inside": lambda i: i.token().replace(".", " .", 1),
}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("forgery", FORGERIES, ids=str)
def test_a_forgery_is_refused(door: Host, issuer: Issuer, forgery: str) -> None:
    assert_problem(door.get("/v1/billing/balance", bearer=FORGERIES[forgery](issuer)), 401, "AUTH-001")
    assert door.get("/v1/billing/balance", bearer=issuer.token()).status_code == 200
    assert {path for _, path in issuer.requests} == {"/jwks.json"}


def test_an_unknown_key_asks_the_issuer_again_but_only_once_a_minute(issuer: Issuer) -> None:
    now = [0.0]
    reader = TokenReader(OidcSettings(issuer.base_url, AUDIENCE, f"{issuer.base_url}/jwks.json"), lambda: now[0])
    assert reader.read(issuer.token()).subject == "mira"
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            reader.read(issuer.sign(issuer.claims(), kid="r2"))
    assert len(issuer.requests) == 1
    issuer.more = [issuer.jwk("r2")]
    now[0] = 61.0
    assert reader.read(issuer.sign(issuer.claims(), kid="r2")).subject == "mira"
    assert len(issuer.requests) == 2
    now[0] = 3_000.0
    reader.read(issuer.token())
    assert len(issuer.requests) == 2


def test_without_the_issuers_answer_old_keys_stay_and_none_are_made_up(issuer: Issuer) -> None:
    now = [0.0]
    settings = OidcSettings(issuer.base_url, AUDIENCE, f"{issuer.base_url}/jwks.json")
    reader = TokenReader(settings, lambda: now[0])
    for broken in ((500, None), (200, {"keys": "x"}), (200, {"keys": [{"kid": "x" * 300_000}]}), (302, None)):
        issuer.answers = broken
        with pytest.raises(Unavailable):
            reader.read(issuer.token())
        now[0] += 2
    issuer.answers = None
    assert reader.read(issuer.token()).subject == "mira"
    issuer.answers = (503, None)
    now[0] += 10_000
    assert reader.read(issuer.token()).subject == "mira"


def test_keys_for_other_uses_and_short_ones_sign_nobody_in(issuer: Issuer) -> None:
    short = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
    issuer.more = [
        issuer.jwk("r2") | {"use": "enc"},
        issuer.jwk("r3") | {"alg": "RS512"},
        {**RSAAlgorithm.to_jwk(short.public_key(), as_dict=True), "kid": "r4"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "r5"},
    ]
    reader = TokenReader(OidcSettings(issuer.base_url, AUDIENCE, f"{issuer.base_url}/jwks.json"))
    tokens = [issuer.sign(issuer.claims(), kid=kid) for kid in ("r2", "r3", "r5")]
    claims = part(text_of(issuer.claims()))
    signed = f"{part(text_of({'alg': 'RS256', 'kid': 'r4'}))}.{claims}"
    tokens.append(f"{signed}.{part(jwt.get_algorithm_by_name('RS256').sign(signed.encode(), short))}")
    for token in tokens:
        with pytest.raises(Unauthenticated):
            reader.read(token)


def test_without_an_issuer_no_token_is_looked_at(host: Host, issuer: Issuer) -> None:
    host.open("a")
    assert_problem(host.get("/v1/billing/balance", bearer=issuer.token()), 401, "AUTH-001")
    assert issuer.requests == []


@pytest.mark.parametrize("name", ["PURSER_OIDC_ISSUER", "PURSER_OIDC_JWKS_URL"])
def test_an_issuer_is_asked_over_https_only(name: str) -> None:
    good = {
        "PURSER_SECRET_KEY": SECRET,
        "PURSER_OIDC_ISSUER": "https://id.example",
        "PURSER_OIDC_AUDIENCE": AUDIENCE,
        "PURSER_OIDC_JWKS_URL": "https://id.example/jwks.json",
    }
    assert read_settings(good).oidc is not None
    for url in ("http://id.example/x", "https://me:pw@id.example/x", "ftp://id.example/x", "id.example"):
        with pytest.raises(SettingsError, match=name):
            read_settings(good | {name: url})
