"""`python -m services.inventory`."""

from services.inventory.app import create_app
from services.inventory.settings import InventorySettings
from shared.chassis.serve import main

if __name__ == "__main__":
    main(create_app, InventorySettings)
