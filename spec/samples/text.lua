-- SPDX-License-Identifier: MIT
-- Texts: emptiness, NULL's name, all that arrays, composites and ranges quote, and names of 63
-- bytes.
return {
  { "text", title = "R15, R19", { "", "" }, { "NULL", "NULL" }, { "null", "null" }, { " ", " " },
    { "  spaced\t\n\r\v\f ", "  spaced\t\n\r\v\f " }, { [[a"b'c\d,e{f}g;h]], [[a"b'c\d,e{f}g;h]] },
    { [[\]], [[\]] }, { '"', '"' }, { "{}", "{}" }, { "{1,2}", "{1,2}" }, { "()", "()" },
    { "[a,b)", "[a,b)" }, { "empty", "empty" }, { '""', '""' }, { "(,)", "(,)" }, { ",", "," },
    { "[1:2]={}", "[1:2]={}" }, { "\1\127", "\1\127" }, { [[\x00]], [[\x00]] },
    { "$1 ? :a %s", "$1 ? :a %s" }, { "Grüße, 世界 \u{1f600}", "Grüße, 世界 \u{1f600}" },
    { "1 MiB", ("ä"):rep(2 ^ 19), sql = "repeat('ä', 524288)" },
    { ('"\\'):rep(5000), ('"\\'):rep(5000) }, { "\u{feff}\u{10ffff}", "\u{feff}\u{10ffff}" },
    { "NaN", "NaN" }, { "true", "true" }, { "t", "t" }, { "0", "0" } },
  { "character varying", { "", "" }, { "a ", "a " } },
  { "varchar(2)", { "abc", "ab" }, { "世界", "世界" } },
  { "char(5)", { "ab", "ab   " }, { "", "     " } },
  { "char", { "", " " }, { "ß", "ß" } },
  { "name", title = "R7", { "users", "users" }, { "", "" }, { ("n"):rep(70), ("n"):rep(63) },
    { 'a "b\\', 'a "b\\' } },
  { '"char"', { "a", "a" }, { "", "" }, { '"', '"' }, { ",", "," }, { "{", "{" },
    { [[\200]], [[\200]], since = 15 }, { [[\377]], [[\377]], since = 15 } },
  { "xml", equal = "text", ordered = false, needs = "XMLPARSE(CONTENT '')",
    { "<a b='1'>é &amp; </a>", "<a b='1'>é &amp; </a>" }, { "text", "text" },
    { '<?xml version="1.0" standalone="no"?><a/>', '<?xml version="1.0" standalone="no"?><a/>' } },
  { "refcursor", equal = "text", ordered = false, { "my cursor", "my cursor" }, { "", "" } },
}
