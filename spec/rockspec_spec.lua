-- SPDX-License-Identifier: MIT
describe("the rockspec", function()
  local rockspec = {}
  assert(loadfile("lua-pg-scm-1.rockspec", "t", rockspec))()

  local function files(pattern)
    local list = {}
    local pipe <close> = io.popen("ls " .. pattern, "r")
    for name in pipe:lines() do list[#list + 1] = name end
    return list
  end

  it("lists every C file", function()
    assert.same(files("src/*.c"), rockspec.build.modules["pg.core"].sources)
  end)

  it("lists every Lua file under the name by which it is required", function()
    local modules = {}
    for _, file in ipairs(files("lua/pg/*.lua lua/pg/*/*.lua 2>/dev/null")) do
      local name = file:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
      modules[name] = file
    end
    local listed = {}
    for name, file in pairs(rockspec.build.modules) do
      if name ~= "pg.core" then listed[name] = file end
    end
    assert.same(modules, listed)
  end)
end)
