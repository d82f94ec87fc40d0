"""Who may do what: the page may be read by anybody on this host, and changed by who has shown the admin token once.

A browser is led to `http://localhost:<port>` by any page on the web, so three things are checked beside the cookie:
the host that a request names (a foreign name that resolves to this host is refused), the origin that it comes from,
and a header that a form cannot send. Cookies do not know ports, and `SameSite` neither: another program on localhost
is the same site, and the last two are what keeps it out.
"""

import hmac
import secrets
import time
from collections.abc import Callable

from fastapi import Request
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.chassis.problems import Problem

HEADER = "x-control-room"
CODE_SECONDS = 600.0
_MOST_SESSIONS, _MOST_CODES = 64, 8
_POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' data:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Sessions:
    """Who is logged in. Ids and codes are 256 random bits, so guessing needs no throttle; their number is bounded."""

    def __init__(self, token: SecretStr, *, hours: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._token, self._seconds, self._monotonic = token, hours * 3600, monotonic
        self._until: dict[str, float] = {}
        self._codes: dict[str, float] = {}

    @property
    def seconds(self) -> int:
        """How long a session lasts."""
        return int(self._seconds)

    def is_token(self, presented: str) -> bool:
        """It is the admin token."""
        return hmac.compare_digest(presented.encode(), self._token.get_secret_value().encode())

    def make_code(self) -> str:
        """A code that opens one session, once."""
        return _remember(self._codes, self._monotonic(), CODE_SECONDS, _MOST_CODES)

    def redeem(self, code: str) -> bool:
        """Use a code up; whether it was good."""
        until = self._codes.pop(code, None)
        return until is not None and self._monotonic() < until

    def open(self) -> str:
        """A new session's id."""
        return _remember(self._until, self._monotonic(), self._seconds, _MOST_SESSIONS)

    def close(self, session: str) -> None:
        """End a session."""
        self._until.pop(session, None)

    def valid(self, session: str) -> bool:
        """It has been opened and has not ended."""
        until = self._until.get(session)
        return until is not None and self._monotonic() < until


def cookie_name(request: Request) -> str:
    """One for each port: cookies are shared by all programs on a host."""
    return f"control-room-{request.url.port or 80}"


def is_operator(request: Request) -> bool:
    """Whoever asks is logged in."""
    sessions: Sessions = request.app.state.sessions
    return sessions.valid(request.cookies.get(cookie_name(request), ""))


async def operator(request: Request) -> None:
    """A dependency of every route that changes something."""
    await from_our_page(request)
    if not is_operator(request):
        raise Problem(401, "not-logged-in", "Not logged in", "log in with the admin token first")


async def from_our_page(request: Request) -> None:
    """A dependency: the request was sent by the page's own script."""
    origin = request.headers.get("origin")
    if request.headers.get(HEADER) != "1" or (origin and origin != f"http://{request.headers.get('host')}"):
        raise Problem(
            403, "foreign-origin", "Not from this page", f"the header {HEADER}: 1 is needed, from this origin"
        )


class Doorman:
    """Middleware: refuses hosts that are not this one's, and says what browsers must not do with the answers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        named = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
        host = named[: named.rindex("]") + 1] if "]" in named else named.partition(":")[0]
        if host in self._hosts:
            await self._app(scope, receive, guarded)
            return
        problem = Problem(421, "wrong-host", "Wrong host", "this name is not one of ours")
        await problem.response(scope["path"])(scope, receive, guarded)


def _remember(kept: dict[str, float], now: float, seconds: float, most: int) -> str:
    for each in [each for each, until in kept.items() if until <= now]:
        del kept[each]
    while len(kept) >= most:
        del kept[next(iter(kept))]  # the oldest
    made = secrets.token_urlsafe(32)
    kept[made] = now + seconds
    return made
