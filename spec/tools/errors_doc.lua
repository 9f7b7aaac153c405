-- Writes doc/errors.md, the error reference, from the table of kinds.
-- Usage, in the project's folder: lua5.4 spec/tools/errors_doc.lua > doc/errors.md
-- SPDX-License-Identifier: MIT
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
local errors <const> = require "pg.errors"
local conditions <const> = require "pg.conditions"
local fixes <const> = require "pg.fixes"

local function codes(entry)
  local list = {}
  for _, code in ipairs(entry.sqlstates) do
    if #code == 2 then
      list[#list + 1] = "class " .. code
    else
      list[#list + 1] = ("%s (%s)"):format(conditions[code], code)
    end
  end
  return #list > 0 and table.concat(list, ", ") or "none"
end

local out = {
  "<!-- Made by: lua5.4 spec/tools/errors_doc.lua > doc/errors.md -->",
  "",
  "# Error reference",
  "",
  "Every failure is returned as `nil, err`. `err.kind` is the word to branch on, `err.message` the",
  "server's or libpq's own text, `tostring(err)` a block for people, `err:report()` a text for a",
  "support request without passwords and parameter values. `err.fixes` is the list given here,",
  "with the names, limits and versions of the case filled in, and what fits this very case first.",
  "`err.retryable` is true where running the same again may help and cannot do it twice.",
  "",
}
for _, entry in ipairs(errors.kinds) do
  out[#out + 1] = ("## %s\n"):format(entry.kind)
  out[#out + 1] = entry.when .. "\n"
  out[#out + 1] = ("SQLSTATE: %s.\n"):format(codes(entry))
  out[#out + 1] = ("Example: `%s`\n"):format(entry.example)
  for i, text in ipairs(entry.fixes) do
    out[#out + 1] = ("%d. %s"):format(i, fixes.fill(text, {}))
  end
  out[#out + 1] = ""
end
io.write((table.concat(out, "\n"):gsub("\n+$", "\n")))
