-- SPDX-License-Identifier: MIT
-- Bytes: each of them, none, and those that look like something else.
local bytes, hex = {}, {}
for i = 0, 255 do bytes[i + 1], hex[i + 1] = string.char(i), ("%02x"):format(i) end

local function from(digits) return ("decode('%s', 'hex')"):format(digits) end

return {
  { "bytea", title = "R13, R19", { "", "" }, { "abc", "abc" }, { "[1,2)", "[1,2)" },
    { "every byte", table.concat(bytes), sql = from(table.concat(hex)) },
    { "a NUL", "\0", sql = from "00" }, { "a backslash", "\\", sql = from "5c" },
    { "what is not UTF-8", "\xff\xfe\xc3", sql = from "fffec3" },
    { [[\x41]], [[\x41]], sql = from "5c783431" }, { [[\134]], [[\134]], sql = from "5c313334" },
    { [["'{},]], [["'{},]], sql = from "22277b7d2c" },
    { "NULL", "NULL", sql = from "4e554c4c" },
    { "half a MiB", ("\0\255"):rep(2 ^ 18), sql = "decode(repeat('00ff', 262144), 'hex')" } },
}
