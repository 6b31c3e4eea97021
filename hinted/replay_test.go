package hinted

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// TestSettle: the gravest verdict decides.
func TestSettle(t *testing.T) {
	cases := []struct {
		codes []transport.Code
		want  fate
		why   transport.Code
	}{
		{nil, delivered, transport.OK},
		{[]transport.Code{transport.OK, transport.OK}, delivered, transport.OK},
		{[]transport.Code{transport.OK, transport.Fenced, transport.OK}, needless, transport.Fenced},
		{[]transport.Code{transport.UnknownTable}, needless, transport.UnknownTable},
		{[]transport.Code{transport.Fenced, transport.Failed}, refused, transport.Failed},
		{[]transport.Code{transport.Failed, transport.StaleCatalog, transport.OK}, later, transport.StaleCatalog},
		{[]transport.Code{transport.Overloaded}, later, transport.Overloaded},
		{[]transport.Code{transport.Timeout, transport.Failed}, later, transport.Timeout},
		{[]transport.Code{transport.Unreachable}, later, transport.Unreachable},
		{[]transport.Code{transport.Expired}, later, transport.Expired},
	}
	for _, c := range cases {
		var verdicts []transport.Verdict
		for _, code := range c.codes {
			verdicts = append(verdicts, transport.Verdict{Code: code})
		}
		if got, why := settle(verdicts); got != c.want || why.Code != c.why {
			t.Errorf("%v: %d because of %s", c.codes, got, why.Code)
		}
	}
}

// TestVerdictsThatHint: fenced hints and those of dropped tables are dropped and
// counted, and nothing is marked for them.
func TestNeedlessHintsAreDropped(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setAnswer(func(_ ring.NodeID, g *transport.Group) transport.Verdict {
			switch numbersIn(t, g.Entries)[0] % 3 {
			case 1:
				return transport.Verdict{Code: transport.Fenced}
			case 2:
				return transport.Verdict{Code: transport.UnknownTable}
			}
			return transport.Verdict{}
		})
		w.run()
		for i := range 30 {
			if i%2 == 0 {
				w.h.Keep(node(2), groupOf(t, now(), i))
			} else if v := w.hold(node(2), groupOf(t, now(), i)); v.Code != transport.OK {
				t.Error(v)
			}
		}
		w.drain()
		synctest.Wait()
		for name, want := range map[string]float64{"fenced": 10, "unknown_table": 10, "failed": 0} {
			if got := w.value("dropped_rows_total", "reason", name); got != want {
				t.Errorf("%v rows dropped as %s, not %v", got, name, want)
			}
		}
		if ranges, _ := w.marked(node(2)); len(ranges) > 0 || len(w.sent) != 30 {
			t.Errorf("marked %v, sent %d", ranges, len(w.sent))
		}
	})
}

// TestBackoff: a verdict that says "not now" stops the target, other targets go on,
// pauses grow up to the bound, and a return ends them.
func TestBackoff(t *testing.T) {
	for _, code := range []transport.Code{transport.Overloaded, transport.Timeout, transport.Unreachable, transport.StaleCatalog, transport.Expired} {
		bubble(t, testConfig(), func(t *testing.T, w *world) {
			w.setAnswer(func(to ring.NodeID, _ *transport.Group) transport.Verdict {
				if to == node(2) {
					return transport.Verdict{Code: code}
				}
				return transport.Verdict{}
			})
			w.run()
			for i := range 20 {
				w.h.Keep(node(2), groupOf(t, now(), i))
				w.h.Keep(node(3), groupOf(t, now(), i))
			}
			time.Sleep(10 * time.Minute)
			if got := w.delivered(node(3)); len(got) != 20 {
				t.Errorf("%s: the other target got %v", code, got)
			}
			var tries []time.Time
			for _, d := range w.sent {
				if d.to == node(2) {
					if d.numbers[0] != 0 {
						t.Fatalf("%s: went on to %v", code, d.numbers)
					}
					tries = append(tries, d.at)
				}
			}
			if len(tries) < 15 || len(tries) > 35 {
				t.Errorf("%s: %d tries in ten minutes", code, len(tries))
			}
			if status := w.h.Status()[0].Plain; status.LastError == "" || status.Hints != 20 {
				t.Errorf("%s: %+v", code, status)
			}
			w.setAnswer(nil)
			w.setDead(true, 2)
			time.Sleep(2 * w.cfg.Poll)
			w.setDead(false, 2)
			back := time.Now()
			w.drain()
			if took := time.Since(back); took > 2*w.cfg.Poll {
				t.Errorf("%s: the return was noticed after %s", code, took)
			}
			if got := w.value("replay_errors_total", "code", code.String()); got != float64(len(tries)) {
				t.Errorf("%s: %v errors are counted, not %d", code, got, len(tries))
			}
		})
	}
}

// TestAttempts: a plain hint that its replica fails to apply is dropped and marked
// after so many tries; a counted one stays, behind those that come through.
func TestAttempts(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		bad := true
		w.setAnswer(func(_ ring.NodeID, g *transport.Group) transport.Verdict {
			if bad && numbersIn(t, g.Entries)[0] == 5 {
				return transport.Verdict{Code: transport.Failed, Detail: "no"}
			}
			return transport.Verdict{}
		})
		w.run()
		born := now()
		for i := range 20 {
			w.h.Keep(node(2), groupOf(t, now(), i))
			if v := w.hold(node(3), groupOf(t, born, i)); v.Code != transport.OK {
				t.Error(v)
			}
		}
		time.Sleep(time.Hour)
		if got := w.value("dropped_rows_total", "reason", "failed"); got != 1 {
			t.Errorf("%v rows dropped", got)
		}
		if ranges, _ := w.marked(node(2)); len(ranges) != 1 || !ranges[rangeOf(5)] {
			t.Errorf("marked %v", ranges)
		}
		s := w.h.Status()
		if s[0].Plain.Hints != 0 || s[1].Counted.Hints != 1 {
			t.Errorf("left: %+v", s)
		}
		if oldest, ok := w.h.OldestCounted(); !ok || oldest != born {
			t.Errorf("the oldest is born at %d, not %d", oldest, born)
		}
		tries := 0
		for _, d := range w.sent {
			if d.to == node(2) && d.numbers[0] == 5 {
				tries++
			}
		}
		if tries != w.cfg.Attempts {
			t.Errorf("%d tries", tries)
		}
		for _, to := range []int{2, 3} {
			got := slices.Compact(slices.Sorted(slices.Values(w.delivered(node(to)))))
			if len(got) != 19 || slices.Contains(got, 5) {
				t.Errorf("node %d got %v", to, got)
			}
		}
		w.mu.Lock()
		bad = false
		w.mu.Unlock()
		w.drain()
		if got := w.delivered(node(3)); got[len(got)-1] != 5 {
			t.Errorf("delivered %v", got)
		}
		if got := w.value("kept_rows_total", "class", "counted"); got != 20 {
			t.Errorf("%v rows are counted as held", got)
		}
	})
}

// TestMoved: when the target has lost ranges, their plain rows are dropped and marked;
// counted ones go to all who hold the range now, and stay until all have them.
func TestMoved(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		before, after := viewOf(t, 1, 1, false, 1, 2), viewOf(t, 5, 2, false, 1, 2, 3, 4)
		w.view.Store(before)
		w.setDead(true, 2)
		w.run()
		placement := after.Table(testTable).Placement
		index, _ := after.Ring.Index(node(2))
		var stays, moves []int
		for n := range 60 {
			if after.Ring.Holds(placement, rangeOf(n), index) {
				stays = append(stays, n)
			} else {
				moves = append(moves, n)
			}
		}
		if len(stays) < 5 || len(moves) < 5 {
			t.Fatalf("%d stay, %d move", len(stays), len(moves))
		}
		all := append(slices.Clone(stays), moves...)
		slices.Sort(all)
		w.h.Keep(node(2), groupOf(t, now(), all...))
		w.h.Keep(node(2), groupOf(t, now(), stays...))
		if v := w.hold(node(2), groupOf(t, now(), all...)); v.Code != transport.OK {
			t.Fatal(v)
		}
		w.view.Store(after)
		w.setDead(false, 2)
		w.setDead(true, 4)
		time.Sleep(time.Minute)
		if s := w.h.Status()[0]; s.Plain.Hints != 0 || s.Counted.Hints != 1 {
			t.Errorf("with one new replica away: %+v", s)
		}
		w.setDead(false, 4)
		w.drain()
		got := map[ring.NodeID]map[int]bool{}
		for _, d := range w.sent {
			if got[d.to] == nil {
				got[d.to] = map[int]bool{}
			}
			if !slices.IsSorted(d.numbers) || d.group.Count != len(d.numbers) || d.group.Version != 5 {
				t.Errorf("sent %+v", d)
			}
			for _, n := range d.numbers {
				got[d.to][n] = got[d.to][n] || d.code == transport.OK
			}
		}
		for _, n := range all {
			for i := 1; i <= 4; i++ {
				m, _ := after.Ring.Index(node(i))
				if want := after.Ring.Holds(placement, rangeOf(n), m) && (i == 2 || slices.Contains(moves, n)); got[node(i)][n] != want {
					t.Errorf("node %d has row %d: %v", i, n, got[node(i)][n])
				}
			}
		}
		ranges, _ := w.marked(node(2))
		for _, n := range moves {
			if !ranges[rangeOf(n)] {
				t.Errorf("range %d moved and is not marked", rangeOf(n))
			}
		}
		if got := w.value("dropped_rows_total", "reason", "moved"); got != float64(len(moves)) {
			t.Errorf("%v rows dropped, not %d", got, len(moves))
		}
	})
}

// TestTargetHasLeft: plain hints go at once, counted ones to those who hold the ranges.
func TestTargetHasLeft(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		for i := range 100 {
			w.h.Keep(node(2), groupOf(t, now(), i))
			if v := w.hold(node(2), groupOf(t, now(), i)); v.Code != transport.OK {
				t.Error(v)
			}
		}
		w.view.Store(viewOf(t, 9, 3, false, 1, 3, 4))
		w.drain()
		synctest.Wait()
		for _, to := range []int{1, 3, 4} {
			if got := w.delivered(node(to)); len(got) != 100 || !slices.IsSorted(got) {
				t.Errorf("node %d got %v", to, got)
			}
		}
		if got := w.delivered(node(2)); len(got) > 0 {
			t.Errorf("the one that left got %v", got)
		}
		if got := w.value("dropped_rows_total", "reason", "moved"); got != 100 {
			t.Errorf("%v rows dropped", got)
		}
		if ranges, _ := w.marked(node(2)); len(ranges) == 0 {
			t.Error("nothing is marked")
		}
		time.Sleep(time.Minute)
		w.h.Wake()
		synctest.Wait()
		if s := w.h.Status(); len(s) > 0 {
			t.Errorf("queues of a node that left: %+v", s)
		}
	})
}

// TestGivenUp: a node that leaves is not kept by hints for one that is lost: once the
// change goes on without it, the counted ones go to the others. Plain ones stay.
func TestGivenUp(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		flipped := []func(ring.Layout, []ring.Placement) (ring.Layout, error){
			func(l ring.Layout, _ []ring.Placement) (ring.Layout, error) {
				return l.Announce(2, ring.Plan{Kind: "decommission", Leave: []ring.NodeID{node(1)}})
			},
			func(l ring.Layout, p []ring.Placement) (ring.Layout, error) { return l.Assign(3, 0, p) },
			func(l ring.Layout, p []ring.Placement) (ring.Layout, error) { return l.Flip(4, p) },
		}
		members := []int{1, 2, 3, 4}
		w.view.Store(changedView(t, 4, 3, false, members, flipped...))
		w.setDead(true, 2)
		w.run()
		w.h.Keep(node(2), groupOf(t, now(), 7))
		if v := w.hold(node(2), groupOf(t, now(), 7)); v.Code != transport.OK {
			t.Fatal(v)
		}
		time.Sleep(time.Minute)
		if len(w.sent) > 0 {
			t.Errorf("%d groups were sent while it was waited for", len(w.sent))
		}
		after := changedView(t, 5, 3, false, members, append(flipped, func(l ring.Layout, _ []ring.Placement) (ring.Layout, error) {
			return l.GiveUp(node(2))
		})...)
		w.view.Store(after)
		time.Sleep(time.Minute)
		if s := w.h.Status()[0]; s.Counted.Hints != 0 || s.Plain.Hints != 1 {
			t.Errorf("kept are %+v", s)
		}
		for i := 1; i <= 4; i++ {
			m, _ := after.Ring.Index(node(i))
			holds := i != 2 && after.Ring.Holds(after.Table(testTable).Placement, rangeOf(7), m)
			if got := w.delivered(node(i)); (len(got) == 1) != holds {
				t.Errorf("node %d got %v", i, got)
			}
		}
	})
}

// TestTables: rows of tables that the catalog has dropped go; those of tables that it
// does not know yet wait.
func TestTables(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.view.Store(viewOf(t, 3, 3, true, 1, 2, 3))
		w.run()
		old, young := groupOf(t, now(), 1), groupOf(t, now(), 2)
		young.Version = 4
		w.h.Keep(node(2), old)
		w.h.Keep(node(2), young)
		time.Sleep(time.Minute)
		if got := w.value("dropped_rows_total", "reason", "unknown_table"); got != 1 || len(w.sent) > 0 {
			t.Errorf("%v rows dropped, %d sent", got, len(w.sent))
		}
		w.view.Store(viewOf(t, 4, 3, false, 1, 2, 3))
		w.drain()
		if got := w.delivered(node(2)); !slices.Equal(got, []int{2}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// TestThrottle: replay keeps to its rate, to all targets together, and never has more
// unanswered than its window.
func TestThrottle(t *testing.T) {
	cfg := testConfig()
	cfg.ReplayRate, cfg.ReplayBytes = 10_000, 2_000
	bubble(t, cfg, func(t *testing.T, w *world) {
		w.setDead(true, 2, 3)
		w.latency = 10 * time.Millisecond
		w.run()
		bytes := 0
		for i := range 300 {
			g := groupOf(t, now(), i)
			w.h.Keep(node(2), g)
			w.h.Keep(node(3), g)
			bytes += 2 * len(g.Entries)
		}
		synctest.Wait()
		w.setDead(false, 2, 3)
		begun := time.Now()
		time.Sleep(2 * time.Second)
		if s := w.h.Status()[0].Plain; !s.Replaying || s.Rate < 2_000 || s.Rate > 8_000 || s.Remaining < 2*time.Second || s.Remaining > 20*time.Second {
			t.Errorf("while replaying: %+v", s)
		}
		w.drain()
		took, least := time.Since(begun).Seconds(), float64(bytes)/10_000
		if took < least-0.2 || took > least+2 {
			t.Errorf("%d bytes took %.2f s, not %.2f", bytes, took, least)
		}
		for i, d := range w.sent {
			open := map[ring.NodeID]int{}
			for _, o := range w.sent[:i+1] {
				if d.at.Sub(o.at) < w.latency {
					open[o.to] += len(o.group.Entries)
				}
			}
			if open[d.to] > cfg.ReplayBytes {
				t.Fatalf("%d bytes are unanswered", open[d.to])
			}
		}
	})
}

// TestDrain says what is left when its context ends, and counts what is buffered.
func TestDrain(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2)
		drain := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return w.h.Drain(ctx)
		}
		if err := drain(); err != nil {
			t.Errorf("with nothing kept: %v", err)
		}
		w.h.Keep(node(2), groupOf(t, now(), 1))
		if err := drain(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a buffered hint: %v", err)
		}
		w.run()
		if err := drain(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a hint on disk: %v", err)
		}
		w.setDead(false, 2)
		if err := drain(); err != nil {
			t.Error(err)
		}
	})
}
