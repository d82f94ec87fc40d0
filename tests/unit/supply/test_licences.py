"""Every locked distribution has a licence that can be lived with, and the page tells all of them."""

import pytest

from infra.supply import licences
from infra.supply.licences import Decisions, refused, table
from infra.supply.locks import everything
from infra.supply.spdx import Metadata, stated

NOTHING = Decisions({}, {}, {})
BSD = "Redistribution and use in source and binary forms, with or\nwithout modification, are permitted. "


def test_the_page_has_exactly_what_is_locked_and_is_as_the_command_writes_it() -> None:
    found = table()
    assert {*found} == {*everything()}, "make licences"
    assert licences.PAGE.read_text(encoding="utf-8") == licences.render(found, Decisions.load()), "make licences"


def test_every_locked_distribution_may_be_used_with_a_work_under_apache_2() -> None:
    decisions = Decisions.load()
    assert [why for (name, _), licence in table().items() if (why := refused(name, licence, decisions))] == []


def test_every_decision_is_about_something_that_is_locked_and_says_why() -> None:
    decisions, names = Decisions.load(), {name for name, _ in everything()}
    assert {*decisions.read, *decisions.accepted, *decisions.carried} <= names
    reasons = [
        *decisions.accepted.values(),
        *decisions.carried.values(),
        *(r["where"] for r in decisions.read.values()),
    ]
    assert all(len(why) > 10 for why in reasons)
    needless = [
        n for n in decisions.accepted if not any(refused(n, v, NOTHING) for (m, _), v in table().items() if m == n)
    ]
    assert needless == []


@pytest.mark.parametrize(
    ("licence", "why"),
    [
        ("GPL-3.0-only", "cannot be handed on"),
        ("AGPL-3.0-or-later", "cannot be handed on"),
        ("MIT AND GPL-2.0-only", "cannot be handed on"),
        ("GPL-2.0-only OR AGPL-3.0-only", "cannot be handed on"),
        ("SSPL-1.0", "cannot be handed on"),
        ("CC-BY-NC-4.0", "cannot be handed on"),
        ("LGPL-3.0-only", "needs a reason"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", "needs a reason"),
        ("unknown", "no licence that SPDX knows"),
        ("BSD", "no licence that SPDX knows"),
        ("", "no licence that SPDX knows"),
    ],
)
def test_what_cannot_be_handed_on_is_refused(licence: str, why: str) -> None:
    assert why in (refused("thing", licence, NOTHING) or "")


def test_a_choice_is_free_where_one_of_them_is_and_a_reason_helps_only_against_source_by_file() -> None:
    assert refused("thing", "GPL-3.0-only OR MIT", NOTHING) is None
    with_reason = Decisions({}, {"thing": "tests only"}, {})
    assert refused("thing", "LGPL-3.0-only", with_reason) is None
    assert refused("thing", "GPL-3.0-only", with_reason) is not None


@pytest.mark.parametrize(
    ("metadata", "texts", "licence"),
    [
        (Metadata("MIT", "GPL", ()), [], "MIT"),
        (Metadata("", "Apache License, Version 2.0"), [], "Apache-2.0"),
        (Metadata("", "", ("License :: OSI Approved :: MIT License",)), [], "MIT"),
        (Metadata("", "BSD", ("License :: OSI Approved :: BSD License",)), [], None),
        (Metadata("", "BSD"), [f"{BSD}Neither the name of X nor"], "BSD-3-Clause"),
        (Metadata("", "BSD"), [BSD], "BSD-2-Clause"),
        (
            Metadata("", "", ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)",)),
            ["Permission is hereby granted, free of charge, to any person obtaining a copy"],
            "GPL-3.0-only",
        ),
        (Metadata(), [], None),
    ],
)
def test_a_licence_is_what_the_metadata_says_and_else_what_its_text_is(
    metadata: Metadata, texts: list[str], licence: str | None
) -> None:
    assert stated(metadata, texts) == licence
