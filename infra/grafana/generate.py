"""Writes `dashboards/*.json`: `make dashboards`."""

import sys
from pathlib import Path

from infra.grafana import chaos, orders, overview, pages, prediction, resilience, service, slo

DASHBOARDS = Path(__file__).parent / "dashboards"

PAGES = (overview.PAGE, orders.PAGE, resilience.PAGE, slo.PAGE, chaos.PAGE, prediction.PAGE, service.PAGE)


def rendered() -> dict[str, str]:
    """Every generated file, by name."""
    return {f"{page.uid}.json": pages.rendered(page) for page in PAGES}


def main() -> int:
    """Write the files, and delete those of dashboards that are no more."""
    files = rendered()
    for path in DASHBOARDS.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        path = DASHBOARDS / name
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
