package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// small makes many pages of little data.
func small(c *Config) { c.PageBytes = 400 }

// TestFill: an empty store gets all of a target and nothing else, heads first and the
// newest windows before the older ones; its leaves are marked.
func TestFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		sink := p.nodes[1].sink
		if err := sink.Fill(t.Context(), nodeID(0), target); err != nil {
			t.Fatal(err)
		}
		if n := p.checkEqual(t, target); n < 300 {
			t.Errorf("%d keys", n)
		}
		asked := p.questions()
		for i := range asked[1:] {
			if i > 0 && compareKeys(asked[i].After, asked[i+1].After) >= 0 {
				t.Errorf("page %d does not go on", i+1)
			}
		}
		leaves, err := p.nodes[1].Leaves(t.Context(), target.Range)
		if err != nil || len(leaves) < 33 {
			t.Errorf("%d leaves, %v", len(leaves), err)
		}
		for _, l := range leaves {
			if l.Clean || l.Table == tableOther {
				t.Errorf("leaf %+v", l)
			}
		}
		got := sink.Progress()
		if len(got) != 1 || !got[0].Done || got[0].Active || got[0].Pages != uint64(len(asked)) || got[0].Rows < 300 || got[0].Bytes < 300*30 {
			t.Errorf("%+v, %d pages", got, len(asked))
		}
		if n := testutil.ToFloat64(sink.metrics.pages); n != float64(len(asked)) {
			t.Errorf("%g pages were counted", n)
		}
		if n := testutil.ToFloat64(p.nodes[0].source.metrics.rows); n != float64(got[0].Rows) {
			t.Errorf("%g rows were sent, %d came", n, got[0].Rows)
		}
		if err := sink.Fill(t.Context(), nodeID(0), target); err != nil || len(p.questions()) > 0 {
			t.Errorf("what is filled is asked for again: %v", err)
		}
	})
}

// TestOrder: pages come heads first, then rows, of a windowed table the newest first.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		target := p.target(t)
		p.load(t, target)
		q := Request{Version: 3, Range: target.Range}
		a, err := p.nodes[0].source.Page(t.Context(), nodeID(1), &q)
		if err != nil || a.Next != nil {
			t.Fatalf("%v %x", err, a.Next)
		}
		var order []record.Leaf
		hidden := 0
		for rest := a.Entries; len(rest) > 0; {
			var k, fragment []byte
			if k, fragment, rest, err = record.NextEntry(rest); err != nil {
				t.Fatal(err)
			}
			if l, _ := record.LeafOf(k); len(order) == 0 || order[len(order)-1] != l {
				order = append(order, l)
			}
			if bytes.Contains(fragment, []byte("day 5")) {
				hidden++
			}
		}
		if len(order) != 33 || order[0].Space != record.SpaceHeads || order[1].Space != record.SpaceHeads || order[2].Table != tableRows {
			t.Fatalf("%d leaves: %+v", len(order), order)
		}
		for i := 4; i < len(order); i++ {
			if order[i].Window >= order[i-1].Window {
				t.Errorf("window %d comes after %d", order[i].Window, order[i-1].Window)
			}
		}
		if hidden != 5 {
			t.Errorf("%d of 6 partitions have the row that one has deleted", hidden)
		}
	})
}

// TestFillWhileWriting: writes that reach both nodes meanwhile are not lost, and
// those that only the source gets behind the stream are all that is missing.
func TestFillWhileWriting(t *testing.T) {
	p := newPair(t, small)
	target := p.target(t)
	p.load(t, target)
	names := partitions(target.Range, 6)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			entries := [][]byte{put(t, &rowsShape, names[i%6], i%40, int64(1000+i), "new"), put(t, &daysShape, names[i%6], i%40, int64(1000+i), "new")}
			for _, n := range p.nodes {
				n.apply(t, entries...)
			}
		}
	})
	err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target)
	close(stop)
	writing.Wait()
	if err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t, target)
}

// TestResume: what was cut short goes on where it was; after a crash, at a position
// that is less than Config.PersistPages behind.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		cut := errors.New("cut")
		n := p.nodes[1]
		var crashed *vfs.MemFS
		pages := 0
		p.change = func(_ *Request, answer []byte, err error) ([]byte, error) {
			if pages++; pages == 12 || pages == 18 {
				if crashed == nil {
					crashed = n.fs.CrashClone(vfs.CrashCloneCfg{})
				}
				return nil, cut
			}
			return answer, err
		}
		fill := func(want error) []Request {
			t.Helper()
			if err := n.sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, want) {
				t.Fatalf("%v, not %v", err, want)
			}
			return p.questions()
		}
		first := fill(cut)
		if second := fill(cut); !bytes.Equal(second[0].After, first[11].After) {
			t.Errorf("it went on at %x, not %x", second[0].After, first[11].After)
		}
		n.close(t)
		n.fs = crashed
		p.open(t, n)
		rest := fill(nil)
		if !bytes.Equal(rest[0].After, first[10].After) { // the tenth page was the last to be persisted
			t.Errorf("after a crash it went on at %x, not %x", rest[0].After, first[10].After)
		}
		p.checkEqual(t, target)
		got := n.sink.Progress()
		if len(got) != 1 || !got[0].Done || got[0].Pages != uint64(10+len(rest)) {
			t.Errorf("%+v, %d pages after the crash", got, len(rest))
		}
		begins := func(what string, target Target) {
			p.questions()
			if err := n.sink.Fill(t.Context(), nodeID(0), target); err != nil {
				t.Fatal(err)
			}
			if q := p.questions(); len(q) < 11 || q[0].After != nil {
				t.Errorf("%s: %d pages, the first after %x", what, len(q), q[0].After)
			}
		}
		if _, err := n.sink.Forget(target); err != nil || len(n.sink.Progress()) > 0 {
			t.Errorf("%v %+v", err, n.sink.Progress())
		}
		begins("what was forgotten", target)
		target.Change++
		begins("another change", target)
	})
}

// TestDamagedPages are asked for again, for so long, and nothing of them is stored.
func TestDamagedPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		left := 5
		p.change = func(_ *Request, answer []byte, err error) ([]byte, error) {
			if left--; left >= 0 {
				answer[len(answer)-1]++
			}
			return answer, err
		}
		sink := p.nodes[1].sink
		if err := sink.Fill(t.Context(), nodeID(0), target); err != nil {
			t.Fatal(err)
		}
		p.checkEqual(t, target)
		if n := testutil.ToFloat64(sink.metrics.repeated); n != 5 {
			t.Errorf("%g pages were asked for again", n)
		}
		if _, err := sink.Forget(target); err != nil {
			t.Fatal(err)
		}
		p.questions()
		left = 1 << 30
		if err := sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, ErrDamaged) || len(p.questions()) != p.cfg.Tries {
			t.Errorf("%v", err)
		}
	})
}

// TestPeerIsNotBelieved: pages with what was not asked for are refused whole.
func TestPeerIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		target := p.target(t)
		names := partitions(target.Range, 2)
		elsewhere := partitions(target.Range+1, 1)[0]
		good := put(t, &rowsShape, names[0], 1, 5, "good")
		days := key(t, &daysShape, names[0], 3)
		wrong := slices.Clone(days)
		wrong[8]++ // its window
		for name, a := range map[string]Answer{
			"another range":     {Entries: put(t, &rowsShape, elsewhere, 1, 5, "x")},
			"another keyspace":  {Entries: put(t, &otherShape, names[0], 1, 5, "x")},
			"no table":          {Entries: put(t, &record.Shape{Table: 77, Clustering: rowsShape.Clustering}, names[0], 1, 5, "x")},
			"another space":     {Entries: put(t, &record.Shape{Table: tableDays, Clustering: rowsShape.Clustering}, names[0], 1, 5, "x")},
			"a wrong window":    {Entries: record.AppendEntry(nil, wrong, value(5, "x"))},
			"an unreadable row": {Entries: record.AppendEntry(nil, key(t, &rowsShape, names[0], 1), []byte{9})},
			"no key":            {Entries: record.AppendEntry(nil, nil, value(5, "x"))},
			"half an entry":     {Entries: good[:len(good)-1]},
			"twice the same":    {Entries: append(slices.Clone(good), good...)},
			"a disorder":        {Entries: append(put(t, &rowsShape, names[0], 2, 5, "x"), good...)},
			"old before new":    {Entries: append(put(t, &daysShape, names[0], 2, 5, "x"), put(t, &daysShape, names[0], 3, 5, "x")...)},
			"rows before heads": {Entries: append(slices.Clone(good), head(&daysShape, names[0], record.Head{Deletion: record.Deletion{Timestamp: 1, Seconds: 1}})...)},
			"a step back":       {Entries: good, Next: key(t, &rowsShape, names[0], 0)},
			"a wrong position":  {Entries: good, Next: key(t, &rowsShape, elsewhere, 0)},
		} {
			if len(a.Entries) > 0 && name != "an unreadable row" {
				a.Entries = slices.Clone(a.Entries)
			}
			p.change = func(*Request, []byte, error) ([]byte, error) { return a.Encode(), nil }
			if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, ErrPage) {
				t.Errorf("%s: %v", name, err)
			}
		}
		stuck := Answer{Next: key(t, &rowsShape, names[0], 1)}
		p.change = func(*Request, []byte, error) ([]byte, error) { return stuck.Encode(), nil }
		if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, ErrPage) {
			t.Errorf("a position that stands still: %v", err)
		}
		if all := p.nodes[1].content(t, target); len(all) > 0 {
			t.Errorf("%d keys were stored", len(all))
		}
	})
}

// TestRefusals: who serves by another version, holds nothing, or cannot read what is
// asked for, answers nothing; the sink is told which.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		sink := p.nodes[1].sink
		fill := func(from int, target Target, want error) {
			t.Helper()
			if err := sink.Fill(t.Context(), nodeID(from), target); !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
		}
		stays := target
		for p.nodes[1].View().Ring.Changes(0, stays.Range) {
			stays.Range++
		}
		fill(0, stays, ErrMoved)
		fill(1, target, ErrMoved) // to be filled itself
		fill(0, Target{Keyspace: "nowhere", Range: target.Range}, ErrMoved)
		if _, err := p.nodes[0].source.Page(t.Context(), nodeID(1), &Request{Version: 3, Range: stays.Range}); !errors.Is(err, ErrMoved) {
			t.Errorf("a range that the other is not to have: %v", err)
		}
		if _, err := p.nodes[0].source.Page(t.Context(), nodeID(1), &Request{Version: 3, Range: target.Range, Placement: 9}); !errors.Is(err, ErrMessage) {
			t.Errorf("no placement: %v", err)
		}
		p.nodes[0].Quarantine(target.Range, fmt.Errorf("block: %w", record.ErrPoison))
		fill(0, target, ErrUnreadable)
		if err := p.nodes[0].Release(target.Range); err != nil {
			t.Fatal(err)
		}
		adopt(t, testView(t, 4, 0), p.nodes[0])
		fill(0, target, ErrStale)
		adopt(t, testView(t, 4, 0), p.nodes[1])
		for range p.cfg.Serving {
			p.nodes[0].source.serving <- struct{}{}
		}
		fill(0, target, ErrOverloaded)
		<-p.nodes[0].source.serving
		fill(0, target, nil)
		p.checkEqual(t, target)
	})
}

// TestDamagedRowsStay: a row that cannot be decoded ends the fill, and its range is in
// quarantine at the source.
func TestDamagedRowsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		p.nodes[0].apply(t, record.AppendEntry(nil, key(t, &rowsShape, partitions(target.Range, 1)[0], 7), []byte{99, 1}))
		if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, ErrUnreadable) {
			t.Error(err)
		}
		if !p.nodes[0].InQuarantine(target.Range) || p.nodes[1].InQuarantine(target.Range) {
			t.Error("the range is not in quarantine at the source alone")
		}
	})
}

// TestFloor: windows below the retention floor are not sent; one that rises in the
// middle is no obstacle.
func TestFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, small)
		target := p.target(t)
		p.load(t, target)
		floor, err := daysShape.WindowOf(suffix(t, &daysShape, 12))
		if err != nil {
			t.Fatal(err)
		}
		v := testView(t, 4, floor)
		p.change = func(q *Request, answer []byte, err error) ([]byte, error) {
			if l, ok := record.LeafOf(q.After); ok && l.Space == record.SpaceWindows && q.Version == 3 {
				adopt(t, v, p.nodes[:]...)
			}
			return answer, err
		}
		if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); err != nil {
			t.Fatal(err)
		}
		p.checkEqual(t, target)
		for _, w := range p.nodes[1].engine.Windows(tableDays) {
			if w < floor && len(p.nodes[1].entries(t, record.Leaf{Range: target.Range, Table: tableDays, Space: record.SpaceWindows, Window: w})) > 0 {
				t.Errorf("window %d was filled", w)
			}
		}
	})
}

// TestRefusedPages: a page that the store has no room for, or that was born too
// early, is asked for again.
func TestRefusedPages(t *testing.T) {
	for _, code := range []transport.Code{transport.Overloaded, transport.Fenced} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, small)
			target := p.target(t)
			p.load(t, target)
			p.nodes[1].sink.env.Replica = &busyWriter{Writer: p.nodes[1].Replica, left: 3, code: code}
			if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); err != nil {
				t.Fatal(err)
			}
			p.checkEqual(t, target)
			if n := testutil.ToFloat64(p.nodes[1].sink.metrics.repeated); n != 3 {
				t.Errorf("%s: %g pages were asked for again", code, n)
			}
		})
	}
}

// busyWriter refuses some groups.
type busyWriter struct {
	Writer
	left int
	code transport.Code
}

func (w *busyWriter) Apply(from ring.NodeID, g transport.Group, deadline time.Time, sink transport.Sink, tag uint32) {
	if w.left--; w.left >= 0 {
		sink.Done(tag, transport.Verdict{Code: w.code})
		return
	}
	w.Writer.Apply(from, g, deadline, sink, tag)
}

// TestRateAndCancel: filling keeps to its bytes per second, waits for no longer than
// its context, and one target has one Fill.
func TestRateAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(c *Config) { c.PageBytes, c.BytesPerSecond, c.Filling = 400, 1000, 2 })
		target := p.target(t)
		p.load(t, target)
		sink := p.nodes[1].sink
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		done := make(chan error)
		go func() { done <- sink.Fill(ctx, nodeID(0), target) }()
		time.Sleep(time.Second)
		if err := sink.Fill(t.Context(), nodeID(0), target); !errors.Is(err, ErrFilling) {
			t.Error(err)
		}
		if _, err := sink.Forget(target); !errors.Is(err, ErrFilling) {
			t.Error(err)
		}
		if got := sink.Progress(); len(got) != 1 || !got[0].Active || got[0].Done || got[0].Pages == 0 {
			t.Errorf("%+v", got)
		}
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		first := sink.Progress()[0]
		if first.Bytes < 2500 || first.Bytes > 4500 {
			t.Errorf("%d bytes in 3.5 s", first.Bytes)
		}
		begun := time.Now()
		if err := sink.Fill(t.Context(), nodeID(0), target); err != nil {
			t.Fatal(err)
		}
		all := sink.Progress()[0]
		if s := time.Since(begun).Seconds() * 1000 / float64(all.Bytes-first.Bytes); s < 0.9 || s > 1.6 {
			t.Errorf("%d bytes took %s", all.Bytes-first.Bytes, time.Since(begun))
		}
		p.checkEqual(t, target)
	})
}

// TestHiddenRowsArePassed: rows that are all deleted end pages all the same.
func TestHiddenRowsArePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(c *Config) { c.PageRows = 7 })
		target := p.target(t)
		name := partitions(target.Range, 1)[0]
		var entries [][]byte
		for n := range 40 {
			entries = append(entries, put(t, &rowsShape, name, n, 5, "gone"))
		}
		entries = append(entries, put(t, &rowsShape, name, 41, 50, "here"), head(&rowsShape, name, record.Head{Deletion: record.Deletion{Timestamp: 9, Seconds: 1}}))
		p.nodes[0].apply(t, entries...)
		if err := p.nodes[1].sink.Fill(t.Context(), nodeID(0), target); err != nil {
			t.Fatal(err)
		}
		if n := p.checkEqual(t, target); n != 2 {
			t.Errorf("%d keys", n)
		}
		if got := p.nodes[1].sink.Progress()[0]; got.Rows != 2 || got.Pages != 6 {
			t.Errorf("%+v", got)
		}
	})
}
