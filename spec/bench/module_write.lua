-- SPDX-License-Identifier: MIT
-- module_write: the works of the module that send rows, and COPY as text. The rows, a list of
-- tables by column name, are there before the clock starts: just those that the work sends, as the
-- collector looks at them, too.
local SCALE <const> = tonumber(os.getenv "BENCH_SCALE" or 1)
local ROWS <const>, BATCH <const> = 100000, 10000

local INSERT <const> = "INSERT INTO bench_logs VALUES ($1, $2, $3)"

--- What the warm-up stored: alike for all programs.
local STORED <const> = [[SELECT count(*) + sum(length(message))
  + sum(extract(second FROM created_at))::int8 + count(*) FILTER (WHERE level = 'error') AS stored
  FROM bench_logs]]

local function scaled(count)
  return math.max(1, math.floor(count * SCALE))
end

local function made(count)
  local list = {}
  for i = 0, scaled(count) - 1 do
    list[i + 1] = { level = i % 9 > 0 and "info" or "error", message = "some message " .. i,
      created_at = ("2026-01-15T10:30:%02d"):format(i % 60) }
  end
  return list
end

local function text(list)
  local lines = {}
  for i, row in ipairs(list) do
    lines[i] = ("%s\t%s\t%s\n"):format(row.level, row.message, row.created_at)
  end
  return table.concat(lines)
end

local sent, statement -- of the work that runs

local function stored(_, db)
  return math.tointeger(assert(db:query(STORED)).rows[1].stored)
end

--- A work that empties the table and sends `count` rows: f(db) answers how many.
local function writing(count, f, ready)
  return {
    check = stored,
    ready = function(db)
      sent = made(count)
      if ready then ready(db) end
    end,
    run = function(db)
      assert(db:execute "TRUNCATE bench_logs")
      return f(db)
    end,
  }
end

local works = {}

works.insert = writing(ROWS, function(db)
  return assert(db:bulk_insert("bench_logs", sent, { batch = scaled(BATCH) })).rowCount
end)

works.pipeline = writing(BATCH, function(db)
  return #assert(db:pipeline(function(p)
    for i = 1, #sent do
      local row = sent[i]
      p:execute(INSERT, row.level, row.message, row.created_at)
    end
  end))
end)

works.singly = writing(BATCH, function()
  for i = 1, #sent do
    local row = sent[i]
    assert(statement:execute(row.level, row.message, row.created_at))
  end
  return #sent
end, function(db) statement = assert(db:prepare(INSERT)) end)

works.copy_in = writing(ROWS, function(db)
  return assert(db:copy_in("bench_logs", nil, sent)).rowCount
end, function() sent = text(sent) end)

works.copy_list = writing(ROWS, function(db)
  return assert(db:copy_in("bench_logs", nil, sent)).rowCount
end)

works.copy_out = {
  check = function(bytes) return bytes end,
  run = function(db)
    local bytes = 0
    local given = assert(db:copy_out("bench_rows", function(chunk) bytes = bytes + #chunk end))
    return given.rowCount, bytes
  end,
}

return works
