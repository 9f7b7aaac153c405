-- SPDX-License-Identifier: MIT
-- lines: the lines of the benchmarks' table. Each is a work of the module (`name`, the peers' as
-- well) and what it stands beside: the raw work of that name, or the one that `floor` names. Aims:
-- `ratio` of units a second at least, `cpu` and `instr` (instructions) at most that many times the
-- floor's, `memory` in MB at most, `peers` = { times, names }: at least so many times the fastest.
-- `times` repetitions a run; instructions are those between one and `counted` (else 3) of them:
-- more where a unit has few, as making the rows that are sent takes not quite the same each time.
local pg = require "pg"

-- Before libpq 17 rows come one by one so that limits can be kept; that costs libpq itself 2.5
-- times the instructions of a whole result. From 17 on they come in chunks.
local INSTRUCTIONS <const> = pg.libpq >= 170000 and 3.5 or 5

return {
  { name = "int", title = "W1 SELECT $1::int, prepared", unit = "queries", times = 10000,
    aims = { ratio = 0.97, cpu = 1.10 } },
  { name = "lookup", title = "W2 key lookup, 8 columns", unit = "queries", times = 10000,
    aims = { ratio = 0.97, cpu = 1.10 } },
  { name = "lookup", title = "   beside raw not prepared", floor = "lookup_anew", unit = "queries",
    times = 10000 },
  { name = "rows", title = "W3 100,000 rows of 4", unit = "rows", times = 5,
    aims = { instr = INSTRUCTIONS, peers = { 1.2, "pgx", "asyncpg" } } },
  { name = "rows", title = "   beside raw single-row", floor = "each", unit = "rows", times = 5 },
  { name = "rows_array", title = '   rows = "array"', floor = "rows", unit = "rows", times = 5 },
  { name = "rows_columns", title = '   rows = "columns"', floor = "rows", unit = "rows",
    times = 5 },
  { name = "each", title = "   db:each, raw single-row", unit = "rows", times = 5 },
  { name = "catalog", title = "W4 pg_type, 12 columns", unit = "rows", times = 400,
    aims = { ratio = 0.95 } },
  { name = "typed", title = "W5 int8, timestamptz, numeric", unit = "rows", times = 5,
    aims = { ratio = 0.5, peers = { 1, "pgx" } } },
  { name = "int_arrays", title = "W6i int4[100], raw binary", unit = "rows", times = 5,
    aims = { ratio = 0.8, peers = { 2, "asyncpg" } } },
  { name = "float_arrays", title = "W6f float8[100], raw binary", unit = "rows", times = 5,
    aims = { ratio = 0.8, peers = { 2, "asyncpg" } } },
  { name = "bytea_1mb", title = "W7a bytea of 1 MB, raw binary", unit = "values", times = 100,
    aims = { ratio = 0.9 } },
  { name = "bytea_10kb", title = "W7b bytea of 10 KB, raw text", unit = "values", times = 20,
    aims = { ratio = 1 } },
  { name = "bytea_10kb", title = "   beside raw binary", floor = "bytea_10kb_binary",
    unit = "values", times = 20 },
  { name = "jsonb", title = "W8 jsonb; raw not decoded", unit = "documents", times = 3 },
  { name = "jsonb", title = "   beside lua-cjson (as raw)", floor = "jsonb_cjson", by = "module",
    unit = "documents", times = 3, aims = { ratio = 1 } },
  { name = "insert", title = "W9 bulk insert by unnest", unit = "rows", times = 3,
    aims = { ratio = 0.95 } },
  { name = "copy_in", title = "W10 COPY in, text", unit = "rows", times = 5, counted = 40,
    aims = { ratio = 0.97 } },
  { name = "copy_list", title = "   from rows; raw from text", floor = "copy_in", unit = "rows",
    times = 5 },
  { name = "copy_out", title = "   COPY out, text", unit = "rows", times = 10, counted = 10,
    aims = { ratio = 0.97 } },
  { name = "copy_rows", title = "   out, decoded; raw is not", unit = "rows", times = 10 },
  { name = "pipeline", title = "W11 10,000 inserts, pipelined", unit = "rows", times = 20,
    aims = { ratio = 0.95 } },
  { name = "singly", title = "   and one by one", unit = "rows", times = 1 },
  { name = "held", title = "W12 1,000,000 rows held", unit = "rows", times = 1, once = true,
    aims = { memory = 240 } },
  { name = "streamed", title = "   and streamed", unit = "rows", times = 1, once = true,
    aims = { memory = 12 } },
}
