package rebalance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/rebalance/stream"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

func joins(i int) ring.Plan { return ring.Plan{Kind: "join", Join: []ring.Member{member(i)}} }

// TestSteps: each phase is left when, and only when, those who matter have done their
// part.
func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		w.announce(joins(3))
		w.answers[nodeID(3)] = State{Version: w.version - 1} // has not heard that it is to join
		w.step()
		w.reached()
		if got := w.waiting(); len(got) != 1 || !strings.Contains(got[0], nodeID(3).String()) || !strings.Contains(got[0], "adopted") {
			t.Errorf("waits for %q", got)
		}
		delete(w.answers, nodeID(3))
		w.step()
		w.reached(ring.Announced)

		partly := w.whole(nodeID(3))
		partly.Done--
		w.answers[nodeID(3)] = partly
		w.step()
		w.reached(ring.Announced)
		delete(w.answers, nodeID(3))
		w.step()
		w.reached(ring.Announced, ring.Streaming)

		w.answers[nodeID(1)] = State{Version: w.version - 1} // would still answer reads
		w.step()
		w.reached(ring.Announced, ring.Streaming)
		delete(w.answers, nodeID(1))
		partly = w.whole(nodeID(3)) // may lack what has been shown meanwhile
		partly.Done--
		w.answers[nodeID(3)] = partly
		w.step()
		w.reached(ring.Announced, ring.Streaming)
		w.down[nodeID(3)] = true // a new replica that is down is not waited for
		w.step()
		w.reached(ring.Announced, ring.Streaming, ring.Flipped)
		if w.layout.Change != nil || len(w.layout.Members) != 4 {
			t.Error("the change has not ended")
		}
	})
}

// TestDisplacedIsDown: a replica that loses ranges and is down blocks; the report names
// it and what can be done; given up, it is waited for no more.
func TestDisplacedIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		w.announce(joins(3))
		w.step()
		gone := nodeID(2)
		w.down[gone] = true
		s := w.whole(nodeID(3))
		s.Done, s.WaitsFor = s.Done/2, map[string]int{gone.String(): s.Duties - s.Done/2}
		w.answers[nodeID(3)] = s
		w.step()
		w.reached(ring.Announced)
		said := strings.Join(w.waiting(), "\n")
		for _, want := range []string{gone.String(), "dunlin layout abort", "dunlin node remove " + gone.String()} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is missing in:\n%s", want, said)
			}
		}
		if all := w.waiting(); len(all) != 1 {
			t.Errorf("one node is down, told is %q", all)
		}
		delete(w.answers, nodeID(3))
		delete(w.down, gone)
		w.step()
		w.down[gone] = true
		w.step()
		w.reached(ring.Announced, ring.Streaming)
		if said := strings.Join(w.waiting(), "\n"); !strings.Contains(said, "without it") || strings.Contains(said, "abort") {
			t.Errorf("after the flip: %s", said)
		}
		w.next(func(l ring.Layout, _ uint64) (ring.Layout, error) { return l.GiveUp(gone) })
		w.step()
		w.reached(ring.Announced, ring.Streaming, ring.Flipped)
		if _, still := w.layout.Index(gone); !still {
			t.Error("a node that was only not waited for is gone")
		}
	})
}

// TestJoinerIsGivenUp: a node that joins and stays away has its change aborted, after a
// while, and not once reads ask it.
func TestJoinerIsGivenUp(t *testing.T) {
	for _, flipped := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, 0)
			w.announce(joins(3))
			w.step()
			if flipped {
				w.step()
				w.answers[nodeID(1)] = State{} // keeps it from finishing
			}
			w.down[nodeID(3)] = true
			w.step()
			time.Sleep(w.d.cfg.GiveUp)
			if w.step(); w.aborted != 0 {
				t.Error("aborted too soon")
			}
			time.Sleep(time.Second)
			w.step()
			if (w.aborted == 1) == flipped {
				t.Errorf("flipped %v: aborted %d times", flipped, w.aborted)
			}
		})
	}
}

// TestNotAllCame: a change that expects more nodes than come is given up too.
func TestNotAllCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		plan := joins(3)
		plan.Expect = 2
		w.announce(plan)
		w.step()
		if got := w.waiting(); len(got) != 1 || !strings.Contains(got[0], "1 of 2 nodes") {
			t.Errorf("%q", got)
		}
		time.Sleep(w.d.cfg.GiveUp + time.Second)
		if w.step(); w.aborted != 1 {
			t.Errorf("aborted %d times", w.aborted)
		}
		w.reached()
	})
}

// TestWhoDrives: the first voter that is alive, and the others only if a phase lasts.
func TestWhoDrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1)
		w.announce(joins(3))
		w.step()
		w.reached()
		time.Sleep(w.d.cfg.TakeOver)
		w.step()
		w.reached(ring.Announced)
		w.step()
		w.reached(ring.Announced)
		w.down[nodeID(0)] = true
		w.answers[nodeID(0)] = State{}
		if r, err := w.d.Report(t.Context()); err != nil || r.Driver != nodeID(1) {
			t.Errorf("driver %s, %v", r.Driver, err)
		}
	})
}

// TestLeaverHandsHintsOver: a node leaves when it has no hints left.
func TestLeaverHandsHintsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 0)
		w.verified = func(token.RangeID, ring.NodeID) bool { return true }
		w.announce(ring.Plan{Kind: "decommission", Leave: []ring.NodeID{nodeID(3)}})
		w.step()
		w.step()
		s := w.whole(nodeID(3))
		s.Held = 12
		w.answers[nodeID(3)] = s
		w.step()
		w.reached(ring.Announced, ring.Streaming)
		if got := w.waiting(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "12 hints") }) {
			t.Errorf("%q", got)
		}
		s.Held = 0
		w.answers[nodeID(3)] = s
		w.step()
		w.reached(ring.Announced, ring.Streaming, ring.Flipped)
	})
}

// TestFillFirst: what is new here is pulled before it is compared; what cannot be
// pulled is compared at once; what was held before is only compared; nothing is filled
// any more once reads ask this node, whatever is known of filling.
func TestFillFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.announce(joins(3))
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		w.step()
		if len(w.hurried) > 0 {
			t.Errorf("compared before it was filled: %v", w.hurried)
		}
		w.down[nodeID(1)] = true
		for range 100 {
			if idle, err := w.d.Fill(t.Context()); err != nil {
				t.Fatal(err)
			} else if idle {
				break
			}
		}
		time.Sleep(w.d.cfg.HurryEvery)
		w.step()
		want := w.whole(nodeID(3)).Duties
		if got := w.hurried[nodeID(0)] + w.hurried[nodeID(1)] + w.hurried[nodeID(2)]; got != want {
			t.Errorf("%d of %d ranges are compared", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.announce(joins(3))
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Flip(v, w.schema.Placements()) })
		w.step() // it has just been started
		if got, want := w.hurried[nodeID(0)]+w.hurried[nodeID(1)]+w.hurried[nodeID(2)], w.whole(nodeID(3)).Duties; got != want {
			t.Errorf("%d of %d ranges are compared once more", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 0)
		w.schema.Keyspaces[0].Replication.Factors["dc1"] = 4
		w.show()
		fewer := w.schema.Placements()
		fewer[0] = ring.Placement{Strategy: fewer[0].Strategy, Factors: map[string]int{"dc1": 3}}
		w.announce(ring.Plan{Kind: "replication", Placements: fewer})
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		w.step()
		if len(w.hurried) != 3 {
			t.Errorf("those that stay are compared with those that go at once: %v", w.hurried)
		}
	})
}

// TestDuties: a new replica is compared with the one it displaces, or, if that one is
// dead or there is none, with all that are left.
func TestDuties(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plan  func(w *world) ring.Plan
		peers int
	}{
		{"join", func(*world) ring.Plan { return joins(5) }, 1},
		{"decommission", func(*world) ring.Plan { return ring.Plan{Kind: "x", Leave: []ring.NodeID{nodeID(1)}} }, 1},
		{"dead", func(*world) ring.Plan { return ring.Plan{Kind: "x", Dead: []ring.NodeID{nodeID(1)}} }, 2},
		{"more replicas", func(w *world) ring.Plan {
			more := w.schema.Placements()
			more[0] = ring.Placement{Strategy: more[0].Strategy, Factors: map[string]int{"dc1": 4}}
			return ring.Plan{Kind: "x", Placements: more}
		}, 3},
	} {
		w := newWorld(t, 5, 0)
		w.announce(tc.plan(w))
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		all := transfers(w.view)
		if len(all) == 0 {
			t.Fatalf("%s: nothing moves", tc.name)
		}
		for i := range all {
			for _, m := range all[i].gained {
				if got := all[i].duties(w.view, m); len(got) != tc.peers {
					t.Fatalf("%s: range %d is compared with %d peers, not %d", tc.name, all[i].id, len(got), tc.peers)
				}
			}
		}
	}
}

// TestOutline: what moves adds up.
func TestOutline(t *testing.T) {
	w := newWorld(t, 4, 0)
	w.announce(ring.Plan{Kind: "decommission", Leave: []ring.NodeID{nodeID(2)}})
	o, err := NewOutline(w.layout, w.version, w.schema.Placements())
	if err != nil {
		t.Fatal(err)
	}
	gains, loses := 0, 0
	for _, m := range o.Members {
		gains, loses = gains+m.Gains, loses+m.Loses
		if m.Before+m.Gains-m.Loses != m.After || (m.ID == nodeID(2)) != (m.After == 0) {
			t.Errorf("%s: %d replicas, %d more and %d less, are %d", m.ID, m.Before, m.Gains, m.Loses, m.After)
		}
	}
	if gains != loses || gains != o.Ranges || gains == 0 {
		t.Errorf("%d replicas come and %d go, of %d ranges", gains, loses, o.Ranges)
	}
	sum := o
	sum.Members = slices.Clone(o.Members)
	sum.Add(o)
	if sum.Ranges != 2*o.Ranges || sum.Members[0].Gains != 2*o.Members[0].Gains || sum.Members[0].Before != o.Members[0].Before {
		t.Errorf("twice %+v is %+v", o, sum)
	}
	if token.Ranges*3 != o.Members[0].After+o.Members[1].After+o.Members[2].After+o.Members[3].After {
		t.Error("ranges have too few replicas")
	}
}

// TestDutiesOfManyDead: two nodes are removed at once. In a range of which one replica is
// dead, whatever any replica that is left has is afterwards at two of three, as quorums
// before have it at two: also where one that is alive is displaced along with the dead one.
func TestDutiesOfManyDead(t *testing.T) {
	const members, zones = 8, 4
	zoned := func(i int) ring.Member {
		m := member(i)
		m.Zone = fmt.Sprint("z", i%zones)
		return m
	}
	w := newWorld(t, 1, 0)
	var joiners []ring.Member
	for i := 1; i < members; i++ {
		joiners = append(joiners, zoned(i))
	}
	start, err := ring.Bootstrap(zoned(0), 1).Join(2, joiners, w.schema.Placements())
	if err != nil {
		t.Fatal(err)
	}
	for a := range members {
		b := (a + 1) % members
		w.layout, w.version = start, 2
		w.announce(ring.Plan{Kind: "remove", Dead: []ring.NodeID{nodeID(a), nodeID(b)}})
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		all := transfers(w.view)
		for i := range all {
			if x := &all[i]; len(x.rest)+len(x.lost) == 2 {
				x.checkTwice(t, w)
			}
		}
	}
}

// checkTwice checks that two of the replicas of the target have what any of those of now has
// that are alive.
func (x *transfer) checkTwice(t *testing.T, w *world) {
	t.Helper()
	for _, m := range slices.Concat(x.rest, x.lost) {
		source, has := w.view.Ring.Member(m).ID, 0
		if slices.Contains(x.rest, m) {
			has++
		}
		for _, g := range x.gained {
			if slices.ContainsFunc(x.duties(w.view, g), func(d duty) bool { return d.peer == source }) {
				has++
			}
		}
		if has < 2 {
			t.Errorf("range %d: %d replicas come for %d that is alive and one that is dead, and what %s has is at %d of them all",
				x.id, len(x.gained), len(x.lost), source, has)
		}
	}
}

// TestAwaits: what is new here is not compared before it was filled, or that was given up;
// what was here before is.
func TestAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		w.announce(ring.Plan{Kind: "decommission", Leave: []ring.NodeID{nodeID(2)}})
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		if err := w.d.resume(w.view.Ring.Change().ID); err != nil {
			t.Fatal(err)
		}
		me, _ := w.view.Ring.Index(nodeID(3))
		gains := 0
		for id := range token.RangeID(token.Ranges) {
			holds := slices.Contains(w.view.Ring.Now(0, id), me)
			if w.d.Awaits(w.view, schema.BuiltinKeyspace, id) == holds {
				t.Fatalf("range %d: it is here %v", id, holds)
			}
			if !holds {
				gains++
				w.d.filling.leave(stream.Target{Keyspace: schema.BuiltinKeyspace, Range: id, Change: w.view.Ring.Change().ID})
			}
			if w.d.Awaits(w.view, schema.BuiltinKeyspace, id) {
				t.Fatalf("range %d is still waited for", id)
			}
		}
		if gains == 0 {
			t.Error("nothing is new here")
		}
	})
}

// TestPace: a node that takes ranges over works no harder than its own clients let it,
// and those of the nodes that it takes them from.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		w.announce(ring.Plan{Kind: "decommission", Leave: []ring.NodeID{nodeID(2)}})
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		half, none := 0.5, 0.0
		for _, c := range []struct {
			here   float64
			source *float64 // nil: it does not tell
			want   float64
		}{{1, nil, 1}, {0.3, nil, 0.3}, {1, &half, 0.5}, {0.3, &half, 0.3}, {1, &none, 0}} {
			w.pace = c.here
			w.answers[nodeID(2)] = State{Pace: c.source}
			w.answers[nodeID(1)] = State{Pace: &none} // nothing comes from there
			if w.step(); w.d.Pace() != c.want {
				t.Errorf("pace %g here, %v there: %g", c.here, c.source, w.d.Pace())
			}
		}
		w.down[nodeID(2)] = true
		if w.step(); w.d.Pace() != 1 {
			t.Errorf("a source that is down holds work back to %g", w.d.Pace())
		}
	})
}

// TestQuarantine: what is in quarantine where it comes from, or where it has come to,
// holds a change up, and the report says at which node and what can be done.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		w.announce(joins(3))
		w.step()
		w.reached(ring.Announced)
		var id token.RangeID // one that the joiner takes from this node
		all := transfers(w.view)
		for i := range all {
			if me, _ := w.view.Ring.Index(nodeID(0)); slices.Contains(all[i].outgoing(), me) {
				id = all[i].id
				break
			}
		}
		w.damaged = map[token.RangeID]bool{id: true}
		w.step()
		w.reached(ring.Announced, ring.Streaming) // it was verified before
		late := w.whole(nodeID(3))
		late.Done, late.WaitsFor = late.Done-1, map[string]int{nodeID(0).String(): 1}
		w.answers[nodeID(3)] = late
		w.step()
		w.reached(ring.Announced, ring.Streaming)
		if said := w.waiting(); len(said) != 1 || !strings.Contains(said[0], nodeID(0).String()+" has 1 ranges that move in quarantine") {
			t.Errorf("told is %q", said)
		}
		w.damaged = nil
		if said := w.waiting(); len(said) != 0 {
			t.Errorf("told is %q, when the range is whole again", said)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		w.announce(ring.Plan{Kind: "decommission", Leave: []ring.NodeID{nodeID(2)}})
		w.next(func(l ring.Layout, v uint64) (ring.Layout, error) { return l.Assign(v, 0, w.schema.Placements()) })
		w.verified = func(token.RangeID, ring.NodeID) bool { return true }
		before := w.d.State()
		if before.Duties == 0 || before.Done != before.Duties || before.Quarantined != 0 {
			t.Fatalf("%+v", before)
		}
		me, _ := w.view.Ring.Index(nodeID(3))
		all := transfers(w.view)
		for i := range all {
			if slices.Contains(all[i].gained, me) {
				w.damaged = map[token.RangeID]bool{all[i].id: true}
				break
			}
		}
		after := w.d.State()
		if after.Done != before.Done-1 || after.WaitsFor[nodeID(3).String()] != 1 || after.Quarantined != 1 {
			t.Errorf("a range that has rotted since: %+v", after)
		}
	})
}
