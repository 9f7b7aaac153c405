-- SPDX-License-Identifier: MIT
-- Samples of every built-in type, PostgreSQL's literal beside the Lua value that it has to become,
-- and the check of one: in text and in binary, alone and in an array, and back as a parameter.
local pg = require "pg"
local support = require "spec.support"

local values = {}

local null, exactly = pg.null, support.exactly
local inf, nan <const> = math.huge, 0 / 0

-- All bytes, as a Lua string and in hexadecimal.
local bytes, hex = {}, {}
for i = 0, 255 do bytes[i + 1], hex[i + 1] = string.char(i), ("%02x"):format(i) end
bytes, hex = table.concat(bytes), table.concat(hex)

local function brackets(depth) return ("["):rep(depth) .. ("]"):rep(depth) end

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

-- A type and its samples, each { literal, value }; `expression` where no literal can be written,
-- `of` for a type with a modifier, `since` for the server's version, `big` for one to leave out of
-- what is repeated. `text_only`: never in binary.
-- What comes back is compared by IS NOT DISTINCT FROM and as text; by "text" alone where the type
-- has no equality; as "json", whose text is not kept.
values.types = {
  { "boolean", { "true", true }, { "f", false } },
  { "smallint", { "-32768", -32768 }, { "32767", 32767 }, { "0", 0 }, { "-1", -1 } },
  { "integer", { "-2147483648", -2147483648 }, { "2147483647", 2147483647 }, { "0", 0 },
    { "65536", 65536 } },
  { "bigint", title = "R8", { "-9223372036854775808", math.mininteger },
    { "9223372036854775807", math.maxinteger }, { "9007199254740993", 9007199254740993 },
    { "4294967296", 4294967296 }, { "-1", -1 }, { "0", 0 } },
  { "oid", title = "R9", { "4294967295", 4294967295 }, { "2147483648", 2147483648 }, { "0", 0 } },
  { "real", { "0.1", 0.1 }, { "-0", -0.0 }, { "0", 0.0 }, { "NaN", nan }, { "Infinity", inf },
    { "-Infinity", -inf }, { "1e-45", 1e-45 }, { "1.17549435e-38", 1.1754944e-38 },
    { "3.4028235e38", 3.4028235e+38 }, { "16777217", 16777216.0 }, { "16777218", 16777218.0 },
    { "33554432", 33554432.0 }, { "8388609", 8388609.0 }, { "0.333333333", 0.33333334 },
    { "9.8603e-32", 9.8603e-32 }, { "1e10", 1e10 }, { "1e15", 1e15 }, { "123456.7", 123456.7 },
    { "-2.5", -2.5 }, { "7.0385307e-26", 7.038531e-26 }, { "9007199e9", 9.007199e15 },
    { "1.4012985e-45", 1e-45 }, { "2e-44", 2e-44 } },
  { "double precision", title = "R10", { "0.1", 0.1 }, { "-0", -0.0 }, { "0", 0.0 },
    { "NaN", nan }, { "Infinity", inf }, { "-Infinity", -inf }, { "5e-324", 5e-324 },
    { "2.2250738585072014e-308", 2.2250738585072014e-308 },
    { "2.2250738585072011e-308", 2.2250738585072011e-308 },
    { "1.7976931348623157e308", 1.7976931348623157e308 }, { "9007199254740993", 2.0 ^ 53 },
    { "0.3333333333333333", 1 / 3 }, { "0.6666666666666666", 2 / 3 }, { "1e15", 1e15 },
    { "9223372036854775808", 2.0 ^ 63 }, { "-9223372036854775808", -2.0 ^ 63 }, { "1e22", 1e22 },
    { "1e23", 1e23 }, { "123456789012345680", 123456789012345680.0 }, { "1e16", 1e16 },
    { "0.30000000000000004", 0.1 + 0.2 }, { "8.41e21", 8.41e21 }, { "9.5e-6", 9.5e-6 },
    { "2.0919495182368195e+19", 2.0919495182368195e+19 }, { "5e-320", 5e-320 }, { "-1.5", -1.5 },
    { "3", 3.0 } },
  { "numeric", title = "R9, R10", { "0", "0" }, { "-0.00", "0.00" }, { "0.000", "0.000" },
    { "12.50", "12.50" }, { "-12.5", "-12.5" }, { "9223372036854775808", "9223372036854775808" },
    { "0.1", "0.1" }, { "1e-5", "0.00001" }, { "1e20", "100000000000000000000" },
    { "10000", "10000" }, { "100000000", "100000000" }, { "99999999", "99999999" },
    { "0.0001", "0.0001" }, { "0.00000001", "0.00000001" }, { "1.00010000", "1.00010000" },
    { "123456789.000100020000", "123456789.000100020000" }, { "NaN", "NaN" },
    { "Infinity", "Infinity", since = 14 }, { "-Infinity", "-Infinity", since = 14 },
    { ("9"):rep(1000), ("9"):rep(1000) },
    { "1e131071", "1" .. ("0"):rep(131071) }, { "-1e-16383", "-0." .. ("0"):rep(16382) .. "1" },
    { "", ("1"):rep(131072) .. "." .. ("2"):rep(16383),
      expression = "(repeat('1', 131072) || '.' || repeat('2', 16383))" },
    { "12345", "12300", of = "numeric(3,-2)", since = 15 },
    { "0.000123", "0.00012", of = "numeric(2,5)", since = 15 } },
  { "text", { "", "" }, { "NULL", "NULL" }, { "null", "null" }, { " ", " " },
    { "  spaced\t\n\r\v\f ", "  spaced\t\n\r\v\f " }, { [[a"b'c\d,e{f}g;h]], [[a"b'c\d,e{f}g;h]] },
    { [[\]], [[\]] }, { '"', '"' }, { "{}", "{}" }, { "{1,2}", "{1,2}" },
    { "[1:2]={}", "[1:2]={}" }, { "\1\127", "\1\127" }, { [[\x00]], [[\x00]] },
    { "Grüße, 世界 \u{1f600}", "Grüße, 世界 \u{1f600}" },
    { "", ("ä"):rep(2 ^ 19), expression = "repeat('ä', 524288)" },
    { ('"\\'):rep(5000), ('"\\'):rep(5000) },
    { "\u{feff}\u{10ffff}", "\u{feff}\u{10ffff}" }, { "NaN", "NaN" }, { "true", "true" } },
  { "character varying", { "", "" }, { "a ", "a " }, { "abc", "ab", of = "varchar(2)" } },
  { "character", { "ab", "ab   ", of = "char(5)" }, { "", " ", of = "char" },
    { "ß", "ß ", of = "char(2)" } },
  { "name", { "users", "users" }, { "", "" }, { ("n"):rep(70), ("n"):rep(63) },
    { 'a "b\\', 'a "b\\' } },
  { '"char"', { "a", "a" }, { "", "" }, { '"', '"' }, { ",", "," }, { "{", "{" },
    { [[\200]], [[\200]], since = 15 }, { [[\377]], [[\377]], since = 15 } },
  { "bytea", { "", "" }, { "", bytes, expression = "decode('" .. hex .. "', 'hex')" },
    { "", "\0", expression = "decode('00', 'hex')" },
    { "", "\\x41", expression = "decode('5c783431', 'hex')" },
    { "", "NULL", expression = "decode('4e554c4c', 'hex')" }, { "abc", "abc" },
    { "", ("\0\255"):rep(2 ^ 18), expression = "decode(repeat('00ff', 262144), 'hex')" } },
  { "uuid", { "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
    { "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
    { ("0"):rep(32), "00000000-0000-0000-0000-000000000000" } },
  { "date", title = "R14", { "2026-01-15", "2026-01-15" }, { "infinity", "infinity" },
    { "-infinity", "-infinity" }, { "4714-11-24 BC", "4714-11-24 BC" },
    { "0001-12-31 BC", "0001-12-31 BC" }, { "0001-01-01", "0001-01-01" },
    { "0044-03-15 BC", "0044-03-15 BC" }, { "9999-12-31", "9999-12-31" },
    { "10000-01-01", "10000-01-01" }, { "5874897-12-31", "5874897-12-31" },
    { "2000-02-29", "2000-02-29" }, { "1900-02-28", "1900-02-28" }, { "2024-12-31", "2024-12-31" },
    { "0005-02-28 BC", "0005-02-28 BC" }, { "0005-02-29 BC", "0005-02-29 BC" } },
  { "time", { "00:00:00", "00:00:00" }, { "24:00:00", "24:00:00" },
    { "23:59:59.999999", "23:59:59.999999" }, { "10:30", "10:30:00" },
    { "10:30:00.5", "10:30:00.5" },
    { "00:00:00.000001", "00:00:00.000001" }, { "12:59:60", "13:00:00" } },
  { "timetz", { "10:30:00+02", "10:30:00+02:00" }, { "00:00:00+00", "00:00:00+00:00" },
    { "24:00:00-15:59:59", "24:00:00-15:59:59" }, { "23:59:59.999999+15:59:59",
      "23:59:59.999999+15:59:59" }, { "12:00:00+00:19:32", "12:00:00+00:19:32" },
    { "12:00:00-00:44", "12:00:00-00:44" }, { "01:02:03+05:30", "01:02:03+05:30" } },
  { "timestamp", { "2026-01-15 10:30:00", "2026-01-15T10:30:00" },
    { "2026-01-15 10:30:00.120000", "2026-01-15T10:30:00.12" },
    { "1999-12-31 23:59:59.999999", "1999-12-31T23:59:59.999999" },
    { "infinity", "infinity" }, { "-infinity", "-infinity" },
    { "4714-11-24 00:00:00 BC", "4714-11-24T00:00:00 BC" },
    { "294276-12-31 23:59:59.999999", "294276-12-31T23:59:59.999999" },
    { "12345-06-07 08:09:10", "12345-06-07T08:09:10" },
    { "0044-03-15 12:00:00.000001 BC", "0044-03-15T12:00:00.000001 BC" },
    { "2016-12-31 23:59:60", "2017-01-01T00:00:00" },
    { "2000-01-01 24:00:00", "2000-01-02T00:00:00" }, { "2000-01-01", "2000-01-01T00:00:00" } },
  { "timestamptz", title = "S039, R14", { "2026-01-15 10:30:00Z", "2026-01-15T10:30:00Z" },
    { "2026-01-15 10:30:00.5+00", "2026-01-15T10:30:00.5Z" },
    { "2026-01-15 10:30:00+05:30", "2026-01-15T05:00:00Z" },
    { "2026-01-01 00:00:00+14", "2025-12-31T10:00:00Z" },
    { "1890-01-01 00:19:32+00:19:32", "1890-01-01T00:00:00Z" },
    { "1883-11-18 12:03:57.999999-04:56:02", "1883-11-18T16:59:59.999999Z" },
    { "infinity", "infinity" }, { "-infinity", "-infinity" },
    { "4714-11-24 00:00:00+00 BC", "4714-11-24T00:00:00Z BC" },
    { "0001-12-31 23:00:00-02 BC", "0001-01-01T01:00:00Z" },
    { "0001-01-01 01:00:00+02", "0001-12-31T23:00:00Z BC" },
    { "294276-12-31 23:59:59.999999+00", "294276-12-31T23:59:59.999999Z" },
    { "2016-12-31 23:59:60Z", "2017-01-01T00:00:00Z" },
    { "2024-02-29 23:30:00-01", "2024-03-01T00:30:00Z" },
    { "1969-12-31 23:59:59.999999Z", "1969-12-31T23:59:59.999999Z" } },
  -- the fields' own spelling, as in IntervalStyle iso_8601
  { "interval", { "PT0S", "PT0S" }, { "P1Y2M3DT4H5M6.789S", "P1Y2M3DT4H5M6.789S" },
    { "P-1Y2M", "P-10M" }, { "P1M-1D", "P1M-1D" }, { "P1DT-2H", "P1DT-2H" },
    { "P-1Y-2M3DT-4H-5M-6.000001S", "P-1Y-2M3DT-4H-5M-6.000001S" }, { "PT-0.5S", "PT-0.5S" },
    { "PT0.000001S", "PT0.000001S" }, { "PT-0.000001S", "PT-0.000001S" }, { "P14M", "P1Y2M" },
    { "PT90M", "PT1H30M" }, { "P40D", "P40D" }, { "P2147483647D", "P2147483647D" },
    { "P-2147483648D", "P-2147483648D" }, { "P178956970Y7M", "P178956970Y7M" },
    { "P-178956970Y-8M", "P-178956970Y-8M" }, { "PT2562047788H54.775807S",
      "PT2562047788H54.775807S" }, { "PT-2562047788H-54.775808S", "PT-2562047788H-54.775808S" },
    { "P178956970Y7M-2147483648DT2562047788H54.775807S",
      "P178956970Y7M-2147483648DT2562047788H54.775807S" },
    { "infinity", "infinity", since = 17 }, { "-infinity", "-infinity", since = 17 } },
  { "json", equal = "json", title = "R22",
    { "{}", {} }, { "[]", {} }, { " [ ] ", {} }, { "1", 1 }, { "-0.5", -0.5 }, { "1e2", 100.0 },
    { "true", true }, { "false", false }, { '"text"', '"text"' }, { ' "a\\u0041"', ' "a\\u0041"' },
    { '["a\\u0041\\n\\ud83d\\ude00\\u00e9"]', { "aA\n\u{1f600}é" } },
    { '{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}',
      { a = math.maxinteger, b = math.mininteger, c = 9007199254740993 } },
    { '{"a":[],"b":{},"c":[[],[{}]],"d":null}', { a = {}, b = {}, c = { {}, { {} } }, d = null } },
    { '{"":0,"1":1}', { [""] = 0, ["1"] = 1 } }, { '[0.1,1E-7,-0.0]', { 0.1, 1e-7, -0.0 } },
    { brackets(1000), nested(1000) }, { "", { ("x"):rep(2 ^ 20) }, big = true,
      expression = [[('["' || repeat('x', 1048576) || '"]')]] } },
  { "jsonb", title = "R22", equal = "json",
    { "{}", {} }, { "[]", {} }, { "1", 1 }, { "-0.5", -0.5 }, { "1e2", 100 }, { "1.0", 1.0 },
    { "true", true }, { "false", false }, { '"text"', '"text"' }, { '"a\\\\b"', [["a\\b"]] },
    { '["a\\u0041\\n\\ud83d\\ude00\\u00e9"]', { "aA\n\u{1f600}é" } },
    { '{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}',
      { a = math.maxinteger, b = math.mininteger, c = 9007199254740993 } },
    { '{"a":[],"b":{},"c":[[],[{}]],"d":null}', { a = {}, b = {}, c = { {}, { {} } }, d = null } },
    { '[5e-324,1.7976931348623157e308]', { 5e-324, 1.7976931348623157e308 } },
    { brackets(1000), nested(1000) } },
  { "inet", { "192.168.0.1", "192.168.0.1" }, { "192.168.0.1/24", "192.168.0.1/24" },
    { "0.0.0.0/0", "0.0.0.0/0" }, { "::1", "::1" }, { "::", "::" }, { "2001:db8::1/64",
      "2001:db8::1/64" }, { "::ffff:1.2.3.4", "::ffff:1.2.3.4" }, { "::1.2.3.4", "::1.2.3.4" },
    { "1:0:0:2:0:0:0:3", "1:0:0:2::3" }, { "fe80:0:1::", "fe80:0:1::" },
    { "::ffff:0:0", "::ffff:0.0.0.0" },
    { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
    { "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0" }, { "0:0:0:0:0:0:1:0", "::0.1.0.0" } },
  { "cidr", { "192.168.0.0/16", "192.168.0.0/16" }, { "10.1.2.3", "10.1.2.3/32" },
    { "::/0", "::/0" }, { "2001:db8::/32", "2001:db8::/32" } },
  { "macaddr", { "08:00:2b:01:02:03", "08:00:2b:01:02:03" }, { "FFFFFFFFFFFF",
    "ff:ff:ff:ff:ff:ff" } },
  { "macaddr8", since = 10, { "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05" },
    { "08:00:2b:01:02:03", "08:00:2b:ff:fe:01:02:03" } },
  { "bit", { "101", "101", of = "bit(3)" }, { "1", "1" }, { ("10"):rep(4), ("10"):rep(4),
    of = "bit(8)" }, { ("110"):rep(300), ("110"):rep(300), of = "bit(900)" } },
  { "bit varying", { "", "" }, { "0", "0" }, { "000000001", "000000001" },
    { "1111111111111111", "1111111111111111" } },
  { "xid", { "4294967295", "4294967295" }, { "0", "0" } },
  { "cid", { "4294967295", "4294967295" } },
  { "xid8", title = "R9", since = 13, { "18446744073709551615", "18446744073709551615" } },
  { "pg_lsn", { "0/0", "0/0" }, { "FFFFFFFF/A", "FFFFFFFF/A" }, { "16/B374D848", "16/B374D848" },
    { "A0/10", "A0/10" } },
  { "xml", equal = "text", needs = "XMLPARSE(CONTENT '')",
    { "<a b='1'>é &amp; </a>", "<a b='1'>é &amp; </a>" }, { "text", "text" },
    { '<?xml version="1.0" standalone="no"?><a/>', '<?xml version="1.0" standalone="no"?><a/>' } },
  { "refcursor", equal = "text", { "my cursor", "my cursor" } },
  { "jsonpath", equal = "text", since = 12, { "$.a[*] ? (@ > 1)", '$."a"[*]?(@ > 1)' } },
  -- those that never come in binary
  { "money", text_only = true, { "-1234.50", "-$1,234.50" }, { "92233720368547758.07",
    "$92,233,720,368,547,758.07" } },
  { "point", text_only = true, equal = "text", { "(1.5,-0)", "(1.5,-0)" }, { "(NaN,Infinity)",
    "(NaN,Infinity)" } },
  { "line", text_only = true, equal = "text", { "{1,-1,0}", "{1,-1,0}" } },
  { "lseg", text_only = true, equal = "text", { "[(0,0),(1,1)]", "[(0,0),(1,1)]" } },
  { "box", text_only = true, equal = "text", { "(1,1),(0,0)", "(1,1),(0,0)" } },
  { "path", text_only = true, equal = "text", { "((0,0),(1,1))", "((0,0),(1,1))" },
    { "[(0,0),(1,1)]", "[(0,0),(1,1)]" } },
  { "polygon", text_only = true, equal = "text", { "((0,0),(1,1),(1,0))", "((0,0),(1,1),(1,0))" } },
  { "circle", text_only = true, equal = "text", { "<(0,0),1.5>", "<(0,0),1.5>" } },
  { "tsvector", text_only = true, { "fat:1A cat:2 'a b'", "'a b' 'cat':2 'fat':1A" } },
  { "tsquery", text_only = true, { "fat & !cat", "'fat' & !'cat'" } },
  { "tid", text_only = true, { "(4294967295,65535)", "(4294967295,65535)" } },
  { "txid_snapshot", text_only = true, equal = "text", { "10:20:10,14", "10:20:10,14" } },
  { "regclass", text_only = true, { "pg_type", "pg_type" } },
  { "regtype", text_only = true, { "int4[]", "integer[]" } },
  { "regprocedure", text_only = true, { "abs(int4)", "abs(integer)" } },
  { "int2vector", text_only = true, equal = "text", { "1 -2 3", "1 -2 3" } },
  { "oidvector", text_only = true, { "1 2 3", "1 2 3" } },
  { "int4range", text_only = true, title = "R16", { "[1,5]", "[1,6)" }, { "empty", "empty" },
    { "(,)", "(,)" } },
  { "tstzrange", text_only = true, { '(,infinity)', "(,infinity)" } },
  { "int4multirange", text_only = true, since = 14, { "{[1,2],[5,7)}", "{[1,3),[5,7)}" } },
  { "aclitem", text_only = true, { "=r/postgres", "=r/postgres" } },
}

local function same_in_sql(kind, parameter, literal)
  if kind.equal == "json" then
    return ("to_jsonb(%s) IS NOT DISTINCT FROM to_jsonb(%s)"):format(parameter, literal)
  end
  local text = ("%s::text IS NOT DISTINCT FROM %s::text"):format(parameter, literal)
  if kind.equal == "text" then return text end
  return ("%s AND %s IS NOT DISTINCT FROM %s"):format(text, parameter, literal)
end

local function shown(value)
  local text = type(value) == "table" and pg.encode(value) or tostring(value)
  if math.type(value) then text = math.type(value) .. " " .. text end
  return #text > 200 and text:sub(1, 200) .. "..." or text
end

local function expect(expected, value, where)
  if not exactly(expected, value) then
    error(("%s: %s instead of %s"):format(where, shown(value), shown(expected)), 0)
  end
end

--- The type of a column for which binary pays: bytea, but the server counts what it sends.
function values.create_paying(db)
  assert(db:execute [[
    CREATE SEQUENCE sent;
    CREATE DOMAIN paying AS bytea;
    CREATE FUNCTION send_paying(bytea) RETURNS bytea LANGUAGE plpgsql AS $$
      BEGIN PERFORM nextval('public.sent'); RETURN pg_catalog.byteasend($1); END $$;
    UPDATE pg_type SET typsend = 'send_paying'::regproc WHERE oid = 'paying'::regtype;
    GRANT ALL ON SEQUENCE sent TO public]])
end

function values.binary_count(db)
  local row = assert(db:query "SELECT last_value, is_called FROM sent").rows[1]
  return row.is_called and row.last_value or 0
end

-- A text that no connection has seen.
local asked = 0
local function unseen(sql)
  asked = asked + 1
  return ("%s -- %d"):format(sql, asked)
end

--- What a statement gives in text and, if its columns allow it, in binary: a column that pays.
function values.both(db, columns)
  local sql = unseen("SELECT " .. columns .. ", decode('', 'hex')::public.paying AS paying")
  return assert(db:query(sql)).rows[1], assert(db:query(sql)).rows[1]
end

--- Whether the server is new enough for a type or a sample of it.
function values.known(db, it)
  return tonumber(db:status().server:match "^%d+") >= (it.since or 0)
end

--- Those samples of a type that this server takes; without the big ones, if they shall be short.
function values.samples(db, kind, short)
  local list = {}
  for i = 2, values.known(db, kind) and #kind or 0 do
    local big = kind[i].big or #kind[i][1] > 1000 or #tostring(kind[i][2]) > 1000
    if values.known(db, kind[i]) and not (short and big) then list[#list + 1] = kind[i] end
  end
  return list
end

--- Raises unless every sample comes as its value in both forms and goes back as it was.
function values.check(db, kind, samples)
  local columns, conditions, back = {}, {}, {}
  for i, sample in ipairs(samples) do
    local name = sample.of or kind[1]
    local literal = (sample.expression or "$q$" .. sample[1] .. "$q$") .. "::" .. name
    local array = ("ARRAY[%s, NULL]::%s[]"):format(literal, name)
    columns[i] = ("%s AS one%d, %s AS list%d"):format(literal, i, array, i)
    conditions[i] = ("%s AS one%d, %s AS list%d"):format(
      same_in_sql(kind, ("$%d::%s"):format(2 * i - 1, name), literal), i,
      same_in_sql(kind, ("$%d::%s[]"):format(2 * i, name), array), i)
  end
  local text, binary = values.both(db, table.concat(columns, ", "))
  for i, sample in ipairs(samples) do
    local where = (sample.of or kind[1]) .. " " .. shown(sample[1])
    local one, list = "one" .. i, "list" .. i
    for form, row in pairs { ["in text"] = text, ["in binary"] = binary } do
      expect(sample[2], row[one], where .. " " .. form)
      expect({ sample[2], null }, row[list], where .. " in an array " .. form)
    end
    back[2 * i - 1], back[2 * i] = binary[one], binary[list]
  end
  local same = assert(db:query { query = unseen("SELECT " .. table.concat(conditions, ", ")),
    parameters = back }).rows[1]
  for name, is_same in pairs(same) do
    local sample = samples[tonumber(name:match "%d+")]
    expect(true, is_same, (sample.of or kind[1]) .. " " .. shown(sample[1]) .. " passed back")
  end
end

return values
