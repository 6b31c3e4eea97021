#!/usr/bin/env bash
# Measures changes of the layout for docs/results.md: three nodes are filled for
# PRELOAD seconds; a fourth joins while a client goes on at RATE operations a second
# (every second one is a read), then one is lost for good and a fresh one replaces it.
# Linux; needs a built bin/dunlin.
# Slices without a change come before and after the join: machines are noisy.
#   ROUNDS=3 PRELOAD=30 RATE=400 SLICE=3 QUIET=4 scripts/grow.sh
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${ROUNDS:-1}
PRELOAD=${PRELOAD:-30}
RATE=${RATE:-400}
SLICE=${SLICE:-3}
QUIET=${QUIET:-4}
BASE=${BASE:-127.0.52}
PATIENCE=${PATIENCE:-600}
work=$(mktemp -d)
declare -A pids=()
stop() {
  local n
  for n in "${!pids[@]}"; do kill -INT "${pids[$n]}" 2>/dev/null || true; done
  for n in "${!pids[@]}"; do wait "${pids[$n]}" 2>/dev/null || true; done
  pids=()
}
trap 'stop; rm -rf "$work"' EXIT

now_ms() { date +%s%3N; }
urls() { # of nodes
  local n all=
  for n in "$@"; do all=$all,http://$BASE.$n:7480; done
  echo "${all#,}"
}
metric() { # the sum of a metric over its labels: node, name
  curl -s "http://$BASE.$1:7483/metrics" | awk -v name="$2" 'index($1, name) == 1 && ($1 == name || substr($1, length(name) + 1, 1) == "{") {s += $NF} END {printf "%.0f\n", s}'
}
status() { # node, expression of its status s
  curl -s "http://$BASE.$1:7483/v1/status" | python3 -c "import json,sys; s=json.load(sys.stdin); print($2)"
}
serve() { # node, more flags
  bin/dunlin serve --listen-host "$BASE.$1" --data-dir "$work/n$1" "${@:2}" > "$work/n$1.log" 2>&1 &
  pids[$1]=$!
}
ready() { # nodes
  local n tries
  for n in "$@"; do
    tries=0
    until curl -sf "http://$BASE.$n:7483/readyz" > /dev/null; do
      tries=$((tries + 1))
      if [ "$tries" -gt 600 ] || ! kill -0 "${pids[$n]}" 2>/dev/null; then echo "node $n does not get ready:" >&2; tail -5 "$work/n$n.log" >&2; return 1; fi
      sleep 0.1
    done
  done
}
changing() { # node: whether a change is on its way, as it sees it
  [ "$(status "$1" "s.get('change') is not None")" = True ]
}
bench() { # mode, seconds, nodes, more flags
  bin/dunlin bench "$1" --http "$3" --duration "$2s" --streams 20000 "${@:4}" -o json
}
slice() { # file, nodes: p99 of writes and of reads and failed operations of one slice
  bench mixed "$SLICE" "$2" --clients 16 --rate "$RATE" | python3 -c "
import json,sys
r=json.load(sys.stdin); w,d=r['writes'],r['reads']
print(w['latency_ms']['p99'], d['latency_ms']['p99'], w['failed']+d['failed'], w['events'])" >> "$1"
}
settle() { # nodes: until they have hashed and compared what came
  local n
  for n in "$@"; do
    until [ "$(metric "$n" dunlin_antientropy_dirty_leaves)" = 0 ]; do sleep 1; done
  done
}
summary() { # file of slices without a change, file of slices during it
  python3 - "$@" <<'PY'
import statistics, sys
quiet, during = ([[float(x) for x in line.split()] for line in open(f)] for f in sys.argv[1:3])
for at, what in enumerate(("writes", "reads")):
    b, d = [r[at] for r in quiet], [r[at] for r in during]
    m, n = statistics.median(b), statistics.median(d)
    print(f"foreground p99 of {what}: without a change {m:.1f} ms ({min(b):.1f} to {max(b):.1f}, {len(b)} slices), "
          f"during the join {n:.1f} ms ({min(d):.1f} to {max(d):.1f}, {len(d)} slices), ratio {n/m:.2f}")
print(f"failed operations: {sum(r[2] for r in quiet):.0f} without a change, {sum(r[2] for r in during):.0f} during it, nothing retried")
PY
}

fill() { # three nodes with data; sets preloaded
  serve 1 --bootstrap --replication-factor 3
  ready 1
  serve 2 --join "$BASE.1"
  serve 3 --join "$BASE.1"
  ready 2 3
  preloaded=$(bench write "$PRELOAD" "$(urls 1 2 3)" --clients 16 --batch 100 --w all | python3 -c "import json,sys; print(json.load(sys.stdin)['writes']['events'])")
  settle 1 2 3
  echo "$preloaded events on three nodes, $(status 1 "s['storage']['bytes']//1000000") MB on one"
}
watch() { # node, file: bytes filled by the moment, while a change is on its way
  while [ ! -e "$work/over" ]; do
    echo "$(now_ms) $(metric "$1" dunlin_stream_filled_bytes_total)" >> "$2"
    sleep 1
  done
}
rate() { # file of watch: MB/s between the first and the last growth
  awk 'NR > 1 && $2 != last {if (!from) {from = at; base = last} to = $1; top = $2} {at = $1; last = $2} END {
    if (to > from) printf "%.1f MB in %.1f s, %.1f MB/s\n", (top - base) / 1e6, (to - from) / 1e3, (top - base) / 1e3 / (to - from); else print "nothing was streamed"}' "$1"
}
finished() { # node: waits until its cluster has no change on its way
  local end=$(($(now_ms) + PATIENCE * 1000))
  while changing "$1"; do
    [ "$(now_ms)" -lt "$end" ] || { echo "the change does not finish" >&2; curl -s "http://$BASE.$1:7483/v1/status" >&2; return 1; }
    sleep 0.1
  done
}

join() { # a fourth node, under load
  local all began watcher written filled pulled bytes more
  all=$(urls 1 2 3)
  rm -f "$work/quiet" "$work/during" "$work/rate" "$work/over"
  slice "$work/warm" "$all"
  for _ in $(seq "$QUIET"); do slice "$work/quiet" "$all"; done
  written=$(awk '{n += $4} END {print n}' "$work/warm" "$work/quiet")
  began=$(now_ms)
  serve 4 --join "$BASE.1"
  until [ "$(status 1 "len(s['members'])")" = 4 ]; do sleep 0.05; done
  watch 4 "$work/rate" 2>/dev/null &
  watcher=$!
  while changing 1; do slice "$work/during" "$all"; done
  local took=$(($(now_ms) - began))
  touch "$work/over"; wait "$watcher"
  ready 4
  filled=$(metric 4 dunlin_stream_filled_rows_total)
  pulled=$(metric 4 dunlin_antientropy_pulled_rows_total)
  bytes=$(metric 4 dunlin_stream_filled_bytes_total)
  more=$(metric 4 dunlin_antientropy_pulled_bytes_total)
  settle 4
  for _ in $(seq "$QUIET"); do slice "$work/quiet" "$all"; done
  echo "join: over after $took ms, to the end of a slice of ${SLICE}s"
  summary "$work/quiet" "$work/during"
  awk -v rows="$filled" -v bytes="$bytes" -v pulled="$pulled" -v more="$more" -v all=$((preloaded + written)) 'BEGIN {
    each = rows ? bytes / rows : more / pulled
    printf "moved: %d rows streamed and %d pulled, %.1f MB; the least for 3 to 4 is %d rows, %.1f MB: ratio %.3f\n", rows, pulled, (bytes + more) / 1e6, all * 3 / 4, all * 3 / 4 * each / 1e6, (bytes + more) / (all * 3 / 4 * each)}'
  echo "streamed into the joining node, with the foreground load: $(rate "$work/rate")"
}

replace() { # the second node is lost for good; a fifth takes its place
  local lost began up over watcher
  lost=$(status 2 "s['node']")
  kill -9 "${pids[2]}"; wait "${pids[2]}" 2>/dev/null || true
  unset 'pids[2]'
  until [ "$(status 1 "[m['alive'] for m in s['members'] if m['id'] == '$lost'][0]")" = False ]; do sleep 0.1; done
  bin/dunlin node replace "$lost" --admin "http://$BASE.1:7483" > "$work/replace.log"
  rm -f "$work/rate" "$work/over"
  began=$(now_ms)
  serve 5 --join "$BASE.1"
  until [ "$(status 1 "any(m['http'].startswith('$BASE.5:') for m in s['members'])")" = True ]; do sleep 0.05; done
  up=$(now_ms)
  watch 5 "$work/rate" 2>/dev/null &
  watcher=$!
  finished 1
  over=$(now_ms)
  touch "$work/over"; wait "$watcher"
  ready 5
  echo "replace: a member $((up - began)) ms after its start, whole after $((over - began)) ms; it holds $(status 5 "s['storage']['bytes']//1000000") MB, $(status 5 "s['storage']['rows_estimate']") rows"
  echo "streamed into the replacing node, without load: $(rate "$work/rate")"
}

for round in $(seq "$ROUNDS"); do
  echo "== round $round"
  fill
  join
  replace
  stop
  rm -rf "$work"/*
done
