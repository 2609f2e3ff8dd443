#!/usr/bin/env bash
# Run once by the database's container, after schema.sql: makes the service's account from docs/grants/mariadb.sql,
# to come from any container, and leaves it the rights of `migrate`, for upgrades.
set -eu -o pipefail

script=$(sed '/^REVOKE /d' "${GRANTS_FILE:-/grants/mariadb.sql}")
password=${STRINGS_QUEUE_DB_PASSWD//\\/\\\\}
password=${password//\'/\'\'}
script=${script//"'127.0.0.1'"/"'%'"}
script=${script//CHANGE-ME/"$password"}
printf '%s\n' "$script" | MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb --user=root
