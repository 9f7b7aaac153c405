-- SPDX-License-Identifier: MIT
-- Composites: one field, none, dropped ones, names of 63 bytes, others within.
local long <const> = ("f"):rep(63)
local odd <const> = "a \"b\" \\c, (d) {e} [f\n\t' "

return {
  { "one", title = "R17", create = "CREATE TYPE one AS (v text)", { '("")', { v = "" } },
    { "()", {} }, { '(",")', { v = "," } }, { '("""")', { v = '"' } }, { '(")")', { v = ")" } },
    { "(NULL)", { v = "NULL" } }, { "what has to be quoted", { v = odd },
      sql = ("ROW($q$%s$q$)"):format(odd) } },
  { "nothing", title = "R17", create = "CREATE TYPE nothing AS ()", { "()", {} } },
  { '"Ödd ""record"""', title = "R17",
    create = ('CREATE TYPE "Ödd ""record""" AS ("a b" int, "%s" bytea, "é" float8)'):format(long),
    { '(1,"\\\\x00ff",-0)', { ["a b"] = 1, [long] = "\0\255", ["é"] = -0.0 } },
    { "(,,NaN)", { ["é"] = 0 / 0 } } },
  { "changed", title = "R17", create = "CREATE TABLE changed (a int, gone text, b timestamptz[], "
      .. "last int); ALTER TABLE changed DROP COLUMN gone, DROP COLUMN last",
    { '(1,"{infinity}")', { a = 1, b = { "infinity" } } }, { "(,{})", { b = {} } } },
  { "person", title = "R17", equal = "json", ordered = false,
    create = "CREATE TYPE place AS (street text, number int); "
      .. "CREATE TYPE person AS (home place, others place[], doc jsonb, stay int4range)",
    { "(,,,)", {} },
    { "others within", { home = { street = odd }, others = { { number = 1 }, {} },
      doc = { a = { odd } }, stay = { lower = 1, bounds = "[)" } },
      sql = ("ROW(ROW($q$%s$q$, NULL), ARRAY[ROW(NULL, 1), ROW(NULL, NULL)]::place[], "
        .. "jsonb_build_object('a', jsonb_build_array($q$%s$q$)), '[1,)')"):format(odd, odd) } },
}
