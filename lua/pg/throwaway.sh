#!/bin/sh
# SPDX-License-Identifier: MIT
# Owns the processes and the folder of one throwaway server. It must not know
# Lua: lua/pg/throwaway.lua calls it as
#
#   throwaway.sh wait                 prints an unused folder name, then waits
#                                     there for what `serve` reports
#   throwaway.sh serve DIR BINDIR ... makes folder and server, reports, and lives
#                                     until SIGTERM, the end of its standard
#                                     input, or of its parent; then removes all.
#                                     What follows goes to initdb.
#   throwaway.sh control DIR ...      pg_ctl on that server
#
# `serve` takes from the environment TCP and SSL ("1" or empty), SETTINGS (for
# postgresql.conf) and HBA (the first lines of pg_hba.conf).
umask 077
unset LD_PRELOAD PGDATA PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD \
  PGOPTIONS PGSERVICE PGSSLMODE
export LC_ALL=C

# Runs a command as somebody whom PostgreSQL accepts: anybody but root.
unprivileged() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
  elif setpriv --reuid=nobody --clear-groups true 2>/dev/null; then
    setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"
  else # busybox has another setpriv
    line=
    for word; do
      line="$line '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
    done
    su -s /bin/sh nobody -c "$line"
  fi
}

has_server() {
  [ -x "$1/initdb" ] && [ -x "$1/pg_ctl" ] && [ -x "$1/postgres" ]
}

# Sets bindir to the programs of the highest major version.
find_server() {
  best=0
  for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    major=$(printf %s "${bin%/bin}" | sed 's/.*[^0-9]//')
    if has_server "$bin" && [ "${major:-0}" -gt "$best" ]; then
      best=$major bindir=$bin
    fi
  done
  has_server "$bindir" || bindir=$(pg_config --bindir 2>/dev/null)
  has_server "$bindir" || bindir=$(dirname "$(command -v initdb)")
  has_server "$bindir"
}

random() { # N bytes in hexadecimal
  od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

certificate() { # NAME, then who signs it and with which extensions
  name=$1
  shift
  openssl ecparam -name prime256v1 -genkey -noout -out "$name.key" &&
    openssl req -new -config ssl.conf -key "$name.key" -subj "/CN=$name" \
      -out req &&
    openssl x509 -req -days 30 -in req -out "$name.crt" \
      -set_serial "0x$(random 8)" -extfile ssl.conf -extensions "$@"
}

certificates() {
  if ! command -v openssl >/dev/null; then
    echo "ssl = true makes its certificates with the command openssl, which is" \
      "missing; install it (Debian: apt-get install openssl)"
    return 1
  fi
  cat >ssl.conf <<'END'
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
[server]
subjectAltName = DNS:localhost, IP:127.0.0.1
END
  certificate ca authority -signkey ca.key &&
    certificate other authority -signkey other.key &&
    certificate localhost server -CA ca.crt -CAkey ca.key
}

configure() {
  cat >>data/postgresql.conf <<END
listen_addresses = '${TCP:+127.0.0.1}'
unix_socket_directories = '$dir'
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_senders = 0
include = '$dir/port.conf'
END
  [ -z "$SSL" ] || cat >>data/postgresql.conf <<END
ssl = on
ssl_cert_file = '$dir/localhost.crt'
ssl_key_file = '$dir/localhost.key'
END
  printf '%s\n' "$SETTINGS" >>data/postgresql.conf
  cat >data/pg_hba.conf <<END
$HBA
local all,replication all trust
host all,replication all 127.0.0.1/32 scram-sha-256
END
}

control() {
  unprivileged "$bindir/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 "$@" \
    >"$dir/out" 2>&1 </dev/null
}

start() {
  tries=10 port=5432
  while :; do
    [ -z "$TCP" ] || port=$((20000 + 0x$(random 2) % 12000))
    echo "port = $port" >port.conf
    : >log
    control start && return
    tries=$((tries - 1))
    # A port that somebody else has is no reason to give up.
    { [ $tries -gt 0 ] && grep -q "could not bind" log; } || return 1
  done
}

make_server() { # prints why it fails
  touch log out port.conf
  random 16 >password
  [ -z "$SSL" ] || certificates >out 2>&1 || { cat out && return 1; }
  [ "$(id -u)" -ne 0 ] || chown -R nobody "$dir"
  unprivileged "$bindir/initdb" -D data -N -U postgres -E UTF8 --locale=C \
    --auth-local=trust --auth-host=scram-sha-256 --pwfile=password "$@" \
    >out 2>&1 </dev/null || { echo "initdb failed:" && cat out && return 1; }
  configure
  start || { echo "pg_ctl start failed:" && cat out log && return 1; }
}

leave() {
  trap '' TERM
  kill "$watcher"
  [ ! -f "$dir/data/postmaster.pid" ] || control -m immediate stop
  cd / && rm -rf "$dir"
}

serve() {
  owner=$PPID bindir=$1
  shift
  mkdir -m 700 "$dir" && cd "$dir" || exit 1
  exec >/dev/null 2>&1 # who reads our caller's output shall not wait for us
  trap leave EXIT
  trap 'exit 143' TERM
  trap '' INT HUP QUIT PIPE
  # Others may inherit the pipe and hold it open when its owner was killed.
  (while kill -0 "$owner"; do sleep 1; done && kill $$) </dev/null &
  watcher=$!

  if ! has_server "$bindir" && { [ -n "$bindir" ] || ! find_server; }; then
    cat <<END
failed
no PostgreSQL server programs found${bindir:+ in $bindir}; install them:
  Debian, Ubuntu: apt-get install postgresql
  Fedora: dnf install postgresql-server
  Alpine: apk add postgresql
  macOS: brew install postgresql
END
  elif message=$(make_server "$@"); then
    printf '%s\n' "started $owner $$" "$bindir" "$(cat port.conf password)"
  else
    printf '%s\n' failed "$message"
  fi >report.new
  printf %s "$bindir" >bindir
  mv report.new report
  read -r _
}

wait_for_report() {
  tmp=/tmp # the one that other users reach, too
  [ "$(id -u)" -eq 0 ] || tmp=${TMPDIR:-/tmp}
  dir=$(mktemp -u "$tmp/pg.XXXXXX") || exit 1
  echo "$dir"
  left=2000
  until [ -f "$dir/report" ] || [ $left -le 0 ]; do
    sleep 0.05
    # Without a folder nobody will report; give it five seconds to appear.
    [ -d "$dir" ] && left=$((left - 1)) || left=$((left - 20))
  done
  cat "$dir/report" 2>/dev/null
}

dir=$2
case $1 in
wait) wait_for_report ;;
serve) shift 2 && serve "$@" ;;
control)
  cd "$dir" && bindir=$(cat bindir) && shift 2
  control "$@" || { cat "$dir/out" && exit 1; }
  ;;
esac
