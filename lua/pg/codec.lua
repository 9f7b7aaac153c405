-- SPDX-License-Identifier: MIT
-- codec: db:codec and pool:codec: functions of the program's that a type's values go through. How
-- they are called is the core's business (src/codec_user.h).
local core = require "pg.core"
local options = require "pg.options"
local sql = require "pg.sql"

local codec = {}

---@class pg.Codec
---@field decode? fun(value: any): any gets what the type gives without it; NULL does not come here
---@field encode? fun(value: any): any answers what the type takes without it, or text as psql does

--- Raises at `level` unless these are a type's name and a codec or nil.
---@param name string
---@param functions? pg.Codec
---@param level integer
function codec.check(name, functions, level)
  if type(name) ~= "string" or name == "" then
    error("a codec is for a type by its name, not for a " .. type(name), level + 1)
  end
  if functions == nil then return end
  sql.need_table(functions, "a codec", level + 1)
  options.check(functions, { "decode", "encode" }, level + 1)
  for field, f in pairs(functions) do
    if type(f) ~= "function" then
      error(("%s must be a function, not a %s"):format(field, type(f)), level + 1)
    end
  end
  if not next(functions) then error("a codec has decode, encode, or both", level + 1) end
end

--- A copy of the table of codecs with this one in it; nil takes one away.
---@param codecs? table<string, table>
---@param name string
---@param functions? pg.Codec
function codec.with(codecs, name, functions)
  local copy = {}
  for known, pair in pairs(codecs or {}) do copy[known] = pair end
  copy[name] = functions and { functions.decode or false, functions.encode or false } or nil
  return next(copy) and copy or nil
end

--- Makes them those of the connection, which knows its own by the table.
---@param db pg.Connection
---@param codecs? table<string, table>
function codec.set(db, codecs)
  local names = {}
  for name in pairs(codecs or {}) do names[#names + 1] = name end
  core.codecs(db, codecs, core.array_text(names, "text"))
end

local NAME <const> = [[
SELECT pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.'
         OPERATOR(pg_catalog.||) pg_catalog.quote_ident(t.typname) AS name,
       t.typtype OPERATOR(pg_catalog.=) 'd' AS domain
  FROM pg_catalog.pg_type AS t
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
 WHERE t.oid OPERATOR(pg_catalog.=) $1::pg_catalog.regtype]]

--- The one name that the type has whatever the search_path; or nil and why it can have no codec.
---@param db pg.Connection
---@param name string
---@return string|nil
---@return pg.Error?
function codec.name(db, name)
  local answer, err = db:query { query = NAME, parameters = { name }, rows = "object", own = true }
  if not answer then return nil, err end
  local type = answer.rows[1]
  if not type.domain then return type.name end
  return core.fail({ kind = "wrong_action", message = ("%s is a domain: its values come and go as "
    .. "those of the type that it is made of"):format(name),
    fixes = { "Give the codec to that type." } }, db)
end

--- Values of the type go through functions from now on: what would have come goes to `decode`, what
--- is sent comes from `encode`; so do those in arrays, composites, ranges and domains made of it.
--- Holds for the connection, whatever handle is used, and after db:reset(), too. nil ends it. An
--- error that `decode` raises is one of that value (`invalid_value`, with column and row), one of
--- `encode` of that parameter; they cannot wait, nor use the connection.
---@param db pg.Connection
---@param name string the type's name as in SQL: "citext", "public.mood", "timestamptz"
---@param functions? pg.Codec
---@return true|nil
---@return pg.Error? err when there is no such type (condition undefined_object), or it is a domain
function codec.codec(db, name, functions)
  codec.check(name, functions, 2)
  local full, err = codec.name(db, name)
  if not full then return nil, err end
  codec.set(db, codec.with(core.codecs(db), full, functions))
  return true
end

return codec
