package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// keysOf lists the keys of a leaf.
func (f *fixture) keysOf(tb testing.TB, l record.Leaf) (keys [][]byte) {
	tb.Helper()
	lower, upper := l.Bounds()
	cursor, err := f.engine.Cursor(lower, upper)
	if err != nil {
		tb.Fatal(err)
	}
	for ok := cursor.Seek(lower); ok; ok = cursor.Next() {
		keys = append(keys, bytes.Clone(cursor.Key()))
	}
	if err := errors.Join(cursor.Err(), cursor.Close()); err != nil {
		tb.Fatal(err)
	}
	return keys
}

// content hashes a leaf in canonical form at a purge point.
func (f *fixture) content(tb testing.TB, l record.Leaf, purge int64) (c record.LeafContent) {
	tb.Helper()
	canon := record.Canon{Purge: purge}
	for _, key := range f.keysOf(tb, l) {
		k, err := record.ParseKey(key)
		if err != nil {
			tb.Fatal(err)
		}
		var sum record.Digest
		var says bool
		if l.Space == record.SpaceHeads {
			sum, says, err = canon.Head(key, f.stored(tb, key))
		} else if err = canon.SetHead(f.stored(tb, record.AppendHeadOf(nil, k.Table, record.PartitionOf(key, k.Suffix)))); err == nil {
			sum, says, err = canon.Row(key, k.Suffix, f.stored(tb, key))
		}
		if err != nil {
			tb.Fatal(err)
		}
		if says {
			c.Add(sum)
		}
	}
	return c
}

// plan draws what is written to partitions of one range: few distinct values, so that
// they meet. Later writes are newer than what earlier ones hold and delete.
type plan struct {
	*rapid.T
	table    uint32
	suffixes [][]byte
	later    bool
}

func (p *plan) small(label string, n int) int64 {
	return int64(rapid.IntRange(0, n).Draw(p.T, label))
}

func (p *plan) timestamp() int64 {
	if p.later {
		return 20 + p.small("timestamp", 5)
	}
	return 1 + p.small("timestamp", 5)
}

// seconds is a time of deletion or expiry; purge points lie among them.
func (p *plan) seconds() int64 {
	if p.later {
		return 300 + p.small("seconds", 3)
	}
	return 100 + p.small("seconds", 3)
}

func (p *plan) deletion() record.Deletion {
	return record.Deletion{Timestamp: p.timestamp(), Seconds: p.seconds()}
}

func (p *plan) row() (r record.Row) {
	switch p.small("liveness", 2) {
	case 0:
		r.Liveness = record.Liveness{Timestamp: p.timestamp()}
	case 1:
		r.Liveness = record.Liveness{Timestamp: p.timestamp(), TTL: 5, Expiry: p.seconds()}
	}
	if p.small("row deletion", 3) == 0 {
		r.Deletion = p.deletion()
	}
	for column := range uint16(2) {
		for _, path := range [][]byte{nil, []byte("a")} {
			c := record.Cell{Column: column + 3, Path: path, Timestamp: p.timestamp()}
			switch p.small("cell", 4) {
			case 0:
				continue
			case 1:
				c.Tombstone, c.Expiry = true, p.seconds()
			case 2:
				c.TTL, c.Expiry, c.Value = 5, p.seconds(), []byte("an expiring value")
			default:
				c.Value = []byte("v")
			}
			r.Cells = append(r.Cells, c)
		}
	}
	return r
}

func (p *plan) head() (h record.Head) {
	if p.small("partition deletion", 2) == 0 {
		h.Deletion = p.deletion()
	}
	for range p.small("ranges", 2) {
		r := record.RangeTombstone{Start: rapid.SampledFrom(p.suffixes).Draw(p.T, "start"), Deletion: p.deletion()}
		if p.small("open", 2) > 0 {
			r.End = rapid.SampledFrom(p.suffixes).Draw(p.T, "end")
		}
		h.Ranges = append(h.Ranges, r)
	}
	if p.small("static", 2) == 0 {
		h.Static = p.row()
	}
	return h
}

// write draws a group and applies it to two replicas.
func (p *plan) write(tb testing.TB, shape *record.Shape, partitions []string, purged, whole *fixture) {
	var entries [][]byte
	for range 1 + p.small("entries", 11) {
		name := []byte(rapid.SampledFrom(partitions).Draw(p.T, "partition"))
		if p.small("is head", 3) == 0 {
			h := p.head()
			entries = append(entries, record.AppendEntry(nil, shape.AppendHeadKey(nil, token.Of(name), name), h.Append(nil)))
			continue
		}
		r := p.row()
		key, err := shape.AppendRowKey(nil, token.Of(name), name, rapid.SampledFrom(p.suffixes).Draw(p.T, "suffix"))
		if err != nil {
			tb.Fatal(err)
		}
		entries = append(entries, record.AppendEntry(nil, key, r.Append(nil)))
	}
	purged.mustApply(tb, group(entries...))
	whole.mustApply(tb, group(entries...))
}

// partitionsIn returns names of so many partitions of a range.
func partitionsIn(id token.RangeID, n int) (names []string) {
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprint("p", i); rangeOf(name) == id {
			names = append(names, name)
		}
	}
	return names
}

// twins are a replica that is purged and one that is not; each run of the property
// has a range of theirs.
type twins struct {
	purged, whole *fixture
	runs          int
}

// TestPurgeChangesNoContent: whatever rows, heads and purge point, and whatever newer
// writes come before, between and after the steps of a purge, a replica that is purged
// holds the same at the purge point as one that is not, and shows the same.
func TestPurgeChangesNoContent(t *testing.T) {
	var both twins
	rapid.Check(t, func(rt *rapid.T) {
		if both.runs%token.Ranges == 0 {
			both = twins{purged: start(t, 2, nil), whole: start(t, 2, nil)}
		}
		id := token.RangeID(both.runs)
		both.runs++
		both.run(t, rt, id)
	})
}

func (w *twins) run(t *testing.T, rt *rapid.T, id token.RangeID) {
	p := &plan{T: rt, table: tableRows}
	shape := &rowsShape
	for n := range 5 {
		p.suffixes = append(p.suffixes, rowSuffix(t, n))
	}
	leaves := []record.Leaf{{Range: id, Table: tableRows, Space: record.SpaceRows}}
	if rapid.Bool().Draw(rt, "windowed") {
		shape, p.table, p.suffixes, leaves = &daysShape, tableDays, nil, nil
		for n := range 3 {
			suffix, err := daysShape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(day(n+1).UnixMilli())))
			if err != nil {
				t.Fatal(err)
			}
			window, _ := daysShape.WindowOf(suffix)
			p.suffixes = append(p.suffixes, suffix)
			leaves = append(leaves, record.Leaf{Range: id, Table: tableDays, Space: record.SpaceWindows, Window: window})
		}
	}
	heads := leaves[0].Heads()
	leaves = append(leaves, heads)
	partitions := partitionsIn(id, 2)
	form := record.PurgeForm{
		Purge:   rapid.SampledFrom([]int64{0, 99, 100, 101, 102, 103, 200}).Draw(rt, "purge"),
		Expired: rapid.SampledFrom([]int64{0, 100, 102, 200}).Draw(rt, "expired"),
	}
	check := func(when string) {
		for _, l := range leaves {
			if a, b := w.purged.content(t, l, form.Purge), w.whole.content(t, l, form.Purge); !a.Equal(&b) {
				rt.Fatalf("%s, leaf %+v holds %+v purged, %+v whole", when, l, a, b)
			}
		}
		for _, name := range partitions {
			q := &transport.ReadRequest{Version: 1, Table: p.table, Partition: []byte(name), Now: 250}
			a, b := w.purged.Read(t.Context(), peer, q), w.whole.Read(t.Context(), peer, q)
			if a.Verdict.Code != transport.OK || b.Verdict.Code != transport.OK || a.Live != b.Live {
				rt.Fatalf("%s, %d rows can be seen purged, %d whole: %+v %+v", when, a.Live, b.Live, a.Verdict, b.Verdict)
			}
		}
	}
	newer := func(when string) {
		if p.later = true; rapid.Bool().Draw(rt, when) {
			p.write(t, shape, partitions, w.purged, w.whole)
			check(when)
		}
	}
	for range 1 + p.small("groups", 2) {
		p.write(t, shape, partitions, w.purged, w.whole)
	}
	was := map[string][]byte{}
	var rows [][]byte
	for _, l := range leaves[:len(leaves)-1] {
		rows = append(rows, w.purged.keysOf(t, l)...)
	}
	for _, key := range w.purged.keysOf(t, heads) {
		was[string(key)] = w.purged.stored(t, key)
	}
	newer("written before the purge")
	w.rows(t, rt, id, rows, form)
	check("rows purged")
	newer("written after the rows' purge")
	for key, was := range was {
		if _, err := w.purged.PurgeHead(t.Context(), id, []byte(key), was, form); err != nil {
			rt.Fatal(err)
		}
		check("a head purged")
	}
	newer("written after the purge")
}

// rows purges rows, all of them in one call: a second one finds nothing.
func (w *twins) rows(t *testing.T, rt *rapid.T, id token.RangeID, keys [][]byte, form record.PurgeForm) {
	if _, err := w.purged.PurgeRows(t.Context(), id, keys, form); err != nil {
		rt.Fatal(err)
	}
	if again, err := w.purged.PurgeRows(t.Context(), id, keys, form); err != nil || again.Keys > 0 {
		rt.Fatalf("a second purge drops %+v: %v", again, err)
	}
}

// TestCrashWhilePurging leaves each row as it was or purged, and never the rows that
// a deletion hid without the deletion. With the head purged first the same run shows
// such rows: that is the proof that the test can fail.
func TestCrashWhilePurging(t *testing.T) {
	heads := 0
	for seed := range uint64(8) {
		shown, gone := purgeCrashRun(t, seed, false)
		if heads += gone; shown > 0 {
			t.Errorf("seed %d: %d crashes show rows that were deleted", seed, shown)
		}
	}
	if heads == 0 {
		t.Error("no crash came after the head had gone: this test cannot fail")
	}
	if shown, _ := purgeCrashRun(t, 1, true); shown == 0 {
		t.Error("with the head first no crash shows deleted rows: this test cannot fail")
	}
}

// purgeCrashRun crashes at several moments of a purge, and counts the crashes that show
// deleted rows, and those that left no head.
func purgeCrashRun(t *testing.T, seed uint64, headFirst bool) (shown, gone int) {
	const rows, live = 150, 15
	rng := rand.New(rand.NewPCG(seed, 11))
	fs := vfs.NewCrashableMem()
	f := newFixture(t, fs, 1, nil)
	head := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	f.write(t, headKey("p"), head.Append(nil))
	var keys, entries, old, left [][]byte
	for n := range rows {
		fragment, rest := cells(cell(3, 10, "hidden")), []byte(nil)
		if n%(rows/live) == 0 {
			fragment, rest = cells(cell(3, 10, "hidden"), cell(4, 30, "seen")), cells(cell(4, 30, "seen"))
		}
		keys, old, left = append(keys, rowKey(t, "p", n)), append(old, fragment), append(left, rest)
		entries = append(entries, record.AppendEntry(nil, keys[n], fragment))
	}
	f.mustApply(t, group(entries...))
	var clones []*vfs.MemFS
	crash := func() {
		clones = append(clones, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
	}
	form := record.PurgeForm{Purge: 100}
	if headFirst {
		f.purgeHead(t, "p", form)
	}
	for rest := keys; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(80))
		f.purge(t, "p", form, rest[:n]...)
		if rest = rest[n:]; rng.IntN(3) == 0 {
			f.write(t, rowKey(t, "another", 1), cells(cell(3, 1, "synced")))
		}
		crash()
	}
	if !headFirst {
		f.purgeHead(t, "p", form)
	}
	crash()
	f.write(t, rowKey(t, "another", 1), cells(cell(3, 1, "synced")))
	crash()
	f.stop(t)
	for i, clone := range clones {
		again := newFixture(t, clone, 1, nil)
		for n, key := range keys {
			if got := again.stored(t, key); !bytes.Equal(got, old[n]) && !bytes.Equal(got, left[n]) {
				t.Errorf("seed %d, crash %d: %x is stored, was %x, purged %x", seed, i, got, old[n], left[n])
			}
		}
		if again.count(t, tableRows, "p") != live {
			shown++
		}
		if again.stored(t, headKey("p")) == nil {
			gone++
		}
		again.stop(t)
	}
	return shown, gone
}
