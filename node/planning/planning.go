// Package planning works out, without doing anything, what a change of the layout
// would move.
//
// Invariants: nothing here changes the catalog or asks another node; what is refused
// here is what the catalog would refuse, since both ask the document; a plan of
// several nodes is that of their changes one after the other, as they happen.
//
// There are no goroutines.
package planning

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/rebalance"
	"github.com/dunlindb/dunlin/ring"
)

// Plan is what is known to plan with.
type Plan struct {
	Document catalog.Document
	Self     ring.NodeID
	Alive    func(ring.NodeID) bool
}

// Outline works out what a change would move. The error is catalog.ErrUnderway if that
// change is on its way, and catalog.ErrUnchanged if it is done already.
func (p Plan) Outline(r admin.ChangeRequest) (o rebalance.Outline, err error) {
	switch r.Kind {
	case admin.KindJoin:
		return p.joins(r.Add, r.Remove)
	case admin.KindReplace:
		return p.replace(r)
	}
	next, err := p.begun(p.Document, r)
	if err != nil {
		return o, err
	}
	return rebalance.NewOutline(next.Layout, next.Version+1, p.Document.Schema.Placements())
}

// OnItsWay is the outline of the change that is on its way.
func (p Plan) OnItsWay() (rebalance.Outline, error) {
	return rebalance.NewOutline(p.Document.Layout, p.Document.Version, p.Document.Schema.Placements())
}

// begun is the document after a change was begun.
func (p Plan) begun(d catalog.Document, r admin.ChangeRequest) (catalog.Document, error) {
	ids, err := NodeIDs(r)
	if err != nil {
		return d, err
	}
	id := ids[0]
	var plan ring.Plan
	switch r.Kind {
	case admin.KindDecommission:
		plan, err = d.Decommission(id)
	case admin.KindRemove:
		if next, ok, err := d.GiveUp(ids, p.Alive); ok {
			return next, err
		}
		plan, err = d.Remove(ids, p.Alive)
	case admin.KindZone:
		plan, err = d.MoveZone(id, r.Zone)
	case admin.KindReplication:
		plan, err = d.Replicate(r.Keyspace, r.Factors)
	default:
		err = fmt.Errorf("node: there is no change of kind %q", r.Kind)
	}
	if err != nil {
		return d, err
	}
	return d.Announce(plan)
}

// NodeID reads the id of a node; the empty text is the zero id.
func NodeID(s string) (id ring.NodeID, err error) {
	if s == "" {
		return id, nil
	}
	if id, err = uuid.Parse(s); err != nil {
		return id, fmt.Errorf("node: %q is no node's id: %w", s, err)
	}
	return id, nil
}

// NodeIDs reads the nodes of a request, the first one first; it is the zero id if there
// is none.
func NodeIDs(r admin.ChangeRequest) (ids []ring.NodeID, err error) {
	for _, s := range append([]string{r.Node}, r.Nodes...) {
		id, err := NodeID(s)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// joins works out what it moves that nodes join, in zones, and members leave, one
// after the other, but for the first nodes of a new zone.
func (p Plan) joins(add, remove []string) (all rebalance.Outline, err error) {
	d := p.Document
	if err := d.HasData(); err != nil {
		return all, err
	}
	if d.Layout.Change != nil {
		return all, ring.ErrChanging
	}
	me, _ := d.Member(p.Self)
	for i, zone := range slices.Sorted(slices.Values(add)) {
		joiner := ring.Member{ID: uuid.UUID{0: 0xff, 2: byte(i >> 8), 3: byte(i)}, Zone: zone, Datacenter: me.Datacenter}
		joiner.Internode, joiner.Gossip = fmt.Sprint("planned-", i, ":1"), fmt.Sprint("planned-", i, ":2")
		if d, err = catalog.WithMember(d.Clone(), joiner, together(&d, zone, add)); err != nil {
			return all, err
		}
		if d.Layout.Expects() > 0 {
			continue
		}
		if d, err = carryOut(d, &all); err != nil {
			return all, err
		}
	}
	for _, id := range remove {
		next, err := p.begun(d, admin.ChangeRequest{Kind: admin.KindDecommission, Node: id})
		if err != nil {
			return all, err
		}
		if d, err = carryOut(next, &all); err != nil {
			return all, err
		}
	}
	return all, nil
}

// together is how many nodes join in one step: the first ones of a zone all do.
func together(d *catalog.Document, zone string, add []string) (n int) {
	if slices.ContainsFunc(d.Layout.Members, func(m ring.Member) bool { return m.Zone == zone }) {
		return 1
	}
	for _, z := range add {
		if z == zone {
			n++
		}
	}
	return n
}

// carryOut takes a change that was announced to its end, and adds what it moves.
func carryOut(d catalog.Document, all *rebalance.Outline) (catalog.Document, error) {
	placements := d.Schema.Placements()
	d.Version++
	o, err := rebalance.NewOutline(d.Layout, d.Version, placements)
	if err != nil {
		return d, err
	}
	all.Add(o)
	for _, step := range []func(uint64, []ring.Placement) (ring.Layout, error){
		func(v uint64, p []ring.Placement) (ring.Layout, error) { return d.Layout.Assign(v, 0, p) },
		func(v uint64, p []ring.Placement) (ring.Layout, error) { return d.Layout.Flip(v, p) },
	} {
		d.Version++
		if d.Layout, err = step(d.Version, placements); err != nil {
			return d, err
		}
	}
	err = d.Finish()
	d.Version++
	return d, err
}

// replace works out what it moves that a new node takes a dead one's ranges.
func (p Plan) replace(r admin.ChangeRequest) (o rebalance.Outline, err error) {
	d := p.Document.Clone()
	id, err := NodeID(r.Node)
	if err != nil {
		return o, err
	}
	if err := d.CheckReplace(id, p.Alive); err != nil {
		return o, err
	}
	dead, _ := d.Member(id)
	joiner := ring.Member{ID: uuid.UUID{0: 0xff}, Zone: dead.Zone, Datacenter: dead.Datacenter}
	joiner.Internode, joiner.Gossip = dead.Internode, dead.Gossip
	d.Replacing = &id
	if d, err = catalog.WithMember(d, joiner, 1); err != nil {
		return o, err
	}
	return rebalance.NewOutline(d.Layout, d.Version+1, d.Schema.Placements())
}
