package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/antientropy"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/rebalance"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// rebalanceEvery is how often it is looked whether a change of the layout can go on.
const rebalanceEvery = time.Second

// openRebalance builds what carries changes of the layout out. Without anti-entropy
// nothing can be moved.
func (n *Node) openRebalance() (err error) {
	if n.antientropy == nil {
		return nil
	}
	n.rebalance, err = rebalance.New(n.cfg.rebalance(), rebalance.Env{
		Self: n.catalog.Self(), Replica: n.replica, Store: n.replica, Engine: n.engine, Meta: n.engine.Meta(), Clock: n.clock,
		Catalog: n.catalog, Ask: n.transport.ControlTo, Alive: liveness{n}.Alive,
		Verified: n.antientropy.VerifiedBy, Held: n.held, Pace: func() float64 { return n.coordinator.Pace() },
		Hurry: func(ids []token.RangeID, peer ring.NodeID) {
			n.antientropy.Hurry(antientropy.Scope{Ranges: ids, Peer: peer})
		},
		Logger: n.log, Registerer: n.env.Registry,
	})
	return err
}

// keepPace tells the coordinator whether data moves.
func (n *Node) keepPace(context.Context) (idle bool, err error) {
	v := n.View()
	n.coordinator.KeepPace(v != nil && v.Ring.Change() != nil)
	return true, nil
}

// held counts the hints that this node has to hand over before it may leave: those
// that made an acknowledgement true and can be read, and those that their targets could
// take now.
func (n *Node) held() (hints int64) {
	if n.hints == nil {
		return 0
	}
	for _, s := range n.hints.Status() {
		hints += s.Counted.Hints - s.Counted.Damaged
		if (liveness{n}).Alive(s.Target) {
			hints += s.Plain.Hints
		}
	}
	return hints
}

// move answers a member's call about the change on its way.
func (n *Node) move(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	v := n.View()
	if v == nil || n.rebalance == nil {
		return nil, &transport.ControlError{Kind: "off", Text: "anti-entropy does not run here, so nothing can be moved"}
	}
	if _, member := v.Ring.Index(from.Node); !member || from.Cluster != v.Cluster {
		return nil, &transport.ControlError{Kind: "refused", Text: fmt.Sprintf("node %s is no member of this cluster", from.Node)}
	}
	return n.rebalance.Handle(ctx, from.Node, kind, body)
}

// onGone hears that this node is no member any more: Run ends with why.
func (n *Node) onGone(why error) {
	select {
	case n.gone <- why:
	default:
	}
}

// awaitGone ends the node when it is no member any more.
func (n *Node) awaitGone(ctx context.Context) error {
	select {
	case why := <-n.gone:
		return why
	case <-ctx.Done():
		return nil
	}
}

// errHolding refuses hints on a node that is on its way out.
var errHolding = errors.New("this node is joining or leaving and holds no hints")

// Decommission takes a node out of the cluster that is alive: it hands over what it
// holds, and leaves. It returns when that has begun. Calls may be repeated.
func (n *Node) Decommission(ctx context.Context, id ring.NodeID) error {
	return n.begin(ctx, func(d *catalog.Document) (ring.Plan, error) { return d.Decommission(id) })
}

// Remove gives dead nodes up: the others fill up what they held.
func (n *Node) Remove(ctx context.Context, ids ...ring.NodeID) error {
	if n.rebalance == nil {
		return errStill
	}
	return n.catalog.Remove(ctx, ids, n.alive)
}

// Replace lets the next node that joins take the ranges of a dead one.
func (n *Node) Replace(ctx context.Context, id ring.NodeID) error {
	return n.catalog.Replace(ctx, id, func(d *catalog.Document) error { return d.CheckReplace(id, n.alive) })
}

// MoveZone changes a node's zone, and moves what that asks for.
func (n *Node) MoveZone(ctx context.Context, id ring.NodeID, zone string) error {
	return n.begin(ctx, func(d *catalog.Document) (ring.Plan, error) { return d.MoveZone(id, zone) })
}

// Replicate changes a keyspace's replication factors, by datacenter.
func (n *Node) Replicate(ctx context.Context, keyspace string, factors map[string]int) error {
	return n.begin(ctx, func(d *catalog.Document) (ring.Plan, error) { return d.Replicate(keyspace, factors) })
}

// errStill refuses changes where nothing can be moved.
var errStill = errors.New("node: anti-entropy is switched off (antientropy.enabled), so nothing can be moved")

// begin announces a change, once it is known that its target can be made.
func (n *Node) begin(ctx context.Context, plan func(*catalog.Document) (ring.Plan, error)) error {
	if n.rebalance == nil {
		return errStill
	}
	return n.catalog.Begin(ctx, plan)
}

// alive reports whether a member answers, this node included.
func (n *Node) alive(id ring.NodeID) bool { return id == n.Self() || liveness{n}.Alive(id) }
