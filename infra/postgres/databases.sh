#!/bin/sh
# One database and one role a service, and one role that may read them all and change nothing: run once, by the image's
# entrypoint, when the data directory is made. Passwords come from files and never stand on a command line of ours.
set -eu
secrets=${SECRETS:-/run/secrets}

run() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres "$@"
}

# psql reads the file itself, and quotes what was in it
for service in order payment inventory; do
    run --set service="$service" --set file="$secrets/${service}_password" <<'SQL'
\set password `cat :'file'`
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done

run --set file="$secrets/auditor_password" <<'SQL'
\set password `cat :'file'`
CREATE ROLE auditor LOGIN PASSWORD :'password' IN ROLE pg_read_all_data;
ALTER ROLE auditor SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE "order", payment, inventory TO auditor;
SQL
