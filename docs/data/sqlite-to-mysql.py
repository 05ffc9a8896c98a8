#!/usr/bin/env python3
"""Writes a module's rows as SQL for MySQL or MariaDB: from its SQLite file, on standard output. Nothing is changed
in the file; the module must not run meanwhile, or the two differ.

usage: sqlite-to-mysql.py data/order.db | mysql --host=db --user=shop --password=... orders

The target has its schema, by `tradepost migrate`, and no rows: one that is there already ends it, with nothing written.
"""

import pathlib
import sqlite3
import sys

# what belongs to one backend, or to the processes of the moment
NOT_COPIED = {"__diesel_schema_migrations", "database_identity", "database_peers", "leases", "sqlite_sequence"}
# tables that others refer to come first
FIRST = ["orders"]
ROWS = 200


def value(cell):
    if cell is None:
        return "NULL"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, str):
        # as bytes: no escape means something else to another mode of the server
        return f"CONVERT(X'{cell.encode().hex()}' USING utf8mb4)" if cell else "''"
    sys.exit(f"a value of an unexpected kind: {cell!r}")


def main(path):
    if not pathlib.Path(path).is_file():
        sys.exit(f"{path}: there is no such file")
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    # one moment for all tables
    source.execute("BEGIN")
    tables = [name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    tables = sorted(set(tables) - NOT_COPIED, key=lambda name: (name not in FIRST, name))
    print("SET NAMES utf8mb4;\nSET autocommit = 0;\nSTART TRANSACTION;")
    for table in tables:
        cursor = source.execute(f'SELECT * FROM "{table}"')
        columns = ", ".join(f"`{column[0]}`" for column in cursor.description)
        while rows := cursor.fetchmany(ROWS):
            values = ",\n".join("(" + ", ".join(value(cell) for cell in row) + ")" for row in rows)
            print(f"INSERT INTO `{table}` ({columns}) VALUES\n{values};")
    print("COMMIT;")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
