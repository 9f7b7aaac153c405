-- SPDX-License-Identifier: MIT
-- Types of extensions that come with PostgreSQL.
local null = require("pg").null

return {
  { "hstore", title = "R17", extension = "hstore", { "", {} }, { "a=>1", { a = "1" } },
    { 'a=>NULL,b=>"NULL"', { a = null, b = "NULL" } }, { '""=>""', { [""] = "" } },
    { [["a \"b\" \\c"=>"=>,{}()"]], { ['a "b" \\c'] = "=>,{}()" } },
    { '"é"=>"\n"', { ["é"] = "\n" } } },
  { "citext", text_only = true, title = "R17", extension = "citext",
    { "Ab", "Ab" }, { "", "" }, { [[a"b\c, ]], [[a"b\c, ]] } },
  { "ltree", text_only = true, title = "R17", extension = "ltree",
    { "Top.Child", "Top.Child" }, { "", "" } },
  { "lquery", text_only = true, title = "R17", extension = "ltree", equal = "text",
    ordered = false, { "Top.*{1,2}.a|b", "Top.*{1,2}.a|b" } },
  { "cube", text_only = true, title = "R17", extension = "cube",
    { "(1,2),(3,4)", "(1, 2),(3, 4)" }, { "1", "(1)" } },
  { "isbn", text_only = true, title = "R17", extension = "isn",
    { "978-0-393-04002-9", "0-393-04002-X" } },
  { "ean13", text_only = true, title = "R17", extension = "isn",
    { "9780393040029", "978-0-393-04002-9" } },
  { "seg", text_only = true, title = "R17", extension = "seg",
    { "1.50 .. 2", "1.50 .. 2" } },
}
