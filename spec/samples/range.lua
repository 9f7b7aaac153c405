-- SPDX-License-Identifier: MIT
-- Ranges and multiranges: empty, infinite to either side, bounds of infinity, and of no number.
local function range(lower, upper, bounds)
  return { lower = lower, upper = upper, bounds = bounds }
end

return {
  { "int4range", title = "R16", { "[1,5]", range(1, 6, "[)") }, { "empty", { empty = true } },
    { "(,)", range(nil, nil, "()") }, { "[-2147483648,]", range(-2147483648, nil, "[)") } },
  { "int8range", title = "R16", { "(,9223372036854775806]", range(nil, math.maxinteger, "()") },
    { "[-9223372036854775808,0)", range(math.mininteger, 0, "[)") } },
  { "numrange", title = "R16", { "[-1.50,2]", range("-1.50", "2", "[]") },
    { "(NaN,NaN]", { empty = true } }, { "[0,NaN]", range("0", "NaN", "[]") } },
  { "tsrange", title = "R16", { "[2026-01-15 10:30,infinity]",
    range("2026-01-15T10:30:00", "infinity", "[]") } },
  { "tstzrange", title = "R16", { "(,infinity)", range(nil, "infinity", "()") },
    { "(0044-03-15 00:00Z BC,2026-01-15 00:00Z)",
      range("0044-03-15T00:00:00Z BC", "2026-01-15T00:00:00Z", "()") } },
  { "daterange", title = "R16", { "[2026-01-15,2026-01-15]",
    range("2026-01-15", "2026-01-16", "[)") }, { "[-infinity,)", range("-infinity", nil, "[)") } },
  { "words", title = "R16", create = "CREATE TYPE words AS RANGE (subtype = text)",
    { '["",a)', range("", "a", "[)") }, { '["(""\\\\","]"]', range('("\\', "]", "[]") },
    { "[NULL,null]", range("NULL", "null", "[]") }, { "empty", { empty = true } } },
  { "floats", title = "R16", create = "CREATE TYPE floats AS RANGE (subtype = float8)",
    { "(-infinity,NaN]", range(-math.huge, 0 / 0, "(]") }, { "[-0,0.1]", range(-0.0, 0.1, "[]") } },
  { "corners", title = "R16", create = "CREATE TYPE corner AS (x int, name text); "
      .. "CREATE TYPE corners AS RANGE (subtype = corner)",
    { [[["(1,""a, b"")","(2,)")]], range({ x = 1, name = "a, b" }, { x = 2 }, "[)") } },
  { "int4multirange", title = "R16", since = 14, { "{}", {} },
    { "{(,)}", { range(nil, nil, "()") } },
    { "{[1,2],[5,7)}", { range(1, 3, "[)"), range(5, 7, "[)") } } },
  { "nummultirange", title = "R16", since = 14, { "{(,-1.50],[2,)}",
    { range(nil, "-1.50", "(]"), range("2", nil, "[)") } } },
  { "tstzmultirange", title = "R16", since = 14, { "{[2026-01-15 00:00Z,]}",
    { range("2026-01-15T00:00:00Z", nil, "[)") } } },
  { "datemultirange", title = "R16", since = 14, { "{[2026-01-15,2026-01-16)}",
    { range("2026-01-15", "2026-01-16", "[)") } } },
}
