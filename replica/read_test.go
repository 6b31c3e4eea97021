package replica

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

func TestReadLimits(t *testing.T) {
	f := start(t, 1, func(c *Config, _ *storage.Config) { c.MaxRows, c.MaxBytes = 50, 2000 })
	var entries [][]byte
	for i := range 100 {
		entries = append(entries, entry(t, "p", i))
	}
	f.mustApply(t, group(entries...))
	for _, test := range []struct {
		rows, bytes, live int
		more              bool
	}{
		{10, 0, 10, true}, {0, 0, 50, true}, {1000, 0, 50, true}, {0, 1, 1, true}, {0, 1 << 30, 50, true},
	} {
		a := f.Read(t.Context(), peer, &transport.ReadRequest{
			Version: 1, Table: tableRows, Partition: []byte("p"), MaxRows: test.rows, MaxBytes: test.bytes,
		})
		if a.Verdict.Code != transport.OK || a.Live != test.live || a.More != test.more {
			t.Errorf("rows %d, bytes %d: %d live, more %t, %+v", test.rows, test.bytes, a.Live, a.More, a.Verdict)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := f.Read(ctx, peer, &transport.ReadRequest{Version: 1, Table: tableRows}); a.Verdict.Code != transport.Expired {
		t.Errorf("a read that nobody waits for: %+v", a.Verdict)
	}
}

// TestDigest: equal for equal content, whatever way it came about; different for
// any difference, deletions included.
func TestDigest(t *testing.T) {
	a, b := start(t, 1, nil), start(t, 3, nil)
	digests := func() (x, y record.Digest) {
		q := &transport.ReadRequest{Version: 1, Table: tableRows, Partition: []byte("p"), Digest: true}
		ra, rb := a.Read(t.Context(), peer, q), b.Read(t.Context(), peer, q)
		if ra.Verdict.Code != transport.OK || rb.Verdict.Code != transport.OK || ra.Rows != nil || ra.Head != nil {
			t.Fatalf("%+v, %+v", ra, rb)
		}
		return ra.Digest, rb.Digest
	}
	if x, y := digests(); x != y {
		t.Error("digests of nothing differ")
	}
	one, two := entry(t, "p", 1), entry(t, "p", 2)
	a.mustApply(t, group(one, two))
	b.mustApply(t, group(two))
	if x, y := digests(); x == y {
		t.Error("a missing row is not seen")
	}
	b.mustApply(t, group(one))
	b.mustApply(t, group(one, two))
	if x, y := digests(); x != y {
		t.Error("equal content has different digests")
	}
	deleted := record.Row{Deletion: record.Deletion{Timestamp: 5, Seconds: 1}}
	a.mustApply(t, group(record.AppendEntry(nil, rowKey(t, "p", 1), deleted.Append(nil))))
	if x, y := digests(); x == y {
		t.Error("a deletion that hides nothing is not seen")
	}
	b.mustApply(t, group(record.AppendEntry(nil, rowKey(t, "p", 1), deleted.Append(nil))))
	head := record.Head{Deletion: record.Deletion{Timestamp: 1, Seconds: 1}}
	shape := record.Shape{Table: tableRows}
	a.mustApply(t, group(record.AppendEntry(nil, shape.AppendHeadKey(nil, token.Of([]byte("p")), []byte("p")), head.Append(nil))))
	if x, y := digests(); x == y {
		t.Error("a partition's deletion is not seen")
	}
}

func TestScan(t *testing.T) {
	f := start(t, 2, nil)
	const id token.RangeID = 7
	var names []string
	for i := 0; len(names) < 10; i++ {
		if name := fmt.Sprint("s", i); token.Of([]byte(name)).Range() == id {
			names = append(names, name)
			f.mustApply(t, group(entry(t, name, 1), entry(t, name, 2)))
		}
	}
	deleted := record.Row{Deletion: record.Deletion{Timestamp: 20, Seconds: 1}}
	for n := 1; n <= 2; n++ {
		f.mustApply(t, group(record.AppendEntry(nil, rowKey(t, names[0], n), deleted.Append(nil))))
	}
	names = names[1:]
	slices.SortFunc(names, func(a, b string) int {
		return int(token.Of([]byte(a)).Ordinal()>>32) - int(token.Of([]byte(b)).Ordinal()>>32)
	})
	for _, rows := range []int{1, 4, 100} {
		q := &transport.ScanRequest{Version: 1, Table: tableRows, Range: id, PartitionsOnly: true, MaxRows: rows}
		var got []string
		for more := true; more; {
			a := f.Scan(t.Context(), peer, q)
			if a.Verdict.Code != transport.OK {
				t.Fatal(a.Verdict.Err())
			}
			for rest := a.Partitions; len(rest) > 0; {
				name, _, next, err := record.NextEntry(rest)
				if err != nil {
					t.Fatal(err)
				}
				got, rest = append(got, string(name)), next
			}
			q.After, more = a.Next, a.More
		}
		if !slices.Equal(got, names) {
			t.Errorf("pages of %d: %v, want %v", rows, got, names)
		}
	}
	other := &transport.Position{Token: token.RangeID(8).First()}
	if a := f.Scan(t.Context(), peer, &transport.ScanRequest{Version: 1, Table: tableRows, Range: id, After: other}); a.Verdict.Code != transport.Failed {
		t.Errorf("a position in another range: %+v", a.Verdict)
	}
	if a := f.Scan(t.Context(), peer, &transport.ScanRequest{Version: 1, Table: tableRows, Range: token.Ranges}); a.Verdict.Code != transport.Failed {
		t.Errorf("a range that does not exist: %+v", a.Verdict)
	}
}

// TestCorruptDataIsNotServed: a fragment that cannot be decoded fails reads,
// digests and scans that meet it, and is counted; its range is in quarantine from
// then on, and the rest is served.
func TestCorruptDataIsNotServed(t *testing.T) {
	f := start(t, 1, nil)
	f.mustApply(t, group(entry(t, "good", 1), record.AppendEntry(nil, rowKey(t, "bad", 1), []byte("no fragment"))))
	bad := &transport.ReadRequest{Version: 1, Table: tableRows, Partition: []byte("bad")}
	for i, digest := range []bool{false, true} {
		bad.Digest = digest
		a := f.Read(t.Context(), peer, bad)
		if a.Verdict.Code != transport.Failed || a.Rows != nil {
			t.Errorf("digest %t: %+v", digest, a)
		}
		if got := testutil.ToFloat64(f.metrics.corrupt); got != 1 {
			t.Errorf("%v corrupt reads counted after %d", got, i+1)
		}
		if q := f.Quarantined(); len(q) != 1 || !q[0].Undecodable {
			t.Errorf("in quarantine: %+v", q)
		}
	}
	scan := &transport.ScanRequest{Version: 1, Table: tableRows, Range: token.Of([]byte("bad")).Range(), PartitionsOnly: true}
	if a := f.Scan(t.Context(), peer, scan); a.Verdict.Code != transport.Failed || a.Partitions != nil {
		t.Errorf("scan: %+v", a)
	}
	if got := f.count(t, tableRows, "good"); got != 1 {
		t.Errorf("%d good rows", got)
	}
}
