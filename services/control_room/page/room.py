"""Everything behind the page, put together once."""

from collections.abc import Sequence
from typing import Any

from services.control_room.page import drills
from services.control_room.page.commands import Auditor, Runner
from services.control_room.page.customer import Customer
from services.control_room.page.log import OperatorsLog
from services.control_room.page.places import PLACES
from services.control_room.page.sampler import Sampler, Source
from services.control_room.page.settings import PageSettings
from services.control_room.page.sources.dashboards import Dashboards
from services.control_room.page.sources.experiments import Experiments
from services.control_room.page.sources.foresight import Predictor, Remediator
from services.control_room.page.sources.names import Names, Resolve, parsed, resolve
from services.control_room.page.sources.numbers import Numbers
from services.control_room.page.sources.orders import Orders
from services.control_room.page.sources.replicas import Replicas
from services.control_room.page.sources.traces import Traces
from services.control_room.page.web import Web
from shared.chassis.clock import Clock
from shared.chassis.database import Database


class Room:
    """The sources, the sampler over them, and the commands."""

    def __init__(self, settings: PageSettings, database: Database, clock: Clock, resolve: Resolve = resolve) -> None:
        self.settings, self.clock, self.place = settings, clock, PLACES[settings.place]
        self.web = Web(settings.admin_token.get_secret_value())
        names = Names(self.web, parsed(settings.replica_names), resolve) if settings.replica_names else None
        self.replicas = Replicas(
            self.web, settings.targets_file, settings.prometheus_url, names, faults=self.place.faults
        )
        self.numbers = Numbers(self.web, settings.prometheus_url, settings.scrape_seconds)
        self.orders = Orders(self.web, settings.order_url)
        self.traces = Traces(self.web, settings.traces_url)
        self.dashboards = Dashboards(
            self.web, settings.dashboards_dir, settings.prometheus_url, settings.scrape_seconds, now=clock.now
        )
        self.experiments = Experiments(settings.experiments_dir, settings.chaos_dir, self.place.experiments)
        self.predictor = Predictor(self.web, settings.predictor_url, self.place.predictor)
        self.remediator = Remediator(self.web, settings.remediation_url, self.place.remediation)
        self.auditor = Auditor(settings.audit_command, clock.now, elsewhere=self.place.audit)
        self.runner = Runner(settings.chaos_command, elsewhere=self.place.experiments)
        self.log = OperatorsLog(database, clock)
        self.customer = Customer(self.orders, self.log)
        self.drills = drills.load()
        self.sampler = Sampler(self._sources(), now=clock.now)

    def facts(self) -> dict[str, Any]:
        """What does not change while the page runs."""
        settings = self.settings
        links = {
            "Prometheus": settings.prometheus_link or settings.prometheus_url,
            "Alertmanager": settings.alertmanager_link or settings.alertmanager_url,
            "Grafana": settings.grafana_url,
        }
        # the receiver of the local stack has Jaeger's interface and no page
        api = f"{settings.traces_url}/api/services" if settings.traces_url else ""
        links |= {"Jaeger": settings.traces_link} if settings.traces_link else {"Jaeger API": api}
        return {
            "links": links,
            "drills": [drill.model_dump() for drill in self.drills.values()],
            "can_experiment": bool(settings.chaos_command),
            "login": self.place.login,
        }

    async def open(self) -> None:
        """Open the connections."""
        await self.web.open()

    async def close(self) -> None:
        """Close them, and stop waiting for commands."""
        await self.customer.close()
        await self.auditor.close()
        await self.runner.close()
        await self.web.close()

    def _sources(self) -> Sequence[Source]:
        return (
            Source("replicas", self.replicas.health),
            Source("numbers", self.numbers.read, every=2.0),
            Source("orders", self.orders.newest),
            Source("alerts", self.numbers.alerts, every=4.0),
            Source("experiments", self._experiments, every=2.0),
            Source("audit", self.auditor.read),
            Source("log", self.log.newest, every=2.0),
            Source("predictions", self.predictor.predictions, every=2.0),
            Source("model", self.predictor.model, every=20.0),
            Source("remediation", self.remediator.read, every=2.0, operators=True),
            Source("levers", self.replicas.levers, every=2.0, operators=True),
        )

    async def _experiments(self) -> dict[str, Any]:
        found = await self.experiments.read()
        return {**found, "starting": self.runner.busy, "stopping": self.runner.stopping, "said": self.runner.said}
