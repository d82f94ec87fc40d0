"""Values as Spring and Java write them, in this library's terms."""

import re
from decimal import Decimal
from typing import Any, Final

_MILLISECONDS = {
    "ns": Decimal("0.000001"),
    "us": Decimal("0.001"),
    "ms": Decimal(1),
    "s": Decimal(1_000),
    "m": Decimal(60_000),
    "h": Decimal(3_600_000),
    "d": Decimal(86_400_000),
}
_SIMPLE = re.compile(r"(\d+)\s*(ns|us|ms|s|m|h|d)?", re.IGNORECASE)
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d{1,9})?)S)?)?", re.IGNORECASE)
_WINDOWS = {"COUNT_BASED": "count", "TIME_BASED": "time"}


class BusinessError(Exception):
    """A dependency answered, and the answer is no. Derive such errors from it: they say nothing against the dependency.

    It stands for the `com.example.exceptions.BusinessException` of the tutorial's configuration.
    """


EXCEPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "java.lang.Throwable": ("builtins.Exception",),
    "java.lang.Exception": ("builtins.Exception",),
    "java.lang.RuntimeException": ("builtins.Exception",),
    "java.lang.IllegalArgumentException": ("builtins.ValueError",),
    "java.lang.IllegalStateException": ("builtins.RuntimeError",),
    "java.io.IOException": ("builtins.OSError", "httpx.TransportError"),
    "java.io.UncheckedIOException": ("builtins.OSError", "httpx.TransportError"),
    "java.util.concurrent.TimeoutException": ("builtins.TimeoutError", "httpx.TimeoutException"),
    "java.net.SocketTimeoutException": ("builtins.TimeoutError", "httpx.TimeoutException"),
    "java.net.http.HttpTimeoutException": ("builtins.TimeoutError", "httpx.TimeoutException"),
    "java.net.ConnectException": ("builtins.ConnectionError", "httpx.ConnectError"),
    "java.net.SocketException": ("builtins.ConnectionError", "httpx.NetworkError"),
    "java.net.UnknownHostException": ("socket.gaierror", "httpx.ConnectError"),
    "org.springframework.web.client.ResourceAccessException": ("httpx.TransportError", "builtins.TimeoutError"),
    "org.springframework.web.client.HttpServerErrorException": ("httpx.HTTPStatusError",),
    "org.springframework.web.client.RestClientException": ("httpx.HTTPError", "builtins.TimeoutError"),
    "org.springframework.web.reactive.function.client.WebClientRequestException": ("httpx.TransportError",),
    "com.example.exceptions.BusinessException": ("shared.resilience.spring_values.BusinessError",),
}
"""Python exceptions for Java ones. An I/O error in Java is either of two here, since httpx has a family of its own."""


def unchanged(value: Any) -> Any:
    """What means the same in both."""
    return value


def camel_case(name: str) -> str:
    """Spring takes `sliding-window-size` for `slidingWindowSize`."""
    first, *rest = name.split("-")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def window_type(value: Any) -> str:
    """ "count" or "time" for COUNT_BASED and TIME_BASED. ValueError: anything else."""
    found = _WINDOWS.get(str(value).upper().replace("-", "_"))
    if found is None:
        raise ValueError(f"{value!r} is not COUNT_BASED or TIME_BASED")
    return found


def duration(value: Any) -> str:
    """A duration in milliseconds with its unit, from `5s`, `1000ms`, ISO 8601 (`PT5S`), or a plain number of them.

    ValueError: anything else.
    """
    return f"{_milliseconds(value):f}ms"


def longest_wait(value: Any, multiplier: Any, attempts: Any) -> str:
    """The wait before the last of `attempts` when the first is `value`; at least 1 ms. ValueError: as above."""
    first = max(Decimal(1), _milliseconds(value))
    if isinstance(multiplier, int | float) and isinstance(attempts, int) and 1 <= multiplier <= 100 and attempts > 2:
        # An hour is more than any caller waits.
        first = min(first * Decimal(str(multiplier)) ** min(attempts - 2, 100), max(first, _MILLISECONDS["h"]))
    return f"{first:f}ms"


def _milliseconds(value: Any) -> Decimal:
    text = str(value).strip()
    simple = _SIMPLE.fullmatch(text)
    if simple is not None and not isinstance(value, bool):
        return Decimal(simple[1]) * _MILLISECONDS[(simple[2] or "ms").lower()]
    iso = _ISO.fullmatch(text)
    if iso is None or not any(iso.groups()):
        raise ValueError(f"{value!r} is not a duration; Spring takes 5s, 1000ms or PT5S")
    parts = (Decimal((part or "0").replace(",", ".")) for part in iso.groups())
    return sum((part * _MILLISECONDS[unit] for part, unit in zip(parts, "dhms", strict=True)), Decimal(0))
