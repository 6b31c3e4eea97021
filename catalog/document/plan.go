package document

import (
	"errors"

	"github.com/dunlindb/dunlin/ring"
)

// Decommission is the plan of taking a node out that is alive.
func (d *Document) Decommission(id ring.NodeID) (ring.Plan, error) {
	if m, ok := d.Member(id); ok && d.underway(KindDecommission, m, ring.Leaving) {
		return ring.Plan{}, ErrUnchanged
	}
	if _, gone := d.WasRemoved(id); gone {
		return ring.Plan{}, ErrUnchanged
	}
	if err := d.canLeave(id); err != nil {
		return ring.Plan{}, err
	}
	return ring.Plan{Kind: KindDecommission, Leave: []ring.NodeID{id}}, nil
}

// Remove is the plan of giving up a node that is dead; alive tells whether one is.
func (d *Document) Remove(id ring.NodeID, alive func(ring.NodeID) bool) (ring.Plan, error) {
	if m, ok := d.Member(id); ok && d.underway(KindRemove, m, ring.Dead) {
		return ring.Plan{}, ErrUnchanged
	}
	if _, gone := d.WasRemoved(id); gone {
		return ring.Plan{}, ErrUnchanged
	}
	if err := d.canLeave(id); err != nil {
		return ring.Plan{}, err
	}
	if err := errors.Join(d.isDead(id, alive), d.keepsAll()); err != nil {
		return ring.Plan{}, err
	}
	return ring.Plan{Kind: KindRemove, Dead: []ring.NodeID{id}}, nil
}

// GiveUp has the change on its way, if it cannot be aborted any more, go on without a
// node that is dead. ok is false if there is no such change.
func (d Document) GiveUp(id ring.NodeID, alive func(ring.NodeID) bool) (next Document, ok bool, err error) {
	m, is := d.Member(id)
	if c := d.Layout.Change; c == nil || c.Phase != ring.Flipped || !is || m.State == ring.Dead {
		return d, false, nil
	} else if !c.WaitsFor(&m) {
		return d, true, ErrUnchanged
	}
	if err := d.isDead(id, alive); err != nil {
		return d, true, err
	}
	d.Layout, err = d.Layout.GiveUp(id)
	return d, true, err
}

// CheckReplace reports whether a node may be replaced.
func (d *Document) CheckReplace(id ring.NodeID, alive func(ring.NodeID) bool) error {
	if _, ok := d.Member(id); !ok {
		return Conflictf("node %s is not a member", id)
	}
	if d.Layout.Change != nil {
		return Conflictf("%v", ring.ErrChanging)
	}
	if err := d.isDead(id, alive); err != nil {
		return err
	}
	return d.keepsAll()
}

// MoveZone is the plan of changing a node's zone.
func (d *Document) MoveZone(id ring.NodeID, zone string) (ring.Plan, error) {
	m, ok := d.Member(id)
	switch {
	case !ok:
		return ring.Plan{}, Conflictf("node %s is not a member", id)
	case zone == "" || len(zone) > NameMax:
		return ring.Plan{}, Invalidf("a zone's name has 1 to %d bytes", NameMax)
	case m.Zone == zone, d.Layout.Change != nil && d.Layout.Change.Zones[id] == zone:
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
		if next.Equal(k.Replication) {
			return ring.Plan{}, ErrUnchanged
		}
		if err := next.Validate(); err != nil {
			return ring.Plan{}, Invalidf("%v", err)
		}
		if c := d.Layout.Change; c != nil && c.Placements != nil && c.Placements[i].Equal(next) {
			return ring.Plan{}, ErrUnchanged
		}
		placements[i] = next
		after := d.Clone()
		after.Schema.Keyspaces[i].Replication = next
		if err := after.CheckMembers(); err != nil {
			return ring.Plan{}, Conflictf("%v", err)
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
func (d *Document) canLeave(id ring.NodeID) error {
	i, ok := d.Layout.Index(id)
	switch {
	case !ok:
		return Conflictf("node %s is not a member", id)
	case d.Layout.Change != nil:
		return Conflictf("%v", ring.ErrChanging)
	}
	after := d.Clone()
	after.Layout.Members = append(after.Layout.Members[:i], after.Layout.Members[i+1:]...)
	if err := after.CheckMembers(); err != nil {
		return Conflictf("without node %s there are too few: %v; or lower the replication factor first", id, err)
	}
	return nil
}

// isDead refuses to give up a node that answers.
func (d *Document) isDead(id ring.NodeID, alive func(ring.NodeID) bool) error {
	if alive(id) {
		return Conflictf("node %s is alive: decommission it, or stop it first", id)
	}
	return nil
}

// keepsAll refuses to give up a node while a keyspace has a single replica.
func (d *Document) keepsAll() error {
	for _, k := range d.Schema.Keyspaces {
		if k.Replication.Factor() == 1 {
			return Conflictf("keyspace %s has one replica of each range, so what the node holds would be lost", k.Name)
		}
	}
	return nil
}
