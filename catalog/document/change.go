package document

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// Kinds of changes of the layout.
const (
	KindJoin         = "join"
	KindReplace      = "replace"
	KindDecommission = "decommission"
	KindRemove       = "remove"
	KindZone         = "zone"
	KindReplication  = "replication"
	KindRecover      = "recover"
)

// WithMember is the change of a join, of so many nodes in one step: those that follow
// join the change that the first has announced. 0 is 1.
func WithMember(d Document, joiner ring.Member, together int) (Document, error) {
	if _, ok := d.Member(joiner.ID); ok {
		return d, ErrUnchanged
	}
	if err := CheckFree(&d, joiner); err != nil {
		return d, err
	}
	if d.Sealed {
		return d.announceJoin(joiner, together)
	}
	var err error
	d.Layout, err = d.Layout.Join(d.Version+1, []ring.Member{joiner}, d.Schema.Placements())
	return d, err
}

// CheckFree refuses an address that another member has which is not dead.
func CheckFree(d *Document, m ring.Member) error {
	for _, other := range d.Layout.Members {
		lost := other.State == ring.Dead || d.Replaces(other.ID)
		if other.ID != m.ID && !lost && (other.Internode == m.Internode || other.Gossip == m.Gossip) {
			return &RefusedError{Node: m.ID.String(), Reason: "address",
				Detail: fmt.Sprintf("member %s has the address %s: use that member's directory, or another address", other.ID, other.Internode)}
		}
	}
	return nil
}

// CheckMembers wants enough members for every keyspace's replicas.
func (d *Document) CheckMembers() error {
	in := map[string]int{}
	for _, m := range d.Layout.Members {
		in[m.Datacenter]++
	}
	for _, k := range d.Schema.Keyspaces {
		if k.Replication.Strategy == ring.SimpleStrategy {
			if n, factor := len(d.Layout.Members), k.Replication.Factor(); n < factor {
				return &TooFewMembersError{Keyspace: k.Name, Members: n, Factor: factor}
			}
			continue
		}
		for dc, factor := range k.Replication.Factors {
			if in[dc] < factor {
				return &TooFewMembersError{Keyspace: k.Name, Datacenter: dc, Members: in[dc], Factor: factor}
			}
		}
	}
	return nil
}

// announceJoin begins to move data to a node that joins, in the place of the one that
// is being replaced if there is one.
func (d Document) announceJoin(joiner ring.Member, together int) (Document, error) {
	p := ring.Plan{Kind: KindJoin, Join: []ring.Member{joiner}}
	if together > 1 {
		p.Expect = together
	}
	switch {
	case d.Layout.Expects() > 0:
		return d.joinToo(joiner)
	case d.Replacing != nil:
		dead, ok := d.Member(*d.Replacing)
		if !ok {
			return d, Conflictf("node %s, which is to be replaced, is no member any more", d.Replacing)
		}
		if dead.Zone != joiner.Zone || dead.Datacenter != joiner.Datacenter {
			return d, Conflictf("node %s is to be replaced by one in its zone %q of datacenter %q; this node is in zone %q of %q",
				dead.ID, dead.Zone, dead.Datacenter, joiner.Zone, joiner.Datacenter)
		}
		if err := d.keepsAll(dead.ID); err != nil { // there may be fewer replicas than when that was ordered
			return d, Conflictf("%v, or take back that it is to be replaced (dunlin layout abort)", err)
		}
		p.Kind, p.Dead, p.Replaces = KindReplace, []ring.NodeID{dead.ID}, map[ring.NodeID]ring.NodeID{joiner.ID: dead.ID}
		p.Expect, d.Replacing = 0, nil
	}
	next, err := d.announce(p)
	if err == nil {
		err = next.checkJoin(joiner)
	}
	if err != nil {
		return d, err
	}
	return next, nil
}

// joinToo adds a node to a change that expects more.
func (d Document) joinToo(joiner ring.Member) (Document, error) {
	layout, err := d.Layout.JoinToo(joiner)
	if err != nil {
		return d, err
	}
	before := d
	d.Layout = layout
	if err := d.checkJoin(joiner); err != nil {
		return before, err
	}
	return d, nil
}

// checkJoin reports what forbids the nodes that join to do so together, once all are
// there.
func (d *Document) checkJoin(joiner ring.Member) error {
	if d.Layout.Expects() > 0 {
		return nil
	}
	if d.Layout.Change.Kind == KindJoin {
		if err := d.checkNewZone(joiner); err != nil {
			return err
		}
	}
	_, err := d.Layout.Assign(d.Version+2, 0, d.Schema.Placements())
	var gains *ring.GainsError
	switch {
	case errors.As(err, &gains):
		return &RefusedError{Node: joiner.ID.String(), Reason: "spread", Detail: fmt.Sprintf(
			"%v; the first nodes of a new zone join together: start all of them with --join-count N", err)}
	case err != nil:
		return Conflictf("%v", err)
	}
	return nil
}

// Announce begins a change of the layout, if its target can be made.
func (d Document) Announce(p ring.Plan) (Document, error) {
	next, err := d.announce(p)
	if err == nil {
		_, err = next.Layout.Assign(d.Version+2, 0, d.Schema.Placements())
	}
	if err != nil {
		return d, Conflictf("%v", err)
	}
	return next, nil
}

// announce begins a change of the layout.
func (d Document) announce(p ring.Plan) (Document, error) {
	if err := d.HasData(); err != nil {
		return d, err
	}
	next, err := d.Layout.Announce(d.Version+1, p)
	if err != nil {
		return d, Conflictf("%v", err)
	}
	d.Layout = next
	return d, nil
}

// checkNewZone refuses the first nodes of a new zone where they would hold everything
// and so more than twice as much as others.
func (d *Document) checkNewZone(joiner ring.Member) error {
	zones := map[string]bool{}
	members, first := 0, 0
	for _, m := range d.Layout.Members {
		switch {
		case m.Datacenter != joiner.Datacenter || m.State == ring.Dead:
		case m.State != ring.Joining:
			zones[m.Zone] = true
			members++
		case m.Zone == joiner.Zone:
			first++
			members++
		default:
			members++
		}
	}
	if zones[joiner.Zone] {
		return nil
	}
	for _, k := range d.Schema.Keyspaces {
		factor := k.Replication.Factors[joiner.Datacenter]
		if k.Replication.Strategy == ring.NetworkTopologyStrategy && len(zones) < factor && members > 2*factor*first {
			return &RefusedError{Node: joiner.ID.String(), Reason: "zone", Detail: fmt.Sprintf(
				"the new zone %q would have %d of %d nodes, and hold a replica of everything in keyspace %s, since there are no more zones than replicas (%d), "+
					"far more than the others: start it in one of the zones %v, or start several new nodes, all of them with --join-count N",
				joiner.Zone, first, members, k.Name, factor, slices.Sorted(maps.Keys(zones)))}
		}
	}
	return nil
}

// Advance takes the change on its way on to its next phase. fence is that of ring.Change.
func (d Document) Advance(fence hlc.Timestamp) (Document, error) {
	var err error
	switch placements := d.Schema.Placements(); d.Layout.Change.Phase {
	case ring.Announced:
		d.Layout, err = d.Layout.Assign(d.Version+1, fence, placements)
	case ring.Streaming:
		d.Layout, err = d.Layout.Flip(d.Version+1, placements)
	default:
		err = d.Finish()
	}
	return d, err
}

// Abort drops the change on its way.
func (d Document) Abort() (Document, error) {
	next, err := d.Layout.Abort(d.Version+1, d.Schema.Placements())
	if err != nil {
		return d, Conflictf("%v", err)
	}
	d.Layout = next
	return d, nil
}

// Finish makes the target of a change what is.
func (d *Document) Finish() error {
	kind := d.Layout.Change.Kind
	next, then, err := d.Layout.Finish(d.Version+1, d.Schema.Placements())
	if err != nil {
		return err
	}
	for _, m := range d.Layout.Members {
		if _, stays := next.Index(m.ID); stays {
			continue
		}
		d.Removed = append(d.Removed, Removed{ID: m.ID, Kind: kind, Version: d.Version + 1})
		if d.Replaces(m.ID) { // it was removed instead
			d.Replacing = nil
		}
	}
	for i := range d.Schema.Keyspaces {
		d.Schema.Keyspaces[i].Replication = then[i]
	}
	d.Layout = next
	return nil
}

// Recovered is the document after a recovery, but for what names it; ErrUnchanged if that
// was the last one, and all voters since are its survivors, who are sorted. alive tells
// whether a member is: those that are given up must not be.
func (d Document) Recovered(r Recovery, alive func(ring.NodeID) bool) (Document, error) {
	if !slices.Contains(r.Survivors, r.By) {
		return d, Conflictf("this node %s is not among the survivors: ask one that is", r.By)
	}
	c := d.Layout.Change
	flipped := c != nil && c.Phase == ring.Flipped
	voters, left := d.voters(r.Survivors)
	if n := len(d.Recoveries); n > 0 && voters == left && slices.Equal(d.Recoveries[n-1].Survivors, r.Survivors) {
		return d, ErrUnchanged
	}
	again := d.Layout.Recovers() && !flipped && left < voters // nothing else does without one more
	if 2*left > voters && !again {
		return d, Conflictf("%d of %d voters survive, which is a majority: nothing has to be forced", left, voters)
	}
	d = d.Clone()
	if flipped {
		if err := d.Finish(); err != nil {
			return d, err
		}
	}
	for _, m := range d.Layout.Members {
		if m.State != ring.Joining && !slices.Contains(r.Survivors, m.ID) && alive(m.ID) {
			return d, Conflictf("node %s is alive, and would be given up for lost: name it as a survivor, or stop it first", m.ID)
		}
	}
	var err error
	if d.Layout, err = d.Layout.Recover(d.Version+1, KindRecover, r.Survivors, d.Schema.Placements()); err != nil {
		return d, Conflictf("%v", err)
	}
	r.Generation = d.Generation + 1
	d.Recoveries = append(d.Recoveries, r)
	return d, nil
}

// voters counts the voters, and those of some nodes.
func (d *Document) voters(of []ring.NodeID) (all, among int) {
	for _, m := range d.Layout.Members {
		if m.Voter {
			all++
			if slices.Contains(of, m.ID) {
				among++
			}
		}
	}
	return all, among
}
