-- SPDX-License-Identifier: MIT
-- Arrays: empty, of six dimensions, with bounds of their own, NULL beside 'NULL', and each way to
-- quote. The bounds are kept aside: that they pass back is what shows them.
local null = require("pg").null

local many = {}
for i = 1, 10000 do many[i] = i - 5000 end

return {
  { "integer[]", title = "R15", listed = false, { "{}", {} }, { "{1,NULL,-2}", { 1, null, -2 } },
    { "{NULL}", { null } }, { "{{1,NULL},{NULL,4}}", { { 1, null }, { null, 4 } } },
    { "{{{{{{1,2}},{{3,4}}}}}}", { { { { { { 1, 2 } }, { { 3, 4 } } } } } } },
    { "[-2:0]={1,2,3}", { 1, 2, 3 } }, { "[0:1][-1:0]={{1,2},{3,4}}", { { 1, 2 }, { 3, 4 } } },
    { "[2147483646:2147483646]={1}", { 1 } }, { "[-2147483648:-2147483647]={1,2}", { 1, 2 } },
    { "[1:1][1:1][1:1][1:1][1:1][0:0]={{{{{{7}}}}}}", { { { { { { 7 } } } } } } },
    { "ten thousand", many, big = true,
      sql = "(SELECT array_agg(i - 5000) FROM generate_series(1, 10000) AS i)" } },
  { "text[]", title = "R15", listed = false, { [[{NULL,"NULL",null,"null",nULL,NULLS}]],
    { null, "NULL", null, "null", null, "NULLS" } }, { '{""," ","a b"}', { "", " ", "a b" } },
    { [[{"a\"b","c\\d","e,f","{g}","[1:1]={}","\"\"","\\"}]],
      { 'a"b', "c\\d", "e,f", "{g}", "[1:1]={}", '""', "\\" } },
    { '{{{{{{"{"},{"}"},{","}}}}}}', { { { { { { "{" }, { "}" }, { "," } } } } } } },
    { '[5:5]={"]="}', { "]=" } } },
  { "double precision[]", listed = false, { "{NaN,-0,Infinity,NULL,0.1}",
    { 0 / 0, -0.0, math.huge, null, 0.1 } } },
  { "bytea[]", listed = false, { [[{"\\x00ff5c22","\\x",NULL}]], { '\0\255\\"', "", null } } },
  { "jsonb[]", equal = "json", ordered = false, listed = false,
    { [[{"{\"a\": [1, \"\\\"{},\"]}","[]","{}","\"x\"",2,NULL}]],
      { { a = { 1, '"{},' } }, {}, {}, '"x"', 2, null } } },
  { "box[]", text_only = true, equal = "text", ordered = false, listed = false,
    { "{(2,2),(1,1);(4,4),(3,3)}", { "(2,2),(1,1)", "(4,4),(3,3)" } } },
  { "int2vector[]", text_only = true, equal = "text", ordered = false, listed = false,
    { '{"1 2",""}', { "1 2", "" } } },
  { "timestamptz[]", listed = false, { '{infinity,"0001-01-01 00:00:00Z BC"}',
    { "infinity", "0001-01-01T00:00:00Z BC" } } },
  { "numeric[]", listed = false, { "{1.50,NaN}", { "1.50", "NaN" } } },
  { "boolean[]", listed = false, { "{t,f,NULL}", { true, false, null } } },
  { "shade[]", listed = false, create = "CREATE TYPE shade AS ENUM ('dark', 'a,b')",
    { '{dark,"a,b",NULL}', { "dark", "a,b", null } }, { "[0:0]={dark}", { "dark" } } },
  { "pair[]", listed = false, create = "CREATE TYPE pair AS (a int, b text)",
    { [[{"(1,\"x \"\"y\")",NULL,"(,)"}]], { { a = 1, b = 'x "y' }, null, {} } },
    { "{}", {} } },
  { "int4range[]", listed = false, { '{"[1,2)",empty,NULL}',
    { { lower = 1, upper = 2, bounds = "[)" }, { empty = true }, null } } },
  { "tally[]", listed = false, since = 11, create = "CREATE DOMAIN tally AS int",
    { "{{1},{2}}", { { 1 }, { 2 } } } },
}
