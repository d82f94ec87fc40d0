"""Seals a card so that only the payment service can read it: the order service stores and sends what it cannot open."""

import base64
import binascii

import nacl.exceptions
import orjson
from nacl.public import PublicKey, SealedBox
from pydantic import SecretStr

from shared.chassis.settings import ConfigurationError


class CardSealer:
    """Seals cards for the holder of one X25519 private key.

    public_key: base64, 32 bytes
    """

    def __init__(self, public_key: str) -> None:
        try:
            self._box = SealedBox(PublicKey(base64.b64decode(public_key, validate=True)))
        except (binascii.Error, nacl.exceptions.CryptoError, TypeError, ValueError):
            raise ConfigurationError("CARD_SEALING_PUBLIC_KEY: not a base64 X25519 public key") from None

    def seal(self, number: SecretStr) -> str:
        """The card as a sealed box, base64. Sealing twice gives two different boxes."""
        return base64.b64encode(self._box.encrypt(orjson.dumps({"number": number.get_secret_value()}))).decode()
