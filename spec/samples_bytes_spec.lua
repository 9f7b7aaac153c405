-- SPDX-License-Identifier: MIT
-- The bytes of the samples of every type, as the server writes them in text and in binary: what the
-- decoders make of them, and of what is left when they are cut or changed in any place.
local codecs = require "spec.codecs"
local impostor = require "spec.fault.impostor"
local pg = require "pg"
local samples = require "spec.samples"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local server, db, module, remove

setup(function()
  module, remove = codecs.load()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  samples.create(db)
end)

teardown(function()
  db:close()
  server:stop()
  remove()
end)

-- The type of a column for the decoders: a built-in one's name, or what it is made of.
local function described(oid)
  local row = assert(db:query([[SELECT format_type(t.oid, NULL) AS name, t.typname, t.typtype,
    t.typbasetype, t.typelem, t.typrelid, e.typarray = t.oid AS is_array,
    coalesce((SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid), 0) AS part
    FROM pg_type AS t LEFT JOIN pg_type AS e ON e.oid = t.typelem WHERE t.oid = $1]], oid)).rows[1]
  local kind = row.typtype
  if oid < 16384 then return row.name end
  if kind == "d" then return described(row.typbasetype) end
  if row.is_array then return { kind = "array", part = described(row.typelem) } end
  if kind == "r" then return { kind = "range", part = described(row.part) } end
  if kind == "m" then
    local range = support.value(db, "SELECT rngtypid FROM pg_range WHERE rngmultitypid = $1", oid)
    return { kind = "multirange", part = described(range) }
  end
  if kind ~= "c" then return row.typname == "hstore" and { kind = "hstore" } or "text" end
  local fields = {}
  for i, field in ipairs(assert(db:query([[SELECT attname, atttypid FROM pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum]],
    row.typrelid)).rows) do
    fields[i] = { name = field.attname, oid = field.atttypid, type = described(field.atttypid) }
  end
  return { kind = "record", name = row.name, fields = fields }
end

-- A column's type by its number, and its samples in both forms by theirs: format() uses a type's
-- output function, and a record writes three numbers before its field.
local function stored(kind, column)
  local source = "stored" .. kind.number
  local oid = support.value(db, [[SELECT atttypid FROM pg_attribute
    WHERE attrelid = $1::regclass AND attname = $2]], source, column)
  local binary = kind.text_only and "NULL::bytea" or ("substr(record_send(ROW(%s)), 13)"):format(
    column)
  local by_id = {}
  for _, sample in ipairs(assert(db:query(("SELECT id, format('%%s', %s) AS text, %s AS binary "
    .. "FROM %s WHERE NOT big AND id > 0"):format(column, binary, source))).rows) do
    by_id[sample.id] = sample
  end
  return oid, by_id
end

-- What is longer is only decoded as it is.
local LONG <const> = 64

describe("the bytes of a value", function()
  for _, kind in ipairs(samples.kinds) do
    it(("of type %s, cut or changed in any place, are a value or a reason (R20, R21)"):format(
      kind[1]), function()
      local missing = samples.missing(db, kind)
      if missing then return pending(missing) end
      local types, bytes = {}, {}
      samples.each(db, kind, function(id, column, value)
        if not types[column] then
          local oid
          oid, bytes[column] = stored(kind, column)
          types[column] = described(oid)
        end
        local sample = bytes[column][id]
        for _, form in ipairs { "text", "binary" } do
          local given = sample and sample[form]
          if given then
            local read, reason = module.decode(types[column], form, given)
            if not support.exactly(value, read) then
              error(("%s in %s: %s"):format(column, form, reason or pg.encode(read)), 0)
            end
            if #given <= LONG and (column == "alone" or id == 1) then
              codecs.broken(module, types[column], form, given)
            end
          end
        end
      end)
    end)
  end
end)

describe("a server's broken value", function()
  it("is an error that names column and row, whatever its type, and the next is read (R20, R21)",
    function()
      local tried = 0
      impostor.asked(function(ask)
        local function misread(oid, form, bytes)
          local format = form == "binary" and 1 or 0
          local err = support.failed("invalid_value", ask {
            columns = { { "good", 25, format }, { "bad", oid, format } },
            rows = { { "x", false }, { "y", bytes } }, tag = "SELECT 2" })
          assert.are.equal("bad", err.column)
          support.contains(err.message, 'column "bad", row 2')
          support.same({ { v = 1 } },
            assert(ask { columns = { { "v", 23 } }, rows = { { "1" } } }).rows)
          tried = tried + 1
        end
        for _, kind in ipairs(samples.kinds) do
          for _, column in ipairs(samples.missing(db, kind) and {} or { "alone", "listed" }) do
            local oid, bytes = 0, {}
            if column == "alone" or kind.listed ~= false then oid, bytes = stored(kind, column) end
            local type = oid > 0 and oid < 16384 and described(oid)
            for _, form in ipairs(type and { "text", "binary" } or {}) do
              local given = bytes[1] and bytes[1][form]
              local cut = given and given:sub(1, #given // 2)
              if given and not module.decode(type, form, cut) then misread(oid, form, cut) end
            end
          end
        end
      end)
      assert.is_true(tried > 60, tried)
    end)
end)
