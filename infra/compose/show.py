"""What the commands print."""

import os
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from infra.compose.containers import Container
from infra.compose.stack import ComposeStack
from infra.local import page
from infra.local.errors import StackError
from infra.local.show import console, errors, place_an_order

__all__ = ["addresses", "console", "errors", "status"]

_PAGES = ("page", "grafana", "prometheus", "alertmanager", "jaeger")


def addresses(stack: ComposeStack, seconds: float) -> None:
    """Where everything is, and an order to place."""
    published = {each.service: each.published for each in stack.status()}
    edge = f"http://localhost:{stack.settings.port}"
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("edge", edge)
    for name in _PAGES:
        for address in published.get(name, ()):
            table.add_row(name, f"http://{address.replace('127.0.0.1', 'localhost')}")
    table.add_row("secrets, data", os.path.relpath(stack.state.path))
    console.print()
    console.print(table)
    console.print(f"\nUp in {seconds:.1f} s. Place an order:\n")
    console.print(Text(place_an_order(edge)), soft_wrap=True)
    if "page" in published:
        console.print("\nThe control room (the link logs you in, once):\n")
        console.print(Text(_room(stack)), soft_wrap=True)


def _room(stack: ComposeStack) -> str:
    try:
        return page.link(stack.settings, stack.state)
    except StackError as error:
        return error.problem


def status(listed: Sequence[Container]) -> None:
    """The table of containers; what is not well comes with its reason."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "container", "state", "health", "published", "restarts"):
        table.add_column(heading, no_wrap=True)
    for each in listed:
        table.add_row(
            each.service,
            each.name,
            each.state,
            each.health,
            " ".join(each.published),
            str(each.restarts or ""),
            style="" if each.well else "red",
        )
    console.print(table)
    for each in listed:
        if not each.well:
            console.print(Text(f"{each.service}: {each.trouble}", style="red"), soft_wrap=True)
