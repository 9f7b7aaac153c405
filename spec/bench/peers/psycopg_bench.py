# SPDX-License-Identifier: MIT
"""psycopg 3, as its documentation says: execute() prepares at the sixth use, executemany()
pipelines, stream() for large results, binary results where they are faster (bytea, arrays,
streams, COPY)."""
import re
from operator import itemgetter

import psycopg
from psycopg.rows import dict_row, tuple_row

import work

BINARY = work.name in ("bytea_1mb", "bytea_10kb", "int_arrays", "float_arrays", "each", "streamed")
KEYED = work.name in ("rows", "held")
SQL = re.sub(r"\$\d", "%s", work.sql or "")

db = psycopg.connect(autocommit=True)
cursor = db.cursor(binary=BINARY, row_factory=dict_row if KEYED else tuple_row)
values = itemgetter(*work.COLUMNS)
rows = work.records() if work.name in work.SENT else []
text = work.lines(rows) if work.name == "copy_in" else b""


def keyed(times):
    return times, sum(cursor.execute(SQL, (i % 1000 + 1,)).fetchone()[0] for i in range(times))


def whole(times):
    units = 0
    for _ in range(times):
        result = cursor.execute(SQL).fetchall()
        units += len(result)
    return units, result


def columns(times):
    units = 0
    for _ in range(times):
        result = list(zip(*cursor.execute(SQL).fetchall()))
        units += len(result[0])
    return units, result


def decoded():
    with cursor.copy("COPY bench_rows TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int8", "text", "float8", "bool"])
        yield from copy.rows()


def stream():
    return decoded() if work.name == "copy_rows" else cursor.stream(SQL)


def each(times):
    units = 0
    for _ in range(times):
        for _row in stream():
            units += 1
    return units, None


def streamed(_times):
    units = ids = 0
    for row in stream():
        units += 1
        ids += row[0]
    return units, ids


def copy_out(times):
    units = 0
    for _ in range(times):
        size = 0
        with cursor.copy("COPY bench_rows TO STDOUT") as copy:
            for chunk in copy:
                size += len(chunk)
        units += cursor.rowcount
    return units, size


def insert():
    with db.transaction():
        for batch in work.batches(rows):
            cursor.execute(SQL, batch)


def pipeline():
    with db.transaction():
        cursor.executemany(SQL, map(values, rows))


def singly():
    for row in rows:
        cursor.execute(SQL, values(row))


def copy_in():
    with cursor.copy("COPY bench_logs FROM STDIN") as copy:
        copy.write(text)


def copy_list():
    with cursor.copy("COPY bench_logs FROM STDIN") as copy:
        for row in rows:
            copy.write_row(values(row))


def sent(times):
    for _ in range(times):
        cursor.execute(work.SQL["truncate"])
        globals()[work.name]()
    return times * len(rows), None


WORK = dict.fromkeys(work.SENT, sent)
WORK |= dict.fromkeys(work.READ, whole)
WORK |= {"int": keyed, "lookup": keyed, "rows_columns": columns, "copy_out": copy_out}
WORK |= {"each": each, "copy_rows": each, "streamed": streamed}
work.main(WORK, lambda sql: cursor.execute(sql).fetchone()[0], lambda: list(stream()))
