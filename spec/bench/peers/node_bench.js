// SPDX-License-Identifier: MIT
// node-postgres: named (prepared) statements, row objects, or arrays by rowMode; int8 to numbers as
// its documentation shows, numeric stays text. Streams and COPY are other packages, not tried here.
"use strict";
const fs = require("fs");
const { Client, types } = require("pg");

const [name, times] = [process.argv[2], Number(process.argv[3])];
const SQL = require("./sql.json");

const sum = (rows, f) => rows.reduce((total, row) => total + f(row), 0);
const record = ([id, text, score, active]) =>
  id + Buffer.byteLength(text) + Math.trunc(score) + Number(active);
const bytes = ({ data }) => data.length + data[0] + data[data.length - 1];
const elements = ({ list }) => sum(list, Math.trunc);
const CHECKS = {
  rows: (row) => record(Object.values(row)), rows_array: record,
  catalog: (row) => row.oid + Buffer.byteLength(row.typname) + Number(row.typbyval),
  typed: (row) => row.id + Math.trunc(row.amount) + row.at.getSeconds(),
  int_arrays: elements, float_arrays: elements, bytea_1mb: bytes, bytea_10kb: bytes,
  jsonb: ({ doc }) => doc.number + doc.user.age, held: (row) => row.id,
};

const count = (full) => Math.max(1, Math.floor(full * Number(process.env.BENCH_SCALE || 1)));
const SENT = { insert: count(100000), singly: count(10000), pipeline: count(10000) };
const records = Array.from({ length: SENT[name] || 0 }, (_, i) => ({
  level: i % 9 ? "info" : "error", message: `some message ${i}`,
  created_at: new Date(2026, 0, 15, 10, 30, i % 60),
}));
const db = new Client({ pipeline: name === "pipeline" });
const query = { name: "work", text: SQL[name], rowMode: name === "rows_array" ? "array" : null };

async function keyed(i) {
  const { rows: [row] } = await db.query({ ...query, values: [i % 1000 + 1] });
  return [1, name === "int" ? row.int4 : row.id];
}

async function whole() {
  const { rows } = await db.query(query);
  return [rows.length, rows];
}

const WORK = {
  int: keyed, lookup: keyed,
  async insert() {
    await db.query("BEGIN");
    for (let i = 0, step = count(10000); i < records.length; i += step) {
      const batch = records.slice(i, i + step);
      const column = (key) => batch.map((row) => row[key]);
      await db.query({ ...query, values: ["level", "message", "created_at"].map(column) });
    }
    await db.query("COMMIT");
  },
  async singly() {
    for (const row of records) {
      await db.query({ ...query, values: Object.values(row) });
    }
  },
  async pipeline() {
    const begun = db.query("BEGIN");
    const sent = records.map((row) => db.query({ ...query, values: Object.values(row) }));
    await Promise.all([begun, ...sent, db.query("COMMIT")]);
  },
};
for (const work of Object.keys(CHECKS)) WORK[work] ||= whole;

async function repetition(i) {
  if (!SENT[name]) return WORK[name](i);
  await db.query(SQL.truncate);
  await WORK[name]();
  return [records.length, null];
}

async function warmUp() {
  if (name === "held") return null;
  if (WORK[name] === keyed) {
    for (let i = 0; i < 10; i++) await repetition(i);
    return null;
  }
  const [, result] = await repetition(0);
  if (SENT[name]) return (await db.query(SQL.check)).rows[0].sum;
  return sum(result, CHECKS[name]);
}

function memory(field) {
  return Number(fs.readFileSync("/proc/self/status", "latin1").match(`${field}:\\s*(\\d+)`)[1]);
}

async function main() {
  if (!WORK[name]) return console.log("unsupported");
  types.setTypeParser(types.builtins.INT8, (value) => parseInt(value, 10));
  await db.connect();
  await db.query("SELECT 1");
  const idle = memory("VmRSS");
  const checked = await warmUp();
  let units = 0, total = 0, rows;
  const cpu = process.cpuUsage(), start = process.hrtime.bigint();
  for (let i = 0; i < times; i++) {
    const [n, result] = await repetition(i);
    units += n;
    if (typeof result === "number") total += result;
    else rows = result;
  }
  const wall = Number(process.hrtime.bigint() - start) / 1e9, used = process.cpuUsage(cpu);
  if (name === "held") total = sum(rows, CHECKS.held);
  const words = [units, wall.toFixed(6), ((used.user + used.system) / 1e6).toFixed(6),
    checked ?? total];
  if (name === "held") words.push(memory("VmHWM") - idle);
  console.log(words.join(" "));
  await db.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
