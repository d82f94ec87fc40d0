"""`python -m services.order` runs one replica."""

from shared.chassis.lean import without

without()

from services.order.app import MIGRATIONS, create_app  # noqa: E402
from services.order.settings import OrderSettings  # noqa: E402
from shared.chassis.serve import main  # noqa: E402

main(create_app, OrderSettings, MIGRATIONS)
