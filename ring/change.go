package ring

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/token"
)

// States of members that are not Normal.
const (
	Joining State = "joining" // it holds ranges in the target only, and has no vote yet
	Leaving State = "leaving" // it holds none in the target
	Dead    State = "dead"    // leaving, and nobody waits for it
)

// Phase is how far a change is.
type Phase string

// The phases of a change, in order. A change that has not Flipped can be aborted.
const (
	// Announced: who comes and goes is known, and no node raises its fence any more.
	Announced Phase = "announced"
	// Streaming: writes must reach their level among the replicas of now and among
	// those of the target; reads ask those of now.
	Streaming Phase = "streaming"
	// Flipped: as Streaming, but reads ask those of the target.
	Flipped Phase = "flipped"
)

// Change is a change of who holds what, on its way.
type Change struct {
	ID    uint64 `json:"id"`   // the catalog version that announced it
	Kind  string `json:"kind"` // what was asked for, for people
	Phase Phase  `json:"phase"`
	// Expect is how many members are to join in it together, if more than have been
	// announced so far: it goes on when they have.
	Expect int `json:"expect,omitempty"`
	// Fence is from Streaming on what nodes refuse that hold nothing yet: groups born
	// at or below it. No purge point is above it.
	Fence hlc.Timestamp `json:"fence,omitempty"`
	// Target is the owner table of the target, nil while Announced.
	Target []uint16 `json:"target,omitempty"`
	// Replaces maps members that join to those whose ranges they take.
	Replaces map[NodeID]NodeID `json:"replaces,omitempty"`
	// Zones are the zones of members in the target that differ from now.
	Zones map[NodeID]string `json:"zones,omitempty"`
	// Placements are those of the target, by index; nil: as now.
	Placements []Placement `json:"placements,omitempty"`
	// GivenUp are members, otherwise in good standing, that the change does not wait
	// for any more.
	GivenUp []NodeID `json:"given_up,omitempty"`
}

// WaitsFor reports whether a change waits for a member: it is neither dead nor given up.
func (c *Change) WaitsFor(m *Member) bool {
	return m.State != Dead && !slices.Contains(c.GivenUp, m.ID)
}

func (c *Change) clone() *Change {
	if c == nil {
		return nil
	}
	n := *c
	n.Target, n.Placements = slices.Clone(c.Target), slices.Clone(c.Placements)
	n.Replaces, n.Zones, n.GivenUp = maps.Clone(c.Replaces), maps.Clone(c.Zones), slices.Clone(c.GivenUp)
	return &n
}

// Plan is what a change is to bring about.
type Plan struct {
	Kind       string
	Join       []Member          // Replaces and zones included
	Expect     int               // how many join in all, if more than Join
	Leave      []NodeID          // alive: they hand over what they hold
	Dead       []NodeID          // never to come back
	Replaces   map[NodeID]NodeID // joiner to a dead member
	Zones      map[NodeID]string // of members that stay
	Placements []Placement       // by index; nil: as they are
}

// ErrChanging refuses a second change.
var ErrChanging = errors.New("ring: another change of the layout is on its way: wait for it, or abort it (dunlin layout abort)")

// Announce returns the layout with a change begun by catalog version `version`.
func (l Layout) Announce(version uint64, p Plan) (Layout, error) {
	if l.Change != nil {
		return l, ErrChanging
	}
	next := l.Clone()
	for _, j := range p.Join {
		if _, ok := next.Index(j.ID); ok {
			return l, fmt.Errorf("ring: %s is a member already", j.ID)
		}
		j.State, j.Voter = Joining, false
		next.Members = append(next.Members, j)
	}
	for _, gone := range []struct {
		ids   []NodeID
		state State
	}{{p.Leave, Leaving}, {p.Dead, Dead}} {
		for _, id := range gone.ids {
			i, ok := next.Index(id)
			if !ok || next.Members[i].State != Normal {
				return l, fmt.Errorf("ring: %s is no member that could leave", id)
			}
			next.Members[i].State = gone.state
		}
	}
	for id := range p.Zones {
		if _, ok := next.Index(id); !ok {
			return l, fmt.Errorf("ring: %s is not a member", id)
		}
	}
	next.Change = &Change{ID: version, Kind: p.Kind, Phase: Announced, Expect: p.Expect, Replaces: p.Replaces, Zones: p.Zones, Placements: p.Placements}
	return next, next.Validate()
}

// Expects is how many members have yet to join before a change can go on.
func (l *Layout) Expects() int {
	if l.Change == nil || l.Change.Phase != Announced {
		return 0
	}
	left := l.Change.Expect
	for _, m := range l.Members {
		if m.State == Joining {
			left--
		}
	}
	return max(left, 0)
}

// JoinToo adds a member to a change that expects more.
func (l Layout) JoinToo(joiner Member) (Layout, error) {
	if l.Expects() == 0 {
		return l, ErrChanging
	}
	if _, ok := l.Index(joiner.ID); ok {
		return l, fmt.Errorf("ring: %s is a member already", joiner.ID)
	}
	next := l.Clone()
	joiner.State, joiner.Voter = Joining, false
	next.Members = append(next.Members, joiner)
	return next, next.Validate()
}

// Assign finds the target of a change that was announced, and begins to move data.
// The same layout gives the same target. placements are those of now.
func (l Layout) Assign(version uint64, fence hlc.Timestamp, placements []Placement) (Layout, error) {
	if l.Change == nil || l.Change.Phase != Announced || l.Expects() > 0 {
		return l, errors.New("ring: there is no change that was announced and is complete")
	}
	next := l.Clone()
	c := next.Change
	c.Fence, c.Phase = fence, Streaming
	var err error
	for try := range uint64(assignTries) {
		if c.Target, err = l.target(c.ID+try<<32, placements); err != nil {
			return l, err
		}
		if err = next.checkGains(&l, version, placements); err == nil || l.gaveUpMany() {
			return next, next.touch(l, version, placements)
		}
	}
	return l, err
}

// gaveUpMany reports whether several members died at once, as in a recovery: then what
// quorums before and after have in common is lost whatever is done.
func (l *Layout) gaveUpMany() bool {
	dead := 0
	for _, m := range l.Members {
		if m.State == Dead {
			dead++
		}
	}
	return dead > 1
}

// assignTries is how many random searches may look for a target in which no range
// gains more than one replica.
const assignTries = 8

// Flip lets reads ask the replicas of the target.
func (l Layout) Flip(version uint64, placements []Placement) (Layout, error) {
	if l.Change == nil || l.Change.Phase != Streaming {
		return l, errors.New("ring: there is no change that streams")
	}
	next := l.Clone()
	next.Change.Phase = Flipped
	return next, next.touch(l, version, placements)
}

// Finish makes the target what is. then are the placements from now on.
func (l Layout) Finish(version uint64, placements []Placement) (next Layout, then []Placement, err error) {
	if l.Change == nil || l.Change.Phase != Flipped {
		return l, nil, errors.New("ring: there is no change that has flipped")
	}
	then = l.Change.then(placements)
	next = l.Clone()
	next.Members, next.Owners = nil, slices.Clone(l.Change.Target)
	at := make([]uint16, len(l.Members))
	for i, m := range l.Members {
		if m.leaves() {
			continue
		}
		if zone, ok := l.Change.Zones[m.ID]; ok {
			m.Zone = zone
		}
		m.State, m.Voter = Normal, true
		at[i] = uint16(len(next.Members))
		next.Members = append(next.Members, m)
	}
	for rng, owner := range next.Owners {
		next.Owners[rng] = at[owner]
	}
	next.Change = nil
	return next, then, next.touchPlaced(l, version, placements, then)
}

// GiveUp has a change that has flipped, and so cannot be aborted, wait for a member
// no more. It may come back, and be removed by a change of its own. Before the flip it
// could be one of those that have to become complete.
func (l Layout) GiveUp(id NodeID) (Layout, error) {
	i, ok := l.Index(id)
	switch {
	case l.Change == nil || l.Change.Phase != Flipped:
		return l, errors.New("ring: there is no change that has flipped")
	case !ok || !l.Change.WaitsFor(&l.Members[i]):
		return l, fmt.Errorf("ring: %s is no member that is waited for", id)
	}
	next := l.Clone()
	next.Change.GivenUp = append(next.Change.GivenUp, id)
	return next, next.Validate()
}

// Abort drops a change that has not flipped and is no recovery: whom that gives up is
// refused for good, and would be a member all the same.
func (l Layout) Abort(version uint64, placements []Placement) (Layout, error) {
	switch {
	case l.Change == nil:
		return l, errors.New("ring: there is no change to abort")
	case l.Change.Phase == Flipped:
		return l, errors.New("ring: reads ask the new replicas already, so the change cannot be aborted any more; it will finish")
	case l.Recovers():
		return l, errors.New("ring: a recovery cannot be aborted, since the nodes that it has given up are refused for good: wipe them, and they join as new " +
			"ones when it is done; if it waits for a survivor that is lost too, recover again without that one (dunlin recover)")
	}
	return l.drop(version, placements)
}

// drop is the layout without the change on its way.
func (l Layout) drop(version uint64, placements []Placement) (Layout, error) {
	next := l.Clone()
	next.Members = slices.DeleteFunc(next.Members, func(m Member) bool { return m.State == Joining })
	for i := range next.Members {
		next.Members[i].State = Normal
	}
	next.Change = nil
	return next, next.touch(l, version, placements)
}

// Recover returns the layout with survivors as the only voters, and a change begun that
// does without all others. Any change on its way is dropped that has not flipped.
func (l Layout) Recover(version uint64, kind string, survivors []NodeID, placements []Placement) (Layout, error) {
	if l.Change != nil && l.Change.Phase == Flipped {
		return l, ErrChanging
	}
	next, err := l.drop(version, placements)
	if err != nil {
		return l, err
	}
	for _, id := range survivors {
		if i, ok := next.Index(id); !ok || !next.Members[i].Voter {
			return l, fmt.Errorf("ring: survivor %s has no vote: it is no member, or was given up before", id)
		}
	}
	var lost []NodeID
	for i := range next.Members {
		m := &next.Members[i]
		if m.Voter = slices.Contains(survivors, m.ID); !m.Voter {
			lost = append(lost, m.ID)
		}
	}
	if next, err = next.Announce(version, Plan{Kind: kind, Dead: lost}); err != nil {
		return l, err
	}
	for rng := range next.ChangedAt { // whoever served by the generation before is refused everywhere
		next.ChangedAt[rng] = version
	}
	return next, nil
}

// Recovers reports whether the change on its way is a recovery.
func (l *Layout) Recovers() bool { return recovers(l.Members) }

// recovers reports whether the change on its way is a recovery: only that takes the
// vote of members at once.
func recovers(members []Member) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.State == Dead && !m.Voter })
}

func (m Member) leaves() bool { return m.State == Leaving || m.State == Dead }

// then are the placements of the target.
func (c *Change) then(placements []Placement) []Placement {
	if c == nil || c.Placements == nil {
		return placements
	}
	return c.Placements
}

// targetMembers are the members as the target sees them: with its zones, and those
// that leave in no datacenter, as those that join are now.
func (l *Layout) targetMembers() []Member {
	members := slices.Clone(l.Members)
	for i := range members {
		if zone, ok := l.Change.Zones[members[i].ID]; ok {
			members[i].Zone = zone
		}
	}
	return members
}

// target finds the owners of the target.
func (l *Layout) target(seed uint64, placements []Placement) ([]uint16, error) {
	owners := slices.Clone(l.Owners)
	moved := false
	for joiner, dead := range l.Change.Replaces {
		to, ok := l.Index(joiner)
		from, known := l.Index(dead)
		if !ok || !known {
			return nil, fmt.Errorf("ring: %s cannot take the place of %s: one of them is not a member", joiner, dead)
		}
		for rng, o := range owners {
			if int(o) == from {
				owners[rng] = uint16(to)
			}
		}
	}
	for _, m := range l.Members {
		_, replaces := l.Change.Replaces[m.ID]
		replaced := slices.Contains(slices.Collect(maps.Values(l.Change.Replaces)), m.ID)
		moved = moved || m.State == Joining && !replaces || m.leaves() && !replaced
	}
	if !moved {
		return owners, nil
	}
	return l.refined(owners, seed, placements)
}

// refined lets the refiner place the ranges, among the members of the target.
func (l *Layout) refined(owners []uint16, seed uint64, placements []Placement) ([]uint16, error) {
	var members []Member
	var back []uint16
	at := make([]uint16, len(l.Members))
	old := 0
	for i, m := range l.targetMembers() {
		at[i] = nobody
		if m.leaves() {
			continue
		}
		if m.State != Joining {
			old++
		}
		at[i] = uint16(len(members))
		members, back = append(members, m), append(back, uint16(i))
	}
	if old == 0 {
		return nil, errors.New("ring: no member would stay")
	}
	proposal, err := propose(members)
	if err != nil {
		return nil, err
	}
	placement := first(l.Change.then(placements))
	before := replicaSets(newWalker(l.Members, l.Owners, first(placements), l.holdsNow))
	for _, set := range before {
		for i, m := range set {
			set[i] = at[m]
		}
	}
	compact := make([]uint16, len(owners))
	for rng, o := range owners {
		compact[rng] = at[o]
	}
	found := searches.refined(refinement{
		members: members, old: old, owners: compact, before: before, proposal: proposal, placement: placement, seed: seed, single: true,
	})
	for rng, o := range found {
		found[rng] = back[o]
	}
	return found, nil
}

func (l *Layout) holdsNow(i int) bool  { return l.Members[i].State != Joining }
func (l *Layout) holdsThen(i int) bool { return !l.Members[i].leaves() }

// first is the placement that shares are computed for.
func first(placements []Placement) Placement {
	if len(placements) == 0 {
		return Placement{Strategy: SimpleStrategy, Factors: map[string]int{"": 3}}
	}
	return placements[0]
}

// GainsError refuses a change that would replace more than one replica of a range at
// once, which leaves too little that quorums before and after have in common.
type GainsError struct{ Ranges int }

// Error says what to do.
func (e *GainsError) Error() string {
	return fmt.Sprintf("ring: the change would give %d ranges more than one new replica at once: make it in smaller steps, such as one node at a time, "+
		"or one more replica at a time", e.Ranges)
}

func (l *Layout) checkGains(before *Layout, version uint64, placements []Placement) error {
	now, err := New(before, version-1, placements)
	if err != nil {
		return err
	}
	then, err := New(l, version, placements)
	if err != nil {
		return err
	}
	twice := 0
	for p := range placements {
		for rng := range token.RangeID(token.Ranges) {
			gained := 0
			for _, m := range then.Target(p, rng) {
				if !slices.Contains(now.Replicas(p, rng), m) {
					gained++
				}
			}
			if gained > 1 {
				twice++
			}
		}
	}
	if twice > 0 {
		return &GainsError{Ranges: twice}
	}
	return nil
}

// validate reports what makes a change unusable.
func (c *Change) validate(l *Layout) error {
	switch {
	case c.Phase != Announced && c.Phase != Streaming && c.Phase != Flipped:
		return fmt.Errorf("ring: a change in phase %q", c.Phase)
	case (c.Phase == Announced) != (c.Target == nil):
		return fmt.Errorf("ring: a change in phase %s, target %v", c.Phase, c.Target != nil)
	case c.Target != nil && len(c.Target) != token.Ranges:
		return fmt.Errorf("ring: the target has %d ranges", len(c.Target))
	}
	for rng, owner := range c.Target {
		if int(owner) >= len(l.Members) || l.Members[owner].leaves() {
			return fmt.Errorf("ring: range %d would be owned by member %d, which is not there", rng, owner)
		}
	}
	for id := range c.Zones {
		if i, ok := l.Index(id); !ok || id == uuid.Nil || c.Zones[id] == "" || l.Members[i].leaves() {
			return fmt.Errorf("ring: the zone of %s cannot change", id)
		}
	}
	return nil
}
