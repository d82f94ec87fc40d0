#!/bin/sh
# Run once, by the image, on an empty volume: a role and a database for each service, closed to the others.
set -eu
for service in order payment inventory; do
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set service="$service" --set password="$(cat "${SECRETS:-/run/secrets/postgres}/$service")" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
