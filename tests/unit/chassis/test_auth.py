"""Who is let through, and who is not: with 401, a problem, and not with an error of ours."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from pydantic import SecretStr

from shared.chassis.auth import TokenSigner, TokenVerifier
from tests.unit.chassis.shop import ADMIN_TOKEN, EDGE_KEY, Shop
from tests.unit.chassis.test_frame import assert_problem, call

NOW = 1_764_000_000
KEY = SecretStr(EDGE_KEY)
GOOD = {"iss": "order", "aud": "shop", "iat": NOW, "exp": NOW + 60}


class HandSet:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: Any, claims: Any, key: str = EDGE_KEY) -> str:
    """A token with a right signature over any header and claims."""
    text = f"{segment(header)}.{segment(claims)}"
    return f"{text}.{segment(hmac.digest(key.encode(), text.encode(), 'sha256'))}"


def token(**changes: Any) -> str:
    return signed({"alg": "HS256", "typ": "JWT"}, {n: v for n, v in {**GOOD, **changes}.items() if v is not None})


BAD: dict[str, str] = {
    "other key": jwt.encode(GOOD, "x" * 40, "HS256"),
    "expired": token(iat=NOW - 100, exp=NOW - 40),
    "other audience": token(aud="payment"),
    "no audience": token(aud=None),
    "other issuer": token(iss="inventory"),
    "no issuer": token(iss=None),
    "no expiry": token(exp=None),
    "no issue time": token(iat=None),
    "issued in the future": token(iat=NOW + 30, exp=NOW + 60),
    "too long a life": token(exp=NOW + 61),
    "endless": token(exp=10**400),
    "infinite": signed({"alg": "HS256"}, b'{"iss":"order","aud":"shop","iat":1764000000,"exp":1e999}'),
    "not a number": signed({"alg": "HS256"}, b'{"iss":"order","aud":"shop","iat":1764000000,"exp":NaN}'),
    "text as time": token(exp=str(NOW + 60)),
    "truth as time": token(iat=True),
    "not yet": token(nbf=NOW + 10**9),
    "no algorithm": jwt.encode(GOOD, None, "none"),
    "no algorithm, signed": signed({"alg": "none"}, GOOD),
    "other algorithm": jwt.encode(GOOD, "k" * 64, "HS512"),
    "claims to be RS256": signed({"alg": "RS256"}, GOOD),
    "claims to be hs256": signed({"alg": "hs256"}, GOOD),
    "critical extension": signed({"alg": "HS256", "crit": ["x"], "x": 1}, GOOD),
    "no header": signed([], GOOD),
    "nested header": signed(b"[" * 700, GOOD),
    "claims are a list": signed({"alg": "HS256"}, [1]),
    "claims are no JSON": signed({"alg": "HS256"}, b"\xff"),
    "cut": token()[:-1],
    "tampered": ".".join([token().split(".")[0], segment({**GOOD, "iss": "admin"}), token().split(".")[2]]),
    "two parts": "a.b",
    "dots": "...",
    "spaces": "a b c",
    "admin token": ADMIN_TOKEN,
    "huge": "a" * 100_000,
    "huge and signed": signed({"alg": "HS256", "x": "x" * 2_000}, GOOD),
    "emoji": "\U0001f600.\U0001f600.\U0001f600",
}


@pytest.fixture
def clock(shop: Shop) -> HandSet:
    clock = HandSet()
    shop.app.state.verifiers["order"] = TokenVerifier("order", "shop", KEY, now=clock)
    return clock


Ask = Callable[[str, bytes], Any]


@pytest.fixture
def ask(shop: Shop, clock: HandSet) -> Ask:
    async def ask(path: str, authorization: bytes) -> httpx.Response:
        return await call(shop, "GET", path, headers=[(b"authorization", authorization)])

    return ask


async def test_a_good_token_is_let_through(ask: Ask) -> None:
    assert (await ask("/for-order", f"Bearer {token()}".encode())).status_code == 200
    assert (await ask("/for-order", f"bearer   {token(aud=['shop', 'payment'])} ".encode())).status_code == 200


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused(ask: Ask, name: str) -> None:
    answer = await ask("/for-order", f"Bearer {BAD[name]}".encode())
    assert assert_problem(answer, 401, "unauthorised")["detail"] != ""
    assert answer.headers["www-authenticate"] == "Bearer"
    assert_problem(await ask("/for-operator", f"Bearer {BAD[name]}".encode()), 401) if name != "admin token" else None


@pytest.mark.parametrize("path", ["/for-order", "/for-operator"])
@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer ", b"Bearer    ", b"Basic " + token().encode(), token().encode(), b"\xff\xfe",
               b"Bearer \xff\xfe.\x80.\x80", b"Bearer " + b"\xff" * 999],
)  # fmt: skip
async def test_what_is_no_bearer_token_is_refused(ask: Ask, path: str, header: bytes) -> None:
    assert_problem(await ask(path, header), 401, "unauthorised")


@pytest.mark.parametrize("path", ["/for-order", "/for-operator"])
async def test_no_header_at_all_is_refused(http: httpx.AsyncClient, path: str) -> None:
    assert_problem(await http.get(path), 401, "unauthorised")


async def test_the_admin_token_lets_an_operator_through_and_nothing_near_it(ask: Ask) -> None:
    assert (await ask("/for-operator", f"Bearer {ADMIN_TOKEN}".encode())).status_code == 200
    for near in (ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", ADMIN_TOKEN.upper(), "", token()):
        assert_problem(await ask("/for-operator", f"Bearer {near}".encode()), 401)


async def test_a_token_of_another_edge_is_refused_though_its_key_is_ours(ask: Ask) -> None:
    other = TokenSigner("payment", "shop", KEY, now=HandSet()).token()
    assert_problem(await ask("/for-order", f"Bearer {other}".encode()), 401)


async def test_remembering_a_token_does_not_lengthen_its_life(ask: Ask, clock: HandSet) -> None:
    header = f"Bearer {token(exp=NOW + 10)}".encode()
    assert (await ask("/for-order", header)).status_code == 200
    clock.now = NOW + 14.9  # the tolerance for clocks that differ
    assert (await ask("/for-order", header)).status_code == 200
    clock.now = NOW + 15.0
    assert_problem(await ask("/for-order", header), 401)


def test_a_forged_token_is_not_remembered() -> None:
    verifier = TokenVerifier("order", "shop", KEY, now=HandSet())
    for _ in range(2):
        with pytest.raises(jwt.InvalidTokenError):
            verifier.verify(BAD["other key"])
    assert verifier._lives == {}


def test_a_bounded_number_of_tokens_is_remembered() -> None:
    verifier = TokenVerifier("order", "shop", KEY, now=HandSet())
    for number in range(1_000):
        verifier.verify(token(jti=str(number)))
        assert len(verifier._lives) <= 256


def test_a_signer_makes_a_new_token_at_half_time_and_each_is_good() -> None:
    clock = HandSet()
    signer, verifier = TokenSigner("order", "shop", KEY, now=clock), TokenVerifier("order", "shop", KEY, now=clock)
    seen = []
    for second in range(61):
        clock.now = NOW + second + 0.9
        verifier.verify(signer.token())
        seen.append(signer.token())
    assert len(set(seen)) == 3
    assert seen[0] == seen[29] != seen[30]


def test_a_token_is_good_on_a_clock_that_is_a_little_off() -> None:
    ahead, behind = HandSet(), HandSet()
    ahead.now += 4
    behind.now -= 4
    made = TokenSigner("order", "shop", KEY, now=ahead).token()
    TokenVerifier("order", "shop", KEY, now=HandSet()).verify(made)
    made = TokenSigner("order", "shop", KEY, now=HandSet()).token()
    TokenVerifier("order", "shop", KEY, now=behind).verify(made)


@pytest.mark.parametrize("jump", [3_600, -3_600])
def test_a_clock_that_jumps_an_hour_is_refused_and_speaks_again_as_soon_as_it_is_right(jump: int) -> None:
    own, others = HandSet(), HandSet()
    signer, verifier = TokenSigner("order", "shop", KEY, now=own), TokenVerifier("order", "shop", KEY, now=others)
    verifier.verify(signer.token())
    own.now += jump
    with pytest.raises(jwt.InvalidTokenError, match="future" if jump > 0 else "expired"):
        verifier.verify(signer.token())
    own.now -= jump
    verifier.verify(signer.token())


@pytest.mark.parametrize("jump", [3_600, -3_600])
def test_a_verifier_whose_clock_jumps_refuses_what_it_knew_and_takes_it_again(jump: int) -> None:
    clock = HandSet()
    verifier = TokenVerifier("order", "shop", KEY, now=clock)
    verifier.verify(token())
    clock.now += jump
    with pytest.raises(jwt.InvalidTokenError):
        verifier.verify(token())
    clock.now -= jump
    verifier.verify(token())
