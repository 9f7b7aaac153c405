-- SPDX-License-Identifier: MIT
-- Enums: labels that look like something else, and the longest.
local long <const> = ("l"):rep(63)

return {
  { "mood", title = "R16", create = "CREATE TYPE mood AS ENUM ('sad', 'very, \"happy\"', '{}', '', "
      .. "'NULL', 'it''s', '(a)', '\\', '" .. long .. "')",
    { "sad", "sad" }, { 'very, "happy"', 'very, "happy"' }, { "{}", "{}" }, { "", "" },
    { "NULL", "NULL" }, { "it's", "it's" }, { "(a)", "(a)" }, { "\\", "\\" }, { long, long } },
  { '"Ödd ""type"""', title = "R16", create = [[CREATE TYPE "Ödd ""type""" AS ENUM ('x')]],
    { "x", "x" } },
  { long, title = "R7", create = ("CREATE TYPE %s AS ENUM ('x')"):format(long), { "x", "x" } },
}
