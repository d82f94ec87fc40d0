#!/bin/sh
# One database and one role a service, and one role that may read them all and change nothing: run once, by the image's
# entrypoint, when the data directory is made. Passwords come from files and never stand on a command line.
set -eu

statements() {
    for service in order payment inventory; do
        password=$(cat "/run/secrets/${service}_password")
        cat <<SQL
CREATE ROLE "$service" LOGIN PASSWORD '$password';
CREATE DATABASE "$service" OWNER "$service";
REVOKE CONNECT ON DATABASE "$service" FROM PUBLIC;
SQL
    done
    password=$(cat /run/secrets/auditor_password)
    cat <<SQL
CREATE ROLE auditor LOGIN PASSWORD '$password' IN ROLE pg_read_all_data;
ALTER ROLE auditor SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE "order", payment, inventory TO auditor;
SQL
}

statements | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres
