"""`python -m services.payment` runs one replica."""

from shared.chassis.lean import without

without("aiohttp")  # the NATS client would load it for websockets

from services.payment.app import MIGRATIONS, create_app  # noqa: E402
from services.payment.settings import PaymentSettings  # noqa: E402
from shared.chassis.serve import main  # noqa: E402

main(create_app, PaymentSettings, MIGRATIONS)
