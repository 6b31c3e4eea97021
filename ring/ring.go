package ring

import (
	"errors"
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
	change       *Change
	expects      int
	tables       []table
}

// table is one placement's part of a Ring. While nothing changes its lists are the
// same.
type table struct {
	factor, factorThen int        // configured, now and in the target
	now, target        [][]uint16 // replicas per range, in walk order; equal lists share their slice
	reads, writes      [][]uint16 // who is asked: now or target; and now with those that only target has
	leaving            [][]uint16 // once flipped: those of now that are not in the target and are waited for; else nil
	setOf              []uint16   // per range: index into sets
	sets               [][]uint16 // distinct sets of writes, each sorted
}

// New derives the table of a layout. placements are indexed by later calls.
func New(l *Layout, version uint64, placements []Placement) (*Ring, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	r := &Ring{version: version, members: l.Members, index: map[NodeID]uint16{}, changedAt: l.ChangedAt, owners: l.Owners, change: l.Change, expects: l.Expects()}
	for i, m := range l.Members {
		r.index[m.ID] = uint16(i)
	}
	for _, v := range l.ChangedAt {
		r.maxChangedAt = max(r.maxChangedAt, v)
	}
	then := l.Change.then(placements)
	if len(then) != len(placements) {
		return nil, fmt.Errorf("ring: a change for %d placements of %d", len(then), len(placements))
	}
	for i, p := range placements {
		same := slices.IndexFunc(placements[:i], p.Equal)
		if same >= 0 && then[same].Equal(then[i]) {
			r.tables = append(r.tables, r.tables[same]) // keyspaces that are placed alike share a table
			continue
		}
		if err := errors.Join(p.Validate(), then[i].Validate()); err != nil {
			return nil, err
		}
		t, err := newTable(l, p, then[i])
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, t)
	}
	return r, nil
}

func newTable(l *Layout, p, then Placement) (table, error) {
	t := table{factor: p.Factor(), factorThen: p.Factor()}
	var err error
	if t.now, err = walk(newWalker(l.Members, l.Owners, p, l.holdsNow), p); err != nil {
		return t, err
	}
	t.target, t.reads, t.writes = t.now, t.now, t.now
	if c := l.Change; c != nil && c.Target != nil {
		t.factorThen = then.Factor()
		if t.target, err = walk(newWalker(l.targetMembers(), c.Target, then, l.holdsThen), then); err != nil {
			return t, err
		}
		if t.writes = unions(t.now, t.target); c.Phase == Flipped {
			t.reads, t.leaving = t.target, l.leaving(t.now, t.target)
		}
	}
	t.number()
	return t, nil
}

// walk finds the replicas of all ranges.
func walk(w *walker, p Placement) ([][]uint16, error) {
	replicas, lists := make([][]uint16, token.Ranges), map[string][]uint16{}
	var scratch []uint16
	var key []byte
	for rng := range replicas {
		scratch, _ = w.replicas(rng, scratch[:0])
		if len(scratch) == 0 {
			return nil, fmt.Errorf("ring: no member can hold a replica of %v", p)
		}
		key = appendName(key[:0], scratch)
		list, ok := lists[string(key)]
		if !ok {
			list = slices.Clone(scratch)
			lists[string(key)] = list
		}
		replicas[rng] = list
	}
	return replicas, nil
}

// unions lists of each range the replicas of now, then those that only the target has.
func unions(now, target [][]uint16) [][]uint16 {
	all := make([][]uint16, len(now))
	for rng := range now {
		all[rng] = now[rng]
		for _, m := range target[rng] {
			if !slices.Contains(now[rng], m) {
				all[rng] = append(slices.Clip(all[rng]), m)
			}
		}
	}
	return all
}

// leaving lists of each range the replicas of now that the target has not, and that are
// waited for.
func (l *Layout) leaving(now, target [][]uint16) [][]uint16 {
	all := make([][]uint16, len(now))
	for rng := range now {
		for _, m := range now[rng] {
			if !slices.Contains(target[rng], m) && l.Change.WaitsFor(&l.Members[m]) {
				all[rng] = append(all[rng], m)
			}
		}
	}
	return all
}

// number numbers the distinct sets.
func (t *table) number() {
	t.setOf = make([]uint16, token.Ranges)
	sets := map[string]uint16{}
	var sorted []uint16
	var key []byte
	for rng := range t.writes {
		key = key[:0]
		if t.changes(rng) { // now and in the target, in whatever order
			sorted = sort(sorted, t.now[rng])
			key = append(appendName(key, sorted), '/')
			sorted = sort(sorted, t.target[rng])
			key = append(appendName(key, sorted), '/')
		}
		sorted = sort(sorted, t.writes[rng])
		key = appendName(key, sorted)
		set, ok := sets[string(key)]
		if !ok {
			set = uint16(len(t.sets))
			sets[string(key)] = set
			t.sets = append(t.sets, slices.Clone(sorted))
		}
		t.setOf[rng] = set
	}
}

// sort returns members in order, in the memory of scratch.
func sort(scratch, members []uint16) []uint16 {
	scratch = append(scratch[:0], members...)
	slices.Sort(scratch)
	return scratch
}

// changes reports whether a range has other replicas in the target.
func (t *table) changes(rng int) bool {
	return t.factor != t.factorThen || !sameSet(t.now[rng], t.target[rng])
}

func sameSet(a, b []uint16) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(m uint16) bool { return !slices.Contains(b, m) })
}

// appendName appends what tells lists of members apart.
func appendName(b []byte, members []uint16) []byte {
	for _, m := range members {
		b = append(b, byte(m>>8), byte(m))
	}
	return b
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

// Change is the change of the layout on its way; nil if there is none. It is shared
// and must not be changed.
func (r *Ring) Change() *Change { return r.change }

// Recovers reports whether the change on its way is a recovery.
func (r *Ring) Recovers() bool { return recovers(r.members) }

// Expects is how many members have yet to join before the change can go on.
func (r *Ring) Expects() int { return r.expects }

// Replicas returns the members that a range is read from under a placement, the
// owner first. The slice is shared and must not be changed, as those below.
func (r *Ring) Replicas(placement int, rng token.RangeID) []uint16 {
	return r.tables[placement].reads[rng]
}

// Leaving returns the members that lose a range to the ones that Replicas lists by now,
// until the change is finished: who reads at a quorum or so asks them as well, as many
// more as they are, since what was shown of theirs must not be unseen. Those that nobody
// waits for are left out.
func (r *Ring) Leaving(placement int, rng token.RangeID) []uint16 {
	if t := &r.tables[placement]; t.leaving != nil {
		return t.leaving[rng]
	}
	return nil
}

// Writers returns the members that writes of a range go to: its replicas of now, and
// behind them those that only the target of a change has.
func (r *Ring) Writers(placement int, rng token.RangeID) []uint16 {
	return r.tables[placement].writes[rng]
}

// Now returns a range's replicas of now, whoever is read from.
func (r *Ring) Now(placement int, rng token.RangeID) []uint16 { return r.tables[placement].now[rng] }

// Target returns a range's replicas after the change on its way; those of now if
// there is none.
func (r *Ring) Target(placement int, rng token.RangeID) []uint16 {
	return r.tables[placement].target[rng]
}

// Changes reports whether a range has other replicas in the target: then a write
// must reach its level among those of now, and among those of the target.
func (r *Ring) Changes(placement int, rng token.RangeID) bool {
	t := &r.tables[placement]
	return r.change != nil && r.change.Target != nil && t.changes(int(rng))
}

// SetOf numbers the distinct sets of a placement's writers: ranges with equal
// numbers have the same Writers, Now and Target, though perhaps in another order.
func (r *Ring) SetOf(placement int, rng token.RangeID) uint16 {
	return r.tables[placement].setOf[rng]
}

// Sets is how many distinct replica sets a placement has.
func (r *Ring) Sets(placement int) int { return len(r.tables[placement].sets) }

// SetMembers returns the writers of a number that SetOf gave, sorted.
func (r *Ring) SetMembers(placement int, set uint16) []uint16 {
	return r.tables[placement].sets[set]
}

// Placements is how many placements the ring was made for.
func (r *Ring) Placements() int { return len(r.tables) }

// Factor is the configured number of replicas of a placement. Levels count it,
// also while fewer members exist.
func (r *Ring) Factor(placement int) int { return r.tables[placement].factor }

// ReadFactor is the number of replicas that reads count: that of Replicas.
func (r *Ring) ReadFactor(placement int) int {
	if r.change != nil && r.change.Phase == Flipped {
		return r.tables[placement].factorThen
	}
	return r.tables[placement].factor
}

// FactorThen is Factor after the change on its way.
func (r *Ring) FactorThen(placement int) int { return r.tables[placement].factorThen }

// Holds reports whether a range is written to a member: it is one of its replicas, or
// is becoming one.
func (r *Ring) Holds(placement int, rng token.RangeID, member uint16) bool {
	return slices.Contains(r.tables[placement].writes[rng], member)
}

// Outgoing reports whether a member is a replica of a range now and not in the target.
func (r *Ring) Outgoing(placement int, rng token.RangeID, member uint16) bool {
	return slices.Contains(r.tables[placement].now[rng], member) && !slices.Contains(r.tables[placement].target[rng], member)
}

// ChangedAt is the last version that touched the replicas of a range.
func (r *Ring) ChangedAt(rng token.RangeID) uint64 { return r.changedAt[rng] }

// MaxChangedAt is the largest ChangedAt of all ranges.
func (r *Ring) MaxChangedAt() uint64 { return r.maxChangedAt }

// Owner is the first replica of a range, before any placement.
func (r *Ring) Owner(rng token.RangeID) uint16 { return r.owners[rng] }

// Move is what changes for one range and placement between two rings, or between
// now and the target of one.
type Move struct {
	Placement int
	Range     token.RangeID
	Gained    []NodeID // members that become replicas
	Lost      []NodeID // members that were
}

// Diff lists the ranges whose replicas of now differ, by placement and range.
// Placements are matched by index; those that only one ring has are left out.
func Diff(before, after *Ring) []Move {
	return moves(min(len(before.tables), len(after.tables)), func(p int, rng token.RangeID) (a, b []NodeID) {
		return before.ids(before.Now(p, rng)), after.ids(after.Now(p, rng))
	})
}

// Moves lists the ranges that change on the way to the target.
func (r *Ring) Moves() []Move {
	return moves(len(r.tables), func(p int, rng token.RangeID) (a, b []NodeID) {
		return r.ids(r.Now(p, rng)), r.ids(r.Target(p, rng))
	})
}

func moves(placements int, of func(p int, rng token.RangeID) (before, after []NodeID)) (all []Move) {
	for p := range placements {
		for rng := range token.RangeID(token.Ranges) {
			before, after := of(p, rng)
			m := Move{Placement: p, Range: rng, Gained: without(after, before), Lost: without(before, after)}
			if len(m.Gained)+len(m.Lost) > 0 {
				all = append(all, m)
			}
		}
	}
	return all
}

func (r *Ring) ids(members []uint16) []NodeID {
	ids := make([]NodeID, len(members))
	for i, m := range members {
		ids[i] = r.members[m].ID
	}
	return ids
}

// without lists the ids of a that are none of b.
func without(a, b []NodeID) (ids []NodeID) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// differs reports whether anybody would read or write a range elsewhere.
func differs(before, after *Ring, rng token.RangeID) bool {
	if len(before.tables) != len(after.tables) {
		return true
	}
	for p := range before.tables {
		a, b := &before.tables[p], &after.tables[p]
		if a.factor != b.factor || a.factorThen != b.factorThen {
			return true
		}
		for _, lists := range [][2][][]uint16{{a.reads, b.reads}, {a.now, b.now}, {a.target, b.target}} {
			x, y := before.ids(lists[0][rng]), after.ids(lists[1][rng])
			if len(without(x, y))+len(without(y, x)) > 0 {
				return true
			}
		}
	}
	return false
}
