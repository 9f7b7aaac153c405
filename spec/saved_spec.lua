-- SPDX-License-Identifier: MIT
-- Saved connections: the host saves, a script needs only the name, and learns no more than that.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local SECRET <const> = "S3CRET"

local server

setup(function()
  server = assert(throwaway.start { tcp = true })
end)

teardown(function()
  server:stop()
end)

-- The server's options with others on top of them.
local function options(more, from)
  local all = {}
  for name, value in pairs(from or server.options) do all[name] = value end
  for name, value in pairs(more or {}) do all[name] = value end
  return all
end

local function one(db, sql)
  return assert(db:with { rows = "array" }:query(sql)).rows[1][1]
end

describe("a saved connection", function()
  it("is opened by its name alone, from a table, a URI or a conninfo string (S031)", function()
    local o = server.options
    local ways = {
      ["Production Database"] = options(),
      ["by URI"] = ("postgresql://%s@/%s?host=%s&port=%d"):format(o.user, o.database, o.host,
        o.port),
      ["by conninfo"] = ("host=%s port=%d dbname=%s user=%s"):format(o.host, o.port, o.database,
        o.user),
    }
    for name, given in pairs(ways) do
      pg.save(name, given)
      local db <close> = assert(pg.connect(name))
      assert.equal(1, one(db, "SELECT 1"))
      assert.is_true(assert(pg.test(name)).success)
    end
  end)

  it("shows its name: in errors, in tostring, as application_name (S018)", function()
    pg.save("Production Database", options())
    local db <close> = assert(pg.connect "Production Database")
    support.contains(tostring(db), "Production Database")
    assert.equal("Production Database", one(db, "SHOW application_name"))
    local err = support.failed("undefined_table", db:query "SELECT * FROM nowhere")
    assert.equal("Production Database", err.connection)
    support.contains(tostring(err), "Production Database")
    pg.save("away", { host = "/nonexistent" })
    assert.equal("away", support.failed("connection_refused", pg.connect "away").connection)
  end)

  it("keeps a label and an application_name of its own (S018)", function()
    pg.save("labelled", options { name = "Other", application_name = "nightly" })
    local db <close> = assert(pg.connect "labelled")
    support.contains(tostring(db), "Other")
    assert.equal("nightly", one(db, "SHOW application_name"))
  end)

  it("keeps its settings, readonly among them (S088)", function()
    pg.save("reports", options { readonly = true, rows = "array", timeout = 2 })
    local db <close> = assert(pg.connect "reports")
    assert.same({ 1, 2 }, assert(db:query "SELECT 1, 2").rows[1])
    support.failed("read_only", db:execute "CREATE TABLE t ()")
  end)

  it("is what it was when it was saved, and the last one of its name", function()
    local given = options { name = "first" }
    pg.save("changing", given)
    given.host, given.name = "/nonexistent", "second"
    local db <close> = assert(pg.connect "changing")
    support.contains(tostring(db), "first")
    pg.save("changing", options { name = "third" })
    local other <close> = assert(pg.connect "changing")
    support.contains(tostring(other), "third")
  end)

  it("may be the environment's (nothing is given)", function()
    local output, errors = support.child([[
      local pg = require "pg"
      pg.save("from the environment")
      print(pg.test("from the environment").database)]],
      { PGHOST = server.options.host, PGPORT = server.options.port, PGUSER = "postgres",
        PGDATABASE = "template1" })
    assert.same({ "template1\n", "" }, { output, errors })
  end)

  it("calls its password function for each new connection (S087)", function()
    local calls = 0
    pg.save("rotating", options({
      password = function()
        calls = calls + 1
        return server.tcp.password
      end,
    }, server.tcp))
    for _ = 1, 2 do assert(pg.connect "rotating"):close() end
    assert.equal(2, calls)
  end)

  local names <const> = { "postgresql://db/app", "postgres://", "host=db", "a = b", "=" }
  for _, name in ipairs(names) do
    it(("cannot be called %q, which reads as what it describes"):format(name), function()
      support.raises("a saved name must not", function() pg.save(name, options()) end)
    end)
  end

  it("needs a name: not an empty one, none with a NUL byte, no number", function()
    for _, name in ipairs { "", 7, false } do
      support.raises("needs a name", function() pg.save(name, options()) end)
    end
    support.raises("needs a name", function() pg.save(nil, options()) end)
    support.raises("NUL", function() pg.save("a\0b", options()) end)
  end)

  it("is checked when it is saved", function()
    support.raises("did you mean 'password'", function() pg.save("x", { passwrd = SECRET }) end)
    support.raises("pg.limits", function() pg.save("x", { timeout = 3600 }) end)
    support.raises("rows must be", function() pg.save("x", { rows = "list" }) end)
  end)

  it("that nobody saved raises and names the nearest", function()
    pg.save("Production Database", options())
    local message = support.raises("no saved connection 'Prodution Database'",
      function() local db = pg.connect "Prodution Database" return db end)
    support.contains(message, "did you mean 'Production Database'?", "pg.save")
    support.raises("no saved connection ''", function() local db = pg.connect "" return db end)
  end)
end)

-- All that can be reached from a value without the debug library, as text.
local function everything(value, seen, out)
  seen, out = seen or {}, out or {}
  if type(value) == "string" then
    out[#out + 1] = value
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for key, item in next, value do
      everything(key, seen, out)
      everything(item, seen, out)
    end
  end
  local meta = getmetatable(value)
  if type(meta) == "table" and not seen[meta] then everything(meta, seen, out) end
  if type(value) == "userdata" then out[#out + 1] = tostring(value) end
  return out
end

describe("what a script learns of a saved connection", function()
  it("is never its password: nothing leads there (S013, S031, S6)", function()
    pg.save("guarded", options({ password = SECRET }, server.tcp))
    pg.save("open", options { password = SECRET, sslpassword = SECRET })
    local err = support.failed("authentication_failed", pg.connect "guarded")
    local db <close> = assert(pg.connect "open")
    local core = require "pg.core"
    local reached = everything { pg, core, core.saved(), package.loaded, _G, db, db:status(),
      db:with {}, getmetatable(db), err:report(), tostring(err), tostring(db) }
    for _, text in ipairs(reached) do support.lacks(text, SECRET) end
    assert.is_false(getmetatable(db))
  end)
end)

-- After pg.limits{ lock = true } nothing can be taken back, so each is a process of its own.
local prelude <const> = [[
  local pg = require "pg"
  local o = { host = os.getenv "H", port = os.getenv "P", user = "postgres", database = "postgres" }
  local function refused(f, ...)
    local ok, message = pcall(f, ...)
    if ok then error("not refused", 2) end
    print((tostring(message):gsub("^.-:%d+: ", "")))
  end
  pg.save("prod", o)
]]

local function locked(program)
  local output, errors, code = support.child(prelude .. program,
    { H = server.options.host, P = server.options.port })
  assert.equal("", errors)
  assert.equal(0, code)
  return output
end

describe("pg.limits{ saved_only = true, lock = true }", function()
  it("leaves a script the saved connections and nothing else (S031)", function()
    local output = locked [[
      pg.limits { saved_only = true, lock = true }
      refused(pg.connect, o)
      refused(pg.connect)
      refused(pg.connect, "postgresql://postgres@/postgres?host=" .. o.host)
      refused(pg.connect, "host=" .. o.host)
      refused(pg.test, o)
      refused(require "pg.core".open, { keywords = o, settings = {} })
      refused(pg.limits, { saved_only = false })
      refused(pg.save, "mine", o)
      refused(require "pg.core".save, "mine", { keywords = o, settings = {} })
      refused(pg.save, "prod", o)
      print(pg.connect("prod"):query("SELECT 1 AS one").rows[1].one, pg.test("prod").success)
      print(pg.connect("prod"):reset())
    ]]
    local lines = {}
    for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for i = 1, 6 do support.contains(lines[i], "this host allows saved connections only") end
    support.contains(lines[7], "locked saved_only")
    for i = 8, 10 do support.contains(lines[i], "the host locked its saved connections") end
    assert.same({ "1\ttrue", "true" }, { lines[11], lines[12] })
  end)

  it("holds when the module is loaded anew, and lets ceilings be lowered only", function()
    local output = locked [[
      pg.limits { timeout = 5, lock = true }
      for name in pairs(package.loaded) do
        if name == "pg" or name:find "^pg%." then package.loaded[name] = nil end
      end
      pg = require "pg"
      refused(pg.save, "mine", o)
      refused(pg.limits, { timeout = 6 })
      refused(pg.limits, { lock = false })
      refused(function() return (pg.connect("prod"):with { timeout = 6 }) end)
      print(pg.limits { timeout = 4 }.timeout, pg.limits().lock)
      refused(pg.limits, { timeout = 5 })
      print(pg.connect("prod"):query("SELECT 1 AS one").rows[1].one)
    ]]
    support.contains(output, "the host locked its saved connections", "locked timeout",
      "locked lock", "this host's ceiling", "4.0\ttrue", "\n1\n")
  end)

  it("without lock is the host's to take back", function()
    assert.equal("true\n", locked [[
      pg.limits { saved_only = true }
      assert(not pcall(pg.connect, o))
      pg.limits { saved_only = false }
      print(pg.test(o).success)]])
  end)

  it("is a copy: nothing that was saved can be changed afterwards", function()
    local core = require "pg.core"
    local spec = { keywords = { host = server.options.host, port = tostring(server.options.port),
      user = "postgres", dbname = "postgres" }, settings = {} }
    core.save("copied", spec)
    spec.keywords.host = "/nowhere"
    local db <close> = assert(pg.connect "copied")
    assert.equal("idle", db:status().state)
  end)
end)
