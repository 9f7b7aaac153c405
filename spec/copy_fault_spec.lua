-- SPDX-License-Identifier: MIT
-- What goes wrong in the middle of a COPY, and what is left of the data and the connection.
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, failed, must, raises = support.contains, support.failed, support.must,
  support.raises

local server, folder, program, ways, db
local shadow <const> = os.getenv "ASAN_OPTIONS" and 4 or 1 -- what a sanitizer adds

setup(function()
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c")
  server = must(throwaway.start { ssl = true, settings = { jit = false } })
  ways = {
    ["a Unix socket"] = server.options,
    TCP = support.merge(server.tcp, { sslmode = "disable" }),
    TLS = support.merge(server.tcp, { sslmode = "require" }),
  }
end)

teardown(function()
  if db then db:close() end
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

before_each(function()
  db = support.emptied(server.options, db)
  must(db:execute "CREATE TABLE items (id int PRIMARY KEY, name text)")
end)

local function connect(options, more) return must(pg.connect(support.merge(options, more))) end

local function count(handle) return support.value(handle or db, "SELECT count(*) FROM items") end

-- Idle, or in a transaction that goes on; the next statement's answer is its own.
local function usable(handle, state)
  assert.equal(42, support.value(handle, "SELECT 41 + 1"))
  assert.equal(state or "idle", handle:status().state)
end

-- Rows without end; `at` is called with the number of each.
local function endless(at)
  local n = 0
  return function()
    n = n + 1
    if n > 20000000 then error "the source was never told to stop" end
    return at and at(n) or { n, "some name" }
  end
end

-- As many rows; `at` is called with the number of each, and may give the row.
local function upto(last, at)
  local n = 0
  return function()
    n = n + 1
    if n <= last then return at and at(n) or { n, "some name" } end
  end
end

local BIG <const> = "SELECT generate_series(1, 100000000) AS i, repeat('x', 100) AS x"

describe("a source that raises (L1)", function()
  for _, raised in ipairs { "a string", "a table" } do
    it(("stores nothing, and %s goes through unchanged"):format(raised), function()
      local own = raised == "a string" and "the source is broken" or { "own" }
      local log = support.logged(server, function()
        local ok, err = pcall(db.copy_in, db, "items", nil, endless(function(n)
          if n == 50000 then error(own, 0) end
        end))
        support.same({ false, true }, { ok, rawequal(own, err) })
        usable(db)
      end)
      contains(log, "ERROR:  ", 'STATEMENT:  COPY "items" ("id", "name") FROM STDIN')
      assert.equal(0, count())
    end)
  end

  it("at once, and in progress, too", function()
    raises("at once", function() db:copy_in("items", nil, function() error "at once" end) end)
    local told <const> = {}
    local ok, err = pcall(db.copy_in, db, "items", nil, endless(),
      { progress = function() error(told) end })
    support.same({ false, true }, { ok, rawequal(told, err) })
    usable(db)
    assert.equal(0, count())
  end)

  it("fails the transaction that it is in", function()
    local ok, err = pcall(db.transaction, db, function(tx)
      must(tx:execute "INSERT INTO items VALUES (-1)")
      tx:copy_in("items", nil, endless(function(n) if n == 3 then error("mine", 0) end end))
    end)
    support.same({ false, "mine" }, { ok, err })
    usable(db)
    assert.equal(0, count())
  end)

  it("in a savepoint of its own fails that alone", function()
    must(db:transaction(function(tx)
      must(tx:execute "INSERT INTO items VALUES (-1)")
      assert.is_false((pcall(tx.transaction, tx, function(inner)
        inner:copy_in("items", nil, endless(function(n) if n == 3 then error("mine", 0) end end))
      end)))
      usable(tx, "transaction")
      return true
    end))
    assert.equal(1, count())
  end)

  it("may ask other connections, and is told that this one is busy", function()
    local other <close> = connect(server.options)
    must(db:copy_in("items", nil, upto(3, function(n)
      if n == 2 then
        local ok, message = pcall(db.query, db, "SELECT 1")
        assert.is_false(ok)
        contains(message, "busy with the rows that db:copy_in sends at ", "copy_fault_spec.lua:")
      end
      return { n, support.value(other, "SELECT $1::text", "name " .. n) }
    end)))
    assert.equal(3, count())
  end)

  it("may close the connection", function()
    local own = connect(server.options)
    local ok, message = pcall(own.copy_in, own, "items", nil, endless(function(n)
      if n == 10 then own:close() end
    end))
    assert.is_false(ok)
    contains(message, "closed")
    assert.equal("closed", own:status().state)
    assert.equal(0, count())
  end)
end)

describe("a server that refuses a row", function()
  for _, way in ipairs { "a Unix socket", "TCP", "TLS" } do
    for _, kind in ipairs { "rows", "strings" } do
      it(("is heard while %s are sent (L2): over %s"):format(kind, way), function()
        local own <close> = connect(ways[way])
        local asked = 0
        local answer, err
        if kind == "rows" then
          answer, err = own:copy_in("items", nil, endless(function(n)
            asked = n
            if n == 5 then return { "five", "a" } end
          end))
        else
          local block <const> = ("%d\tname\n"):rep(1000)
          answer, err = own:copy_in("items", nil, endless(function(n)
            asked = n * 1000
            return n == 1 and "1\ta\n2\tb\n3\tc\n4\td\nfive\te\n" or block
          end), { raw = true })
        end
        failed("invalid_value", answer, err)
        assert.equal(5, err.row or err.line)
        assert.is_true(asked < 10000000, "noticed after " .. asked)
        usable(own)
        assert.equal(0, count())
      end)
    end
  end

  it("in a message larger than what is looked at is heard, too", function()
    must(db:execute [[
      CREATE TABLE loud (i int);
      CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '%', repeat('x', 200000); END $$;
      CREATE TRIGGER loud BEFORE INSERT ON loud FOR EACH ROW EXECUTE PROCEDURE loud()]])
    for _, options in ipairs { server.options, server.tcp } do
      local other <close> = must(pg.connect(options))
      local asked, last = 0, 5000000
      local err = failed("query_failed", other:copy_in("loud", nil, upto(last, function(n)
        asked = n
        return { n }
      end)))
      support.same({ "P0001", 1 }, { err.sqlstate, err.row })
      assert.is_true(asked < last)
      usable(other)
    end
  end)

  it("is heard in a transaction, which has failed then", function()
    local _, err = db:transaction(function(tx)
      tx:copy_in("items", nil, endless(function(n) if n == 5 then return { "five" } end end))
      return true
    end)
    assert.equal(5, failed("invalid_value", nil, err).row)
    usable(db)
  end)

  it("is not mixed up with one that remarks and notifies", function()
    must(db:execute [[CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE NOTICE USING MESSAGE = repeat('Z', 3000), DETAIL = repeat('E', 3000);
      PERFORM set_config('application_name', 'Z' || NEW.id, false);
      RETURN NEW; END $$;
      CREATE TRIGGER note BEFORE INSERT ON items FOR EACH ROW WHEN (NEW.id % 100 = 0)
      EXECUTE FUNCTION note()]])
    for _, options in pairs(ways) do
      local own <close> = connect(options)
      must(own:execute "LISTEN remarks; TRUNCATE items")
      local teller <close> = connect(server.options)
      local result = must(own:copy_in("items", nil, upto(40000, function(n)
        if n % 10000 == 1 then must(teller:query "SELECT pg_notify('remarks', 'ZZZZ')") end
      end)))
      assert.equal(40000, result.rowCount)
    end
  end)
end)

describe("a COPY TO that is left in the middle (L3)", function()
  local leave <const> = {
    ["a loop that ends early"] = function(handle)
      for row in handle:copy_rows(BIG) do if row.i == 1000 then break end end
    end,
    ["a loop that raises"] = function(handle)
      raises("enough", function()
        for row in handle:copy_rows(BIG) do if row.i == 1000 then error "enough" end end
      end)
    end,
    ["a sink that raises"] = function(handle)
      raises("enough", function() handle:copy_out(BIG, function() error "enough" end) end)
    end,
    ["a sink that says no"] = function(handle)
      local _, err = handle:copy_out(BIG, function() return false, handle end)
      failed("query_failed", nil, err)
    end,
    ["a coroutine that is closed between rows"] = function(handle)
      local thread = coroutine.create(function()
        for _ in handle:copy_rows(BIG) do coroutine.yield() end
      end)
      for _ = 1, 100 do must(coroutine.resume(thread)) end
      must(coroutine.close(thread))
    end,
    ["an iterator that is collected"] = function(handle)
      do
        local next_row, stream = handle:copy_rows(BIG)
        assert.equal(1, next_row(stream).i)
      end
      collectgarbage()
      collectgarbage()
    end,
  }

  for name, leaves in pairs(leave) do
    it("is cancelled and drained: " .. name, function()
      for _, options in pairs(ways) do
        local own <close> = connect(options)
        leaves(own)
        usable(own)
        support.eventually(function()
          return support.value(db, [[SELECT count(*) FROM pg_stat_activity
            WHERE query LIKE 'COPY%' AND state = 'active']]) == 0
        end)
      end
    end)

    it("leaves its transaction as it was: " .. name, function()
      local says_no <const> = name == "a sink that says no"
      local result, err = db:transaction(function(tx)
        must(tx:execute "INSERT INTO items VALUES (1)")
        leaves(tx)
        if says_no then return true end
        usable(tx, "transaction")
        must(tx:execute "INSERT INTO items VALUES (2)")
        return true
      end)
      if says_no then
        failed("query_failed", result, err) -- a call that failed fails its transaction
      else
        assert.equal(2, count())
      end
      usable(db)
    end)
  end

  it("and whose error came along with rows gives none of them, and no end, after it", function()
    local other <close> = must(pg.connect(server.options))
    local next_row, stream = db:copy_rows "SELECT 1 / (3 - i) AS i FROM generate_series(1, 5) i"
    local ended = { query = [[SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'idle']],
      parameters = { db:status().pid } }
    local limit <const> = os.time() + 10
    while must(other:query(ended)).rowCount == 0 do assert.is_true(os.time() < limit) end
    local ok, err = pcall(next_row, stream)
    support.same({ false, "22012" }, { ok, err.sqlstate })
    raises("db:copy_rows has ended", function() next_row(stream) end) -- not nil, as at a good end
    usable(db)
  end)

  it("and whose iterator is used again says so", function()
    local next_row, stream, _, closing = db:copy_rows(BIG)
    assert.equal(1, next_row(stream).i)
    raises("busy with the rows of db:copy_rows", function() db:query "SELECT 1" end)
    do local _ <close> = closing end
    raises("has ended", function() next_row(stream) end)
    usable(db)
    db:transaction(function(tx)
      next_row, stream = tx:copy_rows(BIG)
      next_row(stream)
      return true
    end)
    raises("the transaction has ended", function() next_row(stream) end)
    usable(db)
  end)
end)

describe("COPY text (L4)", function()
  local function strings()
    local list = { "", "\\N", "\\.", "\\.\n", "\n\\.\n", "N", "\\", "\\\\", "\\n", "\t", "\n", "\r",
      "\r\n", '"', '""', '",', "'", ",", ";", "NULL", "null", " ", "a\n\\.\nb", "\8\11\12",
      "\\x41", "\\101", "\\t", "ä€😀", "\u{80}", "\\\t", "\\\n" }
    for byte = 1, 127 do list[#list + 1] = string.char(byte) end
    for byte = 1, 127 do list[#list + 1] = "\\" .. string.char(byte) end
    local seed = 20260115
    local function random(n)
      seed = (seed * 6364136223846793005 + 1442695040888963407) & math.maxinteger
      return (seed >> 33) % n + 1
    end
    local parts <const> = { "\\", "N", ".", "\t", "\n", "\r", '"', ",", "a", "\8", "\11", "\12",
      "x", "0", "7", "ä", "'", " ", "b", "\127" }
    for _ = 1, 2000 do
      local text = {}
      for i = 1, random(12) do text[i] = parts[random(#parts)] end
      list[#list + 1] = table.concat(text)
    end
    for _, length in ipairs { 4095, 4096, 4097, 65535, 65536, 70000 } do
      list[#list + 1] = ("\\a"):rep(length // 2) .. ("\t"):rep(length % 2)
    end
    return list
  end

  it("brings every byte and every escape to the server as parameters do", function()
    local list, rows = strings(), {}
    for i, text in ipairs(list) do
      rows[i] = { i, i % 7 == 0 and pg.null or text, text }
    end
    must(db:execute "CREATE TABLE sent (i int, a text, b text)")
    assert.equal(#list, must(db:copy_in("sent", nil, rows)).rowCount)
    must(db:execute "CREATE TABLE bound (LIKE sent)")
    local bound = {}
    for i, row in ipairs(rows) do bound[i] = { i = i, a = row[2], b = row[3] } end
    must(db:bulk_insert("bound", bound))
    local DIFFERENT <const> = [[SELECT count(*) FROM bound FULL JOIN %s AS s USING (i)
      WHERE bound.a IS DISTINCT FROM s.a OR bound.b IS DISTINCT FROM s.b]]
    assert.equal(0, support.value(db, DIFFERENT:format "sent"))
    for _, format in ipairs { "text", "csv", "binary" } do -- and back, and there again
      local given <const> = { format = format }
      local parts = {}
      must(db:copy_out("sent", function(chunk) parts[#parts + 1] = chunk end, given))
      must(db:execute "DROP TABLE IF EXISTS again; CREATE TABLE again (LIKE sent)")
      must(db:copy_in("again", nil, table.concat(parts), given))
      assert.equal(0, support.value(db, DIFFERENT:format "again"))
    end
    for _, query in ipairs { "SELECT * FROM sent ORDER BY i",
      "SELECT i, a, b, point(1, 1) FROM sent ORDER BY i" } do
      local i = 0
      for row in db:copy_rows(query) do
        i = i + 1
        assert.equal(list[i], row.b)
        assert.equal(rows[i][2] ~= pg.null and list[i] or nil, row.a)
      end
      assert.equal(#list, i)
    end
  end)

  it("brings every byte to bytea, and each of them alone", function()
    local rows, all = {}, {}
    for byte = 0, 255 do
      rows[#rows + 1] = { byte, string.char(byte) }
      all[#all + 1] = string.char(byte)
    end
    rows[#rows + 1] = { 256, table.concat(all):rep(300) }
    rows[#rows + 1] = { 257, pg.bytea "\\x00" }
    rows[#rows + 1] = { 258, "" }
    must(db:execute "CREATE TABLE bytes (i int, b bytea)")
    must(db:copy_in("bytes", nil, rows))
    for row in db:copy_rows "SELECT * FROM bytes ORDER BY i" do
      local given = rows[row.i + 1][2]
      assert.equal(row.i == 257 and "\\x00" or given, row.b)
    end
  end)
end)

describe("COPY in another action (Q19)", function()
  for _, text in ipairs { "COPY items FROM STDIN", "COPY (SELECT 1) TO STDOUT",
    "COPY (SELECT generate_series(1, 100000000)) TO STDOUT" } do
    it("is refused, and the connection usable: " .. text, function()
      for _, action in ipairs { "query", "execute" } do
        failed("wrong_action", db[action](db, text))
        usable(db)
      end
      local _, err = db:execute("SELECT 1; " .. text .. "; SELECT 2") -- Q15
      failed("wrong_action", nil, err)
      usable(db)
    end)
  end
end)

describe("a limit", function()
  it("of time holds for each wait for the server, not for the program", function()
    local started <const> = core.now()
    local chunks = 0
    must(db:copy_out("SELECT pg_sleep(0.03), repeat('x', 70000) FROM generate_series(1, 12)",
      function() chunks = chunks + 1 end, { timeout = 0.25 }))
    assert.is_true(core.now() - started > 0.36 and chunks > 1)
    must(db:copy_in("items", nil, upto(3, function(n)
      if n == 2 then os.execute "sleep 0.3" end
    end), { timeout = 0.25 }))
    for row in db:copy_rows("SELECT i FROM generate_series(1, 3) i", { timeout = 0.25 }) do
      if row.i == 2 then os.execute "sleep 0.3" end
    end
    usable(db)
  end)

  it("of time ends a COPY whose server is slow, and leaves the connection usable (Q8)", function()
    local slow <const> = "SELECT pg_sleep(CASE WHEN i < 3 THEN 0 ELSE 30 END), i FROM "
      .. "generate_series(1, 4) AS i"
    local err = failed("query_timeout", db:copy_out(slow, function() end, { timeout = 0.2 }))
    support.same({ 0.2, false }, { err.limit, err.completed })
    usable(db)
    local ok
    ok, err = pcall(function() for _ in db:copy_rows(slow, { timeout = 0.2 }) do end end)
    support.same({ false, "query_timeout" }, { ok, err.kind })
    usable(db)
    must(db:execute [[CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
      CREATE TRIGGER slow AFTER INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION slow()]])
    err = failed("query_timeout", db:copy_in("items", nil, { { 1 } }, { timeout = 0.2 }))
    assert.is_false(err.completed)
    usable(db)
    assert.equal(0, count())
  end)

  it("of the host's holds", function()
    contains(raises("pg.limits", function()
      db:copy_out("items", print, { timeout = 1e6 })
    end), "timeout")
  end)

  for name in pairs { ["a Unix socket"] = 1, TCP = 1, TLS = 1 } do
    it("of size holds for one row, whatever all of them are: over " .. name, function()
      local own <close> = connect(ways[name])
      local rows = "SELECT repeat('x', 60000) FROM generate_series(1, 50)"
      assert.equal(50, must(own:copy_out(rows, function() end, { max_result = 70000 })).rowCount)
      local err = failed("result_too_large", own:copy_out(rows, function() end,
        { max_result = 50000 }))
      assert.equal(50000, err.limit)
      usable(own)
      local ok
      ok, err = pcall(function() for _ in own:copy_rows(rows, { max_result = 50000 }) do end end)
      support.same({ false, "result_too_large" }, { ok, err.kind })
      usable(own)
      -- rows that are near the limit, one after the other
      local near <const> = "SELECT repeat('x', 2900000) FROM generate_series(1, 4)"
      local most <const> = { max_result = 3000000 }
      assert.equal(4, must(own:copy_out(near, function() end, most)).rowCount)
      failed("result_too_large", own:copy_out("SELECT repeat('x', 20000000)", print, most))
    end)
  end
end)

describe("db:cancel", function()
  it("ends a COPY of another coroutine, either way", function()
    local loop = scheduler()
    local own <close> = connect(server.options, { wait = loop.wait })
    local answer, err
    loop.spawn(function() answer, err = own:copy_out("SELECT pg_sleep(30)", function() end) end)
    loop.spawn(function()
      while support.value(db, [[SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE 'COPY%' AND state = 'active']]) == 0 do loop.wait(nil, "r", 0.01) end
      assert.is_true(own:cancel())
    end)
    loop.run()
    failed("cancelled", answer, err)
    usable(own)
    failed("cancelled", own:copy_in("items", nil, endless(function(n)
      if n == 50000 then assert.is_true(own:cancel()) end
    end)))
    usable(own)
    assert.equal(0, count())
  end)

  it("between two rows ends the loop with an error", function()
    local ok, err = pcall(function()
      for row in db:copy_rows(BIG) do if row.i == 10 then db:cancel() end end
    end)
    support.same({ false, "cancelled" }, { ok, err.kind })
    usable(db)
  end)
end)

describe("a hook of the host", function()
  it("acts in the middle of a COPY, either way", function()
    local function limited(f)
      local ends <const> = core.now() + 0.2
      debug.sethook(function()
        if core.now() > ends then error("host deadline", 0) end
      end, "", 1000)
      local ok, err = pcall(f)
      debug.sethook()
      support.same({ false, "host deadline" }, { ok, err })
      usable(db)
    end
    limited(function() db:copy_out("SELECT pg_sleep(30)", function() end) end)
    limited(function() db:copy_out(BIG, function() end) end)
    limited(function() db:copy_in("items", nil, endless()) end)
    local other <close> = connect(server.options)
    must(other:execute "BEGIN; LOCK items")
    limited(function() db:copy_in("items", { "id" }, { { 1 } }) end)
    must(other:execute "ROLLBACK")
    assert.equal(0, count())
  end)
end)

describe("an event loop", function()
  it("runs two COPYs and other work at once in one thread", function()
    local loop = scheduler()
    local done = {}
    for i = 1, 2 do
      loop.spawn(function()
        local from <close> = connect(server.options, { wait = loop.wait })
        local into <close> = connect(server.options, { wait = loop.wait })
        must(into:execute(("CREATE TABLE copied%d (i int, x text)"):format(i)))
        local result = must(from:copy_to(into,
          "SELECT i, repeat('x', 100) AS x FROM generate_series(1, 50000) AS i",
          { table = "copied" .. i }))
        done[#done + 1] = result.rowCount
      end)
    end
    local turns = 0
    loop.spawn(function()
      while #done < 2 do
        turns = turns + 1
        loop.wait(nil, "r", 0.01)
      end
    end)
    loop.run()
    support.same({ 50000, 50000 }, done)
    assert.is_true(turns > 2)
  end)

  it("has its turn while data pours", function()
    local loop = scheduler()
    local own <close> = connect(server.options, { wait = loop.wait })
    local turns, ended = 0, false
    loop.spawn(function()
      while not ended do
        turns = turns + 1
        loop.wait(nil, "r", 0)
      end
    end)
    loop.run(function()
      must(own:copy_in("items", nil, upto(150000)))
      local before <const> = turns
      for _ in own:copy_rows "SELECT * FROM items" do end -- luacheck: ignore
      assert.is_true(turns > before)
      ended = true
    end)
    assert.is_true(turns > 4)
  end)

  it("may close the coroutine in the middle of a wait", function()
    local loop = scheduler()
    local own <close> = connect(server.options, { wait = loop.wait })
    local thread
    thread = loop.spawn(function() own:copy_out("SELECT pg_sleep(30)", function() end) end)
    must(coroutine.close(thread))
    usable(own)
    must(db:execute "BEGIN; LOCK items")
    thread = loop.spawn(function() own:copy_in("items", { "id" }, { { 1 } }) end)
    must(coroutine.close(thread))
    must(db:execute "ROLLBACK")
    usable(own)
    assert.equal(0, count())
  end)
end)

describe("a connection that is lost", function()
  it("in the middle of COPY TO never ends it as if it were complete", function()
    local proxy <close> = faultproxy.start(program, ways.TCP)
    for _, bytes in ipairs { 0, 3, 300, 100000, 5000000 } do
      local own <close> = connect(proxy.options)
      proxy:send("cut down " .. bytes)
      failed("connection_lost", own:copy_out(pg.raw(BIG), function() end))
      assert.equal("lost", own:status().state)
      proxy:calm()
    end
    local own <close> = connect(proxy.options)
    local ok, err = pcall(function()
      for row in own:copy_rows(BIG) do if row.i == 1000 then proxy:send "cut down 20000" end end
    end)
    support.same({ false, "connection_lost" }, { ok, err.kind })
  end)

  it("while data is sent ends the source's work, and stores nothing", function()
    for _, way in ipairs { "TCP", "TLS" } do
      local proxy <close> = faultproxy.start(program, ways[way])
      for _, reset in ipairs { "on", "off" } do
        local own <close> = connect(proxy.options)
        proxy:send("reset " .. reset)
        failed("connection_lost", own:copy_in("items", nil, endless(function(n)
          if n == 10000 then proxy:send "cut up 100000" end
        end)))
        assert.equal("lost", own:status().state)
        proxy:calm()
      end
    end
    assert.equal(0, count())
  end)

  it("by the server says what the server said (Q1)", function()
    for _, options in pairs(ways) do
      local own <close> = connect(options)
      local err = failed("server_unavailable", own:copy_in("items", nil, endless(function(n)
        if n == 10000 then
          must(db:query("SELECT pg_terminate_backend($1)", own:status().pid))
        end
      end)))
      assert.equal("57P01", err.sqlstate)
      assert.equal("lost", own:status().state)
    end
    assert.equal(0, count())
  end)

  it("before the answer to the end leaves open what was stored", function()
    local proxy <close> = faultproxy.start(program, ways.TCP)
    local own <close> = connect(proxy.options)
    must(own:copy_in("items", nil, { { 1 } }))
    proxy:send "at down C 1 cut 0"
    local err = failed("connection_lost", own:copy_in("items", { "id" }, { { 2 } }))
    assert.is_nil(err.completed)
    assert.is_false(err.retryable)
    assert.equal(2, count())
  end)

  it("or frozen, gives up in time, either way", function()
    local started <const> = core.now()
    local proxy <close> = faultproxy.start(program, ways.TLS)
    local own <close> = connect(proxy.options, { timeout = 0.3 })
    failed("query_timeout", own:copy_in("items", nil, endless(function(n)
      if n == 10000 then proxy:send "stall both" end
    end)))
    assert.equal("lost", own:status().state)
    local plain <close> = faultproxy.start(program, ways.TCP)
    local reader <close> = connect(plain.options, { timeout = 0.3 })
    local stalled
    failed("query_timeout", reader:copy_out(BIG, function()
      stalled = stalled or plain:send "stall both"
    end))
    assert.is_true(core.now() - started < 8)
  end)

  it("byte by byte is whole all the same (Q5)", function()
    local proxy <close> = faultproxy.start(program, ways.TCP)
    local own <close> = connect(proxy.options)
    proxy:send "chop 1"
    must(own:copy_in("items", nil, { { 1, "a\tb" }, { 2, pg.null }, { 3, ("x"):rep(3000) } }))
    local n = 0
    for row in own:copy_rows "items" do
      n = n + 1
      assert.equal(n, row.id)
    end
    assert.equal(3, n)
    assert.equal(2, failed("invalid_value", own:copy_in("items", { "id" }, { { 4 }, { "x" } })).row)
    usable(own)
  end)
end)

describe("memory", function()
  local CHILD <const> = [[
    local pg = require "pg"
    local function peak()
      for line in io.lines "/proc/self/status" do
        local kib = line:match "^VmHWM:%%s*(%%d+)"
        if kib then return kib // 1024 end
      end
      return 0
    end
    local options = { host = %q, port = %d, user = "postgres", database = "postgres" }
    local from, into = assert(pg.connect(options)), assert(pg.connect(options))
    assert(into:execute "CREATE UNLOGGED TABLE many (i int, x text)")
    for _ in from:copy_rows "SELECT 1" do end
    local before = peak()
    local query = "SELECT generate_series(1, 200000) AS i, repeat('x', 100) AS x"
    assert(from:copy_to(into, query, { table = "many" }))
    local n = 0
    assert(into:copy_in("many", nil, function()
      n = n + 1
      if n <= 200000 then return { n, "some name that is not short, nor the same: " .. n } end
    end))
    for row in from:copy_rows(query) do n = n + #row.x end
    assert(from:copy_out(query, function(chunk) n = n + #chunk end))
    assert(into:copy_in("many", nil, "1\t" .. ("x"):rep(100) .. "\n"))
    print(peak() - before)]]

  it("is flat for any amount in either direction", function()
    local output, errors = support.child(CHILD:format(server.options.host, server.options.port),
      { ASAN_OPTIONS = "quarantine_size_mb=1" })
    assert.equal("", errors)
    assert.is_true(tonumber(output) < 6 * shadow, output) -- MiB, of 20 each time
  end)
end)

describe("a read-only connection", function()
  it("may be copied from, not into", function()
    local own <close> = connect(server.options, { readonly = true })
    failed("read_only", own:copy_in("items", nil, { { 1 } }))
    assert.equal(0, must(own:copy_out("items", function() end)).rowCount)
    usable(own)
  end)
end)

describe("behind PgBouncer", function()
  it("COPY works, and a read-only connection is one", function()
    if not pgbouncer.found() then return pending "PgBouncer is not installed" end
    local pooler <close> = pgbouncer.start(server, { "default_pool_size = 1" })
    local own <close> = connect(pooler.options)
    must(own:copy_in("items", nil, { { 1, "a" }, { 2, "b" } }))
    local list = {}
    for row in own:copy_rows "items" do list[#list + 1] = row.name end
    support.same({ "a", "b" }, list)
    assert.equal(5, failed("invalid_value", own:copy_in("items", nil, endless(function(n)
      if n == 5 then return { "five" } end
      return { n + 10 }
    end))).row)
    usable(own)
    for row in own:copy_rows(BIG) do if row.i == 10 then break end end
    usable(own)
    local reader <close> = connect(pooler.options, { readonly = true })
    failed("read_only", reader:copy_in("items", nil, { { 3 } }))
    assert.equal(2, must(reader:copy_out("items", function() end)).rowCount)
    failed("read_only", reader:copy_out(pg.raw "DELETE FROM items RETURNING id", function() end))
    must(own:copy_in("items", nil, { { 4, "d" } })) -- nothing of it was left on the server
    assert.equal(3, count())
  end)
end)
