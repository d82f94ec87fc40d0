"""schemathesis against the operators' routes: whatever they are sent, they answer as documented."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.chassis.app import Chassis, build_app
from shared.chassis.resilience_admin import resilience_admin
from shared.resilience import Registry
from shared.resilience.config import parse
from tests.fixtures.examples import examples
from tests.unit.chassis.shop import ADMIN_TOKEN, ENVIRONMENT, REVISION, ShopSettings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NAMES = {"instance": "stock", "name": "stock", "fault": "fault-1"}


def test_the_routes_answer_as_documented_whatever_they_are_sent(tmp_path: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(ENVIRONMENT)
    (versions / "0001_first.py").write_text(REVISION)
    shop = ShopSettings(database_url=f"sqlite+aiosqlite:///{tmp_path}/shop.sqlite", admin_token=ADMIN_TOKEN)
    chassis = Chassis(shop, version="1", migrations=versions.parent, title="Shop")
    registry = Registry(parse("instances: {stock: {retry: {}, circuit_breaker: {}, bulkhead: {}}}", Path("r.yaml")))

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        yield

    app = build_app(chassis, routers=[resilience_admin(registry, "shop-1")], resources=resources)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).include(path_regex="^/admin/resilience")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 13
    for operation in operations:
        _fuzz(operation)
    asyncio.run(chassis.database.close())


def _fuzz(operation: schemathesis.APIOperation) -> None:
    @settings(max_examples=examples(25), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), known=...)
    def run(case: schemathesis.Case, known: bool) -> None:
        if known:
            case.path_parameters = {name: NAMES[name] for name in case.path_parameters or {}}
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})

    run()
