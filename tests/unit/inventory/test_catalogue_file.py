"""The catalogue file: what we ship, and how a wrong one is refused."""

from pathlib import Path

import pytest

from services.inventory.catalogue import read_catalogue
from services.inventory.settings import InventorySettings
from shared.chassis.settings import ConfigurationError

SHIPPED = InventorySettings.model_fields["catalogue"].default

GOOD = """\
products:
  - sku: bell
    name: Bell
    description: Brass.
    prices: {EUR: 1000}
    stock: 5
"""


def test_the_shipped_catalogue_has_what_the_experiments_need() -> None:
    entries = {entry.sku: entry for entry in read_catalogue(SHIPPED)}
    assert len(entries) >= 20
    assert entries["mug-enamel"].stock >= 100_000
    assert entries["print-limited"].stock == 100
    assert all(set(entry.prices) == {"EUR", "USD", "GBP", "JPY"} for entry in entries.values())
    assert all(entry.description for entry in entries.values())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("sku: bell", "sku: Bell!", ":2: products.0.sku: "),
        ("EUR: 1000", "EUR: 10.5", ":5: products.0.prices.EUR: "),
        ("EUR: 1000", "euro: 1000", ":5: products.0.prices"),
        ("stock: 5", "stock: -1", ":6: products.0.stock: "),
        ("stock: 5", "stock: true", ":6: products.0.stock: "),
        ("stock: 5", "shelf: 5", ":2: products.0.stock: Field required"),
        ("products:", "goods:", ":1: products: Field required"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_file_line_and_field(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as refused:
        read_catalogue(path)
    assert f"{path}{expected}" in str(refused.value)


def test_a_product_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD + GOOD.removeprefix("products:\n"))
    with pytest.raises(ConfigurationError, match="listed more than once: bell"):
        read_catalogue(path)


def test_a_product_without_one_of_the_currencies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(GOOD + GOOD.removeprefix("products:\n").replace("bell", "drum").replace("EUR", "USD"))
    with pytest.raises(ConfigurationError, match="not priced in all of EUR, USD: bell, drum"):
        read_catalogue(path)


@pytest.mark.parametrize("text", ["products: [", "", "- 1"])
def test_what_is_no_catalogue_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="CATALOGUE: "):
        read_catalogue(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_catalogue(tmp_path / "nowhere.yaml")
