"""One of the tutorial's services: `python -m tests.bench.peers.tutorial order`.

Environment: `PORT`, `DATABASE_URL`, `TRACES_URL`, and for order `PAYMENT_URL` and `INVENTORY_URL`.
"""

import os
import socket
import sys

import uvicorn


def main() -> None:
    """Serve until told to stop; replicas share the port."""
    name = sys.argv[1]
    config = uvicorn.Config(f"tests.bench.peers.tutorial.{name}:app", host="127.0.0.1")
    config.configure_logging()
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", int(os.environ["PORT"])))
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(("127.0.0.1", int(os.environ["OWN_PORT"])))
    uvicorn.Server(config).run([listening, own])


if __name__ == "__main__":
    main()
