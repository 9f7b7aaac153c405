// SPDX-License-Identifier: MIT
// pgx v4: whole results, scanned into structs as its documentation shows (pgtype.Numeric, maps).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
)

type row struct {
	id     int64
	name   string
	score  float64
	active bool
}
type typed struct {
	id     int64
	at     time.Time
	amount pgtype.Numeric
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A work does its repetitions and returns their units, and the sum of check over the last one.
type work func(db *pgx.Conn, sql string, times int) (int64, func() int64)

func whole[T any](scan func(pgx.Rows, *T) error, check func(*T) int64) work {
	return func(db *pgx.Conn, sql string, times int) (units int64, total func() int64) {
		var kept []T
		for i := 0; i < times; i++ {
			kept = nil
			rows, _ := db.Query(ctx, sql) // its error is rows.Err(), too
			for rows.Next() {
				var r T
				must(scan(rows, &r))
				kept = append(kept, r)
			}
			must(rows.Err())
			units += int64(len(kept))
		}
		return units, func() (sum int64) {
			for i := range kept {
				sum += check(&kept[i])
			}
			return
		}
	}
}

func numbers[T int32 | float64]() work {
	var id int32
	return whole(func(rows pgx.Rows, r *[]T) error { return rows.Scan(&id, r) },
		func(r *[]T) (sum int64) {
			for _, n := range *r {
				sum += int64(n)
			}
			return
		})
}

var (
	ctx  = context.Background()
	data = whole(func(rows pgx.Rows, r *[]byte) error { return rows.Scan(r) },
		func(r *[]byte) int64 { return int64(len(*r)) + int64((*r)[0]) + int64((*r)[len(*r)-1]) })
	works = map[string]work{
		"rows": whole(func(rows pgx.Rows, r *row) error { return rows.Scan(&r.id, &r.name, &r.score, &r.active) },
			func(r *row) int64 {
				return r.id + int64(len(r.name)) + int64(r.score) + map[bool]int64{true: 1}[r.active]
			}),
		"typed": whole(func(rows pgx.Rows, r *typed) error { return rows.Scan(&r.id, &r.at, &r.amount) },
			func(r *typed) int64 {
				var amount float64
				must(r.amount.AssignTo(&amount))
				return r.id + int64(r.at.Second()) + int64(amount)
			}),
		"int_arrays": numbers[int32](), "float_arrays": numbers[float64](),
		"bytea_1mb": data, "bytea_10kb": data,
		"jsonb": whole(func(rows pgx.Rows, r *map[string]any) error { return rows.Scan(r) },
			func(r *map[string]any) int64 {
				return int64((*r)["number"].(float64) + (*r)["user"].(map[string]any)["age"].(float64))
			}),
	}
)

func cpu() float64 {
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func main() {
	name, times, sql := os.Args[1], 0, map[string]string{}
	fmt.Sscan(os.Args[2], &times)
	text, _ := os.ReadFile("spec/bench/peers/sql.json")
	must(json.Unmarshal(text, &sql))
	run, known := works[name]
	if !known {
		fmt.Println("unsupported")
		return
	}
	db, err := pgx.Connect(ctx, "")
	must(err)
	_, check := run(db, sql[name], 1)
	checked, start, used := check(), time.Now(), cpu()
	units, _ := run(db, sql[name], times)
	fmt.Printf("%d %.6f %.6f %d\n", units, time.Since(start).Seconds(), cpu()-used, checked)
}
