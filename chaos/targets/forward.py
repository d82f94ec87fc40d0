"""A port of this machine that leads to a port of pods, through the API server. It lives as long as this process."""

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable

import websocket

from chaos.targets.target import TargetError

logger = logging.getLogger("chaostoolkit")

_CHUNK = 64 * 1024
_AT_ONCE = 256
_LOOK_SECONDS = 1.0
_STUCK_SECONDS = 15.0
_DATA, _ERROR = 0, 1
_PORT_FRAMES = 2
"""Each channel begins with a message that only says its port."""

Open = Callable[[], websocket.WebSocket]


class Forward:
    """A listener on loopback; each connection that it takes gets a stream of its own.

    So a pod that dies ends its connections and no others, and the next one goes where `open` leads by then: as from a
    Service. What is not taken any more, with more than 256 connections at once, is closed.

    open: makes a stream to a pod; what raises `TargetError` closes that connection only
    """

    def __init__(self, open_stream: Open, name: str) -> None:
        self._open, self._name = open_stream, name
        self._over = threading.Event()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        # Daemons: nothing of this outlives the process, however it ends.
        threading.Thread(target=self._take, name=f"forward {name}", daemon=True).start()

    @property
    def url(self) -> str:
        """For HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Take no more connections, and end those that there are within a second. Harmless when repeated."""
        self._over.set()
        # On Linux close alone does not wake who waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _take(self) -> None:
        while not self._over.is_set():
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            if not self._room.acquire(blocking=False):
                taken.close()
                continue
            threading.Thread(target=self._serve, args=(taken,), name=f"forwarded {self._name}", daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        try:
            with taken, contextlib.closing(self._open()) as stream:
                taken.settimeout(_STUCK_SECONDS)
                stream.settimeout(_STUCK_SECONDS)
                self._pump(taken, stream)
        except (TargetError, websocket.WebSocketException, OSError) as error:
            logger.debug("%s: %s", self._name, error)
        finally:
            self._room.release()

    def _pump(self, taken: socket.socket, stream: websocket.WebSocket) -> None:
        remote, begun = stream.sock, 0
        while remote is not None and not self._over.is_set():
            # Bytes that TLS has decrypted already make no socket readable.
            decrypted = getattr(remote, "pending", lambda: 0)() > 0
            ready = select.select([taken, remote], [], [], 0 if decrypted else _LOOK_SECONDS)[0]
            if taken in ready:
                data = taken.recv(_CHUNK)
                if not data:
                    return
                stream.send_binary(bytes([_DATA]) + data)
            if decrypted or remote in ready:
                code, frame = stream.recv_data_frame(control_frame=True)
                if code == websocket.ABNF.OPCODE_CLOSE:
                    return
                if code == websocket.ABNF.OPCODE_BINARY:
                    begun += 1
                    if begun > _PORT_FRAMES:
                        _deliver(frame.data, taken)


def _deliver(message: bytes, taken: socket.socket) -> None:
    """Raises `TargetError` with what the other end says is wrong."""
    if message[:1] == bytes([_ERROR]):
        raise TargetError(message[1:].decode(errors="replace").strip())
    taken.sendall(message[1:])
