package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// TestApply: groups of rows of many ranges, on one committer and on several, are
// read back whole; the sink hears once.
func TestApply(t *testing.T) {
	for _, committers := range []int{1, 3} {
		f := start(t, committers, nil)
		var entries [][]byte
		for i := range 20 {
			for j := range 3 {
				entries = append(entries, entry(t, fmt.Sprint("p", i), j))
			}
		}
		f.mustApply(t, group(entries...))
		f.mustApply(t, group(entries...)) // again: idempotent
		f.mustApply(t, group())
		for i := range 20 {
			if got := f.count(t, tableRows, fmt.Sprint("p", i)); got != 3 {
				t.Errorf("%d committers: partition %d has %d rows", committers, i, got)
			}
		}
		if got := testutil.ToFloat64(f.metrics.appliedRows); got != 120 {
			t.Errorf("%v rows counted", got)
		}
	}
}

// TestAcknowledgedSurvivesCrash: what the sink has heard of is on disk.
func TestAcknowledgedSurvivesCrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	f := newFixture(t, fs, 2, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if v := f.apply(t, group(entry(t, fmt.Sprint("p", i), j))); v.Code != transport.OK {
					t.Error(v.Err())
				}
			}
		})
	}
	wg.Wait()
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	f.stop(t)
	again := newFixture(t, clone, 2, nil)
	defer again.stop(t)
	for i := range 8 {
		if got := again.count(t, tableRows, fmt.Sprint("p", i)); got != 50 {
			t.Errorf("partition %d has %d of 50 rows", i, got)
		}
	}
}

func TestFence(t *testing.T) {
	f := start(t, 2, nil)
	const changed token.RangeID = 100
	moved := partitionIn(func(id token.RangeID) bool { return id == changed })
	stayed := partitionIn(func(id token.RangeID) bool { return id != changed })
	if err := f.Adopt(t.Context(), catalog{version: 5, changed: map[token.RangeID]uint64{changed: 5}}.view(t)); err != nil {
		t.Fatal(err)
	}
	old := group(entry(t, moved, 1))
	if v := f.apply(t, old); v.Code != transport.StaleCatalog || v.Version != 5 {
		t.Errorf("an old write to a range that moved: %+v", v)
	}
	if v := f.apply(t, group(entry(t, stayed, 1), entry(t, moved, 1))); v.Code != transport.StaleCatalog {
		t.Errorf("an old write to both: %+v", v)
	}
	f.mustApply(t, group(entry(t, stayed, 2)))
	current := old
	current.Version = 5
	f.mustApply(t, current)
	if got := f.count(t, tableRows, moved); got != 1 {
		t.Errorf("the range that moved has %d rows", got)
	}
	for version, want := range map[uint64]transport.Code{1: transport.StaleCatalog, 4: transport.StaleCatalog, 5: transport.OK} {
		read := f.Read(t.Context(), peer, &transport.ReadRequest{Version: version, Table: tableRows, Partition: []byte(moved)})
		scan := f.Scan(t.Context(), peer, &transport.ScanRequest{Version: version, Table: tableRows, Range: changed, PartitionsOnly: true})
		if read.Verdict.Code != want || scan.Verdict.Code != want {
			t.Errorf("version %d: read %v, scan %v; want %v", version, read.Verdict.Code, scan.Verdict.Code, want)
		}
	}
	// An older view does not bring the old fence back.
	if err := f.Adopt(t.Context(), catalog{version: 2}.view(t)); err != nil || f.View().Version != 5 {
		t.Errorf("serves by version %d after an older one: %v", f.View().Version, err)
	}
}

// TestNoApplyStraddlesAVersion: while versions change, each old group is applied
// whole or not at all, and none after Adopt has returned.
func TestNoApplyStraddlesAVersion(t *testing.T) {
	f := start(t, 1, nil)
	const rows = 20
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var entries [][]byte
				for j := range rows {
					entries = append(entries, entry(t, fmt.Sprint("w", i), n*rows+j))
				}
				switch v := f.apply(t, group(entries...)); v.Code {
				case transport.OK, transport.StaleCatalog:
				default:
					t.Error(v.Err())
				}
			}
		})
	}
	for f.counts(t, 4) == 0 { // until some are in
		runtime.Gosched()
	}
	all := map[token.RangeID]uint64{}
	for id := range token.RangeID(token.Ranges) {
		all[id] = 2
	}
	if err := f.Adopt(t.Context(), catalog{version: 2, changed: all}.view(t)); err != nil {
		t.Fatal(err)
	}
	before := f.counts(t, 4)
	refused := testutil.ToFloat64(f.metrics.refusedGroups[transport.StaleCatalog])
	for testutil.ToFloat64(f.metrics.refusedGroups[transport.StaleCatalog]) < refused+20 {
		runtime.Gosched()
	}
	close(stop)
	wg.Wait()
	if after := f.counts(t, 4); after != before || after%rows != 0 {
		t.Errorf("%d rows after Adopt, %d later; groups have %d", before, after, rows)
	}
}

func (f *fixture) counts(t *testing.T, partitions int) int {
	t.Helper()
	n := 0
	for i := range partitions {
		n += f.count(t, tableRows, fmt.Sprint("w", i))
	}
	return n
}

// TestCatchUp: a group of a newer catalog waits until this node has it.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, vfs.NewMem(), 1, func(c *Config, _ *storage.Config) { c.CatchUps = 2 })
		defer f.stop(t)
		newer := group(entry(t, "p", 1))
		newer.Version = 3
		f.catchUp = func(ctx context.Context, from ring.NodeID, version uint64) error {
			if from != peer || version != 3 {
				t.Errorf("asked %s for version %d", from, version)
			}
			time.Sleep(time.Second)
			return f.Adopt(ctx, catalog{version: 3}.view(t))
		}
		sinks := []*sink{newSink(), newSink(), newSink()}
		for _, s := range sinks {
			f.Apply(peer, newer, time.Now().Add(5*time.Second), s, 1)
		}
		if v := <-sinks[2].verdict; v.Code != transport.Overloaded {
			t.Errorf("over the bound of waiting groups: %+v", v)
		}
		for _, s := range sinks[:2] {
			if v := <-s.verdict; v.Code != transport.OK {
				t.Errorf("after catching up: %+v", v)
			}
		}
		if got := f.count(t, tableRows, "p"); got != 1 {
			t.Errorf("%d rows", got)
		}
		newer.Version = 4
		failures := []struct {
			catchUp func(ctx context.Context, from ring.NodeID, version uint64) error
			want    transport.Code
		}{
			{func(context.Context, ring.NodeID, uint64) error { return errors.New("the peer is gone") }, transport.Failed},
			{func(context.Context, ring.NodeID, uint64) error { return nil }, transport.Failed},
			{func(ctx context.Context, _ ring.NodeID, _ uint64) error { <-ctx.Done(); return ctx.Err() }, transport.Expired},
		}
		for i, failure := range failures {
			f.catchUp = failure.catchUp
			if v := f.apply(t, newer); v.Code != failure.want {
				t.Errorf("failure %d of an apply: %+v, want %v", i, v, failure.want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if a := f.Read(ctx, peer, &transport.ReadRequest{Version: 4, Table: tableRows}); a.Verdict.Code != failure.want {
				t.Errorf("failure %d of a read: %+v, want %v", i, a.Verdict, failure.want)
			}
			cancel()
		}
		// Close ends those that wait, and refuses those that would.
		s := newSink()
		f.Apply(peer, newer, time.Time{}, s, 1)
		f.Close()
		if v := <-s.verdict; v.Code == transport.OK {
			t.Errorf("a waiting group after Close: %+v", v)
		}
		if v := f.apply(t, newer); v.Code != transport.Failed {
			t.Errorf("a group that would wait after Close: %+v", v)
		}
	})
}

func TestUnknownTable(t *testing.T) {
	f := start(t, 1, nil)
	if err := f.Adopt(t.Context(), catalog{version: 2, drop: true}.view(t)); err != nil {
		t.Fatal(err)
	}
	if v := f.apply(t, group(entry(t, "p", 1))); v.Code != transport.UnknownTable || v.Version != 2 {
		t.Errorf("apply: %+v", v)
	}
	if a := f.Read(t.Context(), peer, &transport.ReadRequest{Version: 1, Table: tableRows, Partition: []byte("p")}); a.Verdict.Code != transport.UnknownTable {
		t.Errorf("read: %+v", a.Verdict)
	}
	if a := f.Scan(t.Context(), peer, &transport.ScanRequest{Version: 1, Table: tableRows}); a.Verdict.Code != transport.UnknownTable {
		t.Errorf("scan: %+v", a.Verdict)
	}
}

// TestRetention: a raised floor removes the windows below, hides them, and drops
// rows that come later.
func TestRetention(t *testing.T) {
	f := start(t, 3, nil)
	var entries [][]byte
	for n := 1; n <= 10; n++ {
		entries = append(entries, dayEntry(t, "p", n), dayEntry(t, "q", n))
	}
	f.mustApply(t, group(entries...))
	floor, err := daysShape.WindowAt(day(6))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Adopt(t.Context(), catalog{version: 2, floor: floor}.view(t)); err != nil {
		t.Fatal(err)
	}
	for _, w := range f.engine.Windows(tableDays) {
		if w < floor {
			t.Errorf("window %d is still there, the floor is %d", w, floor)
		}
	}
	f.mustApply(t, group(dayEntry(t, "p", 5), dayEntry(t, "p", 6), dayEntry(t, "p", 11)))
	if got := f.count(t, tableDays, "p"); got != 6 {
		t.Errorf("%d rows are visible, want days 6 to 11", got)
	}
	if got := testutil.ToFloat64(f.metrics.retiredRows); got != 1 {
		t.Errorf("%v rows counted as retired, want 1", got)
	}
	for _, w := range f.engine.Windows(tableDays) {
		if w < floor {
			t.Errorf("window %d has come back", w)
		}
	}
}

// block keeps a committer busy until release is called.
func (f *fixture) block(t *testing.T, committer int) (release func()) {
	t.Helper()
	entered, leave, left := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		left <- f.engine.Between(context.Background(), committer, func() error {
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	return func() {
		close(leave)
		if err := <-left; err != nil {
			t.Error(err)
		}
	}
}

func TestExpiredInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, vfs.NewMem(), 1, nil)
		defer f.stop(t)
		release := f.block(t, 0)
		late, inTime := newSink(), newSink()
		f.Apply(peer, group(entry(t, "p", 1)), time.Now().Add(time.Second), late, 0)
		f.Apply(peer, group(entry(t, "p", 2)), time.Now().Add(time.Minute), inTime, 0)
		time.Sleep(2 * time.Second)
		release()
		if v := <-late.verdict; v.Code != transport.Expired {
			t.Errorf("past its deadline: %+v", v)
		}
		if v := <-inTime.verdict; v.Code != transport.OK {
			t.Errorf("before its deadline: %+v", v)
		}
		if got := f.count(t, tableRows, "p"); got != 1 {
			t.Errorf("%d rows, want the one in time", got)
		}
	})
}

// TestOverload: one committer's queue is full; a group that needs it and another
// is refused as a whole verdict, and its sink hears once.
func TestOverload(t *testing.T) {
	f := start(t, 2, func(_ *Config, s *storage.Config) { s.QueueItems = 2 })
	first := partitionIn(func(id token.RangeID) bool { return f.engine.CommitterOf(id) == 0 })
	second := partitionIn(func(id token.RangeID) bool { return f.engine.CommitterOf(id) == 1 })
	release := f.block(t, 0)
	var sinks []*sink
	for i := range 20 {
		s := newSink()
		sinks = append(sinks, s)
		f.Apply(peer, group(entry(t, first, i), entry(t, second, i)), time.Time{}, s, 0)
	}
	release()
	codes := map[transport.Code]int{}
	for _, s := range sinks {
		codes[(<-s.verdict).Code]++
		if n := s.calls.Load(); n != 1 {
			t.Errorf("a sink has heard %d times", n)
		}
	}
	if codes[transport.OK] == 0 || codes[transport.Overloaded] == 0 || len(codes) != 2 {
		t.Errorf("verdicts %v", codes)
	}
	if got := f.count(t, tableRows, first); got != codes[transport.OK] {
		t.Errorf("%d rows on the full committer, %d groups accepted", got, codes[transport.OK])
	}
}

func TestClosedEngine(t *testing.T) {
	f := newFixture(t, vfs.NewMem(), 1, nil)
	f.stop(t)
	if v := f.apply(t, group(entry(t, "p", 1))); v.Code != transport.Failed {
		t.Errorf("apply to a closed engine: %+v", v)
	}
}

// TestBeforeTheCatalog: a node that has not joined refuses, and serves once it has.
func TestBeforeTheCatalog(t *testing.T) {
	f := start(t, 1, nil)
	f.adopted.Store(nil)
	for i := range f.committers {
		f.committers[i].view, f.committers[i].floors = nil, false
	}
	f.catchUp = func(context.Context, ring.NodeID, uint64) error { return errors.New("not a member") }
	if v := f.apply(t, group(entry(t, "p", 1))); v.Code != transport.Failed {
		t.Errorf("apply: %+v", v)
	}
	if a := f.Read(t.Context(), peer, &transport.ReadRequest{Table: tableRows}); a.Verdict.Code != transport.Failed {
		t.Errorf("read: %+v", a.Verdict)
	}
	if err := f.Adopt(t.Context(), catalog{version: 1}.view(t)); err != nil {
		t.Fatal(err)
	}
	f.mustApply(t, group(entry(t, "p", 1)))
}

// FuzzApply: whatever a peer sends as entries, the sink hears exactly once, and
// what is refused is not applied.
func FuzzApply(f *testing.F) {
	key := rowKey(f, "p", 1)
	f.Add(record.AppendEntry(nil, key, fragment("v")))
	f.Add(record.AppendEntry(nil, key[:8], nil))
	f.Add([]byte{200, 200, 200})
	f.Add(append(record.AppendEntry(nil, key, nil), 1))
	f.Add(record.AppendEntry(nil, binary.BigEndian.AppendUint32(nil, 99), nil))
	fix := start(f, 2, nil)
	fix.catchUp = func(context.Context, ring.NodeID, uint64) error { return nil }
	f.Fuzz(func(t *testing.T, entries []byte) {
		fix.apply(t, transport.Group{Version: 1, Count: 1, Entries: entries})
	})
}

// discard is a sink for benchmarks.
type discard chan struct{}

func (d discard) Done(uint32, transport.Verdict) { d <- struct{}{} }

// BenchmarkApply is a group of 256-byte rows, up to the sink, on a store in memory.
func BenchmarkApply(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			f := start(b, 1, nil)
			var entries []byte
			for i := range rows {
				entries = record.AppendEntry(entries, rowKey(b, fmt.Sprint("p", i), 1), fragment(string(make([]byte, 256))))
			}
			g := transport.Group{Version: 1, Count: rows, Entries: entries}
			done := make(discard, 1)
			b.ReportAllocs()
			for b.Loop() {
				f.Apply(peer, g, time.Time{}, done, 0)
				<-done
			}
		})
	}
}
