-- SPDX-License-Identifier: MIT
-- pg: PostgreSQL for Lua. What `require "pg"` returns.
local bulk = require "pg.bulk"
local check = require "pg.check"
local codec = require "pg.codec"
local copy = require "pg.copy"
local core = require "pg.core"
local errors = require "pg.errors"
local forms = require "pg.forms"
local insert = require "pg.insert"
local inspect = require "pg.inspect"
local listen = require "pg.listen"
local options = require "pg.options"
local pipeline = require "pg.pipeline"
local pool = require "pg.pool"
local sql = require "pg.sql"
local transaction = require "pg.transaction"
local upsert = require "pg.upsert"

local pg = {}

pg.version = "scm-1"
--- libpq's version as PQlibVersion() gives it: 150018 is 15.18.
pg.libpq = core.libpq
--- NULL, where nil would vanish; the same value as cjson.null.
pg.null = core.null
pg.default = sql.default
pg.raw = sql.raw
pg.identifier = sql.identifier
pg.literal = sql.literal
pg.array = core.array
pg.json = core.json
pg.bytea = core.bytea
pg.typed = core.typed
pg.encode = core.encode
pg.limits = core.limits
pg.actions = require "pg.actions"
pg.pool = pool.new

-- Empty lists carry lua-cjson's own mark where it has one, so that it writes
-- them as [] too.
local has_cjson, cjson = pcall(require, "cjson")
if has_cjson and type(cjson.empty_array_mt) == "table" then
  core.mark_lists(cjson.empty_array_mt)
end

core.on_error(errors.new)
core.on_unknown(options.unknown)
core.on_form(forms.build)
errors.versions.module = pg.version
errors.versions.libpq = ("%d.%d"):format(core.libpq // 10000, core.libpq % 10000)

local methods = core.methods
methods.transaction = transaction.transaction
methods.dry_run = transaction.dry_run
methods.insert = insert.insert
methods.pipeline = pipeline.pipeline
methods.upsert = upsert.upsert
methods.bulk_insert = bulk.insert
methods.bulk_update = bulk.update
methods.copy_in = copy.copy_in
methods.copy_out = copy.copy_out
methods.copy_rows = copy.copy_rows
methods.copy_to = copy.copy_to
methods.listen = listen.listen
methods.unlisten = listen.unlisten
methods.describe = inspect.describe
methods.tables = inspect.tables
methods.explain = inspect.explain
methods.check = check.check
methods.codec = codec.codec

--- One round trip that runs nothing. The seconds it took, or nil and an error.
---@return number|nil, pg.Error?
function methods:ping()
  local started = core.now()
  local answer, err = self:query ""
  if not answer then return nil, err end
  return core.now() - started
end

-- For functions that call it in their last statement: level 2 is their caller.
local function open(given, level)
  if type(given) == "string" and options.is_name(given) then return core.open(given) end
  return core.open(options.specification(given, level))
end

--- Opens a connection.
---@param given? pg.Options|string options, a URI, a conninfo string, or a saved name
---@return pg.Connection|nil
---@return pg.Error?
function pg.connect(given)
  return open(given, 2)
end

--- Saves a connection under a name, for scripts that need not know the rest.
---@param name string
---@param given pg.Options|string
function pg.save(name, given)
  if type(name) ~= "string" or name == "" then
    error("a saved connection needs a name", 2)
  elseif name:find("\0", 1, true) then
    error("the name of a saved connection holds a NUL byte", 2)
  elseif not options.is_name(name) then
    error(("'%s' reads as a URI or a conninfo string; a saved name must not"):format(name), 2)
  end
  local spec = options.specification(given, 2)
  spec.name = spec.name or name
  spec.keywords.application_name = spec.keywords.application_name or spec.name
  core.save(name, spec)
end

---@class pg.Test
---@field success true
---@field server string the server's version
---@field database string
---@field user string
---@field ssl { version: string, cipher: string }|false
---@field latency number seconds of a round trip

--- Connects, makes a round trip, closes again.
---@param given? pg.Options|string as for pg.connect
---@return pg.Test|nil
---@return pg.Error?
function pg.test(given)
  local db <close>, err = open(given, 3)
  if not db then return nil, err end
  local started = core.now()
  local answer, failure = db:query
    "SELECT pg_catalog.current_database() AS database, current_user AS \"user\""
  if not answer then return nil, failure end
  local status, row = db:status(), answer.rows[1]
  return { success = true, server = status.server, database = row.database, user = row.user,
    ssl = status.ssl, latency = core.now() - started }
end

return pg
