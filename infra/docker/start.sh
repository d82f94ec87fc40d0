#!/bin/sh
# Starts the image's service. Replicas of one service must differ in their names, and containers do in their host names.
set -eu
if [ -z "${INSTANCE:-}" ]; then
    read -r host </etc/hostname
    INSTANCE=$(printf '%s' "$SERVICE-$host" | tr 'A-Z_' 'a-z-')
fi
export INSTANCE
exec python3 -m "services.$SERVICE"
