-- What to try when a connection could not be made, by kind: each puts the advice that fits the very
-- case into the list of fixes.lua. Reads the error, changes nothing in it.
-- SPDX-License-Identifier: MIT
local wording <const> = require "pg.wording"

local first <const>, lead <const>, has <const> = wording.first, wording.lead, wording.has
local ident <const> = wording.ident

---@type table<string, fun(e: pg.Error, raw: table, list: string[])> by kind
local lists = {}

function lists.connection_refused(e, raw, list)
  local name = e.message:match('could not translate host name "(.-)"')
  local socket = e.message:match('socket "(.-)"')
  if raw.not_postgres then
    list[1] = "Verify that host and port are correct{place|}. Something answers there, but is this "
      .. "a PostgreSQL port?"
  elseif name then
    list[1] = ('Verify that host and port are correct: no address is known for the host "%s". It '
      .. "is misspelt, or this machine has no DNS."):format(name)
  elseif socket and has(e, "Permission denied") then
    list[1] = ("Verify that host and port are correct: the socket %s is there, but this user may "
      .. "not open it."):format(socket)
  elseif socket then
    list[1] = ("Verify that host and port are correct: nothing listens on the socket %s. For TCP "
      .. 'use host = "localhost".'):format(socket)
  elseif has(e, "unreachable", "No route to host") then
    list[1] = "Verify that host and port are correct{place|}. No network route leads there."
  elseif has(e, "closed the connection", "reset by peer") then
    list[1] = "Verify that host and port are correct{place|}. Something accepts connections there "
      .. "and drops them: a proxy, a firewall, or a server in trouble (see its log)."
  elseif has(e, "Connection refused") then
    list[1] = "Verify that host and port are correct{place|}. The machine answers, but nothing "
      .. "listens on that port."
  end
end

-- Where the password was not looked at, other advice takes its place, in front.
local function instead_of_password(list, text)
  list[2] = text
  lead(list, 2)
end

function lists.authentication_failed(e, raw, list)
  if e.sqlstate == "3D000" then
    lead(list, 4)
  elseif e.sqlstate == "55000" then
    lead(list, 4)
    list[1] = list[1]:gsub("%.$", "") .. ". This one takes no connections at all."
  elseif has(e, "client certificate") then
    instead_of_password(list, "Give the client certificate that the server asks for (sslcert, "
      .. "sslkey). Its common name must be the user's name.")
  elseif has(e, "pg_hba.conf") then
    local from = e.message:match('for host "(.-)"')
    instead_of_password(list, ("{=allow_list} Its pg_hba.conf %s %s with this user and database.")
      :format(has(e, "rejects") and "rejects" or "has no line for",
        from and 'the address "' .. from .. '"' or "this address"))
  elseif has(e, "not permitted to log in") then
    lead(list, 3)
  elseif has(e, "expired", "VALID UNTIL") then
    lead(list, 5)
    list[3] = "Give the role's password more time: ALTER ROLE {role|app_user} VALID UNTIL "
      .. "'infinity'"
    lead(list, 3)
  elseif has(e, "CONNECTION LIMIT", "connection limit") then
    lead(list, 5)
  elseif raw.needs_password or has(e, "no password supplied") then
    instead_of_password(list, raw.empty_password
      and "Give a password. The one given is empty, which counts as none."
      or "Give a password. None was found in the options, PGPASSWORD or the password file.")
  elseif has(e, "password function") then
    instead_of_password(list, "Look into the password function: what it returned with nil is "
      .. "err.cause.")
  elseif has(e, "Peer authentication", "Ident authentication") then
    instead_of_password(list, "Connect over TCP with a password (host = \"localhost\"), or run as "
      .. "the operating system's user of that name. The server compares the two names.")
  elseif has(e, "channel binding") then
    instead_of_password(list, 'For channel_binding = "require", use sslmode = "require" and a '
      .. "server that stores SCRAM passwords (password_encryption = scram-sha-256).")
  end
end

function lists.ssl_required(e, _, list)
  if has(e, "pg_hba.conf") then
    list[3] = list[3] .. " If it is refused again, the server has no entry for this machine. "
      .. "{=allow_list}"
  end
end

function lists.ssl_failed(e, raw, list)
  local name = e.message:match('certificate for "(.-)"')
  if raw.no_ssl then
    for i = #list, 1, -1 do
      list[i] = nil
    end
    list[1] = "Turn TLS on at the server (ssl = on, and a certificate). On a trusted network only, "
      .. 'sslmode = "disable" does without.'
    list[2] = "Verify that host and port lead to the server itself{place|}. A proxy or pooler in "
      .. "between needs TLS of its own."
    list[3] = "Test the connection again with pg.test{ ... }."
  elseif has(e, "wrong version number", "during SSL exchange", "data after SSL response",
    "SSL SYSCALL error") then
    first(list, "Verify that host and port are correct{place|}. What answers there breaks off, or "
      .. "does not speak TLS as PostgreSQL does.")
  elseif name or has(e, "does not match host name") then
    list[2] = "As host, use the name that stands in the server's certificate"
      .. (name and (': host = "%s"'):format(name) or "") .. ". hostaddr can hold its address."
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
      .. "ALTER ROLE {role|app_user} CONNECTION LIMIT -1"
  elseif has(e, "for database") then
    list[3] = "Increase the database's limit (its administrator does this): "
      .. "ALTER DATABASE " .. (e.database and ident(e.database) or "myapp")
      .. " CONNECTION LIMIT -1"
  elseif has(e, "no more connections allowed", "max clients", "query_wait_timeout") then
    list[3] = "Increase the pooler's limits (max_client_conn, default_pool_size), then the "
      .. "server's max_connections (the database administrator does this)."
  end
end

function lists.server_unavailable(e, raw, list)
  if has(e, "hot standby mode", "session is read-only", "session is not read-only") then
    list[1] = "Check target_session_attrs: no server of the list is of that sort now{place|}."
    list[2] = "After a failover it takes a while until there is a new primary. Then connect again."
  elseif raw.stage == "statement" then
    list[1] = "Connect anew with db:reset(), at once or in a few seconds."
    list[2] = "Check whether the statement took effect before you run it again."
    list[3] = "If it lasts, look into the server's log or ask its administrator."
  end
end

return lists
