package hinted

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// TestReplayOnReturn: what a dead node missed reaches it in order when it is back,
// stamped with the present catalog, and is deleted then; nothing is sent before.
func TestReplayOnReturn(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		var want []int
		born := now()
		for i := range 200 {
			w.h.Keep(node(2), groupOf(t, born, i, i+1000))
			want = append(want, i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		if len(w.sent) > 0 {
			t.Errorf("%d groups were sent to a dead node", len(w.sent))
		}
		s := w.h.Status()
		if len(s) != 1 || s[0].Plain.Hints != 200 || s[0].Plain.Rows != 400 || s[0].Counted.Hints != 0 || s[0].Plain.Oldest.IsZero() {
			t.Errorf("status %+v", s)
		}
		w.view.Store(viewOf(t, 7, 3, false, 1, 2, 3))
		w.setDead(false, 2)
		back := time.Now()
		w.drain()
		if took := time.Since(back); took > 2*time.Second {
			t.Errorf("replay took %s", took)
		}
		if got := w.delivered(node(2)); !slices.Equal(got, want) {
			t.Errorf("delivered %v", got)
		}
		for _, d := range w.sent {
			if d.group.Version != 7 || d.group.Born != born || d.group.Count != 2 || d.group.Owner != (ring.NodeID{}) {
				t.Fatalf("sent %+v", d.group)
			}
		}
		if hints, summaries := w.keys(); hints+summaries > 0 {
			t.Errorf("%d hints and %d summaries are left", hints, summaries)
		}
		s = w.h.Status()
		if s[0].Plain.Hints != 0 || s[0].Plain.Rows != 0 || s[0].Plain.Bytes != 0 || s[0].Plain.Replayed != 200 {
			t.Errorf("status after %+v", s)
		}
		for name, want := range map[string]float64{
			"kept_rows_total": 400, "replayed_rows_total": 400, "dropped_rows_total": 0, "stored_bytes": 0, "stored_hints": 0, "queues": 0,
		} {
			if got := w.value(name); got != want {
				t.Errorf("%s is %v, not %v", name, got, want)
			}
		}
	})
}

// TestHoldIsSynced before its sink hears OK; it is replayed like others.
func TestHoldIsDurable(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		if v := w.hold(node(2), groupOf(t, now(), 1)); v.Code != transport.OK {
			t.Fatal(v)
		}
		if hints, _ := w.keys(); hints != 1 {
			t.Errorf("%d hints are stored", hints)
		}
		w.setDead(false, 2)
		w.drain()
		if got := w.delivered(node(2)); !slices.Equal(got, []int{1}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// TestIdleHasNoTimers: with nothing kept, virtual time can stand still.
func TestIdleHasNoTimers(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.run()
		synctest.Wait()
		start := time.Now()
		w.h.Keep(node(2), groupOf(t, now(), 1))
		w.drain()
		synctest.Wait()
		if took := time.Since(start); took > time.Second {
			t.Errorf("one hint to a live node took %s", took)
		}
	})
}
