"""The health check of a service's image: exit code 0 when the service in this container can do its work.

Run by the container engine every few seconds, so it imports nothing that is slow to import and nothing of ours.
"""

import http.client
import os
import sys

_SECONDS = 2.5


def main() -> int:
    """Ask `/health/ready` once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8080")), timeout=_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"HTTP {status}\n")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
