package ring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/token"
)

func newMember(random *rand.Rand, zone string) Member {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(random.Uint32())
	}
	address := fmt.Sprintf("10.%d.%d.%d:7481", id[0], id[1], id[2])
	return Member{ID: id, Addresses: Addresses{Internode: address}, Zone: zone, Datacenter: "dc1", State: Normal, Voter: true}
}

// carry takes a change through all its phases, checking each.
func carry(t *testing.T, l Layout, version *uint64, p Plan, placements []Placement) Layout {
	t.Helper()
	step := func(next Layout, err error) Layout {
		t.Helper()
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if err := next.Validate(); err != nil {
			t.Fatal(err)
		}
		*version++
		return next
	}
	l = step(l.Announce(*version+1, p))
	l = step(l.Assign(*version+1, 7, placements))
	checkBetween(t, l, *version, placements)
	l = step(l.Flip(*version+1, placements))
	checkBetween(t, l, *version, placements)
	next, _, err := l.Finish(*version+1, placements)
	return step(next, err)
}

// checkBetween: reads ask those of now before the flip and those of the target then,
// writes reach both, no range gains two replicas, and what has changed is marked.
func checkBetween(t *testing.T, l Layout, version uint64, placements []Placement) {
	t.Helper()
	r, err := New(&l, version, placements)
	if err != nil {
		t.Fatal(err)
	}
	for p := range placements {
		for rng := range token.RangeID(token.Ranges) {
			now, target, writers := r.Now(p, rng), r.Target(p, rng), r.Writers(p, rng)
			reads := now
			if l.Change.Phase == Flipped {
				reads = target
			}
			if !slices.Equal(r.Replicas(p, rng), reads) || !slices.Equal(writers[:len(now)], now) {
				t.Fatalf("range %d: reads %v, writers %v, now %v, target %v", rng, r.Replicas(p, rng), writers, now, target)
			}
			for _, m := range writers {
				leaves := l.Change.Phase == Flipped && l.Change.WaitsFor(&l.Members[m]) && !slices.Contains(target, m)
				if leaves != slices.Contains(r.Leaving(p, rng), m) {
					t.Fatalf("range %d: %d leaves: %v; leaving %v", rng, m, leaves, r.Leaving(p, rng))
				}
			}
			for _, m := range target {
				if !slices.Contains(writers, m) {
					t.Fatalf("range %d is not written to %d", rng, m)
				}
			}
			if len(writers) > len(now)+1 {
				t.Fatalf("range %d gains %d replicas", rng, len(writers)-len(now))
			}
			if r.Changes(p, rng) != !sameSet(now, target) && r.Factor(p) == r.FactorThen(p) {
				t.Fatalf("range %d: changes %v, %v to %v", rng, r.Changes(p, rng), now, target)
			}
			if r.Changes(p, rng) && r.ChangedAt(rng) != version {
				t.Fatalf("range %d changed in %d, not in %d", rng, version, r.ChangedAt(rng))
			}
			if set := r.SetMembers(p, r.SetOf(p, rng)); !sameSet(set, writers) {
				t.Fatalf("range %d: set %v of %v", rng, set, writers)
			}
		}
	}
}

// worst is the fullest member's replicas ÷ its share.
func worst(t *testing.T, l Layout, p Placement) (most float64) {
	t.Helper()
	r, err := New(&l, 1, []Placement{p})
	if err != nil {
		t.Fatal(err)
	}
	held := make([]float64, len(l.Members))
	for rng := range token.RangeID(token.Ranges) {
		for _, m := range r.Now(0, rng) {
			held[m]++
		}
	}
	for i, s := range shares(l.Members, p) {
		most = max(most, held[i]/s)
	}
	return most
}

// TestManyChanges: joins, leaves and replacements, one after another, keep clusters
// balanced and move little.
func TestManyChanges(t *testing.T) {
	const changes = 50
	for _, tc := range []struct {
		name              string
		zones             []string
		p                 Placement
		balance, movement float64
	}{
		{"no zones", []string{"z"}, simple(3), 1.05, 1.05},
		{"three zones", []string{"a", "b", "c"}, network(3), 1.12, 1.12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			placements := []Placement{tc.p}
			version := uint64(1)
			l := Bootstrap(newMember(random, tc.zones[0]), version)
			zone := func(n int) string { return tc.zones[n%len(tc.zones)] }
			for i := 1; i < 6; i++ {
				var err error
				version++
				if l, err = l.Join(version, []Member{newMember(random, zone(i))}, placements); err != nil {
					t.Fatal(err)
				}
			}
			moved, least := 0.0, 0.0
			for range changes {
				before := l
				plan := Plan{Kind: "test"}
				switch n := random.IntN(5); {
				case n == 0:
					dead := l.Members[random.IntN(len(l.Members))]
					j := newMember(random, dead.Zone)
					plan.Join, plan.Dead, plan.Replaces = []Member{j}, []NodeID{dead.ID}, map[NodeID]NodeID{j.ID: dead.ID}
				case n < 3 && len(l.Members) < 12 || len(l.Members) < 6:
					plan.Join = []Member{newMember(random, fewest(l, tc.zones))}
				default:
					plan.Leave = []NodeID{most(l, tc.zones, random)}
				}
				l = carry(t, l, &version, plan, placements)
				rb, _ := New(&before, 1, placements)
				ra, _ := New(&l, 2, placements)
				for _, m := range Diff(rb, ra) {
					moved += float64(len(m.Gained))
				}
				least += atLeast(before, l, tc.p)
			}
			if b := worst(t, l, tc.p); b > tc.balance {
				t.Errorf("after %d changes the fullest of %d members has %.3f of its share", changes, len(l.Members), b)
			}
			if moved/least > tc.movement {
				t.Errorf("%.3f of the least was moved", moved/least)
			}
			t.Logf("%d members, balance %.3f, moved %.3f of the least", len(l.Members), worst(t, l, tc.p), moved/least)
		})
	}
}

// atLeast is what a change must move: what those that come should hold, or those
// that went have held.
func atLeast(before, after Layout, p Placement) (n float64) {
	for i, s := range shares(after.Members, p) {
		if _, was := before.Index(after.Members[i].ID); !was {
			n += s
		}
	}
	if len(after.Members) >= len(before.Members) {
		return n
	}
	r, _ := New(&before, 1, []Placement{p})
	for i, m := range before.Members {
		if _, is := after.Index(m.ID); is {
			continue
		}
		for rng := range token.RangeID(token.Ranges) {
			if r.Holds(0, rng, uint16(i)) {
				n++
			}
		}
	}
	return n
}

// fewest is the zone with the fewest members, most a member of the one with the most.
func fewest(l Layout, zones []string) string {
	count := map[string]int{}
	for _, m := range l.Members {
		count[m.Zone]++
	}
	return slices.MinFunc(zones, func(a, b string) int { return count[a] - count[b] })
}

func most(l Layout, zones []string, random *rand.Rand) NodeID {
	count := map[string]int{}
	for _, m := range l.Members {
		count[m.Zone]++
	}
	zone := slices.MaxFunc(zones, func(a, b string) int { return count[a] - count[b] })
	var of []Member
	for _, m := range l.Members {
		if m.Zone == zone {
			of = append(of, m)
		}
	}
	return of[random.IntN(len(of))].ID
}

// joined is a cluster of n.
func joined(t *testing.T, random *rand.Rand, n int, p Placement) Layout {
	t.Helper()
	l := Bootstrap(newMember(random, "z"), 1)
	for i := 1; i < n; i++ {
		var err error
		if l, err = l.Join(uint64(i+1), []Member{newMember(random, "z")}, []Placement{p}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// TestFactorGrows: one more replica a step; two more are refused.
func TestFactorGrows(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	l := joined(t, random, 4, simple(1))
	version := uint64(10)
	for factor := 2; factor <= 3; factor++ {
		before := []Placement{simple(factor - 1)}
		l = carry(t, l, &version, Plan{Kind: "replication", Placements: []Placement{simple(factor)}}, before)
	}
	next, err := l.Announce(version+1, Plan{Placements: []Placement{simple(3)}})
	if err != nil {
		t.Fatal(err)
	}
	var gains *GainsError
	if _, err := next.Assign(version+2, 0, []Placement{simple(1)}); !errors.As(err, &gains) {
		t.Errorf("two more replicas at once: %v", err)
	}
}

// TestAbort: what was announced or streamed is gone, and nobody has moved; what has
// flipped cannot be aborted, and there is one change at a time.
func TestAbort(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	p := []Placement{simple(3)}
	l := joined(t, random, 4, p[0])
	j := newMember(random, "z")
	announced, err := l.Announce(10, Plan{Join: []Member{j}, Leave: []NodeID{l.Members[1].ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := announced.Announce(11, Plan{}); !errors.Is(err, ErrChanging) {
		t.Errorf("a second change: %v", err)
	}
	streaming, err := announced.Assign(11, 5, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []Layout{announced, streaming} {
		back, err := from.Abort(12, p)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back.Owners, l.Owners) || !slices.Equal(back.Members, l.Members) || back.Change != nil {
			t.Errorf("after an abort: %+v", back.Members)
		}
	}
	flipped, err := streaming.Flip(12, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flipped.Abort(13, p); err == nil {
		t.Error("a change that has flipped was aborted")
	}
	if _, _, err := streaming.Finish(12, p); err == nil {
		t.Error("a change that streams was finished")
	}
}

// TestRecover: survivors are the only voters, whatever was on its way; a recovery cannot
// be aborted, and is followed by another if one more is lost.
func TestRecover(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	p := []Placement{simple(3)}
	l := joined(t, random, 6, p[0])
	ids := make([]NodeID, len(l.Members))
	for i, m := range l.Members {
		ids[i] = m.ID
	}
	changing, err := l.Announce(10, Plan{Join: []Member{newMember(random, "z")}})
	if err != nil {
		t.Fatal(err)
	}
	recovered, err := changing.Recover(11, "recover", ids[:3], p)
	if err != nil {
		t.Fatal(err)
	}
	if voters := recovered.Voters(); len(voters) != 3 || len(recovered.Members) != 6 || !recovered.Recovers() || changing.Recovers() {
		t.Errorf("%d voters of %d members", len(voters), len(recovered.Members))
	}
	streaming, err := recovered.Assign(12, 0, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []Layout{recovered, streaming} {
		if _, err := from.Abort(13, p); err == nil || !strings.Contains(err.Error(), "recover again") {
			t.Errorf("aborting a recovery: %v", err)
		}
		if _, err := from.Recover(13, "recover", []NodeID{ids[0], ids[5]}, p); err == nil || !strings.Contains(err.Error(), "given up before") {
			t.Errorf("a survivor that was given up: %v", err)
		}
		again, err := from.Recover(13, "recover", ids[:2], p)
		if err != nil || len(again.Voters()) != 2 || again.Change.ID != 13 {
			t.Errorf("recovered again: %v", err)
		}
	}
	flipped, err := streaming.Flip(13, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flipped.Recover(14, "recover", ids[:2], p); !errors.Is(err, ErrChanging) {
		t.Errorf("a change that has flipped is dropped: %v", err)
	}
}

// TestSmallZones: in clusters of a few nodes with uneven zones and one replica more
// than zones, nodes can join and leave one at a time. Only the first node of a zone,
// which holds all ranges at once, may be refused.
func TestSmallZones(t *testing.T) {
	zones := []string{"a", "b", "c"}
	refused, made := 0, 0
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 9))
		placements := []Placement{network(3 + int(seed%2))}
		version := uint64(1)
		l := Bootstrap(newMember(random, "a"), version)
		for i := 1; i < 5; i++ {
			var err error
			version++
			if l, err = l.Join(version, []Member{newMember(random, zones[i%3])}, placements); err != nil {
				t.Fatal(err)
			}
		}
		for range 25 {
			plan := Plan{Kind: "test"}
			if len(l.Members) < 5 || len(l.Members) < 8 && random.IntN(2) == 0 {
				plan.Join = []Member{newMember(random, zones[random.IntN(3)])}
			} else {
				plan.Leave = []NodeID{l.Members[random.IntN(len(l.Members))].ID}
			}
			announced, err := l.Announce(version+1, plan)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := announced.Assign(version+2, 0, placements); err != nil {
				if len(plan.Join) == 0 || slices.ContainsFunc(l.Members, func(m Member) bool { return m.Zone == plan.Join[0].Zone }) {
					refused++
				}
				version++ // another search, next time
				continue
			}
			made++
			l = carry(t, l, &version, plan, placements)
		}
	}
	t.Logf("%d made, %d refused", made, refused)
	if refused > 0 {
		t.Errorf("%d changes were refused, %d made", refused, made)
	}
}

// TestJoinTogether: the first nodes of a zone come in one step, where one alone would
// have to hold everything.
func TestJoinTogether(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	placements := []Placement{network(3)}
	l := Bootstrap(newMember(random, "a"), 1)
	l, err := l.Join(2, []Member{newMember(random, "a"), newMember(random, "b"), newMember(random, "b")}, placements)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = l.Announce(3, Plan{Kind: "join", Join: []Member{newMember(random, "c")}, Expect: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Assign(4, 0, placements); err == nil || l.Expects() != 1 {
		t.Fatalf("a change that expects %d more goes on: %v", l.Expects(), err)
	}
	next, err := l.JoinToo(newMember(random, "c"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckStep(&l, &next, 4, placements, placements); err != nil {
		t.Error(err)
	}
	if _, err := next.JoinToo(newMember(random, "c")); !errors.Is(err, ErrChanging) {
		t.Errorf("one more than was expected: %v", err)
	}
	uninvited := next.Clone()
	uninvited.Members = append(uninvited.Members, newMember(random, "c"))
	uninvited.Members[6].State = Joining
	if err := CheckStep(&next, &uninvited, 5, placements, placements); err == nil {
		t.Error("one more than was expected is accepted")
	}
	assigned, err := next.Assign(5, 0, placements)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(&assigned, 5, placements)
	if err != nil {
		t.Fatal(err)
	}
	for rng := range token.RangeID(token.Ranges) {
		if gained := without(r.ids(r.Target(0, rng)), r.ids(r.Now(0, rng))); len(gained) != 1 {
			t.Fatalf("range %d gains %d replicas", rng, len(gained))
		}
	}
}
