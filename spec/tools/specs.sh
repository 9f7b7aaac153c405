#!/bin/sh
# SPDX-License-Identifier: MIT
# specs.sh JOBS BUSTED...: every spec file in a process of its own, JOBS at a time, the
# longest first; prints each report when it is there, and the sum of all.
jobs=$1
shift
logs=$(mktemp -d) && trap 'rm -rf "$logs"' EXIT INT TERM
export logs
ls -S spec/*_spec.lua | xargs -P "$jobs" -I SPEC sh -c '
  spec=$1 log=$logs/$(basename "$1")
  shift
  "$@" "$spec" >"$log" 2>&1 </dev/null
  code=$?
  { echo "== $spec"; cat "$log"; } 
  exit $code' run SPEC "$@"
code=$?
cat "$logs"/* | awk -v code=$code '
  /^[0-9]+ success(es)? \/ / { passed += $1; failed += $4 + $7; pending += $10 }
  END { printf "%d successes, %d failures, %d pending in all\n", passed, failed, pending }'
exit $code
