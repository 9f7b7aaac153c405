-- SPDX-License-Identifier: MIT
-- Strings of bits: none, less than a byte, whole bytes, and more than one sends at once.
return {
  { "bit", { "1", "1" }, { "0", "0" } },
  { "bit(3)", { "101", "101" }, { "000", "000" } },
  { "bit(8)", { ("10"):rep(4), ("10"):rep(4) } },
  { "bit(900)", { ("110"):rep(300), ("110"):rep(300) } },
  { "bit varying", { "", "" }, { "0", "0" }, { "000000001", "000000001" },
    { "1111111111111111", "1111111111111111" }, { ("01"):rep(5000), ("01"):rep(5000) } },
  { "varbit(2)", { "101", "10" } },
}
