-- What to try for one error: the kind's list of fixes.lua, filled in with what is known, and with
-- the advice that fits this very case in front. Reads the error, changes nothing in it.
-- SPDX-License-Identifier: MIT
local fixes <const> = require "pg.fixes"
local message_text <const> = require "pg.message_text"
local wording <const> = require "pg.wording"

local M = {}

local lists = {} -- by kind: function(e, raw, list) that puts the case's own advice into the list
for _, part in ipairs { (require "pg.advice_connect"), (require "pg.advice_statement") } do
  for kind, advise in pairs(part) do
    lists[kind] = advise
  end
end

local function place(e)
  if not e.host then
    return nil
  end
  if e.host:sub(1, 1) == "/" then
    return (' (the socket of port %s in "%s")'):format(e.port or "5432", e.host)
  end
  return (': host "%s", port %s'):format(e.host, e.port or "5432")
end

-- The table that a statement is about, where it is about a single one.
local function only_relation(sql)
  local list = sql and message_text.relations(sql) or {}
  return #list == 1 and list[1].name or nil
end

-- The action that a statement belongs to.
local function action_of(sql)
  local word = sql and message_text.first_word(sql) or ""
  if word == "update" or word == "merge" then
    return "db:update"
  elseif word == "delete" then
    return "db:delete"
  elseif sql and message_text.only_reads(sql) then
    return "db:query"
  end
  return word ~= "" and "db:execute" or nil
end

-- The place a value was meant for, in words.
local function value_place(e)
  if e.column then
    return ('column "%s"'):format(e.column) .. (e.parameter and " ($" .. e.parameter .. ")" or "")
  end
  return e.parameter and "parameter $" .. e.parameter
end

---@param e pg.Error
---@param raw table what the core said besides the fields that stay visible
---@return table<string, string>
function M.facts(e, raw)
  local f = {}
  local function fact(name, value, format)
    if value ~= nil then
      f[name] = format and format:format(value) or value
    end
  end
  fact("place", place(e))
  fact("role", e.user and wording.ident(e.user))
  fact("role_text", e.user and wording.literal(e.user))
  fact("user_is", e.user, ': "%s"')
  fact("database_is", e.database, ': "%s"')
  if e.table then
    f.relation = (e.schema and wording.ident(e.schema) .. "." or "") .. wording.ident(e.table)
    f.relation_is = ': "' .. e.table .. '"'
    f.relation_text = wording.literal(f.relation)
  end
  local known = e.table or only_relation(e.sql)
  fact("table_text", known and wording.literal(known))
  fact("action", action_of(e.sql))
  fact("near", raw.near, ' near "%s"')
  fact("column_is", e.column, ': "%s"')
  fact("server_is", e.server and e.server:match("^%S+"), " (the server is PostgreSQL %s)")
  fact("sqlstate_is", e.sqlstate)
  fact("parameter_name", e.parameter and "$" .. e.parameter)
  fact("value_place", value_place(e))
  fact("holder", raw.lock_holder, " (process %s has it)")
  if type(e.cause) == "table" and type(e.cause.message) == "string" then
    f.cause_is = " (" .. e.cause.message:sub(1, 200):match("^[^\r\n]*") .. ")"
  end
  local sized = e.kind == "result_too_large"
  if e.limit and not sized then
    f.limit_is = " of " .. wording.seconds(e.limit)
    f.timeout_now = " (it is " .. wording.seconds(e.limit) .. " now)"
  end
  if e.elapsed then
    f.elapsed_is = " after " .. wording.seconds(e.elapsed)
    local ran = wording.seconds(e.elapsed)
    if not e.limit or ran ~= wording.seconds(e.limit) then
      f.elapsed_in = " (it ran " .. ran .. ")"
    end
  end
  if e.limit and sized then
    local limit = wording.bytes(e.limit, true)
    local bytes = e.bytes and wording.bytes(e.bytes)
    f.size_is = " of " .. limit .. (bytes and bytes ~= limit and " (" .. bytes .. " so far)" or "")
    f.result_now = " (it is " .. limit .. " now)"
    if e.row then -- of db:each, which holds one at a time
      f.too_large = "row " .. e.row
      f.size_is = " of " .. limit
    end
  end
  return f
end

-- The server's own hint is the best advice where names are concerned.
local hinted <const> = { undefined_column = true, undefined_table = true }

---@param e pg.Error kind, condition and message decided
---@param raw table
---@return string[]
function M.fixes(e, raw)
  local entry = fixes.by_name[e.kind] or fixes.by_name.query_failed
  local list = table.move(entry.fixes, 1, #entry.fixes, 1, {})
  if lists[e.kind] then
    lists[e.kind](e, raw, list)
  end
  if raw.nearest then
    wording.first(list, ('Did you mean "%s"?'):format(raw.nearest))
  end
  local facts = M.facts(e, raw)
  for i, text in ipairs(list) do
    if not facts.table_text then -- the question would be of no use
      text = text:gsub(" To %l+ the %l+: [^{}]*{table_text|.*$", "")
    end
    list[i] = fixes.fill(text, facts)
  end
  if hinted[e.kind] and e.hint then
    wording.first(list, e.hint)
  end
  return list
end

return M
