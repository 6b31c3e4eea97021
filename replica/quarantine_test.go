package replica

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

func (f *fixture) readCode(t *testing.T, partition string) transport.Code {
	t.Helper()
	return f.Read(t.Context(), peer, &transport.ReadRequest{Version: 1, Table: tableRows, Partition: []byte(partition)}).Verdict.Code
}

// TestQuarantine: a range in it takes writes and answers no read, digest or scan,
// also after a restart; others answer. Bytes that could not be decoded get another
// try then. Errors that are of no data change nothing.
func TestQuarantine(t *testing.T) {
	fs := vfs.NewMem()
	f := newFixture(t, fs, 2, nil)
	bad := token.Of([]byte("bad")).Range()
	strange := partitionIn(func(id token.RangeID) bool { return id != bad })
	for _, p := range []string{"bad", strange, "good"} {
		f.mustApply(t, group(entry(t, p, 1)))
	}
	f.Quarantine(bad, fmt.Errorf("some disk: %w", context.Canceled))
	if len(f.Quarantined()) > 0 {
		t.Error("an error that is of no data has an effect")
	}
	f.Quarantine(bad, fmt.Errorf("block 7: %w", storage.ErrCorrupt))
	f.Quarantine(token.Of([]byte(strange)).Range(), undecodable(record.ErrPoison))
	check := func(f *fixture, when string, wants map[string]transport.Code) {
		t.Helper()
		for p, want := range wants {
			if got := f.readCode(t, p); got != want {
				t.Errorf("%s: reading %s: %v", when, p, got)
			}
		}
		scan := &transport.ScanRequest{Version: 1, Table: tableRows, Range: bad}
		if a := f.Scan(t.Context(), peer, scan); a.Verdict.Code != wants["bad"] {
			t.Errorf("%s: a scan: %v", when, a.Verdict)
		}
		if f.InQuarantine(bad) != (wants["bad"] != transport.OK) {
			t.Errorf("%s: InQuarantine says otherwise", when)
		}
		f.mustApply(t, group(entry(t, "bad", 2)))
	}
	check(f, "before", map[string]transport.Code{"bad": transport.Failed, strange: transport.Failed, "good": transport.OK})
	f.stop(t)
	f = newFixture(t, fs, 2, nil)
	defer func() { f.stop(t) }()
	check(f, "after", map[string]transport.Code{"bad": transport.Failed, strange: transport.OK, "good": transport.OK})
	if err := f.Release(bad); err != nil {
		t.Fatal(err)
	}
	if got := f.count(t, tableRows, "bad"); got != 2 || len(f.Quarantined()) > 0 {
		t.Errorf("%d rows after the release, %+v", got, f.Quarantined())
	}
}

// TestWipe drops a range and nothing else, and no leaf of it is called clean; what is
// written afterwards is there.
func TestWipe(t *testing.T) {
	f := start(t, 2, nil)
	id := token.Of([]byte("bad")).Range()
	next := partitionIn(func(other token.RangeID) bool { return other == id+1 || other+1 == id })
	for _, p := range []string{"bad", next, "good"} {
		f.mustApply(t, group(entry(t, p, 1), dayEntry(t, p, 3)))
	}
	if !f.clean(t, rowsLeaf("bad"), nil) {
		t.Fatal("the leaf is not clean")
	}
	f.Quarantine(id, storage.ErrCorrupt)
	if err := f.Wipe(t.Context(), id, 42); err != nil {
		t.Fatal(err)
	}
	if q := f.Quarantined(); len(q) != 1 || q[0].Wiped != 42 {
		t.Errorf("in quarantine: %+v", q)
	}
	for l, s := range f.leafStates(t, id) {
		if s.Clean {
			t.Errorf("leaf %+v is called clean", l)
		}
	}
	f.mustApply(t, group(entry(t, "bad", 2)))
	if err := f.Release(id); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]int{"bad": 1, next: 1, "good": 1} {
		if got := f.count(t, tableRows, p); got != want {
			t.Errorf("%d rows of %s", got, p)
		}
	}
	for p, want := range map[string]int{"bad": 0, next: 1, "good": 1} {
		if got := f.count(t, tableDays, p); got != want {
			t.Errorf("%d days of %s", got, p)
		}
	}
}
