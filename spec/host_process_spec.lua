-- SPDX-License-Identifier: MIT
-- What the module does to the process that it lives in, and what it needs of the Lua there: each
-- case in a Lua of its own.
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local server, folder

setup(function()
  folder = support.folder()
  server = assert(throwaway.start { ssl = true, settings = { jit = false } })
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

-- What every program begins with: three ways to the same server.
local PRELUDE <const> = [[
  local pg = require "pg"
  local function way(host, more)
    local all = { host = host, port = math.tointeger(os.getenv "SPEC_PORT"), user = "postgres",
      database = "postgres", password = os.getenv "SPEC_PASSWORD" }
    for name, value in pairs(more or {}) do all[name] = value end
    return all
  end
  local ways = {
    unix = way(os.getenv "SPEC_HOST"), tcp = way("127.0.0.1", { sslmode = "disable" }),
    tls = way("127.0.0.1", { sslmode = "require" }),
  }
  local function status(name)
    for line in io.lines "/proc/self/status" do
      local found = line:match("^" .. name .. ":%s*(%x+)")
      if found then return found end
    end
  end
]]

-- Runs a program: what it prints, its stderr, its exit code.
local function run(program, prefix, redirect)
  local path <const> = folder .. "/program.lua"
  support.write(path, PRELUDE .. program)
  return support.run(table.concat({
    prefix or "", "env SPEC_HOST=" .. server.options.host, "SPEC_PORT=" .. server.options.port,
    "SPEC_PASSWORD=" .. server.tcp.password, support.lua, path, redirect or "",
  }, " "))
end

local function needs_proc()
  if not io.open "/proc/self/status" then pending "there is no /proc/self/status here" end
end

describe("the host's signals", function()
  it("stay as they were, whatever a connection goes through (E18)", function()
    needs_proc()
    local output, errors, code = run([[
      -- Blocked, ignored and caught ones, without 32 and 33, which are the C library's own.
      local function signals()
        local sets = {}
        for i, name in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
          sets[i] = ("%x"):format(tonumber(status(name), 16) & ~(3 << 31))
        end
        return table.concat(sets, " ")
      end
      local before = signals()
      assert(tonumber(status "SigIgn", 16) & 1 << 12 == 0, "SIGPIPE is ignored: nothing to see")
      local function untouched(after)
        if signals() ~= before then error(after .. ": " .. before .. " became " .. signals()) end
      end
      local watch = assert(pg.connect(ways.unix))
      untouched "loading and connecting"
      for name, way in pairs(ways) do
        local db = assert(pg.connect(way))
        untouched "connecting"
        assert(db:query("SELECT $1::int[]", { 1, 2 }))
        untouched "a query"
        assert(not db:query "SELECT 1 / 0")
        untouched "an error"
        local none, err = db:query { query = "SELECT pg_sleep(30)", timeout = 0.05 }
        assert(err.kind == "query_timeout" and db:status().state == "idle")
        untouched "a timeout and its cancel"
        none, err = db:query { query = "SELECT repeat('x', 9000000)", max_result = 1000 }
        assert(err.kind == "result_too_large")
        untouched "a limit"
        if db:status().state == "lost" then assert(db:reset()) end
        untouched "a reset"

        assert(watch:query("SELECT pg_terminate_backend($1, 10000)", db:status().pid))
        assert(not db:query("SELECT $1::text", ("x"):rep(5000000)))
        assert(db:status().state == "lost")
        untouched "writing to a server that is gone"
        none, err = db:query "SELECT 1"
        assert(not none and err.kind == "connection_lost", err)
        db:close()
        assert(not pg.connect { host = "127.0.0.1", port = 1, connect_timeout = 5 })
        untouched "closing"
      end
      print "untouched"
    ]], "env --default-signal=PIPE")
    assert.same({ "untouched\n", "", 0 }, { output, errors, code })
  end)
end)

describe("a process whose standard streams are closed", function()
  it("prints nothing into a connection (C26)", function()
    local report <const> = folder .. "/report"
    local _, _, code = run(([[
      local report = assert(io.open(%q, "w")) -- has a standard stream's number
      for name, way in pairs(ways) do
        local one <close> = assert(pg.connect(way))
        local other <close> = assert(pg.connect(way))
        for i, db in ipairs { one, other } do
          print(("Q"):rep(20000))
          io.stdout:flush()
          io.stderr:write(("Q"):rep(20000))
          local result, err = db:query("SELECT $1::int AS n", i)
          assert(result, err)
          assert(result.rows[1].n == i)
          -- through the relay, and with a cancel
          assert(not db:query { query = "SELECT repeat('x', 200000)", max_result = 1000 })
          assert(#assert(db:query "SELECT repeat('x', 2000000) AS x").rows[1].x == 2000000)
          assert(not db:query { query = "SELECT pg_sleep(30)", timeout = 0.05 })
          assert(db:status().state == "idle")
        end
      end
      report:write "nothing went astray"
      report:close()
    ]]):format(report), nil, "<&- >&- 2>&-")
    assert.equal(0, code)
    local file <close> = assert(io.open(report))
    assert.equal("nothing went astray", file:read "a")
  end)
end)

describe("results that are dropped", function()
  -- libpq's memory is invisible to Lua's collector, and no collection is asked for.
  local shapes <const> = {
    { "one value", "SELECT repeat(repeat('x', 1000), 5000) AS x", 40 },
    { "rows of 50 KB", "SELECT repeat(repeat('x', 1000), 50) AS x FROM generate_series(1, 100)",
      300 },
  }
  for _, shape in ipairs(shapes) do
    it(("do not pile up: 5 MB, %s, %d times (E21)"):format(shape[1], shape[3]), function()
      needs_proc()
      local output, errors, code = run(([[
        local db = assert(pg.connect(ways.unix))
        local before = tonumber(status "VmHWM")
        for _ = 1, %d do
          local rows = assert(db:query %q).rows
          assert(#rows * #rows[1].x == 5000000)
        end
        print(tonumber(status "VmHWM") - before)
      ]]):format(shape[3], shape[2]), "env ASAN_OPTIONS=quarantine_size_mb=1")
      assert.same({ "", 0 }, { errors, code })
      assert.is_true(tonumber(output) < 60 * 1024, output) -- KiB
    end)
  end
end)

describe("the names of columns", function()
  it("are made once a result, not once a row (E22)", function()
    local output, errors, code = run [[
      local db = assert(pg.connect(ways.unix))
      -- What a result of so many rows needs, garbage included; names above 40 bytes are not shared
      -- between Lua's strings.
      local function needs(rows, name, shape)
        local columns = {}
        for i = 1, 50 do columns[i] = ('%d AS "%s%02d"'):format(i, name, i) end
        local sql = ("SELECT %s FROM generate_series(1, %d)"):format(table.concat(columns, ", "),
          rows)
        assert(db:query { query = sql, rows = shape }) -- what is learnt is learnt
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        local result = assert(db:query { query = sql, rows = shape })
        local kib = collectgarbage "count" - before
        collectgarbage "restart"
        assert(result.rowCount == rows)
        return kib
      end
      for _, shape in ipairs { "object", "array", "columns" } do
        local function more(rows)
          return needs(rows, ("n"):rep(60), shape) - needs(rows, "n", shape)
        end
        local once = more(10)
        print(shape, once < 20 and math.abs(more(1000) - once) < 1 or more(1000))
      end
    ]]
    assert.same({ "object\ttrue\narray\ttrue\ncolumns\ttrue\n", "", 0 }, { output, errors, code })
  end)
end)

describe("a Lua whose numbers are smaller or larger", function()
  -- The headers of this Lua, with another choice in luaconf.h.
  local function compile(name, pattern, replacement)
    local flags <const> = support.run("pkg-config --cflags lua5.4 libpq 2>/dev/null "
      .. "|| pkg-config --cflags lua libpq"):gsub("%s+$", "")
    local compiler <const> = "LC_ALL=C ${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L "
    local listing <const> = support.run(compiler .. flags .. " -M src/core.c")
    local path <const> = folder .. "/" .. name
    assert(os.execute("mkdir " .. path))
    for header in listing:gmatch "[^%s\\]+/l[ua][%l]*%.h" do
      local file <close> = assert(io.open(header))
      local text = file:read "a"
      if header:find "luaconf%.h$" then
        local changes
        text, changes = text:gsub(pattern, replacement)
        assert(changes == 1, "luaconf.h has another form")
      end
      support.write(path .. header:match "/[^/]+$", text)
    end
    local _, errors, code = support.run(("%s -I%s %s -fsyntax-only src/core.c"):format(compiler,
      path, flags))
    return code, errors
  end

  local cases <const> = {
    { "32-bit", "LUA_32BITS%s+0", "LUA_32BITS 1", "int8 needs 64-bit Lua integers" },
    { "float", "LUA_FLOAT_DEFAULT%s+LUA_FLOAT_DOUBLE", "LUA_FLOAT_DEFAULT LUA_FLOAT_FLOAT",
      "float8 needs Lua floats that are doubles" },
    { "long double", "LUA_FLOAT_DEFAULT%s+LUA_FLOAT_DOUBLE",
      "LUA_FLOAT_DEFAULT LUA_FLOAT_LONGDOUBLE", "float8 needs Lua floats that are doubles" },
  }
  for _, case in ipairs(cases) do
    it(("is refused when the module is compiled: %s (E24)"):format(case[1]), function()
      local code, errors = compile(case[1]:gsub(" ", "_"), case[2], case[3])
      assert.not_equal(0, code)
      support.contains(errors, case[4])
    end)
  end

  it("is told from the usual one, which compiles (E24)", function()
    assert.same({ 0, "" }, { compile("usual", "LUA_32BITS%s+0", "%0") })
  end)
end)
