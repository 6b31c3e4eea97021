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
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// born makes a group of version 1 with a birth.
func born(at hlc.Timestamp, entries ...[]byte) transport.Group {
	g := group(entries...)
	g.Born = at
	return g
}

// mustRaise raises the fence.
func (f *fixture) mustRaise(tb testing.TB, to hlc.Timestamp) {
	tb.Helper()
	if err := f.RaiseFence(tb.Context(), to); err != nil {
		tb.Fatal(err)
	}
}

// onCommitter returns the name of a partition that a committer writes.
func (f *fixture) onCommitter(c int) string {
	return partitionIn(func(id token.RangeID) bool { return f.engine.CommitterOf(id) == c })
}

// checkLate compares what is counted as late.
func (f *fixture) checkLate(tb testing.TB, rows, groups int) {
	tb.Helper()
	gotRows, gotGroups := testutil.ToFloat64(f.metrics.lateRows), testutil.ToFloat64(f.metrics.refusedGroups[transport.Fenced])
	if gotRows != float64(rows) || gotGroups != float64(groups) {
		tb.Errorf("%v rows of %v groups are counted as late, want %d of %d", gotRows, gotGroups, rows, groups)
	}
}

// TestLateGroupsAreRefused: at or below the fence, whole and once, however many
// committers they concern. Before there is a fence, all pass.
func TestLateGroupsAreRefused(t *testing.T) {
	for _, committers := range []int{1, 3} {
		f := start(t, committers, nil)
		names := []string{f.onCommitter(0), f.onCommitter(committers - 1), f.onCommitter(committers / 2)}
		all := func(n int) (entries [][]byte) {
			for _, name := range names {
				entries = append(entries, entry(t, name, n))
			}
			return entries
		}
		f.mustApply(t, born(0, all(0)...))
		f.mustRaise(t, 100)
		for n, at := range []hlc.Timestamp{-1, 0, 1, 99, 100} {
			if v := f.apply(t, born(at, all(1+n)...)); v.Code != transport.Fenced || v.Detail == "" {
				t.Errorf("born at %d: %+v", at, v)
			}
		}
		f.mustApply(t, born(101, all(10)...))
		for _, name := range names {
			if n := f.count(t, tableRows, name); n != 2 {
				t.Errorf("%d committers: %d rows, want the first and the last", committers, n)
			}
		}
		f.checkLate(t, 5*len(names), 5)
	}
}

// storedFence is the fence that a restart would find.
func (f *fixture) storedFence(tb testing.TB) hlc.Timestamp {
	tb.Helper()
	b, ok, err := f.engine.Meta().Get(fenceKey)
	if err != nil || !ok || len(b) != 8 {
		tb.Errorf("fence %x is stored: %v", b, err)
		return 0
	}
	return hlc.Timestamp(binary.BigEndian.Uint64(b))
}

// TestFenceRises and never goes back: not for a lower call, not for one that is given
// up, and concurrent calls end at the highest.
func TestFenceRises(t *testing.T) {
	f := start(t, 3, nil)
	f.mustRaise(t, 0)
	if f.Fence() != 0 {
		t.Errorf("%d to begin with", f.Fence())
	}
	order := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		var wg sync.WaitGroup
		for _, n := range order.Perm(4) {
			wg.Go(func() {
				to := hlc.Timestamp(1e6 * (4*round + n + 1))
				if err := f.RaiseFence(t.Context(), to); err != nil || f.Fence() < to || f.storedFence(t) < to {
					t.Errorf("raised to %d it is %d, stored as %d: %v", to, f.Fence(), f.storedFence(t), err)
				}
			})
		}
		wg.Wait()
		if want := hlc.Timestamp(1e6 * (4*round + 4)); f.Fence() != want || f.storedFence(t) != want {
			t.Fatalf("concurrent calls end at %d, stored as %d, want %d", f.Fence(), f.storedFence(t), want)
		}
	}
	const top = hlc.Timestamp(200e6)
	check := func(when string) {
		t.Helper()
		if f.Fence() != top || f.storedFence(t) != top {
			t.Errorf("%s the fence is %d, stored as %d", when, f.Fence(), f.storedFence(t))
		}
		if got := testutil.ToFloat64(f.metrics.fence); got != 200 {
			t.Errorf("%s the metric says %v", when, got)
		}
		for c := range 3 {
			if v := f.apply(t, born(top, entry(t, f.onCommitter(c), 1))); v.Code != transport.Fenced {
				t.Errorf("%s committer %d: %+v", when, c, v)
			}
		}
	}
	check("after concurrent calls")
	f.mustRaise(t, top-1)
	f.mustRaise(t, top)
	check("after lower calls")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.raising <- struct{}{} // another call is under way
	if err := f.RaiseFence(ctx, top+1); !errors.Is(err, context.Canceled) {
		t.Errorf("given up while waiting for another: %v", err)
	}
	<-f.raising
	release := f.block(t, 0)
	if err := f.RaiseFence(ctx, top+1); !errors.Is(err, context.Canceled) {
		t.Errorf("given up in the queue: %v", err)
	}
	release()
	check("after calls that were given up")
}

// TestFenceSurvivesACrash, also with another number of committers; one that cannot
// be read is no reason to take late groups.
func TestFenceSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	f := newFixture(t, fs, 2, nil)
	f.mustRaise(t, 7e6)
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	f.stop(t)
	f = newFixture(t, clone, 3, nil)
	if f.Fence() != 7e6 || testutil.ToFloat64(f.metrics.fence) != 7 {
		t.Errorf("after a crash the fence is %d", f.Fence())
	}
	for c := range 3 {
		if v := f.apply(t, born(7e6, entry(t, f.onCommitter(c), 1))); v.Code != transport.Fenced {
			t.Errorf("committer %d after a crash: %+v", c, v)
		}
		f.mustApply(t, born(7e6+1, entry(t, f.onCommitter(c), 1)))
	}
	if err := f.engine.Meta().Set(fenceKey, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	env := f.env
	env.Registerer = prometheus.NewRegistry()
	if _, err := New(DefaultConfig(), env); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a fence of three bytes: %v", err)
	}
	f.stop(t)
	if err := f.RaiseFence(t.Context(), 8e6); !errors.Is(err, storage.ErrClosed) || f.Fence() != 7e6 {
		t.Errorf("on a closed engine: %v, the fence is %d", err, f.Fence())
	}
}

// TestFenceInTheQueue: of the groups in a committer's queue those behind the fence
// are refused, and those before it can be read when RaiseFence returns.
func TestFenceInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, vfs.NewMem(), 2, nil)
		defer f.stop(t)
		release := f.block(t, 0)
		blocked, free := f.onCommitter(0), f.onCommitter(1)
		send := func(n int) *sink {
			s := newSink()
			f.Apply(peer, born(5, entry(t, free, n), entry(t, blocked, n)), time.Time{}, s, 0)
			return s
		}
		before := send(1)
		raised := make(chan error, 1)
		go func() { raised <- f.RaiseFence(context.Background(), 5) }()
		synctest.Wait() // it waits behind the first group
		behind := send(2)
		synctest.Wait()
		if len(before.verdict)+len(behind.verdict)+len(raised) > 0 || f.Fence() != 0 {
			t.Errorf("something has passed a committer that is busy; the fence is %d", f.Fence())
		}
		release()
		if err := <-raised; err != nil {
			t.Error(err)
		}
		// The second group's row on the other committer came before the fence there.
		if b, n := f.count(t, tableRows, blocked), f.count(t, tableRows, free); b != 1 || n != 2 {
			t.Errorf("%d and %d rows can be read, want 1 and 2", b, n)
		}
		if v := <-before.verdict; v.Code != transport.OK {
			t.Errorf("queued before the fence: %+v", v)
		}
		if v := <-behind.verdict; v.Code != transport.Fenced {
			t.Errorf("queued behind the fence: %+v", v)
		}
		f.checkLate(t, 2, 1)
	})
}

// TestNothingLateIsStoredBehindTheFence: while late groups come in, what of them can
// be read when RaiseFence returns is all that there will be; on one committer they
// are applied whole or not at all.
func TestNothingLateIsStoredBehindTheFence(t *testing.T) {
	for _, committers := range []int{1, 3} {
		f := start(t, committers, nil)
		const writers = 4
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range writers {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					var entries [][]byte
					for i := range writers { // one row in each writer's partition
						entries = append(entries, entry(t, fmt.Sprint("w", i), n*writers+w))
					}
					if v := f.apply(t, born(hlc.Timestamp(1+n%50), entries...)); v.Code != transport.OK && v.Code != transport.Fenced {
						t.Error(v.Err())
					}
				}
			})
		}
		for f.counts(t, writers) == 0 { // until some are in
			runtime.Gosched()
		}
		f.mustRaise(t, 50)
		before := f.counts(t, writers)
		refused := testutil.ToFloat64(f.metrics.lateRows)
		for testutil.ToFloat64(f.metrics.lateRows) < refused+100 {
			runtime.Gosched()
		}
		close(stop)
		wg.Wait()
		if after := f.counts(t, writers); after != before || committers == 1 && after%writers != 0 {
			t.Errorf("%d committers: %d rows when the fence was raised, %d later", committers, before, after)
		}
		late, groups := testutil.ToFloat64(f.metrics.lateRows), testutil.ToFloat64(f.metrics.refusedGroups[transport.Fenced])
		if late != groups*writers {
			t.Errorf("%d committers: %v rows of %v groups are counted as late", committers, late, groups)
		}
	}
}
