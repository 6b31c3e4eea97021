#!/usr/bin/env bash
# Plants bugs into the nodes, one at a time, and requires that the simulator's
# checkers find each. The sources stay as they are: Go's -overlay puts changed
# copies in their place. With an argument, only bugs whose name contains it.
set -euo pipefail
cd "$(dirname "$0")/.."
only=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# plant NAME FILE PROMISES SED [CODE]: the bug in FILE must break one of PROMISES
# (with | between them). CODE is appended to the file. With layout=-planted-layout
# nodes join and leave meanwhile, and keep no hints.
layout=
# scenario, if set, is the test that must find the bug, in place of random runs.
scenario=
package=./internal/sim
plant() {
  local name=$1 file=$2 promises=$3 change=$4 code=${5:-}
  [[ $name == *"$only"* ]] || return 0
  sed -e "$change" "$file" >"$work/bug.go"
  if cmp -s "$file" "$work/bug.go"; then
    echo "planted: '$name' does not apply to $file any more" >&2
    exit 1
  fi
  printf '%s\n' "$code" >>"$work/bug.go"
  printf '{"Replace": {"%s": "%s"}}\n' "$PWD/$file" "$work/bug.go" >"$work/overlay.json"
  echo "== $name"
  if [[ -n $scenario ]]; then
    if go test -overlay "$work/overlay.json" "$package" -run "^$scenario\$" -count=1 >"$work/out" 2>&1; then
      echo "planted: $scenario does not find '$name'" >&2
      exit 1
    fi
    grep -m 1 -aE '_test.go:[0-9]+: ' "$work/out" | cut -c1-200 # not found if it did not even compile
    return
  fi
  go test -overlay "$work/overlay.json" ./internal/sim -run '^TestPlanted$' -count=1 -v -args -planted "$promises" $layout |
    grep -aE 'seed [0-9]+:|not found|^(ok|FAIL|panic)' | cut -c1-200
}

lost='no acknowledged write is lost'
back='nothing deleted or expired comes back'

plant 'no fsync' storage/committer.go "$lost" \
  's/return e.rows.ApplyNoSyncWait(b, pebble.Sync)/return e.rows.Apply(b, pebble.NoSync)/; s/err := b.SyncWait()/var err error/'

plant 'acknowledged before it is applied' replica/apply.go "$lost" \
  's/^\ta.pending.Store(int32(len(a.parts)))/\ta.group.Entries = append([]byte(nil), a.group.Entries...)\n\ta.sink.Done(a.tag, transport.Verdict{})\n\ta.sink = deaf{}\n&/' \
  'type deaf struct{}

func (deaf) Done(uint32, transport.Verdict) {}'

plant 'equal timestamps: the first to arrive wins' record/merge.go \
  'replicas become equal by themselves|merged reads converge|quorum reads never go back|'"$lost" \
  's/^\tif c.Timestamp != o.Timestamp {/\tif true {/'

plant 'tombstones are purged by the clock' antientropy/purge/keeper.go "$back|$lost" \
  's/return p.at\[id\]/return k.env.Clock.Physical().Unix() - 15/'

plant 'deletions go at once, rows stay' record/purge.go "$back|replicas become equal by themselves" \
  's/^\tif c.Purge <= 0 {/\tif false {/; s/r.Deletion.Seconds <= c.Purge/true/'

layout=-planted-layout

plant 'reads ask new replicas before these are complete' rebalance/report.go "$lost|$back" \
  's/case n.duties\[m.ID\] && /case false \&\& n.duties[m.ID] \&\& /'

scenario=TestCoordinatorsBehind
plant 'requests by an old version of the catalog are accepted' replica/fence.go '' \
  's/if changed := v.Ring.ChangedAt(id); version < changed {/if changed := v.Ring.ChangedAt(id); false {/'

scenario=TestRejoinAfterAbort
plant 'no wipe at a new tenure' replica/tenure.go '' \
  's/^\tfor _, id := range empty {/\tfor _, id := range empty[:0] {/; s/^\tfor id := from; id < token.Ranges; id++ {/\tfor id := token.RangeID(token.Ranges); id < token.Ranges; id++ {/'

scenario=TestJoint package=./coordinator/quorum
plant 'the acknowledgements of the target are not required' coordinator/quorum/tracker.go '' \
  's/^\tj.then, j.changing = NewTracker(need, alive), true/\tj.then, j.changing = NewTracker(0, alive), true/'
