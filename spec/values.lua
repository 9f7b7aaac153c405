-- SPDX-License-Identifier: MIT
-- Reading the same in text and in binary.
local values = {}

--- The type of a column for which binary pays: bytea, but the server counts what it sends.
function values.create_paying(db)
  assert(db:execute [[
    CREATE SEQUENCE sent;
    CREATE DOMAIN paying AS bytea;
    CREATE FUNCTION send_paying(bytea) RETURNS bytea LANGUAGE plpgsql AS $$
      BEGIN PERFORM nextval('public.sent'); RETURN pg_catalog.byteasend($1); END $$;
    UPDATE pg_type SET typsend = 'send_paying'::regproc WHERE oid = 'paying'::regtype;
    GRANT ALL ON SEQUENCE sent TO public]])
end

--- How many rows came in binary.
function values.binary_count(db)
  local row = assert(db:query "SELECT last_value, is_called FROM sent").rows[1]
  return row.is_called and row.last_value or 0
end

--- A text that no connection has seen.
local asked = 0
function values.unseen(sql)
  asked = asked + 1
  return ("%s -- %d"):format(sql, asked)
end

--- The rows that a query gives in text and, if its columns allow it, in binary: a column that pays.
---@param from? string what stands behind the columns
function values.twice(db, columns, from)
  local sql = values.unseen(("SELECT %s, decode('', 'hex')::public.paying AS paying %s")
    :format(columns, from or ""))
  return assert(db:query(sql)).rows, assert(db:query(sql)).rows
end

--- The same of a query that gives one row.
function values.both(db, columns)
  local text, binary = values.twice(db, columns)
  return text[1], binary[1]
end

--- Whether the server is new enough for a type or a sample of it.
function values.known(db, it)
  return tonumber(db:status().server:match "^%d+") >= (it.since or 0)
end

return values
