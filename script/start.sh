#!/bin/sh
# Starts the program in use, the one that the link `current` names. install.sh copies this beside the two places as `start`: it is
# part of neither, so it can go back from an agent that is on trial (file `trial`, written before the link is turned) and ends each time it
# starts, or hangs. The agent itself goes back when it runs but does not reach its server (src/agent/upgrade).
dir=$(dirname -- "$(readlink -f -- "$0")")
field() { sed -n "s/^$1=//p" "$dir/$2" 2>/dev/null; }
on_trial() { [ -e "$dir/trial" ] && [ "$(readlink "$dir/current")" = "$(field to trial)" ]; }
go_back() {
  # The reason first, then the link, then the trial: whatever happens in between, the next start goes on from there.
  { printf 'id=%s\nversion=%s\n' "$(field id trial)" "$(field version trial)"; printf 'why=%s\nat=0\nagain=no\n' "$1"; } >"$dir/failed.new"
  mv -f "$dir/failed.new" "$dir/failed"
  ln -sfn "$(field from trial)" "$dir/current.new" && mv -fT "$dir/current.new" "$dir/current"
  rm -f "$dir/trial" "$dir/trial.starts"
  sync
}
if [ "${1:-}" = agent ] && on_trial; then
  echo >>"$dir/trial.starts"
  n=$(wc -l <"$dir/trial.starts")
  if [ "$n" -gt 3 ]; then
    go_back 'it ended three times before it had proved itself'
  else
    limit=$((2 * $(field seconds trial)))
    place=$dir/$(field to trial)
    (
      at=0
      while [ "$at" -lt "$limit" ]; do
        sleep 2
        at=$((at + 2))
        # Proved, given up, or started anew: somebody else's business.
        on_trial && [ "$(wc -l <"$dir/trial.starts")" = "$n" ] || exit 0
      done
      go_back "it did not prove itself within $limit s"
      case $(readlink "/proc/$$/exe") in "$place"/*) kill -9 $$ ;; esac
    ) </dev/null >/dev/null 2>&1 &
  fi
fi
exec "$dir/current/bin/skerry" "$@"
