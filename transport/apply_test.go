package transport

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/wire"
)

func TestApplyCarriesGroupAndVerdict(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		verdicts := []Verdict{
			{}, {Code: StaleCatalog, Version: 9}, {Code: UnknownTable, Detail: "table 7"}, {Code: Overloaded, Detail: "committer"},
			{Code: Fenced}, {Code: Quarantined}, {Code: Expired}, {Code: Failed, Detail: "disk full"},
		}
		var got []served
		b.handler.apply = func(s served) {
			s.group.Entries = []byte(string(s.group.Entries))
			got = append(got, s)
			s.done(verdicts[len(got)-1])
		}
		sink := newOutcomes(x.T)
		for i := range verdicts {
			g := &Group{Version: uint64(i), Born: 77, Count: 1 + i, Entries: []byte(fmt.Sprintf("entries of the group number %d", i))}
			a.Apply(id(2), g, in(time.Second), sink, uint32(i))
			g.Entries[0] = 'X' // Apply has copied
		}
		synctest.Wait()
		for i, s := range got {
			want := Group{Version: uint64(i), Born: 77, Count: 1 + i, Entries: []byte(fmt.Sprintf("entries of the group number %d", i))}
			if !reflect.DeepEqual(s.group, want) || s.from != id(1) || !s.deadline.Equal(in(time.Second)) {
				t.Errorf("group %+v from %v with deadline %v", s.group, s.from, s.deadline)
			}
			if h := sink.heard[uint32(i)]; h.verdict != verdicts[i] || h.after != 0 {
				t.Errorf("verdict %+v after %v, want %+v", h.verdict, h.after, verdicts[i])
			}
		}
		if len(got) != len(verdicts) {
			t.Fatalf("%d groups arrived", len(got))
		}
		x.expectValue(a, "peer_slots_in_flight", 0)
		x.expectValue(a, "peer_queue_bytes", 0)
		x.expectValue(a, "answer_seconds", float64(len(verdicts)))
	})
}

func TestGroupsAreCoalesced(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		for i := range 1000 {
			a.Apply(id(2), group(strings.Repeat("r", 200)), in(time.Second), sink, uint32(i))
		}
		synctest.Wait()
		// 233 KB in frames of at most 64 KiB; some leave early on a second core.
		if n := a.value(t, "frame_items"); n < 4 || n > 100 {
			t.Errorf("1000 groups travelled in %v frames", n)
		}
		for _, s := range hold.take() {
			s.done(Verdict{})
		}
		sink.expect(1000, OK, 0)
		if n := b.value(t, "frame_items"); n > 100 {
			t.Errorf("1000 acks travelled in %v frames", n)
		}
	})
}

func TestDeadlinesAndFullTable(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		for i := range x.cfg.Slots {
			a.Apply(id(2), group("row"), in(500*time.Millisecond), sink, uint32(i))
		}
		time.Sleep(499 * time.Millisecond)
		sink.expect(0, OK, 0)
		time.Sleep(time.Millisecond)
		sink.expect(x.cfg.Slots, Timeout, 500*time.Millisecond)
		x.expectValue(a, "timeouts_total", float64(x.cfg.Slots))

		// The table is full of overdue requests: the next fail at once.
		for i := range 100 {
			a.Apply(id(2), group("row"), in(500*time.Millisecond), sink, uint32(i))
		}
		sink.expect(100, Overloaded, 0)
		x.expectValue(a, "overloads_total", 100)
		if s := a.Peer(id(2)); s.OldestUnanswered != 500*time.Millisecond {
			t.Errorf("oldest unanswered is %v", s.OldestUnanswered)
		}

		// The peer wakes up: late answers free the table and tell nobody.
		time.Sleep(time.Second)
		for _, s := range hold.take() {
			s.done(Verdict{})
		}
		sink.expect(0, OK, 0)
		x.expectValue(a, "late_answers_total", float64(x.cfg.Slots))
		if s := a.Peer(id(2)); s.OldestUnanswered != 0 || s.Latency != 1500*time.Millisecond {
			t.Errorf("state after healing: %+v", s)
		}
		b.handler.apply = func(s served) { s.done(Verdict{}) }
		sink.began = time.Now()
		for i := range 100 {
			a.Apply(id(2), group("row"), in(500*time.Millisecond), sink, uint32(i))
		}
		sink.expect(100, OK, 0)
	})
}

func TestEachDeadlineIsKept(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		b.handler.apply = new(holder).apply
		sink := newOutcomes(x.T)
		for i, ms := range []uint32{700, 20, 35, 300, 300, 20} {
			a.Apply(id(2), group("row"), in(time.Duration(ms)*time.Millisecond), sink, 10*ms+uint32(i))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for tag, h := range sink.heard {
			deadline := time.Duration(tag/10) * time.Millisecond
			if h.verdict.Code != Timeout || h.after < deadline || h.after >= deadline+sweepInterval {
				t.Errorf("deadline %v: %v after %v", deadline, h.verdict, h.after)
			}
		}
		if len(sink.heard) != 6 {
			t.Errorf("%d of 6 have heard", len(sink.heard))
		}
		a.Apply(id(2), group("row"), in(0), sink, 99)
		if h := sink.heard[99]; h.verdict.Code != Expired {
			t.Errorf("a deadline that has passed: %+v", h)
		}
	})
}

func TestSweeperStopsWhileNothingIsOpen(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		a.Apply(id(2), group("row"), in(100*time.Millisecond), newOutcomes(x.T), 1)
		time.Sleep(time.Second)
		x.expectValue(a, "sweeps_total", 10)
		time.Sleep(24 * time.Hour) // the request is overdue for long, and still unanswered
		x.expectValue(a, "sweeps_total", 10)
		a.Apply(id(2), group("row"), in(50*time.Millisecond), newOutcomes(x.T), 1)
		time.Sleep(time.Second)
		x.expectValue(a, "sweeps_total", 15)
	})
}

func TestBytesAreBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.cfg.QueueBytes = 2 << 20
		a, b := x.pair()
		hold := new(holder)
		b.handler.apply = hold.apply
		sink := newOutcomes(x.T)
		big := group(strings.Repeat("x", 1<<20-100))
		for i := range 3 {
			a.Apply(id(2), big, in(time.Minute), sink, uint32(i))
		}
		synctest.Wait()
		if h := sink.heard[2]; len(sink.heard) != 1 || h.verdict.Code != Overloaded {
			t.Fatalf("the third MiB heard %+v", sink.heard)
		}
		clear(sink.heard)
		for _, s := range hold.take() {
			if len(s.group.Entries) != len(big.Entries) {
				t.Errorf("%d bytes arrived", len(s.group.Entries))
			}
			s.done(Verdict{})
		}
		sink.expect(2, OK, 0)
	})
}

func TestOversizeIsRefusedBeforeQueueing(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		x.run(a)
		x.cfg.RequestBytes = 4 << 10 // b takes less than a would send
		x.run(b)
		a.SetPeers([]Peer{{id(2), address(2)}})
		synctest.Wait()
		sink := newOutcomes(x.T)
		a.Apply(id(2), group(strings.Repeat("x", 4<<10)), in(time.Second), sink, 1)
		sink.expect(1, Failed, 0)
		x.expectValue(a, "sent_bytes_total", 0)
		header := wire.GroupSize(group(""))
		a.Apply(id(2), group(strings.Repeat("x", 4<<10-header)), in(time.Second), sink, 1)
		sink.expect(1, OK, 0)
		a.Apply(id(1), group(strings.Repeat("x", 3<<20)), in(time.Second), sink, 1)
		sink.expect(1, Failed, 0)
		x.expectConnected(a, 2, true)
	})
}

func TestLocalShortCut(t *testing.T) {
	cluster(t, func(x *fixture) {
		a := x.add(1)
		hold := new(holder)
		a.handler.apply = hold.apply
		x.run(a)
		sink := newOutcomes(x.T)
		g := group("entries")
		a.Apply(id(1), g, in(100*time.Millisecond), sink, 7)
		g.Entries[0] = 'X'
		s := hold.take()[0]
		if s.from != id(1) || string(s.group.Entries) != "entries" || s.group.Version != 4 || s.group.Born != 5 || s.group.Count != 1 {
			t.Errorf("the handler has %+v", s)
		}
		s.done(Verdict{Code: Fenced})
		sink.expect(1, Fenced, 0)
		s.done(Verdict{}) // a second answer reaches nobody, nor the next request
		a.Apply(id(1), group("row"), in(100*time.Millisecond), sink, 8)
		s.done(Verdict{})
		sink.expect(0, OK, 0)
		time.Sleep(100 * time.Millisecond)
		sink.expect(1, Timeout, 100*time.Millisecond)
		hold.take()[0].done(Verdict{})
		x.expectValue(a, "late_answers_total", 1)
		for i := range x.cfg.Slots + 1 {
			a.Apply(id(1), group("row"), in(time.Second), sink, uint32(i))
		}
		synctest.Wait()
		if h := sink.heard[uint32(x.cfg.Slots)]; len(sink.heard) != 1 || h.verdict.Code != Overloaded {
			t.Errorf("over the bound: %+v", sink.heard)
		}
		if s := a.Peer(id(1)); !s.Connected {
			t.Error("this node is not connected to itself")
		}
		clear(sink.heard)
		for _, s := range hold.take() {
			s.done(Verdict{})
		}
		sink.expect(x.cfg.Slots, OK, 0)
	})
}

func TestApplyToStrangersAndBeforeRun(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		sink := newOutcomes(x.T)
		tr, err := New(x.cfg, a.env)
		if err != nil {
			t.Fatal(err)
		}
		tr.SetPeers([]Peer{{id(2), address(2)}})
		for _, to := range []ring.NodeID{id(2), id(9)} {
			tr.Apply(to, group("row"), in(time.Second), sink, 1)
			sink.expect(1, Unreachable, 0)
		}
		a.env.Listener.Close()
		b.env.Listener.Close()
	})
}
