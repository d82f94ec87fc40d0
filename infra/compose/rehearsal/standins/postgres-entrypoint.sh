#!/bin/sh
# Makes the data directory once, runs what is mounted in /docker-entrypoint-initdb.d, then becomes the server.
set -eu
socket=/var/run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    initdb -D "$PGDATA" -U postgres --encoding=UTF8 --no-locale --auth-local=trust --auth-host=scram-sha-256 \
        --pwfile="$POSTGRES_PASSWORD_FILE" >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses= -c unix_socket_directories=$socket" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*.sh; do
        PGHOST="$socket" "$script"
    done
    pg_ctl -D "$PGDATA" -w stop >/dev/null
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories="$socket"
