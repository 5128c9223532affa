# Sourced by deploy/quickstart and tests/run: Debian packages, and only those that are missing.
# shellcheck shell=bash

# install_packages GROUP… : installs what of these groups of deploy/packages.txt is not there yet, or says what is missing.
install_packages() {
  local here missing=() group name wanted=" $* "
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This needs Debian 12 (dpkg and apt-get were not found)." >&2
    return 1
  fi
  while read -r group name; do
    case "$group" in ''|\#*) continue ;; esac
    case "$wanted" in *" $group "*) ;; *) continue ;; esac
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null)" = "ii " ] || missing+=("$name")
  done < "$here/packages.txt"
  [ ${#missing[@]} -eq 0 ] && return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages: ${missing[*]}" >&2
      echo "Install them as root (apt-get install ${missing[*]}), or run this with sudo available." >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
       >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "apt-get could not install them; the lines above say why (everything: $log)." >&2
    return 1
  fi
  rm -f "$log"
}
