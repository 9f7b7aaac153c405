#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds in a folder a Lua from Debian's own source that aborts when its C API is misused: too
# little stack, a wrong index, a wrong number of values. Each check of the stack moves it.
#
#   apicheck.sh FOLDER LUA    LUA is the one whose paths it takes over
set -e
lua=$(command -v "$2")
cd "$1"
if [ ! -d lua-* ]; then
  . /etc/os-release
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb-src [signed-by=$keys] http://deb.debian.org/debian $VERSION_CODENAME main" >sources.list
  mkdir -p lists/partial
  apt() {
    apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=- \
      -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD" -o APT::Sandbox::User=root "$@"
  }
  apt update
  apt source --download-only lua5.4
  tar xf lua5.4_*.orig.tar.*
fi
default() {
  env -u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4 -u LUA_CPATH_5_4 "$lua" -e "io.write(package.$1)"
}
# shellcheck disable=SC2046
${CC:-cc} -O1 -g -DLUA_USE_LINUX -DLUA_COMPAT_5_3 -DLUA_USE_APICHECK -DHARDSTACKTESTS \
  "-DLUA_PATH_DEFAULT=\"$(default path)\"" "-DLUA_CPATH_DEFAULT=\"$(default cpath)\"" \
  -fsanitize=address -Wl,-E -o "$(basename "$lua")" \
  $(ls lua-*/src/*.c | grep -v /luac.c) -lm -ldl
