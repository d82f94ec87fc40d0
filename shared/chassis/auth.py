"""Who calls: services prove it to each other with short-lived signed tokens, operators with the admin token.

Each edge of the call graph has a key of its own (`order_to_payment_key`), so a service can speak only for itself and
only to whom it must: a payment service that is taken over cannot pass for the order service at inventory.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

import jwt
from fastapi import Header, Request
from pydantic import SecretStr

from shared.chassis.problems import Problem

LIFETIME_SECONDS = 60
_RENEW_SECONDS = 30
_LEEWAY_SECONDS = 5
_REMEMBERED_TOKENS = 256
_ALGORITHM = "HS256"
_LONGEST_HEADER = 1_024
"""A token of ours has some 200 characters; more is not looked at."""


class TokenSigner:
    """Makes the tokens of one edge; a token is reused until half of its life is over."""

    def __init__(self, issuer: str, audience: str, key: SecretStr, *, now: Callable[[], float] = time.time) -> None:
        self._issuer, self._audience, self._key, self._now = issuer, audience, key, now
        self._token, self._renew_at = "", 0.0

    def token(self) -> str:
        """A token that is valid for at least 30 s more."""
        now = self._now()
        # a clock that was set back would have the token of a wrong hour sent for that hour
        if not 0 < self._renew_at - now <= _RENEW_SECONDS:
            claims = {"iss": self._issuer, "aud": self._audience, "iat": int(now), "exp": int(now) + LIFETIME_SECONDS}
            self._token = jwt.encode(claims, self._key.get_secret_value(), _ALGORITHM)
            self._renew_at = now + _RENEW_SECONDS
        return self._token


class TokenVerifier:
    """Checks the tokens of one edge; a bounded number of verified ones is remembered until they expire."""

    def __init__(self, issuer: str, audience: str, key: SecretStr, *, now: Callable[[], float] = time.time) -> None:
        self._issuer, self._audience, self._key, self._now = issuer, audience, key, now
        self._lives: dict[str, tuple[int, int]] = {}

    def verify(self, token: str) -> None:
        """Return when the token is good; raise `jwt.PyJWTError`, `ValueError` or `RecursionError` when it is not."""
        now = self._now()
        life = self._lives.get(token)
        # from its beginning too: a clock that was set back must not make a known token live longer
        if life is not None and life[0] - _LEEWAY_SECONDS <= now < life[1]:
            return
        claims = jwt.decode(
            token,
            self._key.get_secret_value(),
            algorithms=[_ALGORITHM],
            audience=self._audience,
            issuer=self._issuer,
            options={"require": ["exp", "iat", "iss", "aud"], "verify_exp": False, "verify_iat": False},
        )
        expiry, issued = claims["exp"], claims["iat"]
        if type(expiry) is not int or type(issued) is not int:
            raise jwt.InvalidTokenError("times are whole seconds")
        if expiry <= now - _LEEWAY_SECONDS:
            raise jwt.ExpiredSignatureError("expired")
        if issued > now + _LEEWAY_SECONDS or expiry - issued > LIFETIME_SECONDS:
            raise jwt.InvalidTokenError("issued in the future, or for too long")
        if len(self._lives) >= _REMEMBERED_TOKENS:
            self._lives.clear()
        self._lives[token] = issued, expiry


def called_by(issuer: str) -> Callable[..., Awaitable[None]]:
    """A dependency that lets through only calls with a valid token of the service `issuer` for this service."""

    # async, though nothing is awaited: FastAPI sends other functions to a thread, at ten times the cost
    async def check(request: Request) -> None:
        verifier = _verifier(request, issuer)
        # not as a parameter: its model would be looked up and validated for every call
        token = _bearer(request.headers.get("authorization"))
        try:
            verifier.verify(token)
        except (jwt.PyJWTError, ValueError, RecursionError):  # the header of a token is JSON by anybody
            raise _unauthorised(f"a token of the service {issuer} is needed") from None

    return check


async def operator(
    request: Request, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> None:
    """A dependency that lets through only calls with the admin token."""
    expected: SecretStr = request.app.state.chassis.settings.admin_token
    presented = _bearer(authorization).encode("latin-1", "replace")  # the very bytes of the header
    if not hmac.compare_digest(presented, expected.get_secret_value().encode()):
        raise _unauthorised("the admin token is needed")


def _verifier(request: Request, issuer: str) -> TokenVerifier:
    verifiers: dict[str, TokenVerifier] = request.app.state.verifiers
    if issuer not in verifiers:
        settings = request.app.state.chassis.settings
        key: SecretStr = getattr(settings, f"{issuer}_to_{settings.service}_key")
        clock = request.app.state.chassis.clock
        verifiers[issuer] = TokenVerifier(issuer, settings.service, key, now=clock.now)
    return verifiers[issuer]


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "")[: _LONGEST_HEADER + 1].partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or len(authorization or "") > _LONGEST_HEADER:
        raise _unauthorised("an Authorization header with a bearer token is needed")
    return token.strip()


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", "Not authorised", detail, headers={"WWW-Authenticate": "Bearer"})
