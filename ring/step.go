package ring

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// CheckStep reports what forbids a layout to follow another while data exists: only
// the steps of a change lead from one to the next. placements are those before,
// then those after.
func CheckStep(before, after *Layout, version uint64, placements, then []Placement) error {
	samePlacements := slices.EqualFunc(placements, then, Placement.Equal)
	from, to := phaseOf(before), phaseOf(after)
	var want Layout
	var err error
	switch {
	case from == to && (from == "" || before.Change.ID == after.Change.ID):
		return checkSame(before, after, samePlacements)
	case from == "" && to == Announced:
		return checkAnnounced(before, after, version, samePlacements)
	case from == Announced && to == Streaming:
		want, err = before.Assign(version, after.Change.Fence, placements)
	case from == Streaming && to == Flipped:
		want, err = before.Flip(version, placements)
	case from == Flipped && to == "":
		var finished []Placement
		if want, finished, err = before.Finish(version, placements); err == nil && !slices.EqualFunc(finished, then, Placement.Equal) {
			err = errors.New("ring: a change finishes with other replication than it was made for")
		}
		samePlacements = true
	case to == "":
		want, err = before.Abort(version, placements)
	default:
		err = fmt.Errorf("ring: a change cannot go from %q to %q", from, to)
	}
	if err != nil {
		return err
	}
	if !samePlacements || !sameLayout(&want, after) {
		return fmt.Errorf("ring: going from %q to %q has another outcome", from, to)
	}
	return nil
}

func phaseOf(l *Layout) Phase {
	if l.Change == nil {
		return ""
	}
	return l.Change.Phase
}

// checkSame allows new addresses, or members that join too or are given up, and
// nothing else.
func checkSame(before, after *Layout, samePlacements bool) error {
	known := after.Clone()
	for i := len(before.Members); i < len(after.Members); i++ {
		want, err := before.JoinToo(after.Members[i])
		if err != nil {
			return err
		}
		before = &want
	}
	if given := before.Change.givenUp(); len(after.Change.givenUp()) > len(given) {
		want := before.Clone()
		for _, id := range after.Change.GivenUp[len(given):] {
			var err error
			if want, err = want.GiveUp(id); err != nil {
				return err
			}
		}
		before = &want
	}
	for i, m := range known.Members {
		if i < len(before.Members) && before.Members[i].ID == m.ID {
			known.Members[i].Addresses = before.Members[i].Addresses
		}
	}
	if !samePlacements || !sameLayout(&known, before) {
		return errors.New("ring: who holds what cannot change but by the steps of a change")
	}
	return nil
}

func (c *Change) givenUp() []NodeID {
	if c == nil {
		return nil
	}
	return c.GivenUp
}

// checkAnnounced allows new members that join, and members that are to leave.
func checkAnnounced(before, after *Layout, version uint64, samePlacements bool) error {
	p := Plan{Kind: after.Change.Kind, Replaces: after.Change.Replaces, Zones: after.Change.Zones, Placements: after.Change.Placements}
	for i, m := range after.Members {
		switch {
		case i >= len(before.Members):
			p.Join = append(p.Join, m)
		case m.State == Leaving:
			p.Leave = append(p.Leave, m.ID)
		case m.State == Dead:
			p.Dead = append(p.Dead, m.ID)
		}
	}
	want, err := before.Announce(version, p)
	if err != nil {
		return err
	}
	if !samePlacements || !sameLayout(&want, after) {
		return errors.New("ring: a change was announced that does more than it says")
	}
	return nil
}

func sameLayout(a, b *Layout) bool {
	return slices.Equal(a.Members, b.Members) && slices.Equal(a.Owners, b.Owners) && slices.Equal(a.ChangedAt, b.ChangedAt) &&
		sameChange(a.Change, b.Change)
}

func sameChange(a, b *Change) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.normalize()
	y.normalize()
	return reflect.DeepEqual(&x, &y)
}

// normalize makes what is empty nil: an encoding does not tell them apart.
func (c *Change) normalize() {
	if len(c.Replaces) == 0 {
		c.Replaces = nil
	}
	if len(c.Zones) == 0 {
		c.Zones = nil
	}
	if len(c.Placements) == 0 {
		c.Placements = nil
	}
	if len(c.GivenUp) == 0 {
		c.GivenUp = nil
	}
}
