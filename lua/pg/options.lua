-- SPDX-License-Identifier: MIT
-- options: what pg.connect takes, checked and brought into one form (a
-- specification for pg.core.open). Names, defaults, did-you-mean. Connects to
-- nothing.
local core = require "pg.core"
local errors = require "pg.errors"

local options = {}

local SSL_MODES = { disable = true, allow = true, prefer = true, require = true,
  ["verify-ca"] = true, ["verify-full"] = true }

-- Settings that pg.core takes at three scopes: connect, db:with{}, call.
local SETTINGS = { "timeout", "max_result", "rows", "null", "numeric", "json", "timestamps" }
--- Their names.
options.SETTINGS = SETTINGS
local OWN = { "name", "database", "username", "password", "connect_timeout", "wait", "readonly",
  "prepare" }
local NAMES = table.move(OWN, 1, #OWN, #SETTINGS + 1, { table.unpack(SETTINGS) })
local ACTION = { "query", "parameters" }

-- What the core may ask about, by the place of the unknown key.
local KNOWN = {
  settings = SETTINGS,
  action = table.move(SETTINGS, 1, #SETTINGS, #ACTION + 1, { table.unpack(ACTION) }),
  limits = { "timeout", "max_result", "saved_only", "lock" },
}

--- Edits (insert, drop, change, swap of neighbours) from a to b.
local function distance(a, b)
  local before, last = nil, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

--- The name most like `name`, if any is near enough to be meant.
---@param name string
---@param names string[]
---@return string?
function options.nearest(name, names)
  local best, least = nil, math.max(1, #name // 3) + 1
  local lower = name:lower()
  for _, known in ipairs(names) do
    local edits = distance(lower, known:lower())
    if #name > 3 and known:sub(1, #name):lower() == lower then edits = math.min(edits, 1) end
    if edits < least or edits == least and best and known < best then
      best, least = known, edits
    end
  end
  return best
end

local function did_you_mean(name, names)
  local near = options.nearest(name, names)
  if near then return (" (did you mean '%s'?)"):format(near) end
  return ""
end

local ANY_URI <const> = "^%s*%a[%w+.-]*://"
local NOT_OURS <const> = "not a URI of PostgreSQL: it must begin with postgresql:// or postgres://"

--- The message for an unknown key; called by the core as well.
---@param key any
---@param where string
---@return string
function options.unknown(key, where)
  if where == "saved" and (key:find(ANY_URI) or key:find("%S:%S+@")) then
    -- not repeated: it may hold a password
    return NOT_OURS
  elseif where == "saved" then
    return ("no saved connection '%s'%s; the host saves one with pg.save(name, options). A URI "
      .. "begins with postgresql://, a conninfo string holds '='")
      :format(key, did_you_mean(key, core.saved()))
  end
  if type(key) ~= "string" then
    return ("options are named: there is a value under the %s key %s")
      :format(type(key), tostring(key))
  end
  return ("unknown option '%s'%s"):format(key, did_you_mean(key, KNOWN[where] or {}))
end

--- Raises unless every key of `given` is known.
---@param given table
---@param known string[]
---@param level integer
function options.check(given, known, level)
  local set = {}
  for _, name in ipairs(known) do set[name] = true end
  for key in pairs(given) do
    if not set[key] then
      if type(key) ~= "string" then error(options.unknown(key), level + 1) end
      error(("unknown option '%s'%s"):format(key, did_you_mean(key, known)), level + 1)
    end
  end
end

--- Those of the options that are settings.
---@param given table
---@return pg.Settings
function options.settings(given)
  local settings = {}
  for _, name in ipairs(SETTINGS) do settings[name] = given[name] end
  return settings
end

local keyword_names

local function known_keywords()
  if not keyword_names then
    keyword_names = core.keywords()
  end
  return keyword_names
end

--- The names that a message may offer, after those of `first` and `others`.
local function offered(first, others)
  local names = { table.unpack(first) }
  table.move(others or {}, 1, #(others or {}), #names + 1, names)
  for name in pairs(known_keywords()) do
    if name ~= "replication" then names[#names + 1] = name end
  end
  return names
end

local function fail(text, ...)
  error({ text:format(...) }, 0) -- a message in a table: caught below
end

-- Several hosts are tried in their order; each has its port and its address.
local LISTS = { host = true, hostaddr = true, port = true }
local FLAGS = { keepalives = true, sslcompression = true, sslsni = true, gssdelegation = true }

local function text_of(name, value)
  local kind = type(value)
  local whole = kind == "number" and math.tointeger(value)
  if whole then return tostring(whole) end
  if kind == "boolean" and FLAGS[name] then return value and "1" or "0" end
  if kind == "table" and LISTS[name] then
    local list = {}
    for i, item in ipairs(value) do
      if type(item) == "table" then fail("%s must be a list of strings", name) end
      list[i] = text_of(name, item)
    end
    if #list == 0 then fail("%s is an empty list", name) end
    return table.concat(list, ",")
  end
  if kind == "number" and not name:find "password" then fail("%s cannot be %s", name, value) end
  if kind ~= "string" then fail("%s must be a string, not a %s", name, kind) end
  if value:find("\0", 1, true) then fail("%s holds a NUL byte", name) end
  return value
end

--- A list's items without the spaces around them, and an address without brackets.
local function trim(list)
  local items = {}
  for item in (list .. ","):gmatch "([^,]*)," do
    items[#items + 1] = item:match "^%s*(.-)%s*$":gsub("^%[(.*)%]$", "%1")
  end
  return table.concat(items, ",")
end

local function check_port(ports)
  for port in ports:gmatch "[^,]+" do
    local number = port:match "^%d+$" and tonumber(port)
    if not number or number < 1 or number > 65535 then
      -- Of an URI it may be a piece of the password: only a number is shown.
      fail("port must be a number from 1 to 65535%s", number and ", not " .. port or "")
    end
  end
end

local function check_host(hosts)
  if hosts:find("://", 1, true) then
    fail("host takes a host's name or address; a whole URI goes to pg.connect \"postgresql://...\"")
  end
  for host in hosts:gmatch "[^,]+" do
    local name, port = host:match "^([^:/@]+):(%d+)$"
    if name then fail("host '%s' holds a port: host = '%s', port = %s", host, name, port) end
  end
end

local CHECKS = {
  port = check_port,
  host = check_host,
  sslmode = function(mode)
    if not SSL_MODES[mode] then
      fail("sslmode '%s' is none of disable, require, verify-ca, verify-full", mode)
    end
  end,
  replication = function()
    fail "replication connections are not for queries; this module does not open them"
  end,
  client_encoding = function(encoding)
    if not encoding:upper():match "^UTF%-?8$" then
      fail("client_encoding must be UTF8: Lua strings of text are UTF-8 here, not %s", encoding)
    end
  end,
}

local function put(keywords, name, value)
  local text = text_of(name, value)
  if LISTS[name] then text = trim(text) end
  if text == "" then return end -- to libpq, too, it means that nothing is given
  if CHECKS[name] then CHECKS[name](text) end
  if keywords[name] and keywords[name] ~= text then
    fail("%s is given twice, as '%s' and as '%s'", name, keywords[name], text)
  end
  keywords[name] = text
end

local ALIASES = { database = "dbname", username = "user" }

local function take_settings(given, spec)
  for _, name in ipairs(SETTINGS) do
    spec.settings[name] = given[name]
  end
end

local function take_connect_timeout(spec, value)
  local seconds = tonumber(value)
  if not seconds or seconds < 0 or seconds ~= seconds then
    fail("connect_timeout must be a number of seconds, not '%s'", tostring(value))
  end
  spec.connect_timeout = seconds
end

local OWN_TAKERS = {
  name = function(spec, value)
    if type(value) ~= "string" then fail("name must be a string, not a %s", type(value)) end
    spec.name = text_of("name", value)
  end,
  password = function(spec, value)
    if type(value) == "function" then
      spec.password = value
    else
      spec.keywords.password = text_of("password", value)
    end
  end,
  connect_timeout = take_connect_timeout,
  wait = function(spec, value)
    local meta = type(value) == "table" and getmetatable(value)
    if type(value) ~= "function" and not (type(meta) == "table" and meta.__call) then
      fail("wait must be a function (fd, mode, seconds), not a %s", type(value))
    end
    spec.wait = meta and function(...) return value(...) end or value
  end,
  readonly = function(spec, value)
    if type(value) ~= "boolean" then fail "readonly must be true or false" end
    spec.readonly = value
  end,
  prepare = function(spec, value)
    if type(value) ~= "boolean" then fail "prepare must be true or false" end
    spec.prepare = value
  end,
}

local function take_table(given, spec, others)
  local keywords = known_keywords()
  local is_setting = {}
  for _, name in ipairs(SETTINGS) do is_setting[name] = true end
  for key, value in pairs(given) do
    local name = ALIASES[key] or key
    if OWN_TAKERS[name] then
      OWN_TAKERS[name](spec, value)
    elseif keywords[name] then
      put(spec.keywords, name, value)
    elseif not is_setting[name] then
      if type(key) ~= "string" then fail("%s", options.unknown(key)) end
      fail("unknown option '%s'%s", key, did_you_mean(key, offered(NAMES, others)))
    end
  end
  take_settings(given, spec)
end

--- libpq's message on a string that it cannot read: without what it quotes of
--- it, which may be a piece of a password, but with the keyword that was meant.
local function complaint(message)
  local word = message:match 'connection option "([^"]*)"' or message:match 'parameter: "([^"]*)"'
  return errors.hide_quoted(message):gsub("%s+$", "")
    .. (word and did_you_mean(word, offered {}) or "")
end

local function take_string(text, spec)
  if text:find("\0", 1, true) then fail "the connection string holds a NUL byte" end
  if text:find(ANY_URI) and options.is_name((text:gsub("=", ""))) then fail(NOT_OURS) end
  local parsed, message = core.parse_conninfo(text)
  if not parsed then fail("%s", complaint(message)) end
  for name, value in pairs(parsed) do
    if name == "connect_timeout" then
      take_connect_timeout(spec, value)
    else
      put(spec.keywords, name, value)
    end
  end
end

local function count(list)
  return select(2, list:gsub(",", "")) + 1
end

--- What libpq is told beyond what was asked for.
local function complete(spec)
  local keywords = spec.keywords
  local hosts, ports = keywords.hostaddr or keywords.host, keywords.port
  if hosts and ports and count(ports) > 1 and count(ports) ~= count(hosts) then
    fail("there are %d ports for %d hosts", count(ports), count(hosts))
  end
  keywords.client_encoding = "UTF8"
  keywords.fallback_application_name = keywords.fallback_application_name or "lua-pg"
  if spec.name then keywords.application_name = keywords.application_name or spec.name end
  -- An encrypted key without a password would prompt on the terminal; with a
  -- wrong one it fails at once. An unencrypted key does not look at it.
  if known_keywords().sslpassword and (keywords.sslpassword or "") == "" then
    keywords.sslpassword = "none was given"
  end
  local environment = os.getenv "PGSSLMODE"
  spec.open_ssl = not keywords.sslmode and (environment or "") == ""
  -- libpq bounds its request to cancel by this (libpq 17 and later)
  if (spec.connect_timeout or 0) > 0 then
    keywords.connect_timeout = tostring(math.ceil(math.min(spec.connect_timeout, 1e6)))
  end
end

--- Does the string name a connection rather than describe one?
---@param text string
function options.is_name(text)
  return not (text:find("^postgres://") or text:find("^postgresql://") or text:find("=", 1, true))
end

--- A specification for pg.core.open. Raises at `level` on what only a wrong
--- program does: an unknown option, a value of the wrong type.
---@param given table|string|nil
---@param level integer
---@param others? string[] options of the caller's own, for the messages
---@return table
function options.specification(given, level, others)
  local spec = { keywords = {}, settings = {} }
  local ok, problem = pcall(function()
    if type(given) == "string" then
      take_string(given, spec)
    elseif type(given) == "table" then
      take_table(given, spec, others)
    elseif given ~= nil then
      fail("pg.connect takes a table of options, a URI or a name, not a %s", type(given))
    end
    complete(spec)
  end)
  if not ok then
    if type(problem) == "table" then error(problem[1], level + 1) end
    error(problem, 0)
  end
  return spec
end

return options
