---@meta
-- SPDX-License-Identifier: MIT
-- meta: what the C module gives, for editors and language servers (LuaCATS).
-- Never loaded.

--- Every connection keyword of libpq is an option under its own name (manual,
--- chapter "Database Connection Control Functions"); these are the usual ones.
---@class pg.Options
---@field name? string shown in errors, sent as application_name
---@field host? string|string[] name, address, or a socket's directory
---@field port? integer|string|integer[] default 5432
---@field database? string also `dbname`
---@field user? string also `username`
---@field password? string|fun(): string?, any a function is called for each new connection; or nil and why
---@field sslmode? "disable"|"require"|"verify-ca"|"verify-full" default: `require` for remote hosts
---@field sslrootcert? string a file; "system" with libpq 16 and later
---@field sslcert? string
---@field sslkey? string
---@field service? string a section of the service file
---@field connect_timeout? number seconds for the whole of connecting; default 10
---@field timeout? number seconds a statement may take; default 60
---@field max_result? number bytes a result may have; default 10 MiB
---@field prepare? boolean false: prepares nothing; true: also behind a pooler, which has to keep statements
---@field readonly? boolean every transaction is read-only: a guard against slips
---@field rows? pg.Rows
---@field null? lightuserdata|false pg.null keeps the key of a NULL
---@field numeric? "string"|"number"
---@field json? "value"|"text"
---@field timestamps? pg.Timestamps
---@field wait? pg.Wait

---@alias pg.Rows "object"|"array"|"columns"

--- timestamptz and timestamp as ISO 8601 text, as float seconds since 1970, or as integer
--- microseconds since 1970; the same of parameters that are numbers.
---@alias pg.Timestamps "iso"|"epoch"|"epoch_us"

--- Waits until the descriptor is ready for "r", "w" or "rw", at most so many
--- seconds; fd nil is a sleep. May return early; has forgotten the descriptor
--- when it returns; answers false where it cannot yield.
---@alias pg.Wait fun(fd: integer?, mode: "r"|"w"|"rw", seconds: number): boolean?

--- What db:with{} and one call may set.
---@class pg.Settings
---@field timeout? number seconds
---@field max_result? number bytes
---@field rows? pg.Rows
---@field null? lightuserdata|false
---@field numeric? "string"|"number"
---@field json? "value"|"text"
---@field timestamps? pg.Timestamps

--- An action as a form.
---@class pg.Call: pg.Settings
---@field query? string SQL
---@field parameters? table values for $1, $2, ...; `n` counts them where nils are among them
---@field table? string|table a table's name, for insert and the forms of update and delete
---@field columns? table<string, any> insert: column = value
---@field set? table<string, any> update: column = value
---@field where? table<string, any> joined by AND; pg.null is IS NULL, a list is = ANY
---@field all? boolean says that every row is meant where `where` is absent
---@field returning? string|string[] columns to return; "*" for all

---@class pg.Result
---@field rows table[] | table<string, any[]>
---@field rowCount integer
local Result = {}

--- The columns that came, in their order.
---@return { name: string, type: string?, oid: integer }[]
function Result:columns() end

--- The fields as JSON text, integers exact, empty lists as [].
---@return string
function Result:json() end

--- What the server remarked, at most 100 remarks; `dropped` counts the rest.
---@return { severity: string, sqlstate: string, message: string, detail: string?, hint: string? }[]
function Result:notices() end

---@class pg.Connection
local Connection = {}

--- One statement, values bound on the server.
---@param sql string|pg.Call
---@param ... any values for $1, $2, ...
---@return pg.Result|nil
---@return pg.Error?
function Connection:query(sql, ...) end

--- Inserts one row: (table, column = value), or one table of it all.
---@param target string|table
---@param columns? table<string, any>
---@param options? pg.InsertOptions
---@return pg.Inserted|nil
---@return pg.Error?
function Connection:insert(target, columns, options) end

--- Inserts a row or a list of rows, and updates those that they conflict with: by
--- the primary key unless `conflict` or `constraint` says by what.
---@param target string|table
---@param values? table<string, any>|table<string, any>[]
---@param options? pg.InsertOptions
---@return pg.Upserted|nil
---@return pg.Error?
function Connection:upsert(target, values, options) end

--- A statement that begins with UPDATE, MERGE or WITH; or a form.
---@param sql string|pg.Call
---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Connection:update(sql, ...) end

--- A statement that begins with DELETE or WITH; or a form.
---@param sql string|pg.Call
---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Connection:delete(sql, ...) end

--- Any statement; without values also a script of several, which is one
--- implicit transaction and reports its last statement.
---@param sql string|pg.Call
---@param ... any
---@return { success: true, rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Connection:execute(sql, ...) end

--- The rows of a statement, one at a time: `for row in db:each(sql, ...) do`. Memory
--- stays flat. Errors raise; leaving the loop ends the statement. `timeout` is for each
--- wait for the server, `max_result` for one row.
---@param sql string|pg.Call
---@param ... any values for $1, $2, ...
---@return fun(stream: userdata): table? step a row; nil after the last one
---@return userdata stream
---@return nil
---@return userdata closing to be closed: a generic `for` does it
function Connection:each(sql, ...) end

--- What NOTIFY sent; `dropped`: how many before it were too many to keep.
---@class pg.Notification
---@field channel string
---@field payload string
---@field pid integer of the session that sent it
---@field dropped? integer

--- The next notification, waiting for it so many seconds (by default the handle's timeout);
--- nil when none came.
---@param seconds? number
---@return pg.Notification|nil
---@return pg.Error?
function Connection:notification(seconds) end

--- Prepares a statement at once. Queries that recur are prepared by themselves, what writes is not.
---@param sql string
---@return pg.Statement|nil
---@return pg.Error?
function Connection:prepare(sql) end

--- The actions of a connection, with the values alone; to be closed.
---@class pg.Statement
local Statement = {}

---@param ... any values for $1, $2, ...
---@return pg.Result|nil
---@return pg.Error?
function Statement:query(...) end

---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Statement:update(...) end

---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Statement:delete(...) end

---@param ... any
---@return { success: true, rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Statement:execute(...) end

---@param ... any
---@return fun(stream: userdata): table? step
---@return userdata stream
---@return nil
---@return userdata closing
function Statement:each(...) end

--- The server forgets it with a later statement; twice is once.
function Statement:close() end

--- The same connection with other settings; closing it closes nothing.
---@param settings pg.Settings
---@return pg.Connection
function Connection:with(settings) end

--- `ssl` is false on an unencrypted connection.
---@return { state: "idle"|"busy"|"transaction"|"failed"|"lost"|"closed", pid: integer?, server: string?, ssl: { version: string, cipher: string }|false }
function Connection:status() end

--- Asks the server to stop the statement that another coroutine runs here.
---@return boolean whether one was running
function Connection:cancel() end

--- Connects anew, all hosts again; what the session held is gone. Raises
--- inside a transaction.
---@return true|nil
---@return pg.Error?
function Connection:reset() end

--- Closes; twice is once.
function Connection:close() end

--- The columns of a table, view, materialized view or foreign table, in order.
---@param name string|table the table's name, as for insert
---@return pg.Column[]|nil
---@return pg.Error?
function Connection:describe(name) end

--- The tables and views, by schema and name; those of the system only where
--- their schema is asked for.
---@param options? { schema: string }
---@return pg.Table[]|nil
---@return pg.Error?
function Connection:tables(options) end

--- How the server would run a statement. With `analyze` in the form it runs, in
--- a transaction that is rolled back: once for each of the two answers.
---@param query string|pg.Explain
---@param ... any values for $1, $2, ...
---@return { plan: table[]?, text: string? }|nil
---@return pg.Error?
function Connection:explain(query, ...) end

--- The checklist: the connection, and the statement and privileges given.
---@param given? pg.Check
---@return pg.CheckItem[]|nil
---@return pg.Error?
function Connection:check(given) end

--- Values of the type go through functions from now on, also in arrays, composites and ranges
--- made of it: see pg.Codec. Lasts through db:reset(); nil ends it.
---@param name string the type's name as in SQL: "citext", "public.mood", "timestamptz"
---@param functions? pg.Codec
---@return true|nil, pg.Error? # no such type (condition undefined_object)
function Connection:codec(name, functions) end

--- See pg.transaction: BEGIN, the function, COMMIT or ROLLBACK; nested: a savepoint.
---@param body fun(tx: pg.Connection): ...
---@param options? pg.TransactionOptions
---@return any ...
function Connection:transaction(body, options) end

--- The same, rolled back always.
---@param body fun(tx: pg.Connection): ...
---@param options? pg.TransactionOptions
---@return any ...
function Connection:dry_run(body, options) end

--- Many rows, all or none of them: see pg.bulk.
---@param target string|table the table's name
---@param rows table|fun(): table? a list of rows, a table of columns, or an iterator
---@param options? pg.BulkInsertOptions
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Connection:bulk_insert(target, rows, options) end

--- Sends what the function queues in one round trip, as one transaction: see pg.pipeline.
---@param f fun(p: pg.Pipeline)
---@param options? pg.PipelineOptions
---@return table[]|nil the results, in order
---@return pg.Error? with `index`, the place of the statement that failed
function Connection:pipeline(f, options) end

--- What db:pipeline's function queues into. Each call answers the place that its
--- result will have, or nil and an error when it is refused, and with it the whole.
---@class pg.Pipeline
local Pipeline = {}

---@param sql string|pg.Call
---@param ... any
---@return integer|nil
---@return pg.Error?
function Pipeline:query(sql, ...) end

---@param target string|table
---@param columns? table<string, any>
---@param options? pg.InsertOptions
---@return integer|nil
---@return pg.Error?
function Pipeline:insert(target, columns, options) end

---@param sql string|pg.Call
---@param ... any
---@return integer|nil
---@return pg.Error?
function Pipeline:update(sql, ...) end

---@param sql string|pg.Call
---@param ... any
---@return integer|nil
---@return pg.Error?
function Pipeline:delete(sql, ...) end

---@param sql string|pg.Call
---@param ... any
---@return integer|nil
---@return pg.Error?
function Pipeline:execute(sql, ...) end

--- Many rows by their key, all or none of them: see pg.bulk.
---@param target string|table
---@param rows table|fun(): table?
---@param options? pg.BulkUpdateOptions
---@return { rowCount: integer, missing: integer?, rows: table[]? }|nil
---@return pg.Error?
function Connection:bulk_update(target, rows, options) end

--- Gives what a pool lent back to it; twice is once. Other connections raise.
function Connection:release() end

--- A pool's actions are those of a connection, each on one that is free.
---@class pg.Pool
local Pool = {}

---@param sql string|pg.Call
---@param ... any
---@return pg.Result|nil
---@return pg.Error?
function Pool:query(sql, ...) end

---@param target string|table
---@param columns? table<string, any>
---@param options? pg.InsertOptions
---@return pg.Inserted|nil
---@return pg.Error?
function Pool:insert(target, columns, options) end

---@param target string|table
---@param values? table<string, any>|table<string, any>[]
---@param options? pg.InsertOptions
---@return pg.Upserted|nil
---@return pg.Error?
function Pool:upsert(target, values, options) end

---@param sql string|pg.Call
---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Pool:update(sql, ...) end

---@param sql string|pg.Call
---@param ... any
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Pool:delete(sql, ...) end

---@param sql string|pg.Call
---@param ... any
---@return { success: true, rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Pool:execute(sql, ...) end

---@param target string|table
---@param rows table|fun(): table?
---@param options? pg.BulkInsertOptions `deadline` is for the wait for a connection, too
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function Pool:bulk_insert(target, rows, options) end

---@param target string|table
---@param rows table|fun(): table?
---@param options? pg.BulkUpdateOptions
---@return { rowCount: integer, missing: integer?, rows: table[]? }|nil
---@return pg.Error?
function Pool:bulk_update(target, rows, options) end

---@param name string|table
---@return pg.Column[]|nil
---@return pg.Error?
function Pool:describe(name) end

---@param options? { schema: string }
---@return pg.Table[]|nil
---@return pg.Error?
function Pool:tables(options) end

---@param query string|pg.Explain
---@param ... any
---@return { plan: table[]?, text: string? }|nil
---@return pg.Error?
function Pool:explain(query, ...) end

---@param given? pg.Check
---@return pg.CheckItem[]|nil
---@return pg.Error?
function Pool:check(given) end

---@return number|nil # seconds
---@return pg.Error?
function Pool:ping() end

---@param f fun(p: pg.Pipeline)
---@param given? pg.PipelineOptions
---@return table[]|nil
---@return pg.Error?
function Pool:pipeline(f, given) end

---@param target string|table
---@param columns? string|string[]
---@param source table|fun(): any|string|file*
---@param given? pg.CopyInOptions
---@return { rowCount: integer, bytes: integer? }|nil
---@return pg.Error?
function Pool:copy_in(target, columns, source, given) end

---@param what string|table a table's name or a query
---@param sink fun(chunk: string): any, any|file*
---@param given? pg.CopyOutOptions
---@return { rowCount: integer, bytes: integer }|nil
---@return pg.Error?
function Pool:copy_out(what, sink, given) end

--- COPY FROM STDIN: a list of rows, a function that gives rows, a string, a file, or with `raw` a
--- function that gives strings. All is stored, or nothing.
---@param target string|table the table's name
---@param columns? string|string[] default: the names in the first row, else the table's
---@param source table|fun(): any, any|string|file*
---@param options? pg.CopyInOptions
---@return { rowCount: integer, bytes: integer? }|nil
---@return pg.Error?
function Connection:copy_in(target, columns, source, options) end

--- COPY TO STDOUT: a table or a query to a function, in portions of whole rows, or to a file.
---@param what string|table a table's name, or a query
---@param sink fun(chunk: string): any, any|file*
---@param options? pg.CopyOutOptions
---@return { rowCount: integer, bytes: integer }|nil
---@return pg.Error?
function Connection:copy_out(what, sink, options) end

--- The rows of a table or a query for a generic `for`, by COPY. Raises errors.
---@param what string|table
---@param options? pg.CopyRowsOptions
---@return fun(): table?, any, nil, any
function Connection:copy_rows(what, options) end

--- A table or a query into a table of another connection, without decoding it.
---@param other pg.Connection
---@param what string|table
---@param options? pg.CopyToOptions
---@return { rowCount: integer, bytes: integer }|nil
---@return pg.Error?
function Connection:copy_to(other, what, options) end
