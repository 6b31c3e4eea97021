package rebalance

import (
	"fmt"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

// Outline is what a change moves, in replicas of ranges, of all placements together.
type Outline struct {
	Ranges  int // that change replicas, by placement
	Members []MemberOutline
}

// MemberOutline is a member's part.
type MemberOutline struct {
	ring.Member
	Gains, Loses, Before, After int
}

// NewOutline works out what the change of a layout moves, whose target need not be
// found yet. placements are those before it.
func NewOutline(l ring.Layout, version uint64, placements []ring.Placement) (o Outline, err error) {
	if l.Change == nil {
		return o, fmt.Errorf("rebalance: there is no change in version %d", version)
	}
	if l.Change.Phase == ring.Announced {
		version++
		if l, err = l.Assign(version, 0, placements); err != nil {
			return o, err
		}
	}
	r, err := ring.New(&l, version, placements)
	if err != nil {
		return o, err
	}
	for i := range r.Members() {
		o.Members = append(o.Members, MemberOutline{Member: *r.Member(uint16(i))})
	}
	for p := range placements {
		for id := range token.RangeID(token.Ranges) {
			for _, m := range r.Now(p, id) {
				o.Members[m].Before++
			}
			for _, m := range r.Target(p, id) {
				o.Members[m].After++
			}
		}
	}
	for _, move := range r.Moves() {
		o.Ranges++
		for _, id := range move.Gained {
			o.at(id).Gains++
		}
		for _, id := range move.Lost {
			o.at(id).Loses++
		}
	}
	return o, nil
}

func (o *Outline) at(id ring.NodeID) *MemberOutline {
	for i := range o.Members {
		if o.Members[i].ID == id {
			return &o.Members[i]
		}
	}
	o.Members = append(o.Members, MemberOutline{Member: ring.Member{ID: id}})
	return &o.Members[len(o.Members)-1]
}

// Add appends the outline of a change that follows.
func (o *Outline) Add(next Outline) {
	first := len(o.Members) == 0
	o.Ranges += next.Ranges
	for _, m := range next.Members {
		at := o.at(m.ID)
		at.Member = m.Member
		at.Gains, at.Loses, at.After = at.Gains+m.Gains, at.Loses+m.Loses, m.After
		if first {
			at.Before = m.Before
		}
	}
}
