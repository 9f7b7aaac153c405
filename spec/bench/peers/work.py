# SPDX-License-Identifier: MIT
"""What the Python programs share: arguments, statements, rows that are sent, checks, clocks."""
import datetime
import io
import json
import os
import sys
import time

name, times = sys.argv[1], int(sys.argv[2])
SCALE = float(os.environ.get("BENCH_SCALE", "1"))
COLUMNS = ("level", "message", "created_at")
READ = ("rows", "rows_array", "catalog", "typed", "int_arrays", "float_arrays", "bytea_1mb",
        "bytea_10kb", "jsonb", "held")
SENT = ("insert", "pipeline", "singly", "copy_in", "copy_list")

with open(os.path.join(os.path.dirname(__file__), "sql.json")) as file:
    SQL = json.load(file)
sql = SQL.get(name)


def count(full):
    return max(1, int(full * SCALE))


def records():
    """The rows that this workload sends."""
    minute = datetime.datetime(2026, 1, 15, 10, 30)
    n = count(100000) if name in ("insert", "copy_list", "copy_in") else count(10000)
    return [
        {
            "level": "info" if i % 9 else "error",
            "message": "some message %d" % i,
            "created_at": minute + datetime.timedelta(seconds=i % 60),
        }
        for i in range(n)
    ]


def batches(rows):
    """The records, 10,000 at a time, as one list a column."""
    step = count(10000)
    for i in range(0, len(rows), step):
        batch = rows[i : i + step]
        yield [[row[column] for row in batch] for column in COLUMNS]


def lines(rows):
    """The records as COPY's text."""
    text = io.StringIO()
    for row in rows:
        text.write("%s\t%s\t%s\n" % tuple(row.values()))
    return text.getvalue().encode()


def check_rows(ids, names, scores, actives):
    return sum(ids) + sum(len(s.encode()) for s in names) + sum(actives) + sum(map(int, scores))


def check_bytes(rows):
    return sum(len(data) + data[0] + data[-1] for (data,) in rows)


# From the rows of the warm-up, as sequences of values.
CHECKS = {
    "rows_columns": lambda columns: check_rows(*columns),
    "catalog": lambda rows: sum(r[0] + len(r[1].encode()) + r[5] for r in rows),
    "typed": lambda rows: sum(r[0] + int(r[2]) + r[1].second for r in rows),
    "int_arrays": lambda rows: sum(sum(r[1]) for r in rows),
    "float_arrays": lambda rows: sum(sum(map(int, r[1])) for r in rows),
    "bytea_1mb": check_bytes,
    "bytea_10kb": check_bytes,
    "jsonb": lambda rows: sum(doc["number"] + doc["user"]["age"] for (doc,) in rows),
}


def check(rows):
    """`rows` are sequences or dictionaries."""
    if isinstance(rows[0], dict):
        rows = [tuple(row.values()) for row in rows]
    return CHECKS[name](rows) if name in CHECKS else check_rows(*zip(*rows))


def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def warm_up(repeat, ask, gather):
    if name in ("int", "lookup"):
        return repeat(10) and None
    if name in ("held", "streamed"):
        return None
    if name in ("each", "copy_rows"):
        return check(gather())
    _, result = repeat(1)
    if name == "copy_out":
        return result
    return ask(SQL["check"]) if name in SENT else check(result)


def main(work, ask, gather):
    """work[name](times) returns the units and the result of the last repetition (of `int`, `lookup`
    the sum of the values); ask(statement) returns one value, gather() the rows streamed."""
    if name not in work:
        return print("unsupported")
    repeat, idle = work[name], memory("VmRSS")
    checked = warm_up(repeat, ask, gather)
    wall, cpu = time.monotonic(), time.process_time()
    units, result = repeat(times)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = " %d" % (memory("VmHWM") - idle) if name in ("held", "streamed") else ""
    if name == "held":
        result = sum(row["id"] for row in result)
    print("%d %.6f %.6f %s%s" % (units, wall, cpu, result if checked is None else checked, peak))
