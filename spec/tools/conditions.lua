-- Writes lua/pg/conditions.lua: SQLSTATE to condition name, as in PostgreSQL's Appendix A.
-- Usage: lua5.4 spec/tools/conditions.lua [errcodes.txt] > lua/pg/conditions.lua
-- SPDX-License-Identifier: MIT

-- What the servers 16 to 18 have added to the installed one.
local newer <const> = {
  ["25P04"] = "transaction_timeout",
  ["10608"] = "invalid_argument_for_xquery",
  ["58P03"] = "file_name_too_long",
}

local function installed()
  local list <close> = io.popen "ls /usr/share/postgresql/*/errcodes.txt | sort -V | tail -n 1"
  return list:read("l")
end

local path = arg[1] or installed()
local names, codes = {}, {}
for code, name in pairs(newer) do
  names[code] = name
end
for line in io.lines(path) do
  local code, name = line:match("^(%w%w%w%w%w)%s+[EWS]%s+ERRCODE_[%w_]+%s+([%w_]+)")
  -- Where a code has two names the first is the manual's, as in PL/pgSQL's own table.
  if code and (not names[code] or newer[code]) then
    names[code] = name
  end
end
for code in pairs(names) do
  codes[#codes + 1] = code
end
table.sort(codes)

print("-- Made by: lua5.4 spec/tools/conditions.lua > lua/pg/conditions.lua")
print("-- SQLSTATE to condition name: PostgreSQL's Appendix A (15, and what 16 to 18 added).")
print("-- SPDX-License-Identifier: MIT\n")
print("---@type table<string, string>")
print("return {")
for _, code in ipairs(codes) do
  print(('  ["%s"] = "%s",'):format(code, names[code]))
end
print("}")
