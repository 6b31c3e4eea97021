//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/admin"
)

// damage flips a bit in the middle of the largest table file of a node that is down.
func damage(t *testing.T, n *node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.dir, "rows", "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	largest, size := "", int64(0)
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() > size {
			largest, size = f, info.Size()
		}
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, size/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, size/2); err != nil {
		t.Fatal(err)
	}
	t.Logf("a bit flipped in the middle of %d bytes", size)
}

// repairOf is what anti-entropy says on a node.
func repairOf(n *node) (r admin.Repair, ok bool) {
	status, body := get(n.admin() + "/v1/repair")
	return r, status == http.StatusOK && json.Unmarshal([]byte(body), &r) == nil
}

// TestDamagedFile: a bit flips in a file of one replica. Nobody reads anything wrong
// or misses anything; the scrub finds it, or a read does; what cannot be read is
// filled from the other replicas, with what was written meanwhile; and then the
// node's own copy is whole.
func TestDamagedFile(t *testing.T) {
	if testing.Short() {
		t.Skip("the short run keeps to the loss of nodes")
	}
	nodes := startNodes(t, 91, 3)
	bad, rest := nodes[2], nodes[:2]
	j, c := newJournal(), connect(t, 1, rest...)
	write := func(what string, count int) {
		for i := range count {
			data := fmt.Sprintf(`{%q:%d,"filler":%q}`, what, i, strings.Repeat(fmt.Sprint(i*7919, "."), 300))
			if _, err := j.append(t.Context(), c, fmt.Sprintf("damage/%d", i%40), data, "all"); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	write("before", 600)
	for range 2 { // a start writes what is in the log into a table
		bad.signal(syscall.SIGTERM)
		bad.awaitEnd(healDeadline)
		bad.start()
		bad.awaitReady()
	}
	bad.signal(syscall.SIGTERM)
	bad.awaitEnd(healDeadline)
	damage(t, bad)
	bad.start()
	bad.awaitReady()
	write("meanwhile", 100)
	all := connect(t, 2, nodes...)
	seen := 0
	await(t, 2*time.Minute, "the damage to be found and mended", func() bool {
		if lack, err := j.lackAll(t.Context(), all, "quorum"); err != nil || lack > 0 {
			t.Errorf("%d events are missing: %v", lack, err)
		}
		r, ok := repairOf(bad)
		seen = max(seen, len(r.Quarantined))
		return ok && seen > 0 && len(r.Quarantined) == 0
	})
	t.Logf("%d ranges were in quarantine", seen)
	if n := metric(bad, "dunlin_mend_rebuilt_ranges_total"); n < 1 {
		t.Errorf("%v ranges were rebuilt", n)
	}
	checkTable(t, bad, []string{"repair", "status"}, `scrub: `)
	checkMetrics(t, bad)
	for _, n := range rest {
		n.kill()
	}
	j.check(t, connect(t, 3, bad), "the node whose file was damaged, alone", "one", j.names()...)
}
