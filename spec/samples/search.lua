-- SPDX-License-Identifier: MIT
-- Text search: lexemes with quotes of their own.
return {
  { "tsvector", text_only = true, { "fat:1A cat:2 'a b'", "'a b' 'cat':2 'fat':1A" }, { "", "" },
    { [['it''s' '\\"']], [['\\"' 'it''s']] } },
  { "tsquery", text_only = true, { "fat & !cat", "'fat' & !'cat'" },
    { "a <-> b:*A | 'c d'", "'a' <-> 'b':*A | 'c d'" } },
}
