-- What to try when a statement failed, by kind: each puts the advice that fits the very case into
-- the list of fixes.lua. Reads the error, changes nothing in it.
-- SPDX-License-Identifier: MIT
local fixes <const> = require "pg.fixes"
local message_text <const> = require "pg.message_text"
local wording <const> = require "pg.wording"

local first <const>, lead <const>, has <const> = wording.first, wording.lead, wording.has
local ident <const>, literal <const> = wording.ident, wording.literal

---@type table<string, fun(e: pg.Error, raw: table, list: string[])> by kind
local lists = {}

-- What surrounds the error's place in the SQL, the word that stands there, and its byte.
local function around(e)
  if not e.sql or not e.position then
    return "", nil
  end
  local at = wording.byte_of(e.sql, e.position)
  return e.sql:sub(math.max(1, at - 10), at + 10), e.sql:match("^[%w_]+", at), at
end

-- For each sort of object: what to grant, on what, and how to see what is granted.
local grants <const> = {
  sequence = { "USAGE, SELECT", "SEQUENCE", "has_sequence_privilege" },
  schema = { "USAGE", "SCHEMA", "has_schema_privilege" },
  database = { "CONNECT", "DATABASE", "has_database_privilege" },
  ["function"] = { "EXECUTE", "FUNCTION" },
  procedure = { "EXECUTE", "PROCEDURE" },
  aggregate = { "EXECUTE", "FUNCTION" },
  language = { "USAGE", "LANGUAGE", "has_language_privilege" },
  type = { "USAGE", "TYPE", "has_type_privilege" },
  ["foreign server"] = { "USAGE", "FOREIGN SERVER", "has_server_privilege" },
}

-- The other has_..._privilege functions take a name as it is, without quotes.
local takes_identifier <const> = { sequence = true, type = true }

local function quoted_name(object)
  if object.type == "type" then
    return object.name -- in messages it is quoted already
  end
  return (object.schema and ident(object.schema) .. "." or "") .. ident(object.name)
end

-- What to grant on the object, for the statement at hand.
local function privileges(object, sql)
  local word = message_text.first_word(sql)
  if object.type == "schema" and word == "create" then
    return "USAGE, CREATE"
  elseif object.type == "database" and word == "create" then
    return "CREATE"
  elseif object.type == "sequence" and sql:lower():find("setval", 1, true) then
    return "USAGE, SELECT, UPDATE"
  end
  return grants[object.type][1]
end

local function more_on_table(sql)
  local word, low = message_text.first_word(sql), sql:lower()
  return word == "truncate" and ", TRUNCATE"
    or word == "create" and low:find("trigger", 1, true) and ", TRIGGER"
    or (word == "create" or word == "alter") and low:find("references", 1, true) and ", REFERENCES"
    or ""
end

local function see_privileges(object, what)
  local check = grants[object.type][3]
  if not check then
    return ("Verify the permissions: SELECT oid::regprocedure, has_function_privilege("
      .. "{role_text|'app_user'}, oid, 'EXECUTE') FROM pg_proc WHERE proname = %s"):format(
        literal(object.name))
  end
  return ("Verify the permissions: SELECT %s({role_text|'app_user'}, %s, '%s')"):format(check,
    literal(takes_identifier[object.type] and quoted_name(object) or object.name),
    what:match("%u+$"))
end

function lists.permission_denied(e, raw, list)
  local object = raw.object
  if has(e, "row-level security") then
    list[1] = "Write a policy that lets this row pass: CREATE POLICY ... ON {relation|table_name} "
      .. "TO {role|app_user} ..."
    list[2] = "See the policies: SELECT * FROM pg_policies"
      .. (e.table and " WHERE tablename = " .. literal(e.table) or "")
  elseif object and object.owner then
    local name = object.type == "table" and "{relation|table_name}" or quoted_name(object)
    list[1] = ("Run it as the owner of the %s %s, or as a member of the role that owns it."):format(
      object.type, name)
    list[2] = ("To change the owner: ALTER %s %s OWNER TO {role|app_user}"):format(
      object.type:upper(), name)
  elseif object and grants[object.type] then
    local what = privileges(object, e.sql or "")
    list[1] = ("Grant the permissions: GRANT %s ON %s %s TO {role|app_user}"):format(
      what, grants[object.type][2], quoted_name(object))
    list[2] = see_privileges(object, what)
  elseif object and object.type == "column" and e.column then
    local c = ident(e.column)
    list[1] = ("Grant the permissions: GRANT SELECT (%s), INSERT (%s), UPDATE (%s) ON "
      .. "{relation|table_name} TO {role|app_user}"):format(c, c, c)
    list[2] = list[2]:gsub("table_privileges", "column_privileges")
  elseif e.table then
    list[1] = list[1]:gsub("DELETE", "DELETE" .. more_on_table(e.sql or ""), 1)
  elseif has(e, "permission denied", "must be") then
    list[1] = "Run it as a role that may do this, or ask the database administrator."
    list[2] = "See what the role may do: SELECT * FROM pg_roles WHERE rolname = "
      .. "{role_text|'app_user'}"
  else -- in another language
    first(list, "Run it as a role that may do this, or ask the database administrator.")
  end
end

-- "cannot insert multiple commands" comes without a place, in whatever language.
local function several_statements(e)
  return has(e, "multiple commands")
    or not e.position and e.sql and e.sql:sub(1, 10000):find(";%s*[%a(]") ~= nil
end

-- The seed's list stays as long as it is: the advice on parameters is made more exact, and leads.
function lists.syntax_error(e, raw, list)
  local near, word, at = around(e)
  if several_statements(e) then
    list[1] = "Send one statement at a time. Only db:execute without parameters takes several."
    list[2] = "If the second one came in with a value, pass the value as a parameter ($1). Then "
      .. "nothing in it can be SQL."
    list[3] = "Test the query in a database client first, for example psql."
    list[4], list[5] = nil, nil
    return
  elseif near:find("?", 1, true) then
    list[4] = "Use parameters for values: they are $1, $2, ... in PostgreSQL, not question marks."
    lead(list, 4)
  elseif at and e.sql:find("^%$%d", at) then
    list[4] = "Use parameters for values only. " .. fixes.no_parameters
    lead(list, 4)
  elseif near:find("'", 1, true) or e.message:find("'", 1, true) then
    list[4] = "Use parameters for values: a quote is near the place. Write $1 there, without "
      .. "quotes, and pass the value."
    lead(list, 4)
  end
  word = word or e.message:match('near "([%w_]+)"')
  if word and not (e.sql or ""):lower():find("passw", 1, true) then
    raw.near = word:sub(1, 40)
  end
end

function lists.undefined_table(e, _, list)
  if has(e, "FROM-clause entry") then
    list[1] = "Name the table in FROM or JOIN, and use its alias where it has one."
  end
end

-- WHERE status = "active": a value in the wrong quotes. In a list of columns it is a name.
function lists.undefined_column(e, _, list)
  local _, _, at = around(e)
  if at and e.sql:sub(at, at) == '"' and not e.hint and not e.table then
    lead(list, 3)
  end
end

local values <const> = {
  ["22001"] = "Shorten the value, or widen the column: ALTER TABLE ... ALTER COLUMN ... TYPE text",
  ["22003"] = "Use a larger type (bigint, numeric), or a smaller number.",
  ["22012"] = "Guard the division: a / NULLIF(b, 0).",
  ["22021"] = "Convert the text to UTF-8, or store raw bytes in a bytea column.",
  ["22007"] = 'Write dates and times as ISO 8601: "2026-01-15T10:30:00Z". A number of seconds '
    .. 'since 1970 needs timestamps = "epoch".',
  ["22008"] = 'Write dates and times as ISO 8601, within the calendar: "2026-01-15T10:30:00Z". A '
    .. 'number of seconds since 1970 needs timestamps = "epoch".',
}

function lists.invalid_value(e, _, list)
  if not e.column and not e.parameter then
    list[1] = "Check the values. One of them does not fit its type."
  end
  if e.sqlstate == "22012" then
    list[1], list[2] = values["22012"], list[1]:gsub(" does not fit.*", " is zero.")
    list[3] = nil
  elseif values[e.sqlstate] then
    first(list, values[e.sqlstate])
  elseif has(e, "JSON nested deeper") or has(e, "an invalid escape in a string") then
    list[1] = 'Take the JSON as its text: db:with { json = "text" }.'
    list[2], list[3] = "Or take a part of it, on the server: SELECT data ->> 'key'.", nil
  elseif has(e, "malformed array literal") then
    first(list, "Pass a Lua list where an array is wanted: { 1, 2, 3 }.")
  elseif e.message:find('""$') then
    lead(list, 2)
  end
end

local rules = {} -- by condition

function rules.unique_violation(e, list)
  -- "Key (a, b)=(1, 2) already exists.", in whatever language.
  local key = e.detail and e.detail:match("%((.-)%)=%(")
  list[1] = ("The row exists already. To insert or update in one statement: INSERT ... "
    .. "ON CONFLICT (%s) DO UPDATE SET ..."):format(key or "column")
  list[2] = "Otherwise choose another key, or let the database choose it (an identity column)."
end

function rules.foreign_key_violation(e, list)
  local deleted = e.sql and message_text.first_word(e.sql) == "delete"
  if deleted or e.message:find("^update or delete") or has(e, "still referenced") then
    list[1] = "Rows of another table still point to this one{relation_is|}. Change or delete those "
      .. "first."
    list[2] = "To delete them together, make the constraint anew with ON DELETE CASCADE."
  else
    list[1] = "The row that it points to does not exist. Insert that one first, or correct the "
      .. "value."
    list[2] = "If both come in one transaction, a DEFERRABLE constraint waits until COMMIT."
  end
end

function rules.not_null_violation(e, list)
  list[1] = ("Give the column%s a value. It may not be NULL, which is what nil and pg.null "
    .. "are."):format(e.column and ' "' .. e.column .. '"' or "")
  list[2] = ("Or give it a default: ALTER TABLE {relation|table_name} ALTER COLUMN %s "
    .. "SET DEFAULT ..."):format(e.column and ident(e.column) or "name")
end

function rules.check_violation(e, list)
  list[1] = ("Correct the values. They do not pass the check%s."):format(
    e.constraint and ' "' .. e.constraint .. '"' or "")
  list[2] = "To see the rule: SELECT pg_get_constraintdef(oid) FROM pg_constraint "
    .. "WHERE conname = " .. (e.constraint and literal(e.constraint) or "'users_check'")
end

function rules.exclusion_violation(_, list)
  list[1] = "The row is in conflict with one that is there already. err.detail names both keys."
  list[2] = "Change or delete the other row first, or correct the values."
end

function lists.constraint_violation(e, _, list)
  if rules[e.condition] then
    rules[e.condition](e, list)
  end
end

function lists.query_timeout(e, raw, list)
  if raw.ceiling then
    list[4] = "Increase the timeout setting{timeout_now|}. {=ceiling_timeout}"
  elseif e.sqlstate == "57014" then
    list[4] = "Increase the timeout setting of the server{timeout_now|}: "
      .. "ALTER ROLE {role|app_user} SET statement_timeout = '120s'"
  end
end

function lists.result_too_large(e, raw, list)
  if e.row then
    list[2] = "Read a large value in parts: substr(column, $1, 1000000)."
  end
  if raw.ceiling then
    list[3] = "Raise the limit{result_now|}. {=ceiling_result}"
  end
end

function lists.invalid_parameter(e, raw, list)
  if e.sqlstate == "42P18" then
    lead(list, 2)
  elseif raw.needed == 0 then
    list[1] = (e.sql or ""):find("$1", 1, true)
        and "Pass no values. In DDL, and in quotes, $1 is no parameter."
      or "Pass no values. The SQL has no $1."
    list[2], list[3] = fixes.no_parameters, nil
  elseif raw.needed then
    list[1] = ("Pass exactly %d value%s, in order. nil and pg.null are NULL."):format(
      raw.needed, raw.needed == 1 and "" or "s")
    list[2] = ("In a list that ends with nil, say how many there are: parameters = "
      .. "{ n = %d, ... }."):format(raw.needed)
    list[3] = nil
  elseif raw.service then
    list[1] = "Check the name of the service, and the file that defines it: ~/.pg_service.conf, "
      .. "or the one that PGSERVICEFILE names."
    list[2], list[3] = nil, nil
  elseif raw.conninfo then
    list[1] = "Check the connection string: key=value pairs, or a postgresql:// URI. In a URI, "
      .. "special characters are written %XX. Among pairs, a value with spaces stands in '...'."
    list[2] = "Or give a table: pg.connect{ host = ..., user = ..., password = ... }. Nothing in "
      .. "it needs quoting."
    list[3] = nil
  elseif has(e, "`all = true`") then
    list[1] = "Say which rows are meant: where = { id = 7 }. There pg.null is IS NULL, and a list "
      .. "is = ANY."
    list[2] = "Say all = true if every row is meant."
    list[3] = nil
  elseif has(e, "nothing to set") then
    list[1] = 'Say what to change: set = { status = "active" }.'
    list[2] = "A key whose value is nil is not there. To store NULL, use pg.null."
    list[3] = nil
  elseif has(e, "a table does not fit") then
    first(list, "A table is one parameter. Several go one by one, db:query(sql, a, b), or as "
      .. "db:query{ query = sql, parameters = { a, b } }.")
  elseif has(e, "NUL byte") then
    first(list, "Send raw bytes to a bytea column, with pg.bytea(s). Text cannot hold a NUL byte.")
  elseif has(e, "cannot send") then
    lead(list, 3)
  end
end

function lists.wrong_action(e, _, list)
  if has(e, "COPY") then
    list[1] = "Read with SELECT instead of COPY ... TO STDOUT."
    list[2] = "Write many rows with INSERT INTO t SELECT * FROM unnest($1::int[], $2::text[]), and "
      .. "one list for each column."
  end
end

-- The connection was lost by an earlier statement: this one was not sent.
function lists.connection_lost(e, _, list)
  if type(e.cause) == "table" and not e.sqlstate and not e.sql then
    list[1] = "Look at what ended the connection{cause_is|}."
    lead(list, 2)
    list[3], list[4] = nil, nil
  end
end

local others <const> = {
  ["0A000"] = "Look for another way to say it: this server cannot do that{server_is|}.",
  ["21000"] = "Make sure that it is one row: LIMIT 1, or no duplicates in what is inserted.",
  ["25001"] = "Run it alone: outside of a transaction, and not in a script with others.",
  ["25P01"] = "Run it inside a transaction: after BEGIN, before COMMIT.",
  ["26000"] = "Prepare the statement again. DISCARD or a pooler has dropped it.",
  ["42P08"] = "Give the parameter one type wherever it stands, by a cast: $1::text.",
  ["2BP01"] = "Drop what depends on it first, or say CASCADE.",
  ["3D000"] = "Check the name of the database. To list them: SELECT datname FROM pg_database",
  ["3F000"] = "Check the schema's name, or create it: CREATE SCHEMA name",
  ["42702"] = "Say which table is meant: table.column.",
  ["42704"] = "Check the name, and whether this version of PostgreSQL has it{server_is|}.",
  ["42710"] = "Leave it out, since it exists already. Many commands know IF NOT EXISTS.",
  ["42725"] = "Add casts so that the types are known, for example $1::int.",
  ["42803"] = "Put the column into GROUP BY, or into an aggregate such as max(column).",
  ["42804"] = "Add a cast so that the types agree, for example $1::int.",
  ["428C9"] = "Leave the column out: the database gives its value.",
  ["42P05"] = "Use another name: there is a prepared statement of this one. Behind a pooler, "
    .. "others may have made it.",
  ["42P07"] = "Leave it out, since it exists already: CREATE ... IF NOT EXISTS does that.",
  ["42P10"] = "Make a unique index or constraint on exactly the columns of ON CONFLICT.",
  ["53100"] = "Make room on the server's disk (its administrator does this).",
  ["53200"] = "Make the query smaller (fewer rows, less work_mem): the server is out of memory.",
  ["54000"] = "Make it smaller or simpler: it is beyond a limit of PostgreSQL.",
  ["55006"] = "Close the connections of others that are using it.",
  ["58P01"] = "Put the file on the server: it is looked for there, not on this machine.",
  ["P0001"] = "Look at its text and at err.context: a function or trigger of the database raised "
    .. "it.",
  ["XX000"] = "Look into the server's log, and report it with err:report(). It is a fault inside "
    .. "the server.",
}

function lists.query_failed(e, _, list)
  if not e.sqlstate then
    list[1] = "Look into the server's log. The error came without a code."
  elseif others[e.sqlstate] then
    first(list, others[e.sqlstate])
  elseif has(e, "unsupported startup parameter") then
    first(list, "Leave out `options`, which the pooler refuses. Use SET after connecting.")
  end
end

return lists
