-- SPDX-License-Identifier: MIT
-- JSON: a document is what it says, to a depth of 1000; its text is not kept.
local function brackets(depth) return ("["):rep(depth) .. ("]"):rep(depth) end

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

return {
  { "json", equal = "json", ordered = false, title = "R22",
    { "{}", {} }, { "[]", {} }, { " [ ] ", {} }, { "1", 1 }, { "-0.5", -0.5 }, { "1e2", 100.0 },
    { "true", true }, { "false", false }, { '"text"', '"text"' }, { ' "a\\u0041"', ' "a\\u0041"' },
    { '["a\\u0041\\n\\ud83d\\ude00\\u00e9"]', { "aA\n\u{1f600}é" } },
    { '{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}',
      { a = math.maxinteger, b = math.mininteger, c = 9007199254740993 } },
    { '{"a":[],"b":{},"c":[[],[{}]],"d":"NULL"}',
      { a = {}, b = {}, c = { {}, { {} } }, d = "NULL" } },
    { '{"":0,"1":1}', { [""] = 0, ["1"] = 1 } }, { '[0.1,1E-7,-0.0]', { 0.1, 1e-7, -0.0 } },
    { '{"(":"[,]","\\"":"\\\\"}', { ["("] = "[,]", ['"'] = "\\" } },
    { brackets(1000), nested(1000) }, { "1 MiB", { ("x"):rep(2 ^ 20) }, big = true,
      sql = [[('["' || repeat('x', 1048576) || '"]')]] } },
  { "jsonb", equal = "json", ordered = false, title = "R22",
    { "{}", {} }, { "[]", {} }, { "1", 1 }, { "-0.5", -0.5 }, { "1e2", 100 }, { "1.0", 1.0 },
    { "true", true }, { "false", false }, { '"text"', '"text"' }, { '"a\\\\b"', [["a\\b"]] },
    { '["a\\u0041\\n\\ud83d\\ude00\\u00e9"]', { "aA\n\u{1f600}é" } },
    { '{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}',
      { a = math.maxinteger, b = math.mininteger, c = 9007199254740993 } },
    { '{"a":[],"b":{},"c":[[],[{}]],"d":"NULL"}',
      { a = {}, b = {}, c = { {}, { {} } }, d = "NULL" } },
    { '[5e-324,1.7976931348623157e308]', { 5e-324, 1.7976931348623157e308 } },
    { brackets(1000), nested(1000) } },
  { "jsonpath", equal = "text", ordered = false, since = 12,
    { "$.a[*] ? (@ > 1)", '$."a"[*]?(@ > 1)' }, { "strict $", "strict $" } },
}
