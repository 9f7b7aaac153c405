-- SPDX-License-Identifier: MIT
-- Values near what PostgreSQL can take.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local server, folder
local shadow <const> = os.getenv "ASAN_OPTIONS" and 2 or 1 -- what a sanitizer adds

-- Over TCP: libpq moves what is left of a message each time that the socket is full, and a Unix
-- socket is full four times as often.
local PARAMETER <const> = [[
  local pg = require "pg"
  pg.limits { timeout = 300 } -- for slow machines
  local function peak()
    for line in io.lines "/proc/self/status" do
      local kib = line:match "^VmHWM:%%s*(%%d+)"
      if kib then return kib // 1024 end
    end
    return 0
  end
  local db = assert(pg.connect { host = "127.0.0.1", port = %d, user = "postgres",
    database = "postgres", password = %q, sslmode = "disable" })
  local text = ("0123456789"):rep(30000000)
  local before = peak() -- twice the text
  print(assert(db:query("SELECT md5($1) AS sum", text)).rows[1].sum)
  print(assert(db:query("SELECT 41 + 1 AS answer")).rows[1].answer, db:status().state)
  print(peak() - before)]]

setup(function()
  folder = support.folder()
  server = assert(throwaway.start { tcp = true, settings = { jit = false } })
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

describe("a result that the server cannot make", function()
  -- Two columns of 600 MB in a row are one; these end at the same limit of the same buffer, in a
  -- fifth of the time.
  local beyond <const> = {
    { "a value of more than 1 GB", [[SELECT n, (SELECT string_agg(x, '')
      FROM (SELECT repeat(repeat('x', 10000), 6000) AS x OFFSET 0) AS t, generate_series(n, 20))
      FROM generate_series(1, 1) AS n]], "Cannot enlarge string buffer" },
    { "in the middle of its rows", [[SELECT n, to_tsvector('simple', CASE WHEN n = 3 THEN
      (SELECT string_agg(i::text, ' ') FROM generate_series(100000 + n, 400000) AS i) ELSE 'a' END)
      FROM generate_series(1, 5) AS n]], "string is too long for tsvector" },
  }
  for _, case in ipairs(beyond) do
    it(("is the server's error, and the connection usable: %s (R2)"):format(case[1]), function()
      local db <close> = assert(pg.connect(server.options))
      local err = support.failed("query_failed", db:query(case[2]))
      assert.equal("54000", err.sqlstate)
      support.contains(err.message .. (err.detail or ""), case[3])
      assert.equal("idle", db:status().state)
      assert.equal(42, support.value(db, "SELECT 41 + 1"))
    end)
  end
end)

describe("a parameter of 300 MB", function()
  it("arrives whole, with one copy on the way (P4)", function()
    local path <const> = folder .. "/parameter.lua"
    support.write(path, PARAMETER:format(server.tcp.port, server.tcp.password))
    local output <const>, errors <const> = support.run(
      "env ASAN_OPTIONS=quarantine_size_mb=1 " .. support.lua .. " " .. path)
    assert.equal("", errors)
    local sum, answer, state, more = output:match "^(%x+)\n(%d+)\t(%a+)\n(%d+)\n$"
    assert(more, output)
    assert.same({ "99343605f6f155556c9d665994f410dc", "42", "idle" }, { sum, answer, state })
    assert.is_true(tonumber(more) < 100 * shadow, more) -- MiB
  end)
end)
