#!/bin/sh
# Makes .venv hold what requirements/NAME.lock says; does nothing, in a few milliseconds, when it does already.
#   infra/local/bootstrap.sh local|chaos|postgres|dev|bench
set -eu
cd "$(dirname "$0")/../.."

# What the library is only compared with lives apart, so that nothing comes to depend on it.
environment=.venv
[ "$1" != bench ] || environment=.local/bench

# The environment keeps a copy of each lock that it satisfies.
if [ -x "$environment/bin/python" ] && cmp -s "requirements/$1.lock" "$environment/.holdfast/$1.lock"; then
    exit 0
fi

for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" infra/local/bootstrap.py "$1"
    fi
done
echo "Holdfast needs Python 3.11 or newer. Found: $(python3 --version 2>&1 || echo 'no python3 at all')." >&2
echo "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2
exit 1
