"""The auditor says no to every kind of breach, by its own name and no other, and yes to a platform that is sound."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.audit.__main__ import INVARIANTS
from tests.integration.audit.world import TOTAL, World, sound_world


@pytest.fixture
def urls(database_url: str, tmp_path: Path) -> dict[str, str]:
    """Three SQLite files, or one Postgres database for all (their tables have different names)."""
    services = ("order", "payment", "inventory")
    if database_url.startswith("sqlite"):
        return {service: f"sqlite+aiosqlite:///{tmp_path / service}.sqlite" for service in services}
    return dict.fromkeys(services, database_url)


def test_a_sound_platform_with_orders_under_way_is_clean(urls: dict[str, str], tmp_path: Path) -> None:
    outcome = sound_world().audit(urls, tmp_path)
    assert (outcome.code, outcome.broken, outcome.verdicts["clean"]) == (0, {}, True)
    assert all(verdict["examined"] > 0 for verdict in outcome.verdicts["invariants"])


Spoil = Callable[[World], object]
BREACHES: list[tuple[str, str, str, Spoil]] = []


def breach(invariant: str, subject: str) -> Callable[[Spoil], Spoil]:
    """Register a way to break one invariant, and only that one."""

    def register(spoil: Spoil) -> Spoil:
        BREACHES.append((spoil.__name__.replace("_", " "), invariant, subject, spoil))
        return spoil

    return register


@breach("charged-once", "cancelled")
def captured_twice_and_refunded_twice(world: World) -> None:
    world.add_charge("cancelled", TOTAL, TOTAL)
    world.add_entry("cancelled", "capture", TOTAL)
    world.add_entry("cancelled", "refund", TOTAL)


@breach("ledger-balanced", "txn-sold")
def a_ledger_line_is_missing(world: World) -> None:
    world.lines += " WHERE transaction_id <> 'txn-sold'"


@breach("ledger-balanced", "txn-sold")
def an_entry_without_an_account(world: World) -> None:
    world.one("ledger", transaction_id="txn-sold")["credit_account"] = None


@breach("network-agrees", "sold")
def a_capture_that_the_ledger_does_not_have(world: World) -> None:
    world.rows["ledger"].remove(world.one("ledger", transaction_id="txn-sold"))


@breach("network-agrees", "declined")
def money_that_went_both_ways_unrecorded(world: World) -> None:
    world.one("card_network_charges", payment_key="declined").update(captured_amount=TOTAL, refunded_amount=TOTAL)


@breach("network-agrees", "sold")
def an_entry_in_another_currency(world: World) -> None:
    world.one("ledger", transaction_id="txn-sold")["currency"] = "USD"


@breach("network-agrees", "charging")
def a_capture_unrecorded_for_too_long(world: World) -> None:
    world.one("payments", payment_key="charging")["updated_at"] = world.long_ago


@breach("confirmed-paid", "sold")
def charged_less_than_the_total(world: World) -> None:
    world.one("card_network_charges", payment_key="sold")["captured_amount"] = TOTAL - 1
    world.one("ledger", transaction_id="txn-sold")["amount"] = TOTAL - 1


@breach("confirmed-paid", "sold")
def confirmed_and_never_charged(world: World) -> None:
    for table, where in (
        ("payments", {"payment_key": "sold"}),
        ("card_network_charges", {"payment_key": "sold"}),
        ("ledger", {"transaction_id": "txn-sold"}),
    ):
        world.rows[table].remove(world.one(table, **where))


@breach("confirmed-paid", "sold")
def confirmed_and_refunded(world: World) -> None:
    world.one("card_network_charges", payment_key="sold")["refunded_amount"] = TOTAL
    world.add_entry("sold", "refund", TOTAL)


@breach("confirmed-paid", "sold")
def charged_in_another_currency(world: World) -> None:
    world.one("card_network_charges", payment_key="sold")["currency"] = "JPY"
    world.one("ledger", transaction_id="txn-sold")["currency"] = "JPY"


def charged_and_ended(state: str, name: str) -> Spoil:
    def spoil(world: World) -> None:
        world.rows["payments"] = [row for row in world.rows["payments"] if row["payment_key"] != name]
        world.rows["card_network_charges"] = [
            row for row in world.rows["card_network_charges"] if row["payment_key"] != name
        ]
        world.rows["ledger"] = [row for row in world.rows["ledger"] if row["transaction_id"] != f"txn-{name}"]
        world.add_payment(name, "CAPTURED")

    spoil.__name__ = f"charged and then {state}"
    return spoil


def held_and_ended(state: str, name: str, reservation: str) -> Spoil:
    def spoil(world: World) -> None:
        world.rows["reservations"] = [row for row in world.rows["reservations"] if row["id"] != name]
        world.add_reservation(name, reservation)

    spoil.__name__ = f"{state} and still {reservation}"
    return spoil


for ended, owner in (
    ("CANCELLED", "cancelled"),
    ("DECLINED", "declined"),
    ("REJECTED", "rejected"),
    ("FAILED", "failed"),
):
    breach("ended-refunded", owner)(charged_and_ended(ended, owner))
    for holding in ("HELD", "COMMITTED"):
        breach("ended-released", owner)(held_and_ended(ended, owner, holding))


@breach("payments-owned", "ghost")
def a_payment_of_no_order(world: World) -> None:
    world.add_payment("ghost", "CAPTURED")


@breach("payments-owned", "ghost")
def a_key_that_only_the_network_knows(world: World) -> None:
    world.add_charge("ghost", 0)


@breach("stock-not-negative", "cable")
def stock_below_zero(world: World) -> None:
    world.one("products", sku="cable").update(free=-1, initial=-1)


@breach("stock-adds-up", "cable")
def a_unit_that_is_nowhere(world: World) -> None:
    world.one("products", sku="cable")["free"] -= 1


@breach("stock-explained", "cable")
def a_unit_held_for_nobody(world: World) -> None:
    world.one("products", sku="cable").update(free=99, held=1)


@breach("stock-explained", "cable")
def a_unit_sold_to_nobody(world: World) -> None:
    world.one("products", sku="cable").update(free=99, sold=1)


@breach("stock-explained", "zither")
def a_hold_on_a_product_that_is_not_there(world: World) -> None:
    world.one("reservations", id="charging")["items"] = {"bell": 2, "anchor": 1, "zither": 1}


@breach("confirmed-sold", "sold")
def confirmed_and_only_held(world: World) -> None:
    world.one("reservations", id="sold")["state"] = "HELD"
    for sku, quantity in (("bell", 2), ("anchor", 1)):
        row = world.one("products", sku=sku)
        row.update(held=row["held"] + quantity, sold=row["sold"] - quantity)


@breach("confirmed-sold", "sold")
def confirmed_and_never_reserved(world: World) -> None:
    world.rows["reservations"].remove(world.one("reservations", id="sold"))
    for sku, quantity in (("bell", 2), ("anchor", 1)):
        row = world.one("products", sku=sku)
        row.update(free=row["free"] + quantity, sold=row["sold"] - quantity)


@breach("confirmed-sold", "sold")
def other_items_sold_than_ordered(world: World) -> None:
    world.one("reservations", id="sold")["items"] = {"bell": 2, "anchor": 1, "cable": 1}
    world.one("products", sku="cable").update(free=99, sold=1)


@breach("reservations-owned", "ghost")
def a_hold_of_no_order(world: World) -> None:
    world.add_reservation("ghost", "HELD")


@breach("reservations-owned", "ghost")
def a_sale_of_no_order(world: World) -> None:
    world.add_reservation("ghost", "COMMITTED")


@breach("orders-end", "reserving")
def an_order_under_way_for_too_long(world: World) -> None:
    world.one("orders", id="reserving")["updated_at"] = world.long_ago


@breach("orders-end", "reserving")
def an_order_in_a_state_that_nobody_knows(world: World) -> None:
    world.one("orders", id="reserving").update(state="WONDERING", updated_at=world.long_ago)


@breach("answers-kept", "nobody")
def a_promise_of_an_order_that_does_not_exist(world: World) -> None:
    world.answer("nobody", 202)


@breach("answers-kept", "key-lost")
def a_promise_that_names_no_order(world: World) -> None:
    world.answers.append({"idempotency_key": "key-lost", "status": 202, "id": None})


@breach("answers-kept", "given-up")
def a_201_that_never_was_confirmed(world: World) -> None:
    world.answer("given-up", 201)


@breach("answers-kept", "pending")
def a_201_for_an_order_under_way(world: World) -> None:
    world.answer("pending", 201)


@breach("answers-kept", "sold")
def an_answer_with_the_order_of_another_key(world: World) -> None:
    world.answers = [{"idempotency_key": "key-other", "status": 201, "id": "sold"}]


@breach("one-order-a-key", "key-sold")
def two_orders_with_one_key(world: World) -> None:
    world.one("orders", id="rejected")["idempotency_key"] = "key-sold"


@pytest.mark.parametrize(("invariant", "subject", "spoil"), [pytest.param(*case[1:], id=case[0]) for case in BREACHES])
def test_a_breach_is_reported_under_its_invariant_and_no_other(
    urls: dict[str, str], tmp_path: Path, invariant: str, subject: str, spoil: Spoil
) -> None:
    world = sound_world()
    spoil(world)
    outcome = world.audit(urls, tmp_path)
    assert outcome.code == 1
    assert list(outcome.broken) == [invariant]
    assert subject in outcome.broken[invariant]


def test_answers_of_one_key_that_name_two_orders_are_reported(urls: dict[str, str], tmp_path: Path) -> None:
    world = sound_world()
    world.answers.append({"idempotency_key": "key-sold", "status": 201, "id": "cancelled"})
    outcome = world.audit(urls, tmp_path)
    assert outcome.broken == {"answers-kept": ["cancelled"], "one-order-a-key": ["key-sold"]}


def test_settled_means_that_nothing_may_be_under_way(urls: dict[str, str], tmp_path: Path) -> None:
    outcome = sound_world().audit(urls, tmp_path, "--settled")
    assert outcome.code == 1
    assert outcome.broken == {
        "network-agrees": ["charging"],
        "orders-end": ["cancelling", "charging", "confirming", "pending", "reserving"],
        "answers-kept": ["pending"],
    }


def test_the_recovery_limit_is_the_age_at_which_an_order_must_be_final(urls: dict[str, str], tmp_path: Path) -> None:
    world = sound_world()
    world.one("orders", id="reserving")["updated_at"] -= 299_000
    assert world.audit(urls, tmp_path, "--recovery-limit", "3000").code == 0


def test_every_invariant_has_a_breach_that_is_seen() -> None:
    assert {invariant.name for invariant in INVARIANTS} == {case[1] for case in BREACHES}
