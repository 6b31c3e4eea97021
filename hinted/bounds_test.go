package hinted

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// TestPick: which segments go, by age, bytes of a target and bytes of all.
func TestPick(t *testing.T) {
	at := time.Unix(100_000, 0)
	// A segment is written bytes@age in minutes; ! is damaged. Queues are parted by |.
	cases := []struct{ class, queues, want string }{
		{"plain", "10@50 10@20 10@1", ""},
		{"plain", "10@70 10@20 10@1", "0:10@70 age"},
		{"plain", "10@70 10@65 10@60 10@59", "0:10@70 age, 0:10@65 age, 0:10@60 age"},
		{"plain", "40@50 40@20 30@1", "0:40@50 target_bytes"},
		{"plain", "40@50 70@20 50@1", "0:40@50 target_bytes, 0:70@20 target_bytes"},
		{"plain", "150@1", "0:150@1 target_bytes"},
		{"plain", "90@50 | 90@40 | 40@30", "0:90@50 total_bytes"},
		{"plain", "50@40 40@1 | 50@50 40@30 | 90@20", "1:50@50 total_bytes, 0:50@40 total_bytes"},
		{"plain", "90@70 | 90@40 | 40@30 | 40@1", "0:90@70 age"},
		{"plain", "!10@1 10@0 | 10@9 !10@2", "0:10@1 corrupt"},
		{"counted", "900@900 !900@900", ""},
	}
	for _, c := range cases {
		cfg := &Config{MaxAge: time.Hour, TargetBytes: 100, TotalBytes: 180}
		var queues []*queue
		names := map[*segment]string{}
		for i, text := range strings.Split(c.queues, " | ") {
			q := &queue{id: queueID{Plain, node(i)}}
			if c.class == "counted" {
				q.id.class = Counted
			}
			for _, one := range strings.Fields(text) {
				var bytes, age int64
				name := strings.TrimPrefix(one, "!")
				if _, err := fmt.Sscanf(name, "%d@%d", &bytes, &age); err != nil {
					t.Fatal(err)
				}
				kept := at.Add(-time.Duration(age) * time.Minute).UnixMicro()
				s := &segment{oldest: kept, newest: kept, damaged: name != one, tally: tally{hints: 1, bytes: bytes}}
				names[s] = name
				q.segments = append(q.segments, s)
				q.add(s.tally)
			}
			queues = append(queues, q)
		}
		var got []string
		for _, d := range pick(cfg, at, queues) {
			got = append(got, fmt.Sprintf("%d:%s %s", slices.Index(queues, d.q), names[d.s], d.why))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: picked %q, not %q", c.queues, got, c.want)
		}
	}
}

// marked is what OnDrop heard for a target.
func (w *world) marked(target ring.NodeID) (ranges map[token.RangeID]bool, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ranges = map[token.RangeID]bool{}
	for _, l := range w.losses {
		if l.target != target {
			continue
		}
		calls++
		if l.ranges == nil || !slices.Equal(l.tables, []uint32{testTable}) {
			w.tb.Errorf("marked ranges %v of tables %v", l.ranges, l.tables)
		}
		for _, r := range l.ranges {
			ranges[r] = true
		}
	}
	return ranges, calls
}

// TestOldestAreDropped over the bound of bytes: what is left is replayed, and the
// ranges of what is not are marked; those of no other hint are.
func TestOldestAreDropped(t *testing.T) {
	cfg := testConfig()
	cfg.TargetBytes = 20 << 10
	bubble(t, cfg, func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		const n = 500
		for i := range n {
			w.h.Keep(node(2), groupOf(t, now(), i))
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if bytes := w.h.Status()[0].Plain.Bytes; bytes > cfg.TargetBytes || bytes < cfg.TargetBytes-2*cfg.SegmentBytes {
			t.Errorf("%d bytes are kept", bytes)
		}
		w.setDead(false, 2)
		w.drain()
		got := w.delivered(node(2))
		first := n - len(got)
		for i, number := range got {
			if number != first+i {
				t.Fatalf("the kept ones are not the newest: %v", got)
			}
		}
		want := map[token.RangeID]bool{}
		for i := range first {
			want[rangeOf(i)] = true
		}
		if ranges, _ := w.marked(node(2)); len(got) == 0 || first == 0 || fmt.Sprint(ranges) != fmt.Sprint(want) {
			t.Errorf("%d delivered, marked %v, not %v", len(got), ranges, want)
		}
		if dropped := w.value("dropped_rows_total", "reason", "target_bytes"); dropped != float64(first) {
			t.Errorf("%v rows are counted as dropped, not %d", dropped, first)
		}
	})
}

// TestAge: plain hints go after MaxAge and at most a sixteenth more, counted ones never.
func TestAge(t *testing.T) {
	bubble(t, testConfig(), func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		for i := range 60 {
			w.h.Keep(node(2), groupOf(t, now(), i))
			if v := w.hold(node(2), groupOf(t, now(), i)); v.Code != transport.OK {
				t.Fatal(v)
			}
			time.Sleep(time.Minute)
		}
		begun := time.Now().Add(-time.Hour)
		for range 48 {
			time.Sleep(5 * time.Minute)
			s := w.h.Status()[0]
			if s.Counted.Hints != 60 {
				t.Fatalf("%d counted hints are left", s.Counted.Hints)
			}
			since := time.Since(begun)
			least := int64(max(0, min(60, 59-(since-w.cfg.MaxAge).Minutes())))
			most := int64(max(0, min(60, 61-(since-w.cfg.MaxAge*17/16).Minutes())))
			if s.Plain.Hints < least || s.Plain.Hints > most+1 {
				t.Errorf("after %s %d plain hints are left, not %d to %d", since, s.Plain.Hints, least, most)
			}
		}
		if dropped := w.value("dropped_rows_total", "reason", "age"); dropped != 60 {
			t.Errorf("%v rows are counted as dropped", dropped)
		}
	})
}

// TestFullBuffer: nothing blocks when nobody writes; plain hints are dropped, counted
// and marked, counted hints are refused, and neither class takes the other's room.
func TestFullBuffer(t *testing.T) {
	cfg := testConfig()
	cfg.BufferBytes = 2 << 10
	bubble(t, cfg, func(t *testing.T, w *world) {
		var kept, lost []int
		for i := range 50 {
			before := w.h.buffer.size(Plain)
			w.h.Keep(node(2), groupOf(t, now(), i))
			if w.h.buffer.size(Plain) > before {
				kept = append(kept, i)
			} else {
				lost = append(lost, i)
			}
		}
		if size := w.h.buffer.size(Plain); size > cfg.BufferBytes || len(kept) == 0 || len(lost) == 0 {
			t.Fatalf("%d bytes are buffered of %d hints", size, len(kept))
		}
		held := make(answer, 50)
		for i := range 50 {
			w.h.Hold(node(2), groupOf(t, now(), i), held, 0)
		}
		refused := len(held)
		for range refused {
			if v := <-held; v.Code != transport.Overloaded {
				t.Errorf("refused with %v", v)
			}
		}
		w.run()
		for range 50 - refused {
			if v := <-held; v.Code != transport.OK {
				t.Errorf("held with %v", v)
			}
		}
		if refused == 0 || refused == 50 {
			t.Errorf("%d of 50 were refused", refused)
		}
		w.drain()
		synctest.Wait()
		var got []int
		for _, n := range w.delivered(node(2)) {
			if slices.Contains(kept, n) && !slices.Contains(got, n) {
				got = append(got, n)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, kept) {
			t.Errorf("delivered %v, kept %v", got, kept)
		}
		ranges, _ := w.marked(node(2))
		for _, n := range lost {
			if !ranges[rangeOf(n)] {
				t.Errorf("range %d lost a hint and is not marked", rangeOf(n))
			}
		}
		if got := w.value("dropped_rows_total", "reason", "buffer"); got != float64(len(lost)) {
			t.Errorf("%v rows are counted as dropped, not %d", got, len(lost))
		}
	})
}

// TestCountedBytes: over their bound new counted hints are refused, the old ones stay,
// and when those are replayed there is room again.
func TestCountedBytes(t *testing.T) {
	cfg := testConfig()
	cfg.CountedBytes = 3 << 10
	bubble(t, cfg, func(t *testing.T, w *world) {
		w.setDead(true, 2)
		w.run()
		held := 0
		for i := range 30 {
			switch v := w.hold(node(2), groupOf(t, now(), i)); v.Code {
			case transport.OK:
				held++
			case transport.Overloaded:
			default:
				t.Error(v)
			}
		}
		if s := w.h.Status()[0].Counted; held == 0 || held == 30 || s.Hints != int64(held) || s.Bytes > cfg.CountedBytes {
			t.Errorf("%d held, %+v", held, s)
		}
		w.setDead(false, 2)
		w.drain()
		if v := w.hold(node(2), groupOf(t, now(), 99)); v.Code != transport.OK {
			t.Errorf("with room again: %v", v)
		}
	})
}

// TestPublish: what is published is below every hint held, never goes back, and is
// kept by refusing older groups, also after a crash.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		w := openWorld(t, fs, testConfig())
		w.setDead(true, 2)
		w.run()
		if _, ok := w.h.OldestCounted(); ok {
			t.Error("an oldest counted hint of none")
		}
		publish := func(limit, want hlc.Timestamp) {
			t.Helper()
			if got, err := w.h.Publish(limit); err != nil || got != want {
				t.Errorf("published %d, %v; not %d", got, err, want)
			}
		}
		hold := func(born hlc.Timestamp, want transport.Code) {
			t.Helper()
			if v := w.hold(node(2), groupOf(t, born, int(born))); v.Code != want {
				t.Errorf("born at %d: %v", born, v)
			}
		}
		publish(100, 100)
		hold(100, transport.Fenced)
		hold(150, transport.OK)
		hold(120, transport.OK)
		if born, ok := w.h.OldestCounted(); !ok || born != 120 {
			t.Errorf("the oldest is born at %d", born)
		}
		publish(200, 119)
		publish(110, 119)
		hold(119, transport.Fenced)
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		w.close()
		w.fs = clone
		w.open()
		w.run()
		if born, ok := w.h.OldestCounted(); !ok || born != 120 {
			t.Errorf("after a crash the oldest is born at %d", born)
		}
		hold(119, transport.Fenced)
		publish(50, 119)
		w.setDead(false, 2)
		w.drain()
		publish(math.MaxInt64-1, math.MaxInt64-1)
		w.close()
	})
}
