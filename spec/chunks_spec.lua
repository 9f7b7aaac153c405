-- Chunks of rows, which libpq has from 17 on: for statements whose rows were many and short the
-- last time. An older libpq is given them by spec/fault/chunks.c.
-- SPDX-License-Identifier: MIT
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local MIB <const> = 1024 * 1024

local server, folder, environment

setup(function()
  server = assert(throwaway.start { tcp = true, settings = { jit = false } })
  folder = support.folder()
  local db <close> = assert(pg.connect(server.options))
  -- Text of n bytes after a notice; or, for ten rows, after a thousand notices of -n each.
  assert(db:execute [[
    CREATE FUNCTION loud(i int, n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
      IF n > 1 THEN RAISE NOTICE 'here'; END IF;
      FOR j IN 1..CASE WHEN n < 0 AND i BETWEEN 11 AND 20 THEN 1000 ELSE 0 END LOOP
        RAISE NOTICE '%', repeat('x', -n);
      END LOOP;
      RETURN repeat('x', n);
    END $$]])
  local flags = support.run("pkg-config --cflags libpq 2>/dev/null "
    .. "|| echo -I`pg_config --includedir`"):gsub("%s+$", "")
  environment = {
    LD_PRELOAD = support.compile(folder, "spec/fault/chunks.c",
      "-fPIC -shared -Wl,-z,lazy -ldl " .. flags),
    ASAN_OPTIONS = "detect_leaks=1:quarantine_size_mb=1",
  }
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

local PRELUDE <const> = [[
local pg, support = require "pg", require "spec.support"
local failed, same = support.failed, support.same
local function connect(more) return assert(pg.connect(support.merge({ %s }, more))) end
local function peak()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmHWM:%%s*(%%d+)"
    if kib then return kib * 1024 end
  end
end
local function usable(db) assert(support.value(db, "SELECT 41 + 1") == 42) end
local db = connect()
]]

-- Runs a program in a process of its own: what it prints, and how many chunks there were.
local function run(program)
  local options = {}
  for name, value in pairs(support.merge(server.tcp, { sslmode = "disable" })) do
    options[#options + 1] = ("%s = %q"):format(name, value)
  end
  local output, errors, code = support.child(
    PRELUDE:format(table.concat(options, ", ")) .. program, environment)
  local chunks = tonumber(errors:match "(%d+) chunks\n$")
  assert(code == 0 and chunks, errors)
  return output, chunks
end

describe("a result in chunks", function()
  it("has every row, in whatever number, shape and format", function()
    local _, chunks = run [[
      local sql = "SELECT i, CASE WHEN i % 3 > 0 THEN 'n' || i END AS name, "
        .. "i / 4.0::float8 AS score, ARRAY[i::float8] AS list "
        .. "FROM generate_series(1, $1::int) AS i"
      for _, n in ipairs { 2, 0, 1, 2, 31, 32, 33, 63, 64, 65, 1000, 2 } do
        local keyed, list, columns = {}, {}, { i = {}, name = {}, score = {}, list = {} }
        for i = 1, n do
          local name = i % 3 > 0 and "n" .. i or nil
          keyed[i] = { i = i, name = name, score = i / 4, list = { i * 1.0 } }
          list[i] = { i, name or pg.null, i / 4, { i * 1.0 } }
          columns.i[i], columns.name[i] = i, name or pg.null
          columns.score[i], columns.list[i] = i / 4, { i * 1.0 }
        end
        for _ = 1, 2 do
          local result = assert(db:query(sql, n))
          assert(result.rowCount == n)
          same(keyed, result.rows)
          same(list, assert(db:with { rows = "array" }:query(sql, n)).rows)
          same(columns, assert(db:with { rows = "columns" }:query(sql, n)).rows)
        end
      end]]
    assert.is_true(chunks > 100)
  end)

  it("comes where the rows were many and short before, and nowhere else", function()
    local cases = {
      { 0, [[db:query "SELECT generate_series(1, 100)"]] },
      { 4, [[for _ = 1, 2 do db:query "SELECT generate_series(1, 100)" end]] },
      { 4, [[for _ = 1, 2 do db:execute("SELECT generate_series(1, $1::int)", 100) end]] },
      { 0, [[for _ = 1, 9 do db:query "SELECT 1" end]] },
      { 0, [[for _ = 1, 2 do db:query "SELECT repeat('x', 5000) FROM generate_series(1, 2)" end]] },
      { 0, [[for _ = 1, 9 do db:execute "SELECT generate_series(1, 100); SELECT 1" end]] },
    }
    for _, case in ipairs(cases) do assert.equal(case[1], select(2, run(case[2])), case[2]) end
  end)

  it("tells the row and the column of a value that cannot be read", function()
    run [[
      db:codec("uuid", { decode = function(text)
        return text:find "^0" and text or error "not this one"
      end })
      local sql = "SELECT i, (CASE WHEN i = $1 THEN 'a' ELSE '0' END || repeat('0', 31))::uuid "
        .. "AS id FROM generate_series(1, 200) AS i"
      assert(#assert(db:query(sql, 0)).rows == 200)
      local err = failed("invalid_value", db:query(sql, 100))
      assert(err.column == "id" and err.message:find "row 100", err.message)
      usable(db)]]
  end)

  it("is none when an error comes in its middle; the connection is usable", function()
    local _, chunks = run [[
      local sql = "SELECT 100 / ($1 - i) AS x FROM generate_series(1, 200) AS i"
      assert(db:query(sql, 1000))
      for _, n in ipairs { 1, 2, 32, 33, 64, 65, 100, 200 } do
        local err = failed("invalid_value", db:query(sql, n))
        assert(err.sqlstate == "22012", err.sqlstate)
        usable(db)
        assert(#assert(db:query(sql, 1000)).rows == 200)
      end]]
    assert.is_true(chunks > 30)
  end)

  it("is cancelled at its deadline, and cleared away after a caller that is gone", function()
    run [[
      local sql = "SELECT i, pg_sleep(CASE WHEN i = $1 THEN 30 ELSE 0 END)::text "
        .. "FROM generate_series(1, 1000) AS i"
      assert(db:query(sql, 0))
      for _, n in ipairs { 10, 32, 33, 100 } do
        failed("query_timeout", db:query { query = sql, parameters = { n }, timeout = 0.1 })
        usable(db)
      end
      local yields = false
      local other = connect { wait = function() return yields and coroutine.yield() end }
      assert(other:query(sql, 0))
      yields = true
      local thread = coroutine.create(function() return other:query(sql, 100) end)
      for _ = 1, 3 do assert(coroutine.resume(thread)) end
      assert(coroutine.close(thread))
      yields = false
      usable(other)]]
  end)
end)

describe("a result's limit, in chunks (S122)", function()
  it("is exact", function()
    local _, chunks = run [[
      local sql = "SELECT repeat('x', 89) AS x FROM generate_series(1, $1::int)" -- 100 bytes a row
      assert(db:query(sql, 100))
      for _, n in ipairs { 1, 2, 31, 32, 33, 64, 100, 1000 } do
        local result = assert(db:query { query = sql, parameters = { n }, max_result = n * 100 })
        assert(#result.rows == n)
        local err = failed("result_too_large",
          db:query { query = sql, parameters = { n }, max_result = n * 100 - 1 })
        assert(err.bytes >= n * 100, err.bytes)
        usable(db)
        if n > 1 then assert(db:query(sql, n)) end
      end]]
    assert.is_true(chunks > 50)
  end)

  it("stops the server; the connection is usable", function()
    run [[
      local sql = "SELECT repeat('x', 1000), generate_series(1, $1::int8)"
      assert(db:query(sql, 100))
      for _ = 1, 3 do
        local err = failed("result_too_large", db:query(sql, 1000000000))
        assert(err.completed == false)
        assert(db:status().state == "idle")
        usable(db)
      end]]
  end)

  it("says that the changes stand when RETURNING gave too much: completed = true", function()
    run [[
      assert(db:execute "CREATE TEMP TABLE t (a int, b text)")
      local sql = "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, $1::int) g "
        .. "RETURNING *"
      assert(db:query(sql, 100))
      local err = failed("result_too_large",
        db:query { query = sql, parameters = { 100000 }, max_result = 50000 })
      assert(err.completed == true)
      assert(support.value(db, "SELECT count(*) FROM t") == 100100)]]
  end)
end)

describe("memory, with chunks", function()
  local shadow <const> = os.getenv "ASAN_OPTIONS" and 2 or 1 -- what a sanitizer adds

  -- Rows that were short before are long now; among them may be what is no row.
  local long <const> = "SELECT repeat('x', $1) AS x FROM generate_series(1, $2::int)"
  local loud <const> = "SELECT loud(i, $1) AS x FROM generate_series(1, $2::int) AS i"
  local cases = {
    { "rows of 150 KB", long, 150000, "result_too_large idle", 26 },
    { "rows of 1 MB", long, 1000000, "result_too_large lost", 26 },
    { "rows of 9 MB", long, 9000000, "result_too_large lost", 38 },
    { "one value of 30 MB", long, 30000000, "result_too_large lost", 16 },
    { "rows of 1 MB with notices between them", loud, 1000000, "result_too_large lost", 26 },
    { "40 MB of notices between the rows of a chunk", loud, -4000, "none idle", 6 },
  }
  for _, case in ipairs(cases) do
    it("stays near a limit of 10 MiB: " .. case[1], function()
      if not io.open "/proc/self/status" then
        pending "peak memory is read from /proc/self/status, which is not here"
      end
      local output = run(([[
        assert(db:execute "SET client_min_messages = notice")
        local sql, size = %q, %d
        assert(db:query(sql, 1, 100))
        local before = peak()
        local _, err = db:query(sql, size, size < 0 and 500 or 1000000)
        print(peak() - before, err and err.kind or "none", db:status().state)]])
        :format(case[2], case[3]))
      local bytes, kind, state = output:match "^(%S+)\t(%S+)\t(%S+)\n$"
      assert.equal(case[4], kind .. " " .. state)
      assert.is_true(bytes / MIB < case[5] * shadow, ("%.1f MiB"):format(bytes / MIB))
    end)
  end
end)

describe("a pipeline", function()
  it("has its results in chunks, each under its own limit", function()
    local _, chunks = run [[
      local sql = "SELECT repeat('x', 89) AS x FROM generate_series(1, $1::int)" -- 100 bytes a row
      local counts = { 1, 32, 0, 33, 2, 1000, 64, 65 }
      local function pipe(limit)
        return db:pipeline(function(p)
          for _, n in ipairs(counts) do
            p:query(sql, n)
            p:query { query = "SELECT 1 AS one", max_result = 1000 }
            p:query { query = sql, parameters = { 10 }, max_result = limit }
          end
        end)
      end
      assert(db:query(sql, 100))
      for _ = 1, 3 do
        local results = assert(pipe(1000))
        for i, n in ipairs(counts) do
          assert(#results[3 * i - 2].rows == n and results[3 * i - 1].rows[1].one == 1)
          assert(#results[3 * i].rows == 10)
        end
        local err = failed("result_too_large", pipe(999))
        assert(err.index == 3, err.index)
        usable(db)
      end]]
    assert.is_true(chunks > 50)
  end)

  it("ends with an error in the middle of a chunk", function()
    run [[
      local sql = "SELECT 100 / ($1 - i) AS x FROM generate_series(1, 200) AS i"
      assert(db:query(sql, 1000))
      for _, n in ipairs { 1, 32, 33, 100 } do
        local err = failed("invalid_value", db:pipeline(function(p)
          p:query(sql, 1000)
          p:query(sql, n)
          p:query(sql, 1000)
        end))
        assert(err.index == 2 and err.sqlstate == "22012")
        usable(db)
      end]]
  end)
end)

describe("db:each", function()
  -- The server sends whenever it has 8 KB.
  it("gives rows as they arrive, none waits for a chunk to be full", function()
    local _, chunks = run [[
      local sql = "SELECT i, repeat('x', 3000) AS filler, "
        .. "pg_sleep(CASE WHEN i > $1 THEN 30 ELSE 0 END)::text FROM generate_series(1, 200) AS i"
      assert(db:query(sql, 1000))
      local count = 0
      for row in db:with { timeout = 10 }:each(sql, 30) do
        count = count + 1
        assert(row.i == count)
        if count == 20 then break end
      end
      assert(count == 20)
      usable(db)]]
    assert.equal(0, chunks)
  end)
end)
