#!/bin/sh
# Generates the passwords of docker-compose.yml at the first start. Each service gets them as files that only its user
# can read. Existing passwords are never changed; missing ones are added.
# usage: secrets.sh make | show    show: prints the passwords that a person needs
# environment: SECRETS, the folder
set -eu
umask 077
secrets=${SECRETS:?}
ours=65532:65532

# password NAME: prints the password of this name; generates it if it does not exist
password() {
  if [ ! -s "$secrets/passwords/$1" ]; then
    # letters, digits, - and _: safe in URLs and SQL statements
    head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$secrets/passwords/$1.new"
    mv "$secrets/passwords/$1.new" "$secrets/passwords/$1"
    echo "made the password $1" >&2
  fi
  cat "$secrets/passwords/$1"
}

# folder OWNER NAME: creates a folder that only its owner can read
folder() {
  mkdir -p "$secrets/$2"
  chown "$1" "$secrets/$2"
  chmod 700 "$secrets/$2"
}

# put OWNER FILE: writes the input to the file if it does not exist
put() {
  folder "$1" "$(dirname "$2")"
  if [ -s "$secrets/$2" ]; then
    cat >/dev/null
    return
  fi
  cat >"$secrets/$2.new"
  chown "$1" "$secrets/$2.new"
  chmod 400 "$secrets/$2.new"
  mv "$secrets/$2.new" "$secrets/$2"
}

config_server() { echo "http://tradepost:$(password config-server)@config-server:8888"; }
registry() { echo "http://tradepost:$(password registry)@registry:8761/eureka"; }

mysql_users() {
  for module in inventory order notification; do
    database=$(database "$module")
    echo "CREATE DATABASE $database CHARACTER SET utf8mb4;"
    echo "CREATE USER '$module'@'%' IDENTIFIED BY '$(password "mysql-$module")';"
    echo "GRANT SELECT, INSERT, UPDATE, DELETE ON $database.* TO '$module'@'%';"
    echo "CREATE USER '$module-migrate'@'%' IDENTIFIED BY '$(password "mysql-$module-migrate")';"
    echo "GRANT ALL ON $database.* TO '$module-migrate'@'%';"
  done
}

# ORDER is a keyword of SQL
database() { if [ "$1" = order ]; then echo orders; else echo "$1"; fi; }

mongodb_users() {
  echo "db = db.getSiblingDB('products');"
  echo "db.createUser({ user: 'product', pwd: '$(password mongodb-product)', roles: ['readWrite'] });"
  echo "db.createUser({ user: 'product-migrate', pwd: '$(password mongodb-product-migrate)', roles: ['readWrite', 'dbAdmin'] });"
}

# store USER: the URL of a module's store, for its serving or migrating user
store() {
  case $1 in
    product*) echo "mongodb://$1:$(password "mongodb-$1")@mongodb:27017/products" ;;
    *) echo "mysql://$1:$(password "mysql-$1")@mysql:3306/$(database "${1%-migrate}")" ;;
  esac
}

make() {
  folder 0:0 .
  folder 0:0 passwords
  # MySQL's and MongoDB's images run as this user
  password mysql-root | put 999:999 mysql/root
  mysql_users | put 999:999 mysql/init/users.sql
  password mongodb-root | put 999:999 mongodb/root
  mongodb_users | put 999:999 mongodb/init/users.js

  password keycloak-admin | put 1000:0 keycloak/bootstrap-admin
  password admin | put 1000:0 keycloak/demo-admin
  password alice | put 1000:0 keycloak/demo-alice
  password service-client | put 1000:0 keycloak/service-client
  password microservices-client | put 1000:0 keycloak/microservices-client
  password grafana | put 472:0 grafana/admin
  password registry | put 65534:65534 prometheus/registry-password

  password registry | put $ours registry/password
  config_server | put $ours registry/config-server
  password config-server | put $ours config-server/password
  for service in gateway product inventory order notification; do
    config_server | put $ours $service/config-server
    registry | put $ours $service/registry
  done
  for module in inventory order; do
    password service-client | put $ours $module/client-secret
  done
  # vault-setup writes these to Vault
  for module in product inventory order notification; do
    config_server | put $ours $module-migrate/config-server
    registry | put $ours $module-migrate/registry
    store $module | put 0:0 vault/$module-service
    store $module-migrate | put 0:0 vault/$module-migrate
  done
}

show() {
  echo "the shop          admin  $(password admin)"
  echo "the shop          alice  $(password alice)"
  echo "Keycloak's pages  admin  $(password keycloak-admin)"
  echo "Grafana           admin  $(password grafana)"
  echo "the registry  tradepost  $(password registry)"
}

case ${1:-} in
  make | show) "$1" ;;
  *)
    echo "usage: secrets.sh make | show" >&2
    exit 2
    ;;
esac
