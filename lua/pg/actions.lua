-- SPDX-License-Identifier: MIT
-- actions: the actions as data, for hosts that list them and draw their forms.
-- A field's name is the key of the table that the action takes.

---@class pg.Field
---@field name string
---@field title string
---@field type "sql"|"string"|"list"|"table"|"number"|"integer"
---@field required boolean
---@field default any
---@field description string

---@class pg.Action
---@field name string the method's name
---@field title string
---@field description string
---@field fields pg.Field[]
---@field output table<string, string> the result's fields and their types

local function field(name, title, type, required, description, default)
  return { name = name, title = title, type = type, required = required,
    description = description, default = default }
end

local parameters = field("parameters", "Parameters", "list", false,
  "Values for $1, $2, ..., bound on the server")
local timeout = field("timeout", "Timeout", "number", false, "Seconds the statement may take", 60)
local max_result = field("max_result", "Result size", "integer", false,
  "Bytes the result may have", 10 * 1024 * 1024)

local function statement(title)
  return { field("query", "Query", "sql", true, title), parameters, timeout, max_result }
end

---@type pg.Action[]
return {
  { name = "query", title = "Query Rows", description = "Execute SELECT query to retrieve data",
    fields = statement "SQL SELECT statement",
    output = { rows = "list of rows by column", rowCount = "integer" } },
  { name = "insert", title = "Insert Row", description = "Insert a new row into a table",
    fields = { field("table", "Table", "string", true, "Table name"),
      field("columns", "Columns", "table", true, "Column values to insert"),
      field("returning", "Returning", "list", false, "Columns of the new row to return"),
      field("conflict", "Conflict Columns", "list", false,
        "Columns of a unique key: a row that has it already is updated"),
      field("update", "Update Columns", "list", false,
        "Columns to update then, instead of all that are given"),
      timeout, max_result },
    output = { insertedId = "the primary key's value", rowCount = "integer",
      row = "the columns asked for in returning" } },
  { name = "update", title = "Update Rows", description = "Update existing rows",
    fields = statement "SQL UPDATE statement", output = { rowCount = "integer" } },
  { name = "delete", title = "Delete Rows", description = "Delete rows from table",
    fields = statement "SQL DELETE statement", output = { rowCount = "integer" } },
  { name = "execute", title = "Execute Query",
    description = "Execute any SQL statement (DDL, DML, etc.)",
    fields = statement "Any SQL statement",
    output = { success = "true", rowCount = "integer" } },
}
