"""`python -m services.inventory` runs one replica."""

from shared.chassis.lean import without

without()

from services.inventory.app import MIGRATIONS, create_app  # noqa: E402
from services.inventory.settings import InventorySettings  # noqa: E402
from shared.chassis.serve import main  # noqa: E402

main(create_app, InventorySettings, MIGRATIONS)
