-- Reads what libpq says about a failed connect: several attempts on several lines, in verbose form,
-- the server's words in any language. Finds the SQLSTATE, cleans the text, decides the kind.
-- SPDX-License-Identifier: MIT
local fixes <const> = require "pg.fixes"

local M = {}

local function has(text, list)
  for _, words in ipairs(list) do
    if text:find(words, 1, true) then
      return true
    end
  end
  return false
end

-- "no encryption" as servers say it (9.6 to 13: "SSL off").
local unencrypted <const> = {
  "no encryption", "SSL off", "keine Verschlüsselung", "SSL aus", "aucun chiffrement",
  "SSL inactif", "sin cifrado", "SSL inactivo", "nessuna crittografia", "SSL disabilitato",
  "暗号化なし", "SSLオフ", "암호화 안함", "SSL 중지", "без шифрования", "SSL выкл",
  "без шифрування", "ingen kryptering", "SSL av", "sem criptografia", "SSL desabilitado",
  "დაშიფვრის გარეშე", "没有加密", "未加密", "SSL 关闭",
}

local pooler_full <const> = {
  "no more connections allowed", "max clients reached", "MaxClientsInSessionMode",
  "query_wait_timeout", "remaining connection slots", "too many clients already",
}
local pooler_down <const> = {
  "pgbouncer cannot connect to server", "server login has been failing", "server_login_retry",
  "the database system is",
}
local bad_sign_in <const> = {
  "no such user", "no such database", "Tenant or user not found", "password authentication failed",
  "no such tenant", "SASL authentication failed",
}

-- Servers, poolers and hosted services say that SSL is required each in their own words.
local function ssl_wanted(text)
  local low = text:lower()
  if low:find("does not support ssl", 1, true) or low:find("gssapi", 1, true)
    or low:find("ssl error", 1, true) or low:find("certificate", 1, true) then
    return false
  end
  local subject = low:find("ssl", 1, true) or low:find("tls", 1, true)
    or low:find("encrypt", 1, true)
  return subject and (low:find("requir", 1, true) or low:find("must use", 1, true)
      or low:find("only accept", 1, true)) ~= nil
    or low:find("connection is insecure", 1, true) ~= nil
end

---Whether 28000 means that the connection should have been encrypted. No line of pg_hba.conf for
---an unencrypted one is enough, where neither "prefer" nor a socket has made it so.
---@param text string
---@param raw table
---@return boolean
function M.lacked_ssl(text, raw)
  if raw.ssl_in_use or raw.refused_encrypted or raw.sslmode == "prefer"
    or text:find("[local]", 1, true) then
    return false
  end
  return raw.ssl_in_use == false and text:find("pg_hba.conf", 1, true) ~= nil
    or has(text, unencrypted) or ssl_wanted(text) or false
end

---A kind from the words of a server or pooler, where its SQLSTATE alone misleads.
---@param text string
---@param state string
---@param raw table
---@return string?
function M.kind_of_server_text(text, state, raw)
  local connecting = raw.stage == "connect"
  if state == "28000" and M.lacked_ssl(text, raw) then
    return "ssl_required"
  elseif state:find("^28") then
    return nil
  elseif state:find("^08P") or state:find("^XX") or connecting then
    if has(text, pooler_full) then
      return "too_many_connections"
    elseif has(text, pooler_down) then
      return "server_unavailable"
    elseif connecting and has(text, bad_sign_in) then
      return "authentication_failed"
    elseif connecting and not raw.ssl_in_use and ssl_wanted(text) then
      return "ssl_required"
    elseif connecting and state == "55000" then
      return "authentication_failed" -- the database takes no connections: another name is needed
    elseif connecting and state == "0A000" and text:find("protocol", 1, true) then
      return "unsupported_version"
    end
  end
end

local not_postgres <const> = {
  "expected authentication request from server", "received invalid response to SSL negotiation",
  "received invalid response to GSSAPI negotiation", "invalid response to SSL negotiation",
  "received invalid authentication request",
}
local auth_words <const> = {
  "no password supplied", "SCRAM", "channel binding", "channel_binding", "SASL",
  "authentication method", "GSSAPI continuation", "could not open ticket",
  "password retrieved from file",
}
-- "server does not support SSL, but SSL was required": twice SSL, whatever the language.
local function lacks_ssl(text)
  return text:find("SSL.*SSL") and not text:find("SSL error", 1, true)
end
local ssl_words <const> = {
  "SSL", "TLS", "certificate", "does not match host name", "private key", "GSSAPI encryption",
  "PEM", "sslrootcert", "ssl",
}
local wrong_server <const> = {
  "session is read-only", "session is not read-only", "server is in hot standby mode",
  "server is not in hot standby mode", "session read-only status",
}
local parse_words <const> = {
  "connection info string", "percent-encoded", "URI", "for connection option",
  "invalid connection option", 'missing "="', "invalid sslmode value", "could not match",
}
local service_words <const> = { "definition of service", "service file" }

-- The kind of an attempt without SQLSTATE: libpq's own words, or the operating system's.
local function kind_of_libpq_text(whole, raw)
  local text = whole:gsub('".-"', '""') -- a host may be called ssl.example.com
  if has(text, not_postgres) then
    raw.not_postgres = true
    return "connection_refused"
  elseif raw.needs_password or has(text, auth_words) then
    return "authentication_failed"
  elseif has(text, wrong_server) then
    return "server_unavailable"
  elseif has(text, { "timeout expired", "Connection timed out" }) then
    return "connect_timeout"
  elseif lacks_ssl(text) then
    raw.no_ssl = true
    return "ssl_failed"
  elseif not raw.ssl_in_use and has(text, { "insecure", "required" }) and ssl_wanted(text) then
    return "ssl_required"
  elseif has(text, service_words) then
    raw.service = true
    return "invalid_parameter"
  elseif has(whole, parse_words) or text:find("^invalid [%w_ ]+:") then
    raw.conninfo = true
    return "invalid_parameter"
  elseif has(text, ssl_words) then
    return "ssl_failed"
  end
  return "connection_refused"
end

local label <const> = "^([^%s:]+) ?:  ?"

-- One line of a verbose message ends with the function, file and line in the server's source.
local function is_location(line)
  return line:find("^%S+ ?:%s+[%w_]+, [%w_./\\%-]+%.%a+:%d+%s*$") ~= nil
    or line:find("^%S+ ?:%s+[%w_./\\%-]+%.%a+:%d+%s*$") ~= nil
end

-- prefix, severity, SQLSTATE, message of a line such as "...failed: FATAL:  28P01: password ...".
local function split_line(line)
  local before, state, rest = line:match("^(.-) ?:  (%w%w%w%w%w): (.*)$")
  if not state or not state:find("^[%u%d]+$") then
    return nil
  end
  local prefix, severity = before:match("^(.*%s)(%S+)$")
  if not prefix then
    prefix, severity = before:match("^(.*：)(.+)$") -- Chinese: a wide colon, no space
  end
  return prefix or "", severity or before, state, rest
end

-- The attempts of libpq's text: { text =, sqlstate =, severity =, detail =, hint =, prefix = }.
local function attempts(text)
  local list, current = {}, nil
  local start = text:match("^%S+ %S+") or text:match("^%S+") or ""
  for line in text:gmatch("[^\r\n]+") do
    local prefix, severity, state, rest = split_line(line)
    local name, value = line:match(label .. "(.*)$")
    if is_location(line) then
      goto continue
    elseif state then
      current = { text = prefix .. rest, prefix = prefix, severity = severity, sqlstate = state }
      list[#list + 1] = current
    elseif current and current.sqlstate and (name == "DETAIL" or name == "HINT") then
      current[name:lower()] = value
    elseif not current or line:sub(1, #start) == start and not line:find("^%s")
      or line:find("^connection to server") or line:find("^could not ") then
      current = { text = line, prefix = line:match("^(.- failed: )") or "" }
      list[#list + 1] = current
    else
      current.text = current.text .. "\n" .. line
    end
    ::continue::
  end
  return list
end

-- A host that answered twice was tried with SSL and without.
local function refused_encrypted(list)
  local seen = {}
  for _, a in ipairs(list) do
    if a.sqlstate then
      if seen[a.prefix] or a.text:find("SSL encryption", 1, true) or a.text:find("SSL on", 1, true)
      then
        return true
      end
      seen[a.prefix] = true
    end
  end
  return false
end

---Replaces libpq's verbose text in e.message by a clean one and fills in what it says.
---@param e table
---@param raw table
function M.clean(e, raw)
  local list = attempts(e.message:sub(1, 100000)) -- libpq itself takes 30,000 bytes from a server
  raw.refused_encrypted = refused_encrypted(list)
  local texts, seen, best = {}, {}, nil
  for _, a in ipairs(list) do
    local unanswered = e.kind == "connect_timeout" and a.text:find("failed: ?$")
    if not seen[a.text] and not unanswered then
      seen[a.text] = true
      texts[#texts + 1] = a.text
    end
    a.kind = a.sqlstate and (M.kind_of_server_text(a.text, a.sqlstate, raw)
        or fixes.by_sqlstate[a.sqlstate] or fixes.by_sqlstate[a.sqlstate:sub(1, 2)]
        or "query_failed")
      or kind_of_libpq_text(a.text, raw)
    -- A server that answered says more than one that did not. What it says to the second try,
    -- without SSL, is of no use.
    local second = raw.refused_encrypted and a.sqlstate == "28000" and has(a.text, unencrypted)
    local telling = a.kind ~= "connection_refused" or raw.not_postgres
    local rank = a.sqlstate and (second and 3 or 4) or telling and 2 or 1
    if not best or rank >= best.rank then
      best, a.rank = a, rank
    end
  end
  e.message = #texts > 0 and table.concat(texts, "\n") or nil
  if not best then
    return
  end
  raw.kind = best.kind
  raw.words = best.sqlstate and best.text:sub(#best.prefix + 1) or nil
  e.sqlstate = e.sqlstate or best.sqlstate
  e.severity = e.severity or best.severity
  e.detail = e.detail or best.detail
  e.hint = e.hint or best.hint
  if best.kind == "invalid_parameter" and not best.sqlstate and not raw.service then
    e.message = M.hide_quoted(e.message)
  end
end

---@param e table cleaned
---@param raw table
---@return string
function M.kind(e, raw)
  if raw.kind then
    return raw.kind
  elseif e.sqlstate then
    return M.kind_of_server_text(e.message or "", e.sqlstate, raw)
      or fixes.by_sqlstate[e.sqlstate] or "query_failed"
  end
  return raw.needs_password and "authentication_failed" or "connection_refused"
end

local keywords <const> = {}
for word in ([[host hostaddr port dbname user password passfile channel_binding connect_timeout
  client_encoding options application_name fallback_application_name keepalives keepalives_idle
  keepalives_interval keepalives_count tcp_user_timeout replication gssencmode sslmode requiressl
  sslnegotiation sslcompression sslcert sslkey sslpassword sslcertmode sslrootcert sslcrl sslcrldir
  sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version krbsrvname gsslib
  gssdelegation service target_session_attrs load_balance_hosts require_auth = ]]):gmatch("%S+") do
  keywords[word] = true
end

---Takes the quoted part out of libpq's complaint about a connection string: it may hold a piece of
---the password. Known option names stay.
---@param text string
---@return string
function M.hide_quoted(text)
  if type(text) ~= "string" then
    return ""
  end
  text = text:gsub("%s+$", "")
  local body, tail, option = text:match('^(.*)( for connection option "([%w_]+)".*)$')
  if not keywords[option] then
    body, tail = text, ""
  end
  local from = 1
  while true do
    local start, stop, word = body:find('"(.-)"', from)
    if not start then
      start = body:find('"', from, true)
    elseif keywords[word] then
      from = stop + 1
      goto continue
    end
    if start then -- to the last quote: the secret may hold some itself
      local last = body:match('.*()"')
      return body:sub(1, start) .. "..." .. (last > start and body:sub(last) or '"') .. tail
    end
    break
    ::continue::
  end
  -- Other languages quote otherwise.
  local first = body:find("\xC2[\xAB\xBB]")
  first = first or body:find("\xE2\x80[\x98-\x9F]") or body:find("\xE3\x80[\x8C-\x8F]")
  if first then
    local last = body:match(".*()\xC2[\xAB\xBB]") or body:match(".*()\xE2\x80[\x98-\x9F]")
      or body:match(".*()\xE3\x80[\x8C-\x8F]")
    return body:sub(1, first - 1) .. '"..."' .. body:sub(last):gsub("^[\xC2-\xEF][\x80-\xBF]+", "")
      .. tail
  end
  return body .. tail
end

return M
