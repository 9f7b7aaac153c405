-- SPDX-License-Identifier: MIT
-- The benchmarks run, on small tables and once, and all programs do the same work: how fast is no
-- question here.
local support = require "spec.support"

local folder

--- `make bench` with the works named; what it prints, its stderr, its exit code.
local function bench(works, more)
  return support.run(("SCALE=0.002 ROUNDS=1 INSTRUCTIONS=0 PEERS=0 %s LUA=%s %s spec/bench/run.lua"
    .. " %s %s"):format(more or "", support.lua, support.lua, folder, works))
end

local function content(name)
  local file <close> = assert(io.open(folder .. "/" .. name))
  return file:read "a"
end

describe("make bench", function()
  setup(function()
    folder = support.folder()
    support.compile(folder, "spec/bench/raw.c", "spec/bench/raw_*.c $("
      .. "pkg-config --cflags --libs libpq 2>/dev/null || echo -I$(pg_config --includedir) -lpq)")
  end)
  teardown(function() os.execute("rm -rf '" .. folder .. "'") end)

  it("does every work by raw libpq and the module alike, and writes results.md", function()
    local output, errors, code = bench ""
    assert.are.equal(0, code, errors)
    local page = content "results.md"
    for _, line in ipairs(require "spec.bench.lines") do
      local title = line.title:match "^%s*(.*)"
      support.contains(output, title)
      if line.by ~= "module" or pcall(require, "cjson") then support.contains(page, title) end
    end
    support.contains(page, "libpq", "PostgreSQL", "`make bench ")
  end)

  it("measures how the cost grows, and writes linear.md", function()
    local output, errors, code = bench "linear"
    assert.are.equal(0, code, errors)
    support.contains(output, "rows streamed by db:each: ", "connections in one Lua state: ")
    support.contains(content "linear.md", "| 20000 |", "texts run in turn, cached: ")
  end)

  it("names the works that there are for one that is not", function()
    local _, errors, code = bench "rowz"
    assert.are.equal(1, code)
    support.contains(errors, "no work rowz; there are: int, lookup, rows,")
  end)

  it("notices a program whose answers are others'", function()
    support.write(folder .. "/liar", "#!/bin/sh\necho 1 1 1 7\n")
    os.execute(("mv %s/raw %s/true_raw; mv %s/liar %s/raw; chmod +x %s/raw"):format(folder, folder,
      folder, folder, folder))
    local _, errors, code = bench "catalog"
    os.execute(("mv %s/true_raw %s/raw"):format(folder, folder))
    assert.are.equal(1, code)
    support.contains(errors, "catalog: the floor and the module disagree")
  end)
end)
