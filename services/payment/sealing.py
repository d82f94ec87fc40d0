"""Opening the sealed card: only this service holds the private key, so no other one ever sees a card number."""

import base64
import binascii
from typing import Annotated

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.payment.cards import Card


class UnreadableCard(ValueError):
    """The sealed card was not sealed for this service, was altered, or does not hold a card."""


class _Contents(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    number: Annotated[str, Field(pattern=r"^[0-9]{12,19}$")]


class CardOpener:
    """Opens NaCl sealed boxes (X25519, XSalsa20-Poly1305) that hold `{"number": "..."}` as JSON."""

    def __init__(self, private_key: SecretStr) -> None:
        self._box = SealedBox(PrivateKey(base64.b64decode(private_key.get_secret_value().strip(), validate=True)))

    def open(self, sealed: str) -> Card:
        """The card in `sealed` (base64), or `UnreadableCard`, which never says what was found inside."""
        try:
            contents = _Contents.model_validate_json(self._box.decrypt(base64.b64decode(sealed, validate=True)))
        except (binascii.Error, ValueError, CryptoError, ValidationError):
            # the cause is dropped: it may quote the contents
            raise UnreadableCard("cannot be opened, or holds no card number") from None
        return Card(contents.number)
