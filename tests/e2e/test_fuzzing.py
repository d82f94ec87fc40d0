"""schemathesis against the three running services: no answer that the OpenAPI documents do not list, and no 5xx."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from shared.chassis.auth import TokenSigner
from tests.fixtures.examples import examples

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FUZZ = settings(
    max_examples=examples(20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform of its own: payments for orders that do not exist are what the auditor calls a breach."""
    with running_stack(tmp_path_factory.mktemp("fuzzed") / ".local") as stack:
        yield stack


@pytest.mark.parametrize("service", ["order", "payment", "inventory"])
def test_a_service_answers_as_documented_whatever_it_is_sent(platform: LocalStack, service: str) -> None:
    # the service itself: what is before it answers for itself, and has tests of its own
    schema = schemathesis.openapi.from_url(f"{platform.url(f'{service}-1')}/openapi.json")
    # these two make requests fail on purpose, which is what this test looks for
    schema = schema.exclude(path="/admin/card-network", method="PUT").exclude(path="/admin/faults", method="POST")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 8
    for operation in operations:
        _fuzz(operation, _headers(platform, service, operation.path))


def _fuzz(operation: schemathesis.APIOperation, headers: dict[str, str]) -> None:
    @FUZZ
    @given(case=operation.as_strategy())
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers)

    run()


def _headers(platform: LocalStack, service: str, path: str) -> dict[str, str]:
    if service == "order":
        return {}
    if path.startswith("/admin") or path.endswith("/restock"):
        token = platform.secret("operator", "admin_token")
    else:
        key = SecretStr(platform.secret("order", f"order_to_{service}_key"))
        token = TokenSigner("order", service, key).token()
    return {"Authorization": f"Bearer {token}"}
