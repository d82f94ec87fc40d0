"""Only what was sealed for this service, unaltered, opens; and a failure tells nothing of the contents."""

import base64
import json

import pytest
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import SecretStr

from services.payment.sealing import CardOpener, UnreadableCard

KEY = PrivateKey.generate()


def seal(contents: bytes, key: PublicKey = KEY.public_key) -> str:
    return base64.b64encode(SealedBox(key).encrypt(contents)).decode()


@pytest.fixture
def opener() -> CardOpener:
    return CardOpener(SecretStr(base64.b64encode(bytes(KEY)).decode()))


def test_a_card_sealed_for_the_service_opens(opener: CardOpener) -> None:
    assert opener.open(seal(b'{"number": "4242424242424242"}')).number == "4242424242424242"


def test_one_card_is_sealed_differently_every_time() -> None:
    contents = b'{"number": "4242424242424242"}'

    assert seal(contents) != seal(contents)


def test_a_card_sealed_for_somebody_else_does_not_open(opener: CardOpener) -> None:
    with pytest.raises(UnreadableCard):
        opener.open(seal(b'{"number": "4242424242424242"}', PrivateKey.generate().public_key))


def test_a_card_altered_in_any_byte_does_not_open(opener: CardOpener) -> None:
    sealed = base64.b64decode(seal(b'{"number": "4242424242424242"}'))
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(UnreadableCard):
            opener.open(base64.b64encode(altered).decode())


@pytest.mark.parametrize("sealed", ["", "A", "AAAA", "%%%%", "é"])
def test_what_is_no_sealed_box_does_not_open(opener: CardOpener, sealed: str) -> None:
    with pytest.raises(UnreadableCard):
        opener.open(sealed)


@pytest.mark.parametrize(
    "contents",
    [
        {},
        {"number": None},
        {"number": 4242424242424242},
        {"number": "42424242424"},
        {"number": "4" * 20},
        {"number": "4242 4242 4242 4242"},
        {"number": "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"},
        {"number": "4242424242424242\n"},
        {"number": "4242424242424242", "cvc": "123"},
        "4242424242424242",
    ],
)
def test_what_is_no_card_is_refused_without_a_word_about_it(opener: CardOpener, contents: object) -> None:
    with pytest.raises(UnreadableCard) as caught:
        opener.open(seal(json.dumps(contents).encode()))

    assert "4" not in str(caught.value)
    assert caught.value.__cause__ is None
