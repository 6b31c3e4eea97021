package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// leaves lists a range's leaves by what they hold.
func (f *fixture) leafStates(tb testing.TB, id token.RangeID) map[record.Leaf]record.LeafState {
	tb.Helper()
	list, err := f.Leaves(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	states := map[record.Leaf]record.LeafState{}
	for i, l := range list {
		if i > 0 && list[i-1].Compare(l.Leaf) >= 0 {
			tb.Errorf("leaf %+v comes after %+v", l.Leaf, list[i-1].Leaf)
		}
		states[l.Leaf] = l
	}
	return states
}

// clean hashes a leaf, without looking at it, and reports whether that was kept.
func (f *fixture) clean(tb testing.TB, l record.Leaf, between func()) bool {
	tb.Helper()
	ticket, err := f.CutLeaf(tb.Context(), l)
	if err != nil {
		tb.Fatal(err)
	}
	if between != nil {
		between()
	}
	kept, err := f.KeepLeaves(tb.Context(), []record.LeafCut{{Leaf: l, LeafContent: sample, Ticket: ticket}})
	if err != nil {
		tb.Fatal(err)
	}
	return kept == 1
}

var sample = record.LeafContent{Sum: record.Digest{1, 2, 15: 3}, Keys: 4, Bytes: 5, Oldest: 6}

func rowsLeaf(partition string) record.Leaf {
	return record.Leaf{Range: token.Of([]byte(partition)).Range(), Table: tableRows, Space: record.SpaceRows}
}

func daysLeaf(tb testing.TB, partition string, n int) record.Leaf {
	window, err := daysShape.WindowAt(day(n))
	if err != nil {
		tb.Fatal(err)
	}
	return record.Leaf{Range: token.Of([]byte(partition)).Range(), Table: tableDays, Space: record.SpaceWindows, Window: window}
}

// TestMarks: a leaf is dirty from its first row until a hash is kept, and again
// from the next row on. A row between cut and keep makes the hash void.
func TestMarks(t *testing.T) {
	for _, committers := range []int{1, 3} {
		f := start(t, committers, nil)
		leaf := rowsLeaf("p")
		write := func() { f.mustApply(t, group(entry(t, "p", 1))) }
		check := func(when string, clean bool, changes uint64) {
			t.Helper()
			epoch, dirty := f.LeafRange(leaf.Range)
			states := f.leafStates(t, leaf.Range)
			if s, ok := states[leaf]; !ok || s.Clean != clean || clean && s.LeafContent != sample || len(states) != 1 {
				t.Errorf("%s: %+v", when, states)
			}
			if clean != (dirty == 0) || epoch != changes {
				t.Errorf("%s: %d dirty leaves, epoch %d, not %d", when, dirty, epoch, changes)
			}
		}
		write()
		write()
		check("after the first rows", false, 1)
		if !f.clean(t, leaf, nil) {
			t.Error("a hash that nothing disturbed was not kept")
		}
		check("after a hash", true, 2)
		write()
		check("after another row", false, 3)
		if f.clean(t, leaf, write) {
			t.Error("a hash was kept although a row came after its cut")
		}
		check("after a void hash", false, 3)
		if !f.clean(t, leaf, func() { f.mustApply(t, group(entry(t, "another partition", 1))) }) {
			t.Error("a row of another leaf made a hash void")
		}
		if kept, _ := f.KeepLeaves(t.Context(), []record.LeafCut{{Leaf: leaf, Ticket: 1}}); kept != 0 {
			t.Error("an old ticket was kept")
		}
		check("in the end", true, 4)
	}
}

// TestEmptyLeafIsForgotten: a leaf without a key needs no record.
func TestEmptyLeafIsForgotten(t *testing.T) {
	f := start(t, 1, nil)
	f.mustApply(t, group(entry(t, "p", 1)))
	leaf := rowsLeaf("p")
	ticket, err := f.CutLeaf(t.Context(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.KeepLeaves(t.Context(), []record.LeafCut{{Leaf: leaf, Ticket: ticket}}); err != nil {
		t.Fatal(err)
	}
	if states := f.leafStates(t, leaf.Range); len(states) != 0 {
		t.Errorf("%+v is left", states)
	}
}

// TestHeadsMarkWhatTheyReach: a deletion in a head marks the leaves that it may
// hide rows of, a static row none but the heads'.
func TestHeadsMarkWhatTheyReach(t *testing.T) {
	suffix := func(n int) []byte {
		s, err := daysShape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(day(n).UnixMilli())))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	deleted := record.Deletion{Timestamp: 50, Seconds: 1}
	for _, c := range []struct {
		name string
		head record.Head
		days []int // of 1 to 6
	}{
		{"a static row", record.Head{Static: record.Row{Cells: []record.Cell{{Column: 9, Timestamp: 1}}}}, nil},
		{"a partition deletion", record.Head{Deletion: deleted}, []int{1, 2, 3, 4, 5, 6}},
		{"a range", record.Head{Ranges: []record.RangeTombstone{{Start: suffix(2), End: suffix(4), Deletion: deleted}}}, []int{2, 3, 4}},
		{"an open range", record.Head{Ranges: []record.RangeTombstone{{Start: suffix(5), Deletion: deleted}}}, []int{5, 6}},
	} {
		f := start(t, 2, nil)
		for n := range 6 {
			f.mustApply(t, group(dayEntry(t, "p", n+1)))
			f.clean(t, daysLeaf(t, "p", n+1), nil)
		}
		f.mustApply(t, group(entry(t, "p", 1)))
		f.clean(t, rowsLeaf("p"), nil)
		key := daysShape.AppendHeadKey(nil, token.Of([]byte("p")), []byte("p"))
		f.mustApply(t, group(record.AppendEntry(nil, key, c.head.Append(nil))))
		states := f.leafStates(t, rowsLeaf("p").Range)
		var dirty []int
		for n := range 6 {
			if !states[daysLeaf(t, "p", n+1)].Clean {
				dirty = append(dirty, n+1)
			}
		}
		if fmt.Sprint(dirty) != fmt.Sprint(c.days) {
			t.Errorf("%s marks the days %v, want %v", c.name, dirty, c.days)
		}
		if heads := daysLeaf(t, "p", 1).Heads(); states[heads].Clean || !states[rowsLeaf("p")].Clean {
			t.Errorf("%s: heads or another table: %+v", c.name, states)
		}
	}
}

// TestSettling: a leaf is recent until two periods have begun since its last row,
// whatever else happens to it.
func TestSettling(t *testing.T) {
	f := start(t, 2, nil)
	leaf := rowsLeaf("p")
	recent := func() bool { return f.leafStates(t, leaf.Range)[leaf].Recent }
	rotate := func() {
		if err := f.RotateLeaves(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.mustApply(t, group(entry(t, "p", 1)))
	if _, err := f.CutLeaf(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got, want := recent(), i < 2; got != want {
			t.Errorf("after %d periods recent is %v", i, got)
		}
		if i == 0 {
			rotate()
			f.mustApply(t, group(entry(t, "p", 2))) // a dirty leaf is recent again
		}
		rotate()
	}
	if recent() {
		t.Error("still recent")
	}
}

// TestMarksSurviveARestart: clean leaves stay clean, dirty ones dirty; a store that
// was written before there were records has all its leaves found.
func TestMarksSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	f := newFixture(t, fs, 2, nil)
	f.mustApply(t, group(entry(t, "p", 1), entry(t, "q", 1), dayEntry(t, "p", 2)))
	f.clean(t, rowsLeaf("p"), nil)
	f.stop(t)
	f = newFixture(t, fs, 2, nil)
	if s := f.leafStates(t, rowsLeaf("p").Range); !s[rowsLeaf("p")].Clean || s[daysLeaf(t, "p", 2)].Clean {
		t.Errorf("after a restart: %+v", s)
	}
	if _, dirty := f.LeafRange(rowsLeaf("p").Range); dirty != 1 {
		t.Errorf("after a restart %d leaves are dirty", dirty)
	}
	for c := range f.committers {
		err := f.stage(t.Context(), c, func(b *storage.Batch, m *marks) {
			b.Delete([]byte(leafComplete))
			for _, s := range m.list {
				for r := range token.RangeID(token.Ranges) {
					b.Delete(appendLeafKey(nil, s.leaf(r)))
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.stop(t)
	f = newFixture(t, fs, 2, nil)
	defer f.stop(t)
	for _, leaf := range []record.Leaf{rowsLeaf("p"), rowsLeaf("q"), daysLeaf(t, "p", 2)} {
		if s, ok := f.leafStates(t, leaf.Range)[leaf]; !ok || s.Clean {
			t.Errorf("leaf %+v was not found dirty", leaf)
		}
	}
}

// TestNoCrashLeavesAStaleCleanLeaf: whatever part of the log a crash leaves, rows
// that came after a leaf's hash are never there without its mark.
func TestNoCrashLeavesAStaleCleanLeaf(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs := vfs.NewCrashableMem()
		f := newFixture(t, fs, 1, nil)
		leaf := rowsLeaf("p")
		f.mustApply(t, group(entry(t, "p", 0)))
		written := 1
		var clones []*vfs.MemFS
		for range 20 {
			if rng.IntN(3) > 0 {
				// The number of rows stands for the content.
				ticket, err := f.CutLeaf(t.Context(), leaf)
				if err != nil {
					t.Fatal(err)
				}
				content := record.LeafContent{Keys: uint64(written), Bytes: 1, Oldest: record.Never}
				cut := []record.LeafCut{{Leaf: leaf, LeafContent: content, Ticket: ticket}}
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(2) == 0 {
					cancel() // do not wait for the sync
				}
				if _, err := f.KeepLeaves(ctx, cut); err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				cancel()
			}
			s := newSink()
			f.Apply(peer, group(entry(t, "p", written)), time.Time{}, s, 0)
			if rng.IntN(3) == 0 {
				clones = append(clones, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
			}
			<-s.verdict
			written++
		}
		f.stop(t)
		for _, clone := range clones {
			again := newFixture(t, clone, 1, nil)
			rows := again.count(t, tableRows, "p")
			if s := again.leafStates(t, leaf.Range)[leaf]; s.Clean && s.Keys != uint64(rows) {
				t.Errorf("seed %d: a leaf of %d rows is called clean with %d", seed, rows, s.Keys)
			}
			again.stop(t)
		}
	}
}

// TestMarksBelowTheFloorGo: records of windows that were removed are removed.
func TestMarksBelowTheFloorGo(t *testing.T) {
	f := start(t, 2, nil)
	for n := range 4 {
		f.mustApply(t, group(dayEntry(t, "p", n+1)))
	}
	floor := daysLeaf(t, "p", 3).Window
	if err := f.Adopt(t.Context(), catalog{version: 2, floor: floor}.view(t)); err != nil {
		t.Fatal(err)
	}
	id := daysLeaf(t, "p", 1).Range
	states := f.leafStates(t, id)
	if len(states) != 2 || states[daysLeaf(t, "p", 3)].Table == 0 || states[daysLeaf(t, "p", 4)].Table == 0 {
		t.Errorf("%+v is left", states)
	}
	if _, dirty := f.LeafRange(id); dirty != 2 {
		t.Errorf("%d leaves are dirty", dirty)
	}
	g := group(dayEntry(t, "p", 4))
	g.Version = 2
	f.mustApply(t, g)
}

// TestMarksAreRepeatedAfterAFailure: after a batch that was not committed nobody
// knows which marks are on disk.
func TestMarksAreRepeatedAfterAFailure(t *testing.T) {
	fs := vfs.NewMem()
	f := newFixture(t, fs, 1, nil)
	leaf := rowsLeaf("p")
	f.mustApply(t, group(entry(t, "p", 1)))
	f.clean(t, leaf, nil)
	// A mark that is in memory alone, as a failed batch leaves it.
	err := f.engine.Between(t.Context(), 0, func() error {
		m := f.committers[0].marks
		m.set(leafGroup{leaf.Table, leaf.Space, leaf.Window}).dirty.put(leaf.Range)
		m.set(leafGroup{leaf.Table, leaf.Space, leaf.Window}).hot.put(leaf.Range)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p := part{a: &apply{r: f.Replica, sink: newSink()}, rows: 1}
	p.a.pending.Store(1)
	p.Done(errors.New("not committed"))
	f.mustApply(t, group(entry(t, "p", 2)))
	f.stop(t)
	f = newFixture(t, fs, 1, nil)
	defer f.stop(t)
	if f.leafStates(t, leaf.Range)[leaf].Clean {
		t.Error("a leaf is called clean although it was written")
	}
}

func TestLeafRecordsOfOthersAreDirty(t *testing.T) {
	whole := appendCleanRecord(nil, &sample)
	if got, clean := parseCleanRecord(whole); !clean || got != sample {
		t.Fatalf("%+v %v", got, clean)
	}
	for n := range whole {
		if _, clean := parseCleanRecord(whole[:n]); clean {
			t.Errorf("the first %d bytes are called clean", n)
		}
	}
	whole[0]++
	if _, clean := parseCleanRecord(whole); clean {
		t.Error("another version is called clean")
	}
}

// BenchmarkMarks is what marks cost a row: in the steady state, and in a table
// whose rows alternate between windows.
func BenchmarkMarks(b *testing.B) {
	f := start(b, 1, nil)
	v := f.View()
	keys := [][]byte{rowKey(b, "p", 1)}
	for n := range 4 {
		e := dayEntry(b, "p", n+1)
		key, _, _, _ := record.NextEntry(e)
		keys = append(keys, key)
	}
	run := func(name string, keys [][]byte) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			err := f.stage(b.Context(), 0, func(batch *storage.Batch, m *marks) {
				for i := range b.N {
					m.write(batch, v, keys[i%len(keys)], nil)
				}
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	run("OneLeaf", keys[:1])
	run("WindowsInTurn", keys[1:])
}
