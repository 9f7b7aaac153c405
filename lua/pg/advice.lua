-- What to try for one error: the kind's list of fixes.lua, filled in with what is known, and with
-- the advice that fits this very case in front. Reads the error, changes nothing in it.
-- SPDX-License-Identifier: MIT
local fixes <const> = require "pg.fixes"

local M = {}

---An SQL identifier, always quoted: right for reserved words and capitals too.
---@param name string
---@return string
function M.ident(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

---@param text string
---@return string
function M.literal(text)
  local prefix = text:find("\\", 1, true) and "E" or ""
  return prefix .. "'" .. text:gsub("\\", "\\\\"):gsub("'", "''") .. "'"
end

---Seconds in words: 60 s, 0.25 s.
---@param n number
---@return string
function M.seconds(n)
  local format = n >= 100 and "%.0f" or n >= 10 and "%.1f" or "%.3g"
  local text = format:format(n)
  if text:find(".", 1, true) and not text:find("e", 1, true) then
    text = text:gsub("0+$", ""):gsub("%.$", "")
  end
  return text .. " s"
end

---Bytes in words: 10 MiB, 1.5 KiB, 512 bytes.
---@param n number
---@return string
function M.bytes(n)
  for _, unit in ipairs { { 1 << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" } } do
    if n >= unit[1] then
      return (("%.1f"):format(n / unit[1]):gsub("%.0$", "")) .. " " .. unit[2]
    end
  end
  return ("%d byte%s"):format(n // 1, n == 1 and "" or "s")
end

-- What surrounds the error's place in the SQL, and the word that stands there.
local function around(e)
  if not e.sql or not e.position then
    return "", nil
  end
  local ok, at = pcall(utf8.offset, e.sql, e.position)
  if not ok or not at then
    return e.sql:sub(-10), nil
  end
  return e.sql:sub(math.max(1, at - 10), at + 10), e.sql:match("^[%w_]+", at)
end

local function place(e)
  if not e.host then
    return nil
  end
  if e.host:sub(1, 1) == "/" then
    return (' (the socket of port %s in "%s")'):format(e.port or "5432", e.host)
  end
  return (': host "%s", port %s'):format(e.host, e.port or "5432")
end

-- The place a value was meant for, in words.
local function value_place(e)
  if e.column then
    return ('column "%s"'):format(e.column) .. (e.parameter and " ($" .. e.parameter .. ")" or "")
  end
  return e.parameter and "parameter $" .. e.parameter
end

---@param e pg.Error
---@param raw table what the core said besides the fields that stay visible
---@return table<string, string>
function M.facts(e, raw)
  local f = {}
  local function fact(name, value, format)
    if value ~= nil then
      f[name] = format and format:format(value) or value
    end
  end
  fact("place", place(e))
  fact("role", e.user and M.ident(e.user))
  fact("role_text", e.user and M.literal(e.user))
  fact("user_is", e.user, ': "%s"')
  fact("database_is", e.database, ': "%s"')
  if e.table then
    f.relation = (e.schema and M.ident(e.schema) .. "." or "") .. M.ident(e.table)
    f.relation_is = ': "' .. e.table .. '"'
    f.table_text = '"' .. (e.schema and e.schema .. "." or "") .. e.table .. '"'
  end
  fact("column_is", e.column, ': "%s"')
  fact("server_is", e.server, " (the server is PostgreSQL %s)")
  fact("sqlstate_is", e.sqlstate)
  fact("parameter_name", e.parameter and "$" .. e.parameter)
  fact("value_place", value_place(e))
  fact("holder", raw.lock_holder, " The lock is held by process %s.")
  fact("cause_is", type(e.cause) == "table" and e.cause.message, " (%s)")
  local sized = e.kind == "result_too_large"
  if e.limit and not sized then
    f.limit_is = " of " .. M.seconds(e.limit)
    f.timeout_now = " (it is " .. M.seconds(e.limit) .. " now)"
  end
  if e.elapsed then
    f.elapsed_is = " after " .. M.seconds(e.elapsed)
    local ran = M.seconds(e.elapsed)
    f.elapsed_in = (not e.limit or ran ~= M.seconds(e.limit)) and " (it ran " .. ran .. ")" or nil
  end
  if e.limit and sized then
    local limit = M.bytes(e.limit)
    local bytes = e.bytes and M.bytes(e.bytes)
    f.size_is = " of " .. limit .. (bytes and bytes ~= limit and " (" .. bytes .. " so far)" or "")
    f.result_now = " (it is " .. limit .. " now)"
  end
  return f
end

local lists = {} -- by kind: function(e, raw, list) that puts the case's own advice into the list

local function first(list, text)
  table.insert(list, 1, text)
end

local function lead(list, n)
  table.insert(list, 1, table.remove(list, n))
end

local function has(e, ...)
  local text = e.message
  for _, words in ipairs { ... } do
    if text:find(words, 1, true) then
      return true
    end
  end
  return false
end

function lists.connection_refused(e, raw, list)
  local name = e.message:match('could not translate host name "(.-)"')
  local socket = e.message:match('socket "(.-)"') or e.message:match('domain socket "(.-)"')
  if raw.not_postgres then
    first(list, "Is this a PostgreSQL port? Something else answers there{place|}.")
  elseif name then
    list[1] = ('Verify that the host is correct: no address is known for "%s" (a typing error, or '
      .. "DNS on this machine); then the port."):format(name)
  elseif socket then
    list[1] = ("Verify that host and port are correct: nothing listens on the socket %s; over TCP "
      .. 'say host = "localhost".'):format(socket)
  elseif has(e, "unreachable", "No route to host") then
    list[1] = "Verify that host and port are correct{place|}; no network route leads there."
  elseif has(e, "closed the connection", "reset by peer") then
    list[1] = "Verify that host and port are correct{place|}; something accepts connections there "
      .. "and drops them: a proxy, a firewall, or a server in trouble (see its log)."
  elseif has(e, "Connection refused") then
    list[1] = "Verify that host and port are correct{place|}; the machine answers, but nothing "
      .. "listens on that port."
  end
end

function lists.authentication_failed(e, raw, list)
  if e.sqlstate == "3D000" or e.sqlstate == "55000" then
    lead(list, 4)
  elseif has(e, "pg_hba.conf") then
    local from = e.message:match('for host "(.-)"')
    first(list, "{=allow_list} In pg_hba.conf the server "
      .. (has(e, "rejects") and "rejects" or "has no line for")
      .. (from and ' the address "' .. from .. '"' or " this address")
      .. " with this user and database.")
  elseif has(e, "not permitted to log in") then
    lead(list, 3)
  elseif has(e, "expired", "VALID UNTIL") then
    lead(list, 5)
    first(list, "The password's time is over: ALTER ROLE {role|app_user} VALID UNTIL 'infinity';")
  elseif has(e, "CONNECTION LIMIT", "connection limit") then
    lead(list, 5)
  elseif raw.needs_password or has(e, "no password supplied") then
    lead(list, 2)
    first(list, "Give a password: none was found in the options, PGPASSWORD or the password file.")
  elseif has(e, "certificate") then
    first(list, "Give the client certificate that the server asks for (sslcert, sslkey); its "
      .. "common name must be the user's name.")
  elseif has(e, "Peer authentication", "Ident authentication") then
    first(list, "The server compares the operating system's user with the role: connect over TCP "
      .. '(host = "localhost") with a password, or run as that user.')
  elseif has(e, "channel binding") then
    first(list, "channel_binding = \"require\" needs SSL and a server with SCRAM passwords: "
      .. 'sslmode = "require", password_encryption = scram-sha-256.')
  end
end

function lists.ssl_required(e, _, list)
  if has(e, "pg_hba.conf") then
    list[3] = list[3]:gsub("{after_ssl|}", " If it then says that the server does not support SSL, "
      .. "its pg_hba.conf lacks a line for this machine. {=allow_list}")
  end
end

function lists.ssl_failed(e, raw, list)
  local name = e.message:match('certificate for "(.-)"')
  if raw.no_ssl then
    for i = #list, 1, -1 do
      list[i] = nil
    end
    list[1] = "Turn TLS on at the server (ssl = on with a certificate), or on a trusted network "
      .. 'only: sslmode = "disable".'
    list[2] = "Verify that host and port lead to the server itself{place|}; a proxy or pooler in "
      .. "between needs TLS of its own."
    list[3] = "Test the connection again with pg.test{ ... }."
  elseif name or has(e, "does not match host name") then
    list[2] = "Use as host the name that stands in the server's certificate"
      .. (name and (': host = "%s"'):format(name) or "") .. " (and hostaddr for its address)."
    lead(list, 2)
  elseif has(e, "revoked", "expired", "not yet valid") then
    lead(list, 3)
  elseif has(e, "private key", "key file", "certificate file", "PEM", "certificate required")
    and not has(e, "root certificate") then
    lead(list, 4)
  end
end

function lists.too_many_connections(e, _, list)
  if has(e, "for role") then
    list[3] = "Increase the role's limit (the database administrator does this): "
      .. "ALTER ROLE {role|app_user} CONNECTION LIMIT -1;"
  elseif has(e, "for database") then
    list[3] = "Increase the database's limit (its administrator does this): "
      .. "ALTER DATABASE " .. (e.database and M.ident(e.database) or "myapp")
      .. " CONNECTION LIMIT -1;"
  elseif has(e, "no more connections allowed", "max clients", "query_wait_timeout") then
    list[3] = "Increase the pooler's limits (max_client_conn, default_pool_size), then the "
      .. "server's max_connections (the database administrator does this)."
  end
end

-- For each sort of object: what to grant, on what, and how to see what is granted.
local grants <const> = {
  sequence = { "USAGE, SELECT", "SEQUENCE", "has_sequence_privilege", "USAGE" },
  schema = { "USAGE", "SCHEMA", "has_schema_privilege", "USAGE" },
  database = { "CONNECT", "DATABASE", "has_database_privilege", "CONNECT" },
  ["function"] = { "EXECUTE", "FUNCTION" },
  procedure = { "EXECUTE", "PROCEDURE" },
  aggregate = { "EXECUTE", "FUNCTION" },
  language = { "USAGE", "LANGUAGE", "has_language_privilege", "USAGE" },
  type = { "USAGE", "TYPE", "has_type_privilege", "USAGE" },
  ["foreign server"] = { "USAGE", "FOREIGN SERVER", "has_server_privilege", "USAGE" },
}

-- The other has_..._privilege functions take a name as it is, without quotes.
local takes_identifier <const> = { sequence = true, type = true }

-- "sch.t" as the server writes it in a message, each part quoted.
local function quoted_name(name)
  name = name:match('^"(.*)"$') or name -- databases are quoted in messages, tables are not
  return (name:gsub("[^.]+", M.ident))
end

function lists.permission_denied(e, raw, list)
  local object = raw.object
  local grant = object and grants[object.type]
  if has(e, "row-level security") then
    list[1] = "Write a policy that lets this row pass: CREATE POLICY ... ON {relation|table_name} "
      .. "TO {role|app_user};"
    list[2] = "See the policies: SELECT * FROM pg_policies"
      .. (e.table and " WHERE tablename = " .. M.literal(e.table) or "") .. ";"
  elseif object and object.owner then
    list[1] = ("Run it as the owner of %s %s, or as a member of the owning role."):format(
      object.type, quoted_name(object.name))
    list[2] = ("See who owns it: \\d in psql; to give it away: ALTER %s %s OWNER TO "
      .. "{role|app_user};"):format(object.type:upper(), quoted_name(object.name))
  elseif grant then
    local what = grant[1]
    if e.sql and e.sql:match("^%s*[Cc][Rr][Ee][Aa][Tt][Ee]") then
      what = object.type == "schema" and "USAGE, CREATE"
        or object.type == "database" and "CREATE" or what
    end
    list[1] = ("Grant the permissions: GRANT %s ON %s %s TO {role|app_user};"):format(
      what, grant[2], quoted_name(object.name))
    list[2] = grant[3]
        and ("Verify the permissions: SELECT %s({role_text|'app_user'}, %s, '%s');"):format(
          grant[3], M.literal(takes_identifier[object.type] and quoted_name(object.name)
            or object.name:match('^"(.*)"$') or object.name), what:match("%u+$"))
      or "Verify the permissions: SELECT * FROM information_schema.routine_privileges "
        .. "WHERE grantee = {role_text|'app_user'};"
  elseif object and object.type == "column" and e.column then
    local c = M.ident(e.column)
    list[1] = ("Grant the permissions: GRANT SELECT (%s), INSERT (%s), UPDATE (%s) ON "
      .. "{relation|table_name} TO {role|app_user};"):format(c, c, c)
    list[2] = list[2]:gsub("table_privileges", "column_privileges")
  elseif not e.table then
    first(list, "Run it as a role that may do this, or ask the database administrator.")
  end
end

function lists.syntax_error(e, _, list)
  local near, word = around(e)
  if near:find("?", 1, true) then
    first(list, "Parameters are $1, $2, ... in PostgreSQL, not question marks.")
  elseif has(e, "multiple commands") then
    first(list, "Send one statement at a time: only db:execute without parameters takes several.")
  elseif near:find("'", 1, true) or has(e, "'") then
    first(list, "A quote is near the place: use $1 there and pass the value as a parameter; "
      .. "then no quote in it can break the SQL.")
  end
  word = word or e.message:match('near "([%w_]+)"')
  if word and not (e.sql or ""):lower():find("passw", 1, true) then
    for i, text in ipairs(list) do
      list[i] = text:gsub("{near|}", ' near "' .. word:sub(1, 40) .. '"')
    end
  end
end

function lists.undefined_column(e, _, list)
  local ok, at = pcall(utf8.offset, e.sql or "", e.position or 1)
  if ok and at and e.sql and e.sql:sub(at, at) == '"' and not e.hint then
    lead(list, 3)
  end
end

local values <const> = {
  ["22001"] = "Shorten the value, or widen the column: ALTER TABLE ... ALTER COLUMN ... TYPE text;",
  ["22003"] = "The number is out of range: use a larger type (bigint, numeric).",
  ["22012"] = "Guard the division: a / NULLIF(b, 0).",
  ["22021"] = "Text must be valid UTF-8: convert it, or store raw bytes in a bytea column.",
  ["22007"] = 'Write dates and times as ISO 8601: "2026-01-15T10:30:00Z".',
  ["22008"] = 'Write dates and times as ISO 8601, within the calendar: "2026-01-15T10:30:00Z".',
}

function lists.invalid_value(e, _, list)
  if not e.column and not e.parameter then
    list[1] = "Check the values: one does not fit its type."
  end
  if values[e.sqlstate] then
    first(list, values[e.sqlstate])
  elseif e.message:find('""$') then
    lead(list, 2)
  end
end

function lists.constraint_violation(e, _, list)
  local c = e.condition
  if c == "unique_violation" then
    list[1] = "The row exists already: another one has this key. To insert or update: db:upsert("
      .. '{table_text|"table_name"}, row).'
    list[2] = "Otherwise choose another key, or let the database choose it (identity, serial)."
  elseif c == "foreign_key_violation" then
    if e.message:find("^update or delete") or has(e, "still referenced") then
      list[1] = "Rows of another table still point to this row: change or delete those first."
    else
      list[1] = "The row that it points to does not exist: insert that one first, or correct the "
        .. "value."
    end
    list[2] = "Or change the rule: ON DELETE CASCADE, or DEFERRABLE to check at COMMIT."
  elseif c == "not_null_violation" then
    list[1] = "Give the column" .. (e.column and ' "' .. e.column .. '"' or "")
      .. " a value: it may not be NULL (nil and pg.null are NULL)."
    list[2] = "Or give it a default: ALTER TABLE {relation|table_name} ALTER COLUMN "
      .. (e.column and M.ident(e.column) or "name") .. " SET DEFAULT ...;"
  elseif c == "check_violation" then
    list[1] = "The row does not pass the table's check"
      .. (e.constraint and ' "' .. e.constraint .. '"' or "") .. ": correct its values."
    list[2] = "See the rule: SELECT pg_get_constraintdef(oid) FROM pg_constraint "
      .. "WHERE conname = " .. (e.constraint and M.literal(e.constraint) or "'users_check'") .. ";"
  elseif c == "exclusion_violation" then
    list[1] = "The row overlaps one that is there already, which the table's rule forbids."
    list[2] = "Change or delete the other row first; err.detail names both keys."
  end
end

function lists.query_timeout(e, raw, list)
  if raw.ceiling then
    list[4] = "Increase the timeout setting{timeout_now|}. {=ceiling_timeout}"
  elseif e.sqlstate == "57014" and not e.limit then
    list[4] = "Increase the server's statement_timeout, which ended it: SHOW statement_timeout; "
      .. "ALTER ROLE {role|app_user} SET statement_timeout = '120s';"
  end
end

function lists.result_too_large(_, raw, list)
  if raw.ceiling then
    list[3] = "Raise the limit{result_now|}. {=ceiling_result}"
  end
end

function lists.invalid_parameter(e, raw, list)
  if e.sqlstate == "42P18" then
    lead(list, 2)
  elseif raw.needed then
    list[1] = ("Pass exactly %d value%s, in order; nil or pg.null for NULL."):format(
      raw.needed, raw.needed == 1 and "" or "s")
  elseif raw.conninfo then
    list[1] = "Check the connection string: key=value pairs or a postgresql:// URI; special "
      .. "characters in a URI are written %XX, spaces in a value need '...'."
    list[2] = "Or give a table: pg.connect{ host = ..., user = ..., password = ... }; nothing in "
      .. "it needs quoting."
    list[3] = nil
  elseif has(e, "`all = true`") then
    list[1] = "Say which rows are meant: where = { id = 7 }; pg.null is IS NULL, a list is = ANY."
    list[2] = "Say all = true if every row is meant."
    list[3] = nil
  elseif has(e, "a table does not fit") then
    first(list, "A table is one parameter. Several go one by one, db:query(sql, a, b), or as "
      .. "db:query{ query = sql, parameters = { a, b } }.")
  end
end

local others <const> = {
  ["0A000"] = "The server does not have this feature{server_is|}: look for another way to say it.",
  ["21000"] = "A row was wanted where there are several: LIMIT 1, or remove the duplicates.",
  ["26000"] = "The prepared statement is gone (DISCARD, or a pooler): prepare it again.",
  ["2BP01"] = "Other objects depend on it: drop those first, or say CASCADE.",
  ["3D000"] = "Check the name of the database; SELECT datname FROM pg_database; lists them.",
  ["3F000"] = "Create the schema first: CREATE SCHEMA IF NOT EXISTS ...;",
  ["42702"] = "Say which table is meant: table.column.",
  ["42710"] = "It exists already: leave it out, or say IF NOT EXISTS where the command knows it.",
  ["42803"] = "Put the column into GROUP BY, or into an aggregate such as max(column).",
  ["42804"] = "Add a cast so that the types agree, for example $1::int.",
  ["42P05"] = "A prepared statement of that name exists: a pooler shares the server's sessions.",
  ["42P07"] = "It exists already: CREATE ... IF NOT EXISTS leaves it as it is.",
  ["42P10"] = "ON CONFLICT needs a unique index or constraint on exactly these columns.",
  ["53100"] = "The server's disk is full: its administrator must make room.",
  ["53200"] = "The server is out of memory: reduce the query (work_mem, fewer rows).",
  ["55006"] = "Others are using it: close their connections first.",
  ["58P01"] = "The file is looked for on the server, not here; db:copy_in and db:copy_out use "
    .. "files of this machine.",
  ["P0001"] = "A function or trigger of the database raised this: its text and err.context say "
    .. "where.",
  ["XX000"] = "This is a fault inside the server: see its log, and report it with err:report().",
}

function lists.query_failed(e, _, list)
  if not e.sqlstate then
    list[1] = "Look into the server's log: the error came without a code."
  elseif others[e.sqlstate] then
    first(list, others[e.sqlstate])
  elseif has(e, "unsupported startup parameter") then
    first(list, "The pooler refuses this setting at start-up: leave `options` out and use SET "
      .. "after connecting.")
  end
end

-- The server's own hint is the best advice where names are concerned.
local hinted <const> = {
  undefined_column = true, undefined_table = true, undefined_function = true,
}

---@param e pg.Error kind, condition and message decided
---@param raw table
---@return string[]
function M.fixes(e, raw)
  local entry = fixes.by_name[e.kind] or fixes.by_name.query_failed
  local list = table.move(entry.fixes, 1, #entry.fixes, 1, {})
  if lists[e.kind] then
    lists[e.kind](e, raw, list)
  end
  if raw.nearest then
    first(list, ('Did you mean "%s"?'):format(raw.nearest))
  end
  local facts = M.facts(e, raw)
  for i, text in ipairs(list) do
    list[i] = fixes.fill(text, facts)
  end
  if hinted[e.kind] and e.hint then
    first(list, e.hint)
  end
  return list
end

return M
