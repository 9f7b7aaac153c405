rockspec_format = "3.0"
package = "lua-pg"
version = "scm-1"
source = { -- a place of your own: `luarocks make` does not look at it
  url = "git+https://example.org/lua-pg/lua-pg.git",
}
description = {
  summary = "A PostgreSQL client for Lua 5.4 with limits, cancellation and errors that help",
  license = "MIT",
}
dependencies = {
  "lua >= 5.4",
  "lua-cjson",
}
-- Only the library: to ask for its header too fails on Debian, which keeps it in a folder of its
-- own; incdirs below names that one.
external_dependencies = {
  PQ = { library = "pq" },
}
build = {
  type = "builtin",
  modules = {
    ["pg.core"] = {
      sources = {
        "src/actions.c",
        "src/await.c",
        "src/box.c",
        "src/buffer.c",
        "src/cancel.c",
        "src/codec.c",
        "src/codec_array.c",
        "src/codec_array_encode.c",
        "src/codec_interval.c",
        "src/codec_json.c",
        "src/codec_json_encode.c",
        "src/codec_network.c",
        "src/codec_number.c",
        "src/codec_numeric.c",
        "src/codec_scalar.c",
        "src/codec_shortest.c",
        "src/codec_time.c",
        "src/collect.c",
        "src/conn.c",
        "src/connect.c",
        "src/conninfo.c",
        "src/core.c",
        "src/error.c",
        "src/fetch.c",
        "src/notice.c",
        "src/outcome.c",
        "src/params.c",
        "src/relay.c",
        "src/result.c",
        "src/rows.c",
        "src/run.c",
        "src/settings.c",
        "src/statement.c",
        "src/transaction.c", "src/wire.c",
      },
      defines = { "_POSIX_C_SOURCE=200809L" },
      libraries = { "pq", "pthread" },
      incdirs = { "$(PQ_INCDIR)", "/usr/include/postgresql" },
      libdirs = { "$(PQ_LIBDIR)" },
    },
    ["pg.actions"] = "lua/pg/actions.lua",
    ["pg.advice"] = "lua/pg/advice.lua",
    ["pg.advice_connect"] = "lua/pg/advice_connect.lua",
    ["pg.advice_statement"] = "lua/pg/advice_statement.lua",
    ["pg.catalog"] = "lua/pg/catalog.lua",
    ["pg.conditions"] = "lua/pg/conditions.lua",
    ["pg.conflict"] = "lua/pg/conflict.lua",
    ["pg.connect_text"] = "lua/pg/connect_text.lua",
    ["pg.error_text"] = "lua/pg/error_text.lua",
    ["pg.errors"] = "lua/pg/errors.lua",
    ["pg.fixes"] = "lua/pg/fixes.lua",
    ["pg.forms"] = "lua/pg/forms.lua",
    pg = "lua/pg/init.lua",
    ["pg.inspect"] = "lua/pg/inspect.lua",
    ["pg.insert"] = "lua/pg/insert.lua",
    ["pg.insert_error"] = "lua/pg/insert_error.lua",
    ["pg.message_text"] = "lua/pg/message_text.lua",
    ["pg.meta"] = "lua/pg/meta.lua",
    ["pg.options"] = "lua/pg/options.lua",
    ["pg.secrets"] = "lua/pg/secrets.lua",
    ["pg.sql"] = "lua/pg/sql.lua",
    ["pg.throwaway"] = "lua/pg/throwaway.lua",
    ["pg.transaction"] = "lua/pg/transaction.lua",
    ["pg.wait.copas"] = "lua/pg/wait/copas.lua",
    ["pg.wait.cqueues"] = "lua/pg/wait/cqueues.lua",
    ["pg.wait.luv"] = "lua/pg/wait/luv.lua",
    ["pg.wording"] = "lua/pg/wording.lua",
  },
  install = {
    lua = { ["pg.throwaway"] = "lua/pg/throwaway.sh" },
  },
}
