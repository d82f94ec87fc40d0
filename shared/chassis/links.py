"""OpenAPI links: which call may follow an answer, and what of the answer it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    """A call that may follow.

    operation:  the `operation_id` of its route
    parameters: its parameters by name, each a runtime expression such as `$response.body#/id`
    body:       members of its body, expressions too; the caller fills in the others. Readers of OpenAPI differ here:
                the standard names only a whole value or a whole expression, schemathesis takes expressions in a value.

    Source: https://spec.openapis.org/oas/v3.1.0#link-object
    """

    operation: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """The link object."""
        members = {"operationId": self.operation, "parameters": dict(self.parameters), "requestBody": dict(self.body)}
        return {name: value for name, value in members.items() if value}


def links(*following: Link) -> dict[str, Any]:
    """The member `links` of an answer in a route's `responses`: `{201: links(Link("get_order", ...))}`."""
    return {"links": {link.operation: link.described() for link in following}}
