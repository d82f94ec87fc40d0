"""`python -m services.order` runs one replica."""

from services.order.app import create_app
from services.order.settings import OrderSettings
from shared.chassis.serve import main

main(create_app, OrderSettings)
