# SPDX-License-Identifier: MIT
"""asyncpg, as it is: Records (keyed and indexed alike), statements prepared by itself, binary
values; json.loads for jsonb, as its documentation says; cursors fetch 1,000 rows at a time."""
import asyncio
import io
import json
from operator import itemgetter

import asyncpg

import work

SQL = work.sql
loop = asyncio.new_event_loop()
run = loop.run_until_complete
values = itemgetter(*work.COLUMNS)
rows = work.records() if work.name in work.SENT else []
text = work.lines(rows) if work.name == "copy_in" else b""


async def connect():
    connection = await asyncpg.connect()
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    await connection.fetchval("SELECT 1")
    return connection


async def keyed(times):
    total = 0
    for i in range(times):
        total += (await db.fetchrow(SQL, i % 1000 + 1))[0]
    return times, total


async def whole(times):
    units = 0
    for _ in range(times):
        result = await db.fetch(SQL)
        units += len(result)
    return units, result


async def columns(times):
    units = 0
    for _ in range(times):
        result = list(zip(*await db.fetch(SQL)))
        units += len(result[0])
    return units, result


async def each(times):
    units = 0
    for _ in range(times):
        async with db.transaction():
            async for _row in db.cursor(SQL, prefetch=1000):
                units += 1
    return units, None


async def streamed(_times):
    units = ids = 0
    async with db.transaction():
        async for row in db.cursor(SQL, prefetch=1000):
            units += 1
            ids += row["id"]
    return units, ids


async def gathered():
    async with db.transaction():
        return [row async for row in db.cursor(SQL, prefetch=1000)]


async def copy_out(times):
    size = units = 0

    async def take(chunk):
        nonlocal size
        size += len(chunk)

    for _ in range(times):
        size = 0
        status = await db.copy_from_table("bench_rows", output=take)
        units += int(status.split()[1])
    return units, size


async def insert():
    async with db.transaction():
        for batch in work.batches(rows):
            await db.execute(SQL, *batch)


async def pipeline():
    await db.executemany(SQL, map(values, rows))


async def singly():
    for row in rows:
        await db.execute(SQL, *values(row))


async def copy_in():
    await db.copy_to_table("bench_logs", source=io.BytesIO(text))


async def copy_list():
    records = map(values, rows)
    await db.copy_records_to_table("bench_logs", records=records, columns=work.COLUMNS)


async def sent(times):
    for _ in range(times):
        await db.execute(work.SQL["truncate"])
        await globals()[work.name]()
    return times * len(rows), None


WORK = dict.fromkeys(work.SENT, sent)
WORK |= dict.fromkeys(work.READ, whole)
WORK |= {"int": keyed, "lookup": keyed, "rows_columns": columns, "copy_out": copy_out}
WORK |= {"each": each, "streamed": streamed}
db = run(connect())
work.main(
    {key: lambda times, f=f: run(f(times)) for key, f in WORK.items()},
    lambda sql: run(db.fetchval(sql)),
    lambda: run(gathered()),
)
