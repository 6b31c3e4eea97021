package ring

import (
	"fmt"
	"slices"

	"github.com/dunlindb/dunlin/token"
)

// Ring is the table of one layout version: who holds each range, for each
// placement. It is immutable; a request keeps the Ring that it began with.
type Ring struct {
	version      uint64
	members      []Member
	index        map[NodeID]uint16
	changedAt    []uint64
	maxChangedAt uint64
	owners       []uint16
	tables       []table
}

// table is one placement's part of a Ring.
type table struct {
	factor   int        // configured
	replicas [][]uint16 // per range, in walk order; equal lists share their slice
	setOf    []uint16   // per range: index into sets
	sets     [][]uint16 // distinct sets, each sorted
}

// New derives the table of a layout. placements are indexed by later calls.
func New(l *Layout, version uint64, placements []Placement) (*Ring, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	r := &Ring{version: version, members: l.Members, index: map[NodeID]uint16{}, changedAt: l.ChangedAt, owners: l.Owners}
	for i, m := range l.Members {
		r.index[m.ID] = uint16(i)
	}
	for _, v := range l.ChangedAt {
		r.maxChangedAt = max(r.maxChangedAt, v)
	}
	for i, p := range placements {
		if same := slices.IndexFunc(placements[:i], p.Equal); same >= 0 {
			r.tables = append(r.tables, r.tables[same]) // keyspaces that are placed alike share a table
			continue
		}
		if err := p.Validate(); err != nil {
			return nil, err
		}
		t, err := newTable(l, p)
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, t)
	}
	return r, nil
}

func newTable(l *Layout, p Placement) (table, error) {
	w := newWalker(l.Members, l.Owners, p)
	t := table{factor: p.Factor(), replicas: make([][]uint16, token.Ranges), setOf: make([]uint16, token.Ranges)}
	lists, sets := map[string][]uint16{}, map[string]uint16{}
	var scratch []uint16
	for rng := range t.replicas {
		scratch, _ = w.replicas(rng, scratch[:0])
		if len(scratch) == 0 {
			return table{}, fmt.Errorf("ring: no member can hold a replica of %v", p)
		}
		list, ok := lists[name(scratch)]
		if !ok {
			list = slices.Clone(scratch)
			lists[name(list)] = list
		}
		slices.Sort(scratch)
		set, ok := sets[name(scratch)]
		if !ok {
			set = uint16(len(t.sets))
			sets[name(scratch)] = set
			t.sets = append(t.sets, slices.Clone(scratch))
		}
		t.setOf[rng], t.replicas[rng] = set, list
	}
	return t, nil
}

// name is a map key for a list of members.
func name(members []uint16) string {
	b := make([]byte, 0, 2*FactorMax)
	for _, m := range members {
		b = append(b, byte(m>>8), byte(m))
	}
	return string(b)
}

// Version is the catalog version of the layout.
func (r *Ring) Version() uint64 { return r.version }

// Members is the number of members; indexes below it are valid.
func (r *Ring) Members() int { return len(r.members) }

// Member returns a member by index. It must not be changed.
func (r *Ring) Member(i uint16) *Member { return &r.members[i] }

// Index finds a member by id.
func (r *Ring) Index(id NodeID) (uint16, bool) {
	i, ok := r.index[id]
	return i, ok
}

// Replicas returns the members that hold a range under a placement, the owner
// first. The slice is shared and must not be changed.
func (r *Ring) Replicas(placement int, rng token.RangeID) []uint16 {
	return r.tables[placement].replicas[rng]
}

// SetOf numbers the distinct replica sets of a placement: ranges with equal
// numbers have the same Replicas, though perhaps in another order.
func (r *Ring) SetOf(placement int, rng token.RangeID) uint16 {
	return r.tables[placement].setOf[rng]
}

// Sets is how many distinct replica sets a placement has.
func (r *Ring) Sets(placement int) int { return len(r.tables[placement].sets) }

// SetMembers returns the replicas of a number that SetOf gave, sorted.
func (r *Ring) SetMembers(placement int, set uint16) []uint16 {
	return r.tables[placement].sets[set]
}

// Placements is how many placements the ring was made for.
func (r *Ring) Placements() int { return len(r.tables) }

// Factor is the configured number of replicas of a placement. Levels count it,
// also while fewer members exist.
func (r *Ring) Factor(placement int) int { return r.tables[placement].factor }

// Holds reports whether a member is a replica of a range.
func (r *Ring) Holds(placement int, rng token.RangeID, member uint16) bool {
	for _, m := range r.tables[placement].replicas[rng] {
		if m == member {
			return true
		}
	}
	return false
}

// ChangedAt is the last version that touched the replicas of a range.
func (r *Ring) ChangedAt(rng token.RangeID) uint64 { return r.changedAt[rng] }

// MaxChangedAt is the largest ChangedAt of all ranges.
func (r *Ring) MaxChangedAt() uint64 { return r.maxChangedAt }

// Owner is the first replica of a range, before any placement.
func (r *Ring) Owner(rng token.RangeID) uint16 { return r.owners[rng] }

// Move is what changes for one range and placement between two rings.
type Move struct {
	Placement int
	Range     token.RangeID
	Gained    []NodeID // members that become replicas
	Lost      []NodeID // members that were
}

// Diff lists the ranges whose replica sets differ, by placement and range.
// Placements are matched by index; those that only one ring has are left out.
func Diff(before, after *Ring) []Move {
	var moves []Move
	for p := range min(len(before.tables), len(after.tables)) {
		for rng := range token.RangeID(token.Ranges) {
			m := Move{Placement: p, Range: rng}
			m.Gained = missing(after, before, p, rng)
			m.Lost = missing(before, after, p, rng)
			if len(m.Gained)+len(m.Lost) > 0 {
				moves = append(moves, m)
			}
		}
	}
	return moves
}

// missing lists the replicas of a range in a that are none in b.
func missing(a, b *Ring, placement int, rng token.RangeID) []NodeID {
	var ids []NodeID
	for _, m := range a.Replicas(placement, rng) {
		id := a.members[m].ID
		if i, ok := b.index[id]; !ok || !b.Holds(placement, rng, i) {
			ids = append(ids, id)
		}
	}
	return ids
}
