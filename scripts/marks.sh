#!/usr/bin/env bash
# Measures the marks of docs/results.md on this machine, as ratios: rounds of the
# two sides alternate, because machines are noisy. Linux; needs a built bin/dunlin.
#   ROUNDS=3 BYTES=2147483648 SECONDS_EACH=10 scripts/marks.sh
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${ROUNDS:-3}
BYTES=${BYTES:-268435456}
SECONDS_EACH=${SECONDS_EACH:-10}
BASE=${BASE:-127.0.50}
work=$(mktemp -d)
dev_pid=
cleanup() {
  [ -n "$dev_pid" ] && kill -INT "$dev_pid" 2>/dev/null && wait "$dev_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

metric() { # the value before a unit in a benchmark's line
  grep -oE "[0-9.e+-]+ $1( |\$)" | head -1 | cut -d' ' -f1
}

echo "== small parts (ns, allocations)"
go test -run '^$' -bench 'MergeTwoRows|EncodeRow|DecodeRow|Replicas$|BenchmarkScan|BenchmarkWrite|BenchmarkApply$|BenchmarkApply/' -benchmem \
  ./record ./ring ./event ./coordinator ./transport 2>/dev/null | grep '^Benchmark' || true

echo "== storage: apply through committers ÷ the same bytes put raw into Pebble (CPU, to quiescence, $BYTES bytes a side, $ROUNDS rounds)"
go test ./storage -run '^$' -bench MarkApply -benchtime 1x -timeout 60m -marks.bytes "$BYTES" -marks.rounds "$ROUNDS" | grep '^BenchmarkMark'

go test -c -o "$work/storage.test" ./storage

nodes() { pgrep -f "dunlin serve --data-dir $work/dev" || true; }
cpu_ms() { # user and system time of all nodes
  local total=0 ticks
  for p in $(nodes); do
    ticks=$(awk '{print $14 + $15}' "/proc/$p/stat" 2>/dev/null || echo 0)
    total=$((total + ticks * 1000 / $(getconf CLK_TCK)))
  done
  echo "$total"
}
settle() { # until the nodes' CPU stands still: compactions are done
  local before after quiet=0
  while [ "$quiet" -lt 3 ]; do
    before=$(cpu_ms); sleep 1; after=$(cpu_ms)
    if [ $((after - before)) -le 60 ]; then quiet=$((quiet + 1)); else quiet=0; fi
  done
}

echo "== end to end: cluster CPU per acknowledged event (W=2, N=3, 256 bytes, 64 clients, batch 100, sync) ÷ 3 × raw Pebble CPU a row at the same pace"
urls=http://$BASE.1:7480,http://$BASE.2:7480,http://$BASE.3:7480
for round in $(seq "$ROUNDS"); do
  bin/dunlin dev --dir "$work/dev" --wipe --base "$BASE.1" > "$work/dev.log" 2>&1 &
  dev_pid=$!
  for _ in $(seq 100); do grep -q 'nodes are ready' "$work/dev.log" && break; sleep 0.1; done
  before=$(cpu_ms)
  bin/dunlin bench write --http "$urls" --clients 64 --batch 100 --duration "${SECONDS_EACH}s" --w 2 -o json > "$work/bench.json"
  settle
  after=$(cpu_ms)
  events=$(python3 -c "import json,sys; print(json.load(open('$work/bench.json'))['writes']['events'])")
  failed=$(python3 -c "import json,sys; print(json.load(open('$work/bench.json'))['writes']['failed'])")
  kill -INT "$dev_pid"; wait "$dev_pid" || true; dev_pid=
  raw=$("$work/storage.test" -test.run '^$' -test.bench MarkApply -test.benchtime 1x -marks.bytes $((events * 320)) -marks.rate $((events / SECONDS_EACH)) -marks.rounds 1 | metric raw-cpu-us/row)
  awk -v r="$round" -v ms=$((after - before)) -v n="$events" -v f="$failed" -v raw="$raw" 'BEGIN {
    e = ms * 1000 / n; printf "round %d: %d events, %d failed, %.2f us a cluster event, raw Pebble %.2f us a row, ratio %.2f\n", r, n, f, e, raw, e / (3 * raw) }' | tee -a "$work/ratios"
done
awk '{print $NF}' "$work/ratios" | sort -n | awk '{v[NR]=$1} END {printf "ratio: median %.2f, range %.2f to %.2f over %d rounds\n", v[int((NR+1)/2)], v[1], v[NR], NR}'
