package hinted

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// TestReopen: a restart finds the queues as they were, bytes and rows included, with
// segments that have summaries, one of which replay has begun, and a tail that has none.
func TestReopen(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2, 3)
		w.run()
		born := now()
		for i := range 150 {
			w.h.Keep(node(2), groupOf(t, born+7, i))
			w.h.Keep(node(3), groupOf(t, born+7, i, i+1))
			if v := w.hold(node(2), groupOf(t, born+9, i)); v.Code != transport.OK {
				t.Error(v)
			}
			time.Sleep(time.Millisecond)
		}
		left := 30 // of node 2's groups, then it is busy
		w.setAnswer(func(ring.NodeID, *transport.Group) transport.Verdict {
			if left--; left < 0 {
				return transport.Verdict{Code: transport.Overloaded}
			}
			return transport.Verdict{}
		})
		w.setDead(false, 2)
		time.Sleep(10 * time.Second)
		w.stop()
		persisted := func() []TargetStatus {
			all := w.h.Status()
			for i := range all {
				for _, q := range []*QueueStatus{&all[i].Plain, &all[i].Counted} {
					if q.Hints > 0 && q.Oldest.IsZero() {
						t.Error("the oldest is not known")
					}
					// Not persisted; and the oldest is exact only after a start.
					q.Replayed, q.LastError, q.Oldest = 0, "", time.Time{}
				}
			}
			return all
		}
		before := persisted()
		hints, summaries := w.keys()
		if summaries < 6 || before[0].Plain.Hints+before[0].Counted.Hints > 275 || before[1].Plain.Hints != 150 {
			t.Fatalf("%d summaries, %+v", summaries, before)
		}
		w.reopen()
		if after := persisted(); !reflect.DeepEqual(before, after) {
			t.Errorf("before %+v\nafter  %+v", before, after)
		}
		if got := before[0].Plain.Hints + before[0].Counted.Hints + before[1].Plain.Hints; got != int64(hints) {
			t.Errorf("%d hints are stored, %d counted", hints, got)
		}
		if oldest, ok := w.h.OldestCounted(); !ok || oldest != born+9 {
			t.Errorf("the oldest is born at %d", oldest)
		}
		w.setAnswer(nil)
		w.setDead(false, 3)
		w.run()
		w.drain()
		if hints, summaries := w.keys(); hints+summaries > 0 {
			t.Errorf("%d hints and %d summaries are left", hints, summaries)
		}
		if got := w.delivered(node(3)); len(got) != 150 || !slices.IsSorted(got) {
			t.Errorf("node 3 got %v", got)
		}
	})
}

// TestTicker: plain hints survive a crash from SyncInterval on; without the ticker
// they would be lost, which the run with a long one shows.
func TestTicker(t *testing.T) {
	left := func(interval time.Duration) (hints int64) {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			cfg := testConfig()
			cfg.SyncInterval = interval
			w := openWorld(t, fs, cfg)
			w.setDead(true, 2)
			w.run()
			for i := range 10 {
				w.h.Keep(node(2), groupOf(t, now(), i))
			}
			time.Sleep(200 * time.Millisecond)
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			w.close()
			w.fs = clone
			w.open()
			if s := w.h.Status(); len(s) > 0 {
				hints = s[0].Plain.Hints
			}
			w.close()
		})
		return hints
	}
	if got := left(100 * time.Millisecond); got != 10 {
		t.Errorf("%d hints are left", got)
	}
	if got := left(time.Hour); got != 0 {
		t.Errorf("%d hints are left without the ticker: this test cannot fail", got)
	}
}

// plan is what a property draws: the life of one node's hints.
type plan struct {
	seed    uint64
	steps   int
	busy    int   // percent of groups that are answered "not now"
	late    bool  // answers take time
	crashes []int // before these steps
	keep    []int // percent of unsynced data that the crashes leave
}

// live lives the plan in virtual time, and says what went wrong.
func (p plan) live(t *testing.T) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(p.seed, 1))
		fs := vfs.NewCrashableMem()
		cfg := testConfig()
		cfg.SegmentBytes, cfg.ReplayBytes = 1500, 700
		w := openWorld(t, fs, cfg)
		if p.late {
			w.latency = 3 * time.Millisecond
		}
		busy, answers := p.busy, rand.New(rand.NewPCG(p.seed, 2))
		w.setAnswer(func(ring.NodeID, *transport.Group) transport.Verdict {
			codes := []transport.Code{transport.Overloaded, transport.Timeout, transport.StaleCatalog, transport.Failed}
			if answers.IntN(100) < busy {
				return transport.Verdict{Code: codes[answers.IntN(len(codes))]}
			}
			return transport.Verdict{}
		})
		w.run()
		held := map[queueID][]int{}
		for step := range p.steps {
			if at := slices.Index(p.crashes, step); at >= 0 {
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.keep[at%len(p.keep)], RNG: random})
				w.close()
				fs, w.fs = clone, clone
				w.open()
				w.run()
			}
			id := queueID{Plain, node(2 + random.IntN(2))}
			w.setDead(random.IntN(3) == 0, 2+random.IntN(2))
			if g := groupOf(t, now(), step); random.IntN(2) == 0 {
				w.h.Keep(id.target, g)
			} else {
				id.class = Counted
				if v := w.hold(id.target, g); v.Code != transport.OK {
					wrong += fmt.Sprintf(" Step %d: %v.", step, v)
				}
			}
			held[id] = append(held[id], step)
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
			}
		}
		w.setDead(false, 2, 3)
		w.mu.Lock()
		busy = 0
		w.mu.Unlock()
		w.drain()
		wrong += p.judge(w, held)
		w.reopen()
		sent := len(w.sent)
		w.run()
		time.Sleep(time.Minute)
		if len(w.sent) != sent {
			wrong += fmt.Sprintf(" %d groups were replayed after they were deleted.", len(w.sent)-sent)
		}
		if hints, summaries := w.keys(); hints+summaries > 0 {
			wrong += fmt.Sprintf(" %d hints and %d summaries are left.", hints, summaries)
		}
		w.close()
	})
	return wrong
}

// judge compares what was held and what was delivered at last.
func (p plan) judge(w *world, held map[queueID][]int) (wrong string) {
	for id, numbers := range held {
		var first []int
		for _, n := range w.delivered(id.target) {
			if slices.Contains(numbers, n) && !slices.Contains(first, n) {
				first = append(first, n)
			}
		}
		for _, n := range numbers {
			if !slices.Contains(first, n) && (id.class == Counted || len(p.crashes) == 0) {
				wrong += fmt.Sprintf(" The %s hint %d for %d was lost.", id.class, n, id.target[0])
			}
		}
		// A hint that its replica failed to apply may be overtaken.
		if !slices.IsSorted(first) && p.busy == 0 {
			wrong += fmt.Sprintf(" %s hints for %d came as %v.", id.class, id.target[0], first)
		}
	}
	return wrong
}

// TestLives: through busy targets, absences, restarts and crashes every counted hint
// whose sink heard OK is delivered, and without crashes every plain one; in order; and
// what was deleted is never sent again.
func TestLives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := plan{
			seed:    rapid.Uint64().Draw(rt, "seed"),
			steps:   rapid.IntRange(1, 80).Draw(rt, "steps"),
			busy:    rapid.SampledFrom([]int{0, 0, 5, 30}).Draw(rt, "busy"),
			late:    rapid.Bool().Draw(rt, "late"),
			crashes: rapid.SliceOfN(rapid.IntRange(0, 79), 0, 4).Draw(rt, "crashes"),
			keep:    rapid.SliceOfN(rapid.SampledFrom([]int{0, 50, 100}), 1, 4).Draw(rt, "keep"),
		}
		if wrong := p.live(t); wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// TestCrashes at any moment, with many holders at once: every hint whose sink heard OK
// before is found.
func TestCrashes(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			fs := vfs.NewCrashableMem()
			w := openWorld(t, fs, testConfig())
			w.setDead(true, 2)
			w.run()
			var mu sync.Mutex
			acked := map[int]bool{}
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					for i := range 40 {
						n := worker*40 + i
						if v := w.hold(node(2), groupOf(t, now(), n)); v.Code == transport.OK {
							mu.Lock()
							acked[n] = true
							mu.Unlock()
						}
						time.Sleep(time.Duration(n%7) * time.Microsecond)
					}
				})
			}
			// The holders run on while the crash happens somewhere among them.
			wanted := 1 + random.IntN(300)
			var promised []int
			for len(promised) == 0 {
				time.Sleep(time.Microsecond)
				mu.Lock()
				if len(acked) >= wanted {
					promised = slices.Collect(maps.Keys(acked))
				}
				mu.Unlock()
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * random.IntN(2), RNG: random})
			wg.Wait()
			w.close()
			w.fs, w.sent = clone, nil
			w.open()
			w.setDead(false, 2)
			w.run()
			w.drain()
			got := w.delivered(node(2))
			for _, n := range promised {
				if !slices.Contains(got, n) {
					t.Errorf("seed %d: hint %d was lost, one of %d promised", seed, n, len(promised))
				}
			}
			w.close()
		})
	}
}

// fullFS is a disk without space.
type fullFS struct{ vfs.FS }

func (fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 10, TotalBytes: 1 << 40}, nil
}

// TestFullDisk: plain hints are dropped and marked, counted ones refused as Overloaded.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t, fullFS{vfs.NewMem()}, testConfig())
		w.run()
		w.h.Keep(node(2), groupOf(t, now(), 1))
		if v := w.hold(node(2), groupOf(t, now(), 2)); v.Code != transport.Overloaded || !strings.Contains(v.Detail, "full") {
			t.Errorf("held on a full disk: %+v", v)
		}
		synctest.Wait()
		if ranges, _ := w.marked(node(2)); !ranges[rangeOf(1)] || w.value("dropped_rows_total", "reason", "disk_full") != 1 {
			t.Errorf("marked %v", ranges)
		}
		w.close()
	})
}

// TestAfterClose: when the store is closed under it, everything ends and is answered.
func TestAfterClose(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.run()
		synctest.Wait()
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		if v := w.hold(node(2), groupOf(t, now(), 1)); v.Code != transport.Failed {
			t.Errorf("held by a closed store: %v", v)
		}
		if _, err := w.h.Publish(1); !errors.Is(err, storage.ErrClosed) {
			t.Errorf("published by a closed store: %v", err)
		}
		w.stop()
		if v := w.hold(node(2), groupOf(t, now(), 1)); v.Code != transport.Overloaded {
			t.Errorf("held after Run: %v", v)
		}
	})
}
