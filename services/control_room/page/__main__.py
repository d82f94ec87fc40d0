"""`python -m services.control_room.page` serves the page."""

from shared.chassis.lean import without

without("nats")

from services.control_room.page.app import MIGRATIONS, create_app  # noqa: E402
from services.control_room.page.settings import PageSettings  # noqa: E402
from shared.chassis.serve import main  # noqa: E402

main(create_app, PageSettings, MIGRATIONS)
