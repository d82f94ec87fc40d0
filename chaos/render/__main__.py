"""`python -m chaos.render` writes what `files.rendered` says, and takes away what nothing makes any more."""

import sys

from chaos.render import files


def main() -> int:
    """Write every file."""
    wanted = files.rendered()
    for path in files.stale(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(wanted)} files below {files.CHAOS}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
