//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/admin"
)

// healDeadline is how long replicas may take to be equal after a short outage.
const healDeadline = 30 * time.Second

// hintsLeft is how many hints a node keeps; false if it does not say.
func hintsLeft(n *node) (left int64, ok bool) {
	var h admin.Hints
	status, body := get(n.admin() + "/v1/hints")
	if status != http.StatusOK || json.Unmarshal([]byte(body), &h) != nil || !h.Enabled {
		return 0, false
	}
	for _, target := range h.Targets {
		left += target.Plain.Hints + target.Counted.Hints
	}
	return left, true
}

// drained reports whether no node keeps a hint.
func drained(nodes ...*node) bool {
	for _, n := range nodes {
		if left, ok := hintsLeft(n); !ok || left > 0 {
			return false
		}
	}
	return true
}

// verified reports whether each node has seen every range equal with every peer in
// sessions that began after a moment.
func verified(since time.Time, nodes ...*node) bool {
	for _, n := range nodes {
		var r admin.Repair
		asked := time.Now()
		status, body := get(n.admin() + "/v1/repair")
		if status != http.StatusOK || json.Unmarshal([]byte(body), &r) != nil || !r.Enabled || r.Ranges == 0 || len(r.Tables) == 0 {
			return false
		}
		for _, table := range r.Tables {
			if table.NeverVerified > 0 || table.OldestUnverifiedSeconds >= asked.Sub(since).Seconds() {
				return false
			}
		}
	}
	return true
}

// Counters of what made replicas equal.
const (
	hintedRows       = "dunlin_hinted_replayed_rows_total"
	pulledRows       = "dunlin_antientropy_pulled_rows_total"
	readRepairedRows = "dunlin_coordinator_read_repair_rows_total"
)

// TestOutageHeals: a node that was killed and comes back holds what was written
// meanwhile, and no read was needed for it. That its own copy answers is certain
// in the end, because the others are gone by then.
func TestOutageHeals(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 81, 3)
	back, rest := nodes[2], nodes[:2]
	j, c := newJournal(), connect(t, 1, rest...)
	write := func(what string, count int) {
		for i := range count {
			if _, err := j.append(t.Context(), c, fmt.Sprintf("outage/%d", i%8), fmt.Sprintf(`{%q:%d}`, what, i), "quorum"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	write("before", 40)
	back.kill()
	write("meanwhile", 400)
	await(t, healDeadline, "hints to be kept", func() bool {
		left0, _ := hintsLeft(rest[0])
		left1, _ := hintsLeft(rest[1])
		return left0+left1 > 0
	})
	keeper := rest[0]
	if left, _ := hintsLeft(keeper); left == 0 {
		keeper = rest[1]
	}
	checkTable(t, keeper, []string{"hints"}, `FOR +ALIVE +CLASS +HINTS`, `\S+ +no +plain +[1-9]`)
	back.start()
	started := time.Now()
	back.awaitReady()
	own := connect(t, 2, back)
	await(t, healDeadline, "its copy to be whole, and the hints replayed", func() bool {
		lack, err := j.lackAll(t.Context(), own, "one")
		return err == nil && lack == 0 && drained(nodes...)
	})
	t.Logf("whole %s after the start", time.Since(started).Round(time.Millisecond))
	var hinted, pulled float64
	for _, n := range nodes {
		hinted, pulled = hinted+metric(n, hintedRows), pulled+metric(n, pulledRows)
		if rows := metric(n, readRepairedRows); rows > 0 {
			t.Errorf("%s: reads repaired %.0f rows; none should have been needed", n.host, rows)
		}
	}
	t.Logf("rows replayed by hints %.0f, pulled by anti-entropy %.0f", hinted, pulled)
	if hinted+pulled < 400 {
		t.Errorf("%.0f rows were replayed and %.0f pulled, of 400 missed", hinted, pulled)
	}
	checkTable(t, keeper, []string{"hints"}, `\S+ +yes +plain +0 |no hints`)
	checkTable(t, keeper, []string{"hints", "drain", "--wait"}, `^0 hints left`)
	checkTable(t, back, []string{"repair", "status"}, `^complete rounds: \d+; this round: \d+ of [1-9]\d* ranges`, `TABLE +OLDEST UNVERIFIED`, `(?m)^dunlin\.events +\d+\S*s +\d+ +\d+ of \d+ +\d+ +\d+`)
	rest[0].kill()
	rest[1].kill()
	j.check(t, own, "the node that was away, alone", "one", j.names()...)
}

// checkTable runs a command on a node's admin port and looks for patterns in what
// it prints.
func checkTable(t *testing.T, n *node, args []string, patterns ...string) {
	t.Helper()
	code, out := cli(t, append(args, "--admin", n.admin())...)
	for _, p := range patterns {
		if code != 0 || !regexp.MustCompile(p).MatchString(out) {
			t.Errorf("%s: exit code %d, wanted %s in:\n%s", strings.Join(args, " "), code, p, out)
		}
	}
}
