"""`python -m services.payment`."""

from services.payment.app import create_app
from services.payment.settings import PaymentSettings
from shared.chassis.serve import main

main(create_app, PaymentSettings)
