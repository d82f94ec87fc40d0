"""From what a distribution says about its licence to an SPDX expression (https://spdx.org/licenses/)."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution

from license_expression import ExpressionError, Licensing, get_spdx_licensing

# Words of the field `License` that mean one licence and no other; compared in lower case, without punctuation.
_SPELLINGS = {
    "apache": "Apache-2.0",
    "apache 20": "Apache-2.0",
    "apache license 20": "Apache-2.0",
    "apache license version 20": "Apache-2.0",
    "apache license v20": "Apache-2.0",
    "apache software license 20": "Apache-2.0",
    "mit license": "MIT",
    "3clause bsd license": "BSD-3-Clause",
    "bsd 3clause license": "BSD-3-Clause",
    "2clause bsd license": "BSD-2-Clause",
    "bsd 2clause license": "BSD-2-Clause",
}
# Classifiers that mean one licence. "BSD License" does not: there are several.
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What core metadata has about a licence: the field made for it, the free text, and the classifiers."""

    expression: str = ""
    free: str = ""
    classifiers: tuple[str, ...] = ()

    @classmethod
    def of(cls, distribution: Distribution) -> "Metadata":
        """What an installed distribution says."""
        says = distribution.metadata.json
        return cls(
            expression=str(says.get("license_expression", "")),
            free=str(says.get("license", "")),
            classifiers=tuple(says.get("classifier", ())),
        )


def stated(metadata: Metadata, texts: list[str]) -> str | None:
    """The licence that a distribution's core metadata and the files of its licence say; None: that cannot be told.

    The field made for it counts before the free text, that before classifiers, and those before the files' words.
    """
    expression = valid(metadata.expression)
    if expression is not None:
        return expression
    free = metadata.free.strip()
    words = re.sub(r"[^a-z0-9 ]", "", free.lower())
    for found in (valid(free) if "\n" not in free else None, _SPELLINGS.get(words), _classified(metadata)):
        if found:
            return found
    return next((found for text in [*texts, free] if (found := _recognised(text))), None)


def valid(text: str | None) -> str | None:
    """`text` as SPDX writes it, if it is an expression of licences that SPDX knows."""
    if not text:
        return None
    try:
        return str(licensing().parse(text, validate=True))
    except ExpressionError:
        return None


@cache
def licensing() -> Licensing:
    """The licences that SPDX knows."""
    return get_spdx_licensing()


def _classified(metadata: Metadata) -> str | None:
    named = [text.rpartition(" :: ")[2] for text in metadata.classifiers if text.startswith("License ::")]
    found = {_CLASSIFIERS[name] for name in named if name in _CLASSIFIERS}
    # several may mean "and" or "or": who reads "and" does what both ask
    return " AND ".join(sorted(found)) or None


def _recognised(text: str) -> str | None:
    flat = " ".join(text.split())
    if "Redistribution and use in source and binary forms" in flat:
        if "prominent notices stating that you changed the files" in flat:
            return "BSD-3-Clause-Modification"
        of_three = re.search(
            r"(Neither the names? |Names of the copyright holders must not|The name of [^.]* may not)", flat
        )
        return "BSD-3-Clause" if of_three else "BSD-2-Clause"
    if "Permission is hereby granted, free of charge, to any person obtaining a copy" in flat:
        return "MIT"
    if "Apache License Version 2.0, January 2004" in flat:
        return "Apache-2.0"
    return None
