-- SPDX-License-Identifier: MIT
-- module_linear: work of a size: so many rows, columns, cached statements, connections in this
-- state. Gives the work of that name and size, as module.lua has them.
local pg = require "pg"

local CELLS <const> = 320000 * tonumber(os.getenv "BENCH_SCALE" or 1)
local FIRST <const> = 10000000 -- more follow, and all have as many digits

local linear = {}

function linear.linear_rows(size)
  local sql <const> = ([[SELECT i::int8 AS id, 'some text ' || i AS name, i / 7.0::float8 AS score,
    i %% 2 = 0 AS active FROM (SELECT %d + generate_series(1, %d) AS i) AS series]])
    :format(FIRST, size)
  return {
    cold = true,
    check = function(sum) return sum end,
    run = function(db)
      local count, sum = 0, 0
      for row in db:each(sql) do count, sum = count + 1, sum + row.id end
      return count, sum
    end,
  }
end

--- Units are cells: the more columns, the fewer rows.
function linear.linear_columns(size)
  local names = {}
  for i = 1, size do names[i] = "i AS c" .. i end
  local sql <const> = ("SELECT %s FROM (SELECT %d + generate_series(1, %d) AS i) AS series"):format(
    table.concat(names, ", "), FIRST, math.max(1, math.floor(CELLS / size)))
  return {
    check = function(rows)
      local sum = 0
      for i = 1, #rows do sum = sum + rows[i].c1 end
      return sum
    end,
    run = function(db)
      local result = assert(db:query(sql))
      return result.rowCount * size, result.rows
    end,
  }
end

function linear.linear_statements(size)
  local texts = {}
  for i = 0, size - 1 do texts[i + 1] = ("SELECT $1::int + %d AS id"):format(i) end
  return {
    keyed = "id",
    run = function(db, i)
      return 1, assert(db:query(texts[i % size + 1], i % 1000 + 1)).rows
    end,
  }
end

function linear.linear_connections(size)
  local all = {}
  return {
    keyed = "id",
    ready = function(db)
      for i = 1, size do all[i] = i == 1 and db or assert(pg.connect()) end
    end,
    run = function(_, i)
      return 1, assert(all[i % size + 1]:query("SELECT $1::int AS id", i % 1000 + 1)).rows
    end,
  }
end

return function(name, size)
  return linear[name] and linear[name](size)
end
