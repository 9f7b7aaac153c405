-- SPDX-License-Identifier: MIT
-- check_session: the items of a checklist that are about the connection: that it is there, who may
-- listen, what its role may do, what comes of an error, and that it goes on.
local core = require "pg.core"
local check_item = require "pg.check_item"
local errors = require "pg.errors"
local inspect = require "pg.inspect"
local sql = require "pg.sql"

local ask <const>, contained <const> = check_item.ask, check_item.contained
local item <const>, failed <const> = check_item.new, check_item.failed

local M = {}

local PRIVILEGES <const> = [[
SELECT n.nspname AS schema, c.relname AS name, v.verb AS verb, c.relkind AS kind,
       pg_catalog.pg_relation_is_updatable(c.oid, true) AS changeable,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
       AND pg_catalog.has_table_privilege(c.oid, v.verb) AS granted,
       CASE WHEN v.verb OPERATOR(pg_catalog.=) ANY ('{SELECT,INSERT,UPDATE,REFERENCES}')
            THEN pg_catalog.has_any_column_privilege(c.oid, v.verb) ELSE false END AS partly
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 CROSS JOIN pg_catalog.unnest($2::pg_catalog.text[]) AS v (verb)
 WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)]]

-- Those that an INSERT needs for a column's default and the role may not use.
local SEQUENCES <const> = [[
SELECT n.nspname AS schema, s.relname AS name
  FROM pg_catalog.pg_attrdef AS d
  JOIN pg_catalog.pg_depend AS p
    ON p.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass
   AND p.objid OPERATOR(pg_catalog.=) d.oid
   AND p.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
  JOIN pg_catalog.pg_class AS s ON s.oid OPERATOR(pg_catalog.=) p.refobjid
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) s.relnamespace
 WHERE d.adrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
   AND CASE WHEN s.relkind OPERATOR(pg_catalog.=) 'S'
            THEN NOT pg_catalog.has_sequence_privilege(s.oid, 'USAGE, UPDATE') END]]

--- The questions to the catalogue.
M.queries = { privileges = PRIVILEGES, sequences = SEQUENCES }

function M.connect(db, _, facts)
  local id = core.identity(db)
  return item("connect", true, ("Connected to PostgreSQL %s as %s, database %s, at %s, port %s; a "
    .. "round trip takes %.1f ms."):format(id.server, facts.role, facts.database,
    id.host or "localhost", id.port, facts.seconds * 1000))
end

-- How sure it is who the server is, by libpq's word for it.
local VERIFIED <const> = {
  ["verify-full"] = "the server's certificate and its name were verified",
  ["verify-ca"] = "the server's certificate was verified, its name was not",
}

function M.ssl(db, given)
  local ssl, id = db:status().ssl, core.identity(db)
  local mode, host = id.sslmode or "prefer", id.host or "/"
  if ssl then
    local verified = VERIFIED[mode]
    local better = mode ~= "verify-full" and { 'Verify who the server is: sslmode = "verify-full", '
      .. "and sslrootcert with the file of its certificate authority." }
    return item("ssl", true, ("Encrypted with %s, %s; sslmode %s: %s."):format(ssl.version,
      ssl.cipher, mode, verified or "who the server is was not verified, unless sslrootcert names "
      .. "a file"), better or nil)
  end
  local socket = host:find "^[/@]" ~= nil
  local address = id.address or host
  local near = socket or address == "localhost" or address == "::1"
    or address:find "^127%.%d+%.%d+%.%d+$" ~= nil
  local required = given.ssl
  if required == nil then required = not near end
  return item("ssl", not required, ("Not encrypted; sslmode %s%s."):format(mode,
    socket and ": a Unix socket, nothing crosses a network"
    or near and ": the server is on this machine" or ""), required and {
    socket and 'Connect by the server\'s name: a Unix socket has no SSL.'
      or 'Set sslmode = "verify-full", or "require" at least.',
    "The server must offer SSL: SHOW ssl" } or nil)
end

-- What is missing, and how to get it, of one table.
local function report(problems, fixes, problem, list)
  problems[#problems + 1] = problem
  table.move(list, 1, #list, #fixes + 1, fixes)
end

local GRANT <const> = "Grant the permissions: GRANT %s ON %s TO %s"

local function look_at_sequences(db, role, quoted, problems, fixes)
  local answer, err = contained(db, function(x) return ask(x, SEQUENCES, quoted) end)
  if not answer then return report(problems, fixes, err.message, err.fixes) end
  for _, row in ipairs(answer.rows) do
    local sequence = check_item.quoted(row.schema, row.name)
    report(problems, fixes, "INSERT needs the sequence " .. sequence .. ", which it may not use",
      { GRANT:format("USAGE", "SEQUENCE " .. sequence, role) })
  end
end

-- Kinds of relations that rows are read from.
local TABLES <const> = { r = true, p = true, v = true, m = true, f = true }
-- Bits of pg_relation_is_updatable.
local CHANGEABLE <const> = { UPDATE = 4, INSERT = 8, DELETE = 16 }

local function look_at_table(db, role, entry, problems, fixes)
  local quoted, verbs = sql.table_name(entry.name), {}
  for _, verb in ipairs(entry.verbs) do
    if verb == "MAINTAIN" and core.version(db) < 170000 then
      report(problems, fixes, "MAINTAIN is a privilege from PostgreSQL 17 on", {
        "Leave it out: before, a table's owner maintains it." })
    else
      verbs[#verbs + 1] = verb
    end
  end
  if #verbs == 0 then return end
  local answer, err = contained(db, function(x) return ask(x, PRIVILEGES, quoted, verbs) end)
  if answer and answer.rowCount == 0 then
    answer, err = contained(db, function(x) return inspect.undefined_table(x, quoted) end)
  end
  if not answer then return report(problems, fixes, err.message, err.fixes) end
  local relation = check_item.quoted(answer.rows[1].schema, answer.rows[1].name)
  if not TABLES[answer.rows[1].kind] then
    return report(problems, fixes, relation .. " is no table and no view", {
      "Name the table itself. To list them: db:tables()" })
  end
  local missing, partly = {}, {}
  for _, row in ipairs(answer.rows) do
    if CHANGEABLE[row.verb] and row.changeable & CHANGEABLE[row.verb] == 0 then
      report(problems, fixes, ("nobody can %s on %s"):format(row.verb, relation), {
        "Change the table under it, or give a view INSTEAD OF triggers." })
    end
    if not row.granted then missing[#missing + 1] = row.verb end
    if not row.granted and row.partly then partly[#partly + 1] = row.verb end
  end
  if #missing > 0 then
    local list = table.concat(missing, ", ")
    report(problems, fixes, ("it may not %s on %s%s"):format(list, relation, #partly > 0
      and (", or only some columns (%s)"):format(table.concat(partly, ", ")) or ""),
      { GRANT:format(list, relation, role) })
  end
  if table.concat(entry.verbs, " "):find("INSERT", 1, true) then
    look_at_sequences(db, role, quoted, problems, fixes)
  end
end

local CHANGES <const> = { Insert = true, Update = true, Delete = true, Merge = true }

-- Does a plan as text change rows, or lock them?
local function plan_writes(rows)
  for _, row in ipairs(rows) do
    local node = row[1]:match "^%s*%-?>?%s*(%a+)"
    if node == "LockRows" or CHANGES[node] and row[1]:find(node .. " on ", 1, true) then
      return true
    end
  end
  return false
end

local READ_ONLY <const> = "the connection is read-only, so that nothing can be changed with it"
local NOT_READ_ONLY <const> = "Connect without readonly = true, or to the primary server."

-- EXPLAIN looks at tables and columns as the statement would. NULLs in place of values may let it
-- pass over a part of the statement.
local function may_run(db, given, facts)
  local plan, err = nil, facts.wrong
  local values, needed = given.parameters, facts.description and #facts.description.parameters
  local exact = needed == 0 or values ~= nil and not facts.misfit
    and (values.n or #values) == needed
  if facts.description and facts.explained then
    plan, err = check_item.explain(db, given.query, exact and values or { n = needed })
  end
  if plan and facts.read_only == "on" and plan_writes(plan.rows) then
    return item("privileges", false, ("%s may not run the statement: %s."):format(facts.role,
      READ_ONLY), { NOT_READ_ONLY })
  elseif plan then
    return item("privileges", true, ("%s may use the tables and columns that the statement names; "
      .. "what functions, defaults and triggers need is looked at when it runs%s."):format(
      facts.role, exact and "" or ". Give its `parameters`: this was tried with NULLs"))
  elseif err and err.kind == "permission_denied" then
    return failed("privileges", facts.role .. " may not run the statement", err)
  end
end

local function writes(verbs)
  for _, verb in ipairs(verbs) do
    if verb ~= "SELECT" and verb ~= "REFERENCES" then return true end
  end
  return false
end

function M.privileges(db, given, facts)
  if not given.privileges then return may_run(db, given, facts) end
  local problems, fixes, has, writing = {}, {}, {}, false
  local role = check_item.quoted(facts.role)
  for _, entry in ipairs(given.privileges) do
    look_at_table(db, role, entry, problems, fixes)
    has[#has + 1] = table.concat(entry.verbs, ", ") .. " on " .. sql.table_name(entry.name)
    writing = writing or writes(entry.verbs)
  end
  if writing and facts.read_only == "on" then
    report(problems, fixes, READ_ONLY, { NOT_READ_ONLY })
  end
  if #problems == 0 then
    return item("privileges", true, ("%s may %s."):format(facts.role, table.concat(has, "; ")))
  end
  return item("privileges", false, ("%s may not do all of it: %s."):format(facts.role,
    table.concat(problems, "; ")), fixes)
end

function M.errors(db)
  local before = db:status().state
  local answer, err = contained(db, function(x)
    return x:query "SELECT 1 OPERATOR(pg_catalog./) 0"
  end)
  if answer or not errors.is(err) or err.sqlstate ~= "22012" or db:status().state ~= before then
    return item("errors", false, "A division by zero was to come back as an error object: "
      .. (err and tostring(err.message) or "it did not") .. ".", err and err.fixes)
  end
  return item("errors", true, ("A division by zero came back as nil and an error object, kind %s, "
    .. "%s %s; the connection goes on."):format(err.kind, err.sqlstate, err.condition))
end

local function saved_as(name)
  for _, saved in ipairs(core.saved()) do
    if saved == name then return ("saved as %q"):format(name) end
  end
  return "not saved under a name (pg.save)"
end

function M.reuse(db)
  local pids = {}
  for i = 1, 2 do
    local answer, err = contained(db, function(x)
      return ask(x, "SELECT pg_catalog.pg_backend_pid() AS pid")
    end)
    if not answer then return failed("reuse", "Two actions, one after another, failed", err) end
    pids[i] = answer.rows[1].pid
  end
  local pooled = pids[1] ~= db:status().pid
  return item("reuse", pooled or pids[1] == pids[2], ("Two actions ran one after another, %s; the "
    .. "connection is %s."):format(pooled and "through a pooler: nothing may be kept in the session"
    or ("both on server process %d"):format(pids[1]), saved_as(core.identity(db).connection)))
end

return M
