"""The command line of the load: `python -m infra.load --rate 20 --seconds 60`."""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TextIO
from urllib.parse import urlsplit

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from infra.load import arrivals, display
from infra.load.customer import Customer
from infra.load.orders import KNOWN_PRODUCTS, OrderMaker, live_catalogue
from infra.load.tally import Tally
from infra.local.errors import SettingsError
from infra.local.operator import operator_environment

EX_USAGE, EX_CONFIG = 64, 78


def main(arguments: list[str] | None = None) -> int:
    """Run a load; 0 when orders were answered, 1 when none was, 130 when it was interrupted."""
    try:
        chosen = _parse(arguments)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    for url in (chosen.url, chosen.inventory_url):
        if not chosen.allow_remote and not _is_here(url):
            sys.stderr.write(f"{url} is not on this machine. A load on somebody else's takes --allow-remote.\n")
            return EX_USAGE
    return asyncio.run(_run(chosen))


async def _run(chosen: argparse.Namespace) -> int:
    console = display.plain_console()
    random = Random(chosen.seed)  # noqa: S311 - a load is to be repeatable, not secret
    stop, interrupted = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        interrupted.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    if chosen.stop_with_parent:
        _at_end_of_input(interrupt)
    limits = httpx.Limits(max_connections=chosen.in_flight, max_keepalive_connections=chosen.in_flight)
    with _opened(chosen.answers) as answers, _opened(chosen.events) as events:
        tally = Tally(answers, events)
        async with HttpxAiohttpClient(limits=limits, trust_env=False) as client:
            products = await live_catalogue(client, chosen.inventory_url)
            if not products:
                products = KNOWN_PRODUCTS
                names = ", ".join(product.sku for product in products)
                console.print(f"No catalogue at {chosen.inventory_url}: ordering {names}.")
            # Arrivals, baskets and retries each have a source of their own: one more retry changes no basket.
            moments = arrivals.times(chosen.rate, chosen.seconds, Random(random.random()))  # noqa: S311
            maker = OrderMaker(products, Random(random.random()), chosen.declining)  # noqa: S311
            headers = {"x-experiment-id": chosen.experiment} if chosen.experiment else {}
            chance = Random(random.random())  # noqa: S311
            customer = Customer(client, chosen.url, chance, attempts=chosen.attempts, headers=headers)
            run = f"load-{chosen.seed}-{time.time_ns():x}"
            console.print(f"About {len(moments)} orders to {chosen.url} in {chosen.seconds:g} s (seed {chosen.seed}).")
            began = time.monotonic()
            watching = asyncio.create_task(
                display.watch(tally, lambda: time.monotonic() - began, chosen.seconds, console)
            )
            try:
                await arrivals.send(
                    moments, customer, maker, tally,
                    run=run, in_flight=chosen.in_flight, stop=stop, clock=time.monotonic,
                )  # fmt: skip
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
    summary = {
        "url": chosen.url, "rate": chosen.rate, "seconds": chosen.seconds, "seed": chosen.seed,
    } | tally.summary(time.monotonic() - began)  # fmt: skip
    console.print(display.table(summary, ""))
    for line in display.closing(summary):
        console.print(line, soft_wrap=True)
    if chosen.json:
        _write(chosen.json, json.dumps(summary, indent=2) + "\n")
    if interrupted.is_set():
        return 130
    return 0 if any(status for status, _ in tally.outcomes) else 1


def _at_end_of_input(stop: Callable[[], None]) -> None:
    """Stop when whoever holds the other end of our standard input is gone: an orphan must not go on sending."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop()

    loop.add_reader(descriptor, look)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    known = operator_environment()
    parser = argparse.ArgumentParser(prog="python -m infra.load", description="Send orders at a rate.")
    parser.add_argument("--rate", type=_positive, default=20.0, help="orders a second (default 20)")
    parser.add_argument("--seconds", type=_positive, default=60.0, help="for how long (default 60)")
    parser.add_argument("--url", default=known["ORDER_URL"], help="the order service")
    parser.add_argument("--inventory-url", default=known["INVENTORY_URL"], help="where the catalogue is read")
    parser.add_argument("--declining", type=_share, default=0.03, help="share of cards that decline (default 0.03)")
    parser.add_argument("--attempts", type=int, default=4, help="attempts an order, the first one included (default 4)")
    parser.add_argument("--in-flight", type=int, default=256, help="most orders under way at once (default 256)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same orders at the same moments")
    parser.add_argument("--json", metavar="FILE", help="write the summary there; - is standard output")
    parser.add_argument("--answers", metavar="FILE", help="write one JSON line for each answer there")
    parser.add_argument("--events", metavar="FILE", help="write a JSON line when an order is sent, and when it ends")
    parser.add_argument("--experiment", metavar="ID", help="sent with each order as x-experiment-id")
    parser.add_argument("--stop-with-parent", action="store_true", help="end when standard input does")
    parser.add_argument("--allow-remote", action="store_true", help="targets need not be on this machine")
    chosen = parser.parse_args(arguments)
    chosen.url, chosen.inventory_url = chosen.url.rstrip("/"), chosen.inventory_url.rstrip("/")
    return chosen


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 100000")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _opened(name: str | None) -> Iterator[TextIO | None]:
    if not name:
        yield None
        return
    # Line by line: who reads along must not wait for a buffer to fill.
    with Path(name).open("w", encoding="utf-8", buffering=1) as file:
        yield file


def _write(name: str, text: str) -> None:
    if name == "-":
        sys.stdout.write(text)
    else:
        Path(name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
