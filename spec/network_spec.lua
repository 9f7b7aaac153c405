-- A network that loses packets: a network namespace of its own, where a fifth of what passes
-- between the client and a proxy is dropped. The proxy reaches the server by its Unix socket.
-- SPDX-License-Identifier: MIT
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local server, folder, program, problem

-- Root, or user namespaces for everybody.
local NAMESPACE <const> = "unshare $([ $(id -u) = 0 ] || echo -r) -n sh -c "
  .. "'ip link set lo up && nft list ruleset && exec \"$0\" \"$@\"' "

setup(function()
  local _, errors, code = support.run(NAMESPACE .. "true")
  if code ~= 0 then
    problem = "no network namespace with nftables: " .. errors:gsub("%s+$", "")
    return
  end
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c")
  server = assert(throwaway.start())
end)

teardown(function()
  if not server then return end
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

describe("a network that loses packets", function()
  local script <const> = [[
    local faultproxy = require "spec.fault.faultproxy"
    local pg = require "pg"

    local proxy <close> = faultproxy.start(%q, { host = %q, port = %d })
    -- Every fifth packet, so that no run is unlucky.
    local nft <close> = io.popen("nft -f -", "w")
    nft:write(([=[
      table inet loss {
        chain input {
          type filter hook input priority 0
          tcp dport PORT numgen inc mod 5 == 4 drop
          tcp sport PORT numgen inc mod 5 == 4 drop
        }
      }]=]):gsub("PORT", tostring(proxy.options.port)), "\n")
    assert(nft:close())

    local function retransmitted()
      local found = {}
      for line in io.lines "/proc/self/net/snmp" do
        if line:find "^Tcp:" then found[#found + 1] = line end
      end
      local names, numbers = found[1]:gmatch "%%S+", found[2]:gmatch "%%S+"
      for name in names do
        local number = numbers()
        if name == "RetransSegs" then return tonumber(number) end
      end
    end

    local db <close> = assert(pg.connect {
      host = "127.0.0.1", port = proxy.options.port, user = "postgres", database = "postgres",
      connect_timeout = 60,
    })
    local function value(sql, ...)
      return select(2, next(assert(db:query(sql, ...)).rows[1]))
    end
    local piece = "0123456789abcdef"
    for _ = 1, 3 do
      local text = value("SELECT repeat($1, 65536)", piece)
      assert(text == piece:rep(65536), "the result has changed")
      assert(value("SELECT $1 = repeat($2, 65536)", text, piece), "the parameter has changed")
    end
    local rows = assert(db:query "SELECT n FROM generate_series(1, 100000) AS n").rows
    assert(#rows == 100000)
    for i, row in ipairs(rows) do assert(row.n == i) end
    local none, err = db:query "SELECT 1 / 0"
    assert(not none and err.kind == "invalid_value")
    assert(db:status().state == "idle")
    print(retransmitted() > 0 and "lost and sent again" or "nothing was lost")
  ]]

  it("of 20 percent changes nothing but the time it takes (C18)", function()
    if problem then pending(problem) end
    local path <const> = folder .. "/lossy.lua"
    support.write(path, script:format(program, server.options.host, server.options.port))
    local output, errors, code = support.run(NAMESPACE .. support.lua .. " " .. path)
    assert.same({ "lost and sent again\n", "", 0 }, { output, errors, code })
  end)
end)
