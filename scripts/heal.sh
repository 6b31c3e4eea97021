#!/usr/bin/env bash
# Measures how fast replicas heal, for docs/results.md: a node of three is away for
# OUTAGE seconds at RATE events a second (256 bytes), on top of BASE_SECONDS of full
# load before; then it comes back, once with hints and once without, by
# anti-entropy alone. Before that: what anti-entropy costs while nothing fails. Linux; needs a built bin/dunlin.
#   OUTAGE=60 RATE=2000 STEADY=60 STEADY_SIZES="100000 1000000" scripts/heal.sh
# WHAT names some of: steady hints anti-entropy.
set -euo pipefail
cd "$(dirname "$0")/.."

OUTAGE=${OUTAGE:-60}
RATE=${RATE:-2000}
BASE_SECONDS=${BASE_SECONDS:-5}
BASE=${BASE:-127.0.51}
STEADY=${STEADY:-60}
STEADY_SIZES=${STEADY_SIZES:-100000 1000000}
WHAT=${WHAT:-steady hints anti-entropy}
work=$(mktemp -d)
dev_pid= n3_pid=
stop() {
  [ -n "$n3_pid" ] && kill -INT "$n3_pid" 2>/dev/null && wait "$n3_pid" 2>/dev/null || true
  [ -n "$dev_pid" ] && kill -INT "$dev_pid" 2>/dev/null && wait "$dev_pid" 2>/dev/null || true
  n3_pid= dev_pid=
}
trap 'stop; rm -rf "$work"' EXIT

metric() { # the sum of a metric over its labels: node, name
  curl -s "http://$BASE.$1:7483/metrics" | awk -v name="$2" 'index($1, name) == 1 && ($1 == name || substr($1, length(name) + 1, 1) == "{") {s += $NF} END {printf "%.0f\n", s}'
}
now_ms() { date +%s%3N; }
write() { # urls, seconds, more flags
  bin/dunlin bench write --http "$1" --clients 8 --batch 100 --duration "$2s" --w 2 "${@:3}" -o json |
    python3 -c "import json,sys; print(json.load(sys.stdin)['writes']['events'])"
}

measure() { # "hints" or "anti-entropy"
  bin/dunlin dev --dir "$work/dev" --wipe --base "$BASE.1" > "$work/dev.log" 2>&1 &
  dev_pid=$!
  for _ in $(seq 100); do grep -q 'nodes are ready' "$work/dev.log" && break; sleep 0.1; done
  local two=http://$BASE.1:7480,http://$BASE.2:7480 before missed began ready rows=0
  before=$(write "$two,http://$BASE.3:7480" "$BASE_SECONDS")
  kill -9 "$(pgrep -f "dunlin serve --data-dir $work/dev/n3")"
  sleep 2
  missed=$(write "$two" "$OUTAGE" --rate $((RATE / 100)))
  began=$(now_ms)
  bin/dunlin serve --data-dir "$work/dev/n3" --listen-host "$BASE.3" > "$work/n3.log" 2>&1 &
  n3_pid=$!
  until curl -sf "http://$BASE.3:7483/readyz" > /dev/null; do sleep 0.05; done
  ready=$(now_ms)
  if [ "$1" = hints ]; then
    until [ $(($(metric 1 dunlin_hinted_stored_hints) + $(metric 2 dunlin_hinted_stored_hints))) = 0 ]; do sleep 0.1; done
    rows=$(($(metric 1 dunlin_hinted_replayed_rows_total) + $(metric 2 dunlin_hinted_replayed_rows_total)))
  else
    until [ "$rows" -ge "$missed" ]; do sleep 0.2; rows=$(metric 3 dunlin_antientropy_pulled_rows_total); done
  fi
  local healed=$(now_ms)
  echo "$1: $before events before, $missed missed in ${OUTAGE}s; ready after $((ready - began)) ms, equal $((healed - ready)) ms later: $((rows * 1000 / (healed - ready + 1))) rows/s"
  stop
}

step_seconds() { curl -s "http://$BASE.$1:7483/metrics" | awk '$1 == "dunlin_antientropy_step_duration_seconds_sum" {print $2}'; }

steady() { # events: anti-entropy's share of a core while more come at 5,000 a second
  bin/dunlin dev --dir "$work/dev" --wipe --base "$BASE.1" > "$work/dev.log" 2>&1 &
  dev_pid=$!
  for _ in $(seq 100); do grep -q 'nodes are ready' "$work/dev.log" && break; sleep 0.1; done
  local all=http://$BASE.1:7480,http://$BASE.2:7480,http://$BASE.3:7480 before=0 events n
  while [ "$before" -lt "$1" ]; do before=$((before + $(write "$all" 5))); done
  for n in 1 2 3; do # what came before is hashed and compared
    until [ "$(metric "$n" dunlin_antientropy_dirty_leaves)" = 0 ]; do sleep 1; done
  done
  local took=(0 "$(step_seconds 1)" "$(step_seconds 2)" "$(step_seconds 3)")
  local read=(0 "$(metric 1 dunlin_antientropy_read_rows_total)" "$(metric 2 dunlin_antientropy_read_rows_total)" "$(metric 3 dunlin_antientropy_read_rows_total)")
  events=$(write "$all" "$STEADY" --rate 50)
  for n in 1 2 3; do
    echo "steady: node $n, $before events before, $events in ${STEADY}s: anti-entropy took $(awk -v a="${took[$n]}" -v b="$(step_seconds "$n")" -v s="$STEADY" 'BEGIN {printf "%.1f", 100 * (b - a) / s}') % of a core, read $(($(metric "$n" dunlin_antientropy_read_rows_total) - ${read[$n]})) rows, pulled $(metric "$n" dunlin_antientropy_pulled_rows_total)"
  done
  stop
}

case " $WHAT " in *" steady "*) for size in $STEADY_SIZES; do steady "$size"; done ;; esac
case " $WHAT " in *" hints "*) measure hints ;; esac
export DUNLIN_HINTS_ENABLED=false
case " $WHAT " in *" anti-entropy "*) measure anti-entropy ;; esac
