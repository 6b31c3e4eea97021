package ring

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/token"
)

// member makes a member with a fixed id, so that failures repeat.
func member(n int, zone string) Member {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(fmt.Sprint("node ", n)))
	return Member{
		ID: id, Zone: zone, Datacenter: "dc1", State: Normal, Voter: true,
		Addresses: Addresses{Internode: fmt.Sprintf("10.0.0.%d:7481", n)},
	}
}

// grown joins members one after another to a cluster of the first.
func grown(t testing.TB, zones []string, p Placement) Layout {
	t.Helper()
	l := Bootstrap(member(0, zones[0]), 1)
	for i, z := range zones[1:] {
		var err error
		if l, err = l.Join(uint64(i+2), []Member{member(i+1, z)}, []Placement{p}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func simple(rf int) Placement {
	return Placement{Strategy: SimpleStrategy, Factors: map[string]int{"": rf}}
}

func network(rf int) Placement {
	return Placement{Strategy: NetworkTopologyStrategy, Factors: map[string]int{"dc1": rf}}
}

// naive is the walk written down as Cassandra describes it, without tricks.
func naive(l Layout, p Placement, rng int) []uint16 {
	var found []uint16
	left, zones := map[string]int{}, map[string]map[string]bool{}
	repeats := map[string]int{}
	for dc, rf := range p.Factors {
		all, nodes := map[string]bool{}, 0
		for _, m := range l.Members {
			if m.Datacenter == dc || p.Strategy == SimpleStrategy {
				all[m.Zone] = true
				nodes++
			}
		}
		left[dc], repeats[dc], zones[dc] = min(rf, nodes), rf-len(all), map[string]bool{}
	}
	for step := range token.Ranges {
		owner := l.Owners[(rng+step)%token.Ranges]
		m := l.Members[owner]
		dc := m.Datacenter
		if p.Strategy == SimpleStrategy {
			dc = ""
		}
		if slices.Contains(found, owner) || left[dc] == 0 {
			continue
		}
		if p.Strategy == NetworkTopologyStrategy && zones[dc][m.Zone] {
			if repeats[dc] <= 0 {
				continue
			}
			repeats[dc]--
		}
		if zones[dc] != nil {
			zones[dc][m.Zone] = true
		}
		left[dc]--
		found = append(found, owner)
	}
	return found
}

func TestWalkIsCassandras(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "members")
		l := Bootstrap(member(0, "z0"), 1)
		l.Members = nil
		for i := range n {
			m := member(i, fmt.Sprint("z", rapid.IntRange(0, 3).Draw(t, "zone")))
			if i > 0 && rapid.Bool().Draw(t, "second dc") {
				m.Datacenter = "dc2"
			}
			l.Members = append(l.Members, m)
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range l.Owners {
			l.Owners[i] = uint16(random.IntN(n))
		}
		p := Placement{Strategy: SimpleStrategy, Factors: map[string]int{"": rapid.IntRange(1, 5).Draw(t, "rf")}}
		if rapid.Bool().Draw(t, "network") {
			p = Placement{Strategy: NetworkTopologyStrategy, Factors: map[string]int{"dc1": rapid.IntRange(1, 5).Draw(t, "rf1"), "dc2": rapid.IntRange(1, 3).Draw(t, "rf2")}}
		}
		r, err := New(&l, 1, []Placement{p})
		if err != nil {
			t.Fatal(err)
		}
		for rng := range token.Ranges {
			want := naive(l, p, rng)
			if got := r.Replicas(0, token.RangeID(rng)); !slices.Equal(got, want) {
				t.Fatalf("range %d: %v, want %v", rng, got, want)
			}
			slices.Sort(want)
			if !slices.Equal(r.SetMembers(0, r.SetOf(0, token.RangeID(rng))), want) {
				t.Fatalf("range %d: its set number leads elsewhere", rng)
			}
		}
	})
}

// TestBalance: after every join each member holds its fair share of replicas.
func TestBalance(t *testing.T) {
	for _, tc := range []struct {
		name  string
		zones []string
		p     Placement
		most  float64 // largest count of replicas ÷ the fair share
	}{
		{"five alike", []string{"a", "a", "a", "a", "a"}, network(3), 1.02},
		{"ten alike", slices.Repeat([]string{"a"}, 10), simple(3), 1.02},
		{"two zones of three even", []string{"a", "b", "c", "a", "b", "c"}, network(3), 1.02},
		{"nine in three zones", slices.Repeat([]string{"a", "b", "c"}, 3), network(3), 1.03},
		{"uneven zones", []string{"a", "b", "c", "a", "a"}, network(3), 1.02},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := grown(t, tc.zones, tc.p)
			r, err := New(&l, 9, []Placement{tc.p})
			if err != nil {
				t.Fatal(err)
			}
			counts := make([]int, len(l.Members))
			for rng := range token.RangeID(token.Ranges) {
				set := r.Replicas(0, rng)
				if len(set) != 3 {
					t.Fatalf("range %d has %d replicas", rng, len(set))
				}
				for _, m := range set {
					counts[m]++
				}
			}
			share := shares(l.Members, tc.p)
			for i, n := range counts {
				fair := share[i]
				if ratio := float64(n) / fair; ratio > tc.most || ratio < 2-tc.most {
					t.Errorf("member %d holds %d replicas, %.3f of its share", i, n, ratio)
				}
			}
		})
	}
}

func TestZonesAreDistinct(t *testing.T) {
	l := grown(t, []string{"a", "b", "c", "a", "a", "b"}, network(3))
	r, err := New(&l, 9, []Placement{network(3)})
	if err != nil {
		t.Fatal(err)
	}
	for rng := range token.RangeID(token.Ranges) {
		zones := map[string]bool{}
		for _, m := range r.Replicas(0, rng) {
			zones[r.Member(m).Zone] = true
		}
		if len(zones) != 3 {
			t.Fatalf("range %d lies in %d zones", rng, len(zones))
		}
	}
}

func TestJoinIsDeterministicAndSurvivesJSON(t *testing.T) {
	zones := []string{"a", "b", "c", "a", "b"}
	one, two := grown(t, zones, network(3)), grown(t, zones, network(3))
	if !reflect.DeepEqual(one, two) {
		t.Error("the same joins gave two tables")
	}
	text, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	var back Layout
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(one, back) {
		t.Errorf("the layout does not survive JSON: %v", err)
	}
}

// TestChangedAt names exactly the ranges whose replicas a join changed, and
// leaves the layout that it began with alone.
func TestChangedAt(t *testing.T) {
	before := grown(t, []string{"a", "a", "a", "a"}, network(3))
	kept := before.Clone()
	after, err := before.Join(9, []Member{member(7, "a"), member(8, "a")}, []Placement{network(3)})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, kept) {
		t.Error("Join changed the layout that it was given")
	}
	rb, err := New(&before, 8, []Placement{network(3)})
	if err != nil {
		t.Fatal(err)
	}
	ra, err := New(&after, 9, []Placement{network(3)})
	if err != nil {
		t.Fatal(err)
	}
	moved := map[token.RangeID]bool{}
	for _, m := range Diff(rb, ra) {
		moved[m.Range] = true
		if len(m.Gained) != len(m.Lost) {
			t.Errorf("range %d gains %d and loses %d", m.Range, len(m.Gained), len(m.Lost))
		}
	}
	for rng := range token.RangeID(token.Ranges) {
		if (ra.ChangedAt(rng) == 9) != moved[rng] {
			t.Fatalf("range %d moved %v, changed at %d", rng, moved[rng], ra.ChangedAt(rng))
		}
	}
	if len(moved) == 0 || ra.MaxChangedAt() != 9 {
		t.Errorf("%d ranges moved, newest change %d", len(moved), ra.MaxChangedAt())
	}
	if same := Diff(ra, ra); len(same) != 0 {
		t.Errorf("a ring differs from itself in %d moves", len(same))
	}
}

func TestRefusals(t *testing.T) {
	l := grown(t, []string{"a", "a"}, simple(3))
	if _, err := l.Join(5, []Member{member(1, "a")}, nil); err == nil {
		t.Error("a member joined twice")
	}
	nowhere := member(5, "")
	if _, err := l.Join(5, []Member{nowhere}, nil); err == nil {
		t.Error("a member without a zone joined")
	}
	for _, p := range []Placement{{}, {Strategy: "Random", Factors: map[string]int{"": 1}}, simple(0), simple(99), network(0)} {
		if _, err := New(&l, 1, []Placement{p}); err == nil {
			t.Errorf("placement %v was accepted", p)
		}
	}
	elsewhere := Placement{Strategy: NetworkTopologyStrategy, Factors: map[string]int{"dc9": 3}}
	if _, err := New(&l, 1, []Placement{elsewhere}); err == nil {
		t.Error("a datacenter without members was accepted")
	}
	l.Owners[5] = 9
	if l.Validate() == nil {
		t.Error("an owner that is no member was accepted")
	}
}

func BenchmarkReplicas(b *testing.B) {
	l := grown(b, slices.Repeat([]string{"a", "b", "c"}, 2), network(3))
	r, err := New(&l, 9, []Placement{network(3)})
	if err != nil {
		b.Fatal(err)
	}
	tok := token.Token(12345678901234)
	b.ReportAllocs()
	sum := 0
	for b.Loop() {
		tok += 1 << 52
		sum += len(r.Replicas(0, tok.Range()))
	}
	_ = sum
}

func BenchmarkJoin(b *testing.B) {
	l := grown(b, []string{"a", "a", "a"}, network(3))
	for b.Loop() {
		if _, err := l.Join(9, []Member{member(9, "a")}, []Placement{network(3)}); err != nil {
			b.Fatal(err)
		}
	}
}
