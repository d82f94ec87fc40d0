"""`python -m services.control_room` runs the control room."""

from shared.chassis.lean import without

without("aiohttp", "nats")

from services.control_room.app import MIGRATIONS, create_app  # noqa: E402
from services.control_room.settings import ControlRoomSettings  # noqa: E402
from shared.chassis.serve import main  # noqa: E402

main(create_app, ControlRoomSettings, MIGRATIONS)
