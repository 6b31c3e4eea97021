package document

import (
	"errors"
	"slices"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

// Decommission is the plan of taking a node out that is alive.
func (d *Document) Decommission(id ring.NodeID) (ring.Plan, error) {
	if m, ok := d.Member(id); ok && d.underway(KindDecommission, m, ring.Leaving) {
		return ring.Plan{}, ErrUnderway
	}
	if _, gone := d.WasRemoved(id); gone {
		return ring.Plan{}, ErrUnchanged
	}
	if err := d.canLeave(id); err != nil {
		return ring.Plan{}, err
	}
	return ring.Plan{Kind: KindDecommission, Leave: []ring.NodeID{id}}, nil
}

// Remove is the plan of giving up nodes that are dead; alive tells whether one is. Those
// that are gone already do not count.
func (d *Document) Remove(ids []ring.NodeID, alive func(ring.NodeID) bool) (ring.Plan, error) {
	var left []ring.NodeID
	underway := true
	for _, id := range ids {
		if _, gone := d.WasRemoved(id); gone || slices.Contains(left, id) {
			continue
		}
		left = append(left, id)
		m, ok := d.Member(id)
		underway = underway && ok && d.underway(KindRemove, m, ring.Dead)
	}
	switch {
	case len(left) == 0:
		return ring.Plan{}, ErrUnchanged
	case underway:
		return ring.Plan{}, ErrUnderway
	}
	if err := d.canLeave(left...); err != nil {
		return ring.Plan{}, err
	}
	for _, id := range left {
		if err := d.isDead(id, alive); err != nil {
			return ring.Plan{}, err
		}
	}
	if err := d.keepsAll(left...); err != nil {
		return ring.Plan{}, err
	}
	return ring.Plan{Kind: KindRemove, Dead: left}, nil
}

// GiveUp has the change on its way, if it cannot be aborted any more, go on without
// nodes that are dead. ok is false if there is no such change.
func (d Document) GiveUp(ids []ring.NodeID, alive func(ring.NodeID) bool) (next Document, ok bool, err error) {
	c := d.Layout.Change
	if c == nil || c.Phase != ring.Flipped {
		return d, false, nil
	}
	next, err = d, ErrUnderway
	for _, id := range ids {
		m, is := d.Member(id)
		if !is || m.State == ring.Dead {
			continue
		}
		ok = true
		if !c.WaitsFor(&m) {
			continue
		}
		if err := d.isDead(id, alive); err != nil {
			return d, true, err
		}
		if next.Layout, err = next.Layout.GiveUp(id); err != nil {
			return d, true, err
		}
	}
	return next, ok, err
}

// CheckReplace reports whether a node may be replaced; ErrUnchanged: it was, or is.
func (d *Document) CheckReplace(id ring.NodeID, alive func(ring.NodeID) bool) error {
	m, ok := d.Member(id)
	was, gone := d.WasRemoved(id)
	switch {
	case gone && was.Kind == KindReplace:
		return ErrUnchanged
	case gone:
		return Conflictf("node %s was taken out already (%s), so it has no ranges that a new node could take: start one with --join", id, was.Kind)
	case !ok:
		return Conflictf("node %s is not a member", id)
	case d.underway(KindReplace, m, ring.Dead):
		return ErrUnderway
	case d.Layout.Change != nil:
		return Conflictf("%v", ring.ErrChanging)
	case d.Replacing != nil && *d.Replacing != id:
		return Conflictf("node %s is to be replaced first: start the new node, or take that back (dunlin layout abort)", d.Replacing)
	}
	if err := d.HasData(); err != nil {
		return err
	}
	if err := d.isDead(id, alive); err != nil {
		return err
	}
	return d.keepsAll(id)
}

// HasData refuses changes before there is anything to move.
func (d *Document) HasData() error {
	if d.Sealed {
		return nil
	}
	return Conflictf("there is no data yet, so nothing can be moved: nodes join by starting them, and the cluster can be started anew")
}

// MoveZone is the plan of changing a node's zone.
func (d *Document) MoveZone(id ring.NodeID, zone string) (ring.Plan, error) {
	m, ok := d.Member(id)
	switch {
	case !ok:
		return ring.Plan{}, Conflictf("node %s is not a member", id)
	case zone == "" || len(zone) > NameMax:
		return ring.Plan{}, Invalidf("a zone's name has 1 to %d bytes", NameMax)
	case d.Layout.Change != nil && d.Layout.Change.Zones[id] == zone:
		return ring.Plan{}, ErrUnderway
	case m.Zone == zone && (d.Layout.Change == nil || d.Layout.Change.Zones[id] == ""):
		return ring.Plan{}, ErrUnchanged
	}
	return ring.Plan{Kind: KindZone, Zones: map[ring.NodeID]string{id: zone}}, nil
}

// Replicate is the plan of changing a keyspace's replication factors, by datacenter.
func (d *Document) Replicate(keyspace string, factors map[string]int) (ring.Plan, error) {
	placements := d.Schema.Placements()
	for i, k := range d.Schema.Keyspaces {
		if k.Name != keyspace {
			continue
		}
		next := ring.Placement{Strategy: k.Replication.Strategy, Factors: factors}
		then := k.Replication
		if c := d.Layout.Change; c != nil && c.Placements != nil {
			then = c.Placements[i]
		}
		switch err := next.Validate(); {
		case err != nil:
			return ring.Plan{}, Invalidf("%v", err)
		case next.Equal(then) && next.Equal(k.Replication):
			return ring.Plan{}, ErrUnchanged
		case next.Equal(then):
			return ring.Plan{}, ErrUnderway
		}
		placements[i] = next
		after := d.Clone()
		after.Schema.Keyspaces[i].Replication = next
		var few *TooFewMembersError
		if errors.As(after.CheckMembers(), &few) {
			return ring.Plan{}, Conflictf("%s: start %d more with --join first", few.lack("has"), few.Factor-few.Members)
		}
		return ring.Plan{Kind: KindReplication, Placements: placements}, nil
	}
	return ring.Plan{}, Conflictf("there is no keyspace %q", keyspace)
}

// underway reports whether a change of a kind has a member in a state.
func (d *Document) underway(kind string, m ring.Member, state ring.State) bool {
	return d.Layout.Change != nil && d.Layout.Change.Kind == kind && m.State == state
}

// canLeave refuses to go below the replicas that keyspaces want.
func (d *Document) canLeave(ids ...ring.NodeID) error {
	after := d.Clone()
	for _, id := range ids {
		i, ok := after.Layout.Index(id)
		if !ok {
			return Conflictf("node %s is not a member", id)
		}
		after.Layout.Members = slices.Delete(after.Layout.Members, i, i+1)
	}
	if d.Layout.Change != nil {
		return Conflictf("%v", ring.ErrChanging)
	}
	var few *TooFewMembersError
	if errors.As(after.CheckMembers(), &few) {
		return Conflictf("without %s there are too few: %s: start %d more with --join first, or lower the replication factor (dunlin keyspace replication)",
			names(ids), few.lack("would have"), few.Factor-few.Members)
	}
	return nil
}

// names lists nodes for people.
func names(ids []ring.NodeID) string {
	s := "node"
	if len(ids) > 1 {
		s += "s"
	}
	for i, id := range ids {
		if i > 0 {
			s += ","
		}
		s += " " + id.String()
	}
	return s
}

// isDead refuses to give up a node that answers.
func (d *Document) isDead(id ring.NodeID, alive func(ring.NodeID) bool) error {
	if alive(id) {
		return Conflictf("node %s is alive: decommission it, or stop it first", id)
	}
	return nil
}

// keepsAll refuses to give up nodes that have all replicas of some range.
func (d *Document) keepsAll(ids ...ring.NodeID) error {
	placements := d.Schema.Placements()
	r, err := ring.New(&d.Layout, d.Version, placements)
	if err != nil {
		return err
	}
	for p, k := range d.Schema.Keyspaces {
		lost := 0
		for id := range token.RangeID(token.Ranges) {
			if !slices.ContainsFunc(r.Now(p, id), func(m uint16) bool { return !slices.Contains(ids, r.Member(m).ID) }) {
				lost++
			}
		}
		if lost > 0 {
			return Conflictf("%s would take the last replicas of %d ranges of keyspace %s along: start it again", names(ids), lost, k.Name)
		}
	}
	return nil
}
