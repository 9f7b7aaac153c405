#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the fuzz targets of spec/fault/fuzz with clang's libFuzzer and runs each on its corpus and
# then on what libFuzzer makes of that; a line a target; fails when one did. What broke it lies in
# FOLDER/found, and belongs into the corpus once it is mended.
#
#   fuzz.sh FOLDER SECONDS JOBS [TARGET...]    each for so long; 0: the corpus alone
export folder=$1 seconds=$2 clang="${CLANG:-clang}" here=spec/fault/fuzz
jobs=$3
shift 3
export flags="-std=c11 -D_POSIX_C_SOURCE=200809L -g -O1 -fno-omit-frame-pointer
  -fsanitize=address,undefined -fno-sanitize-recover=undefined -Isrc -I$here
  ${INCLUDES:-$(pkg-config --cflags libpq lua5.4)}"
sources="$(ls src/codec*.c) src/buffer.c src/copy_rows.c $(ls $here/*.c)"

object_of() { echo "$folder/obj/$(basename "$(dirname "$1")")_$(basename "$1" .c).o"; }

compile() { # FILE: unless its object is newer than it and every header
  object=$(object_of "$1")
  [ -f "$object" ] && [ -z "$(find "$1" src/*.h $here/*.h -newer "$object")" ] ||
    $clang $flags -fsanitize=fuzzer-no-link -c -o "$object" "$1"
}

try() { # TARGET
  mkdir -p "$folder/corpus/$1"
  [ "$seconds" = 0 ] && limit=-runs=0 || limit=-max_total_time=$seconds
  log=$folder/$1.log
  if "$folder/bin/$1" $limit -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
    -artifact_prefix="$folder/found/$1-" "$folder/corpus/$1" "$here/corpus/$1" >"$log" 2>&1; then
    echo "$1: $(grep -aoE '^#[0-9]+' "$log" | tail -1 | tr -d '#') inputs, right"
  else
    echo "$1: FAILED: $(grep -aE '^not kept|ERROR:|runtime error' "$log" | head -1) ($log)"
    return 1
  fi
}

case $1 in
  --compile) compile "$2"; exit ;;
  --try) try "$2"; exit ;;
esac

[ $# -gt 0 ] || set -- $(ls $here/corpus)
mkdir -p "$folder/obj" "$folder/bin" "$folder/found" || exit 1

if ! echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
  $clang -x c -fsanitize=fuzzer,address,undefined -o "$folder/try" - 2>"$folder/try.log"; then
  cat "$folder/try.log"
  echo "fuzzing needs clang and its runtime (Debian: clang; Fedora: clang compiler-rt)"
  exit 2
fi

echo $sources | xargs -P "$jobs" -n 1 sh "$0" "$folder" "$seconds" "$jobs" --compile &&
  $clang $flags -fsanitize=fuzzer -o "$folder/bin/all" \
    $(for file in $sources; do object_of "$file"; done) ${LIBS:--lpq} -llua5.4 -lm || exit 1
for target; do ln -f "$folder/bin/all" "$folder/bin/$target"; done
printf '%s\n' "$@" | xargs -P "$jobs" -n 1 sh "$0" "$folder" "$seconds" "$jobs" --try
