package share

import (
	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Epoch is what messages say of a view.
func Epoch(v *schema.View) message.Epoch {
	return message.Epoch{Generation: v.Generation, Version: v.Version}
}

// Keyspace names a placement by a table of it; "" if it has none, and so nothing
// to compare.
func Keyspace(v *schema.View, placement int) string {
	for _, t := range v.Tables() {
		if t.Placement == placement {
			return t.Keyspace
		}
	}
	return ""
}

// Holds reports whether a node is a replica of a target, which may be any.
func Holds(v *schema.View, t message.Target, id ring.NodeID) bool {
	if t.Placement >= v.Ring.Placements() || t.ID >= token.Ranges {
		return false
	}
	i, ok := v.Ring.Index(id)
	return ok && v.Ring.Holds(t.Placement, t.ID, i)
}

// Both reports whether two nodes are replicas of a target.
func Both(v *schema.View, t message.Target, a, b ring.NodeID) bool {
	return Holds(v, t, a) && Holds(v, t, b)
}

// Covers reports whether a leaf is part of a target.
func Covers(v *schema.View, t message.Target, l record.Leaf) bool {
	table := v.Table(l.Table)
	if table == nil || table.Placement != t.Placement || l.Range != t.ID {
		return false
	}
	return l.Space == record.SpaceHeads ||
		l.Space == table.Shape.Space() && (l.Space != record.SpaceWindows || l.Window >= table.Floor)
}

// Targets lists what a node is a replica of.
func Targets(v *schema.View, id ring.NodeID) (targets []message.Target) {
	me, ok := v.Ring.Index(id)
	for p := range v.Ring.Placements() {
		if !ok || Keyspace(v, p) == "" {
			continue
		}
		for id := range token.RangeID(token.Ranges) {
			if v.Ring.Holds(p, id, me) {
				targets = append(targets, message.Target{Placement: p, ID: id})
			}
		}
	}
	return targets
}

// With lists what two nodes are replicas of.
func With(v *schema.View, self, other ring.NodeID) (targets []message.Target) {
	for _, t := range Targets(v, self) {
		if Holds(v, t, other) {
			targets = append(targets, t)
		}
	}
	return targets
}

// Others lists the other replicas of a target that a node is a replica of.
func Others(v *schema.View, t message.Target, self ring.NodeID) (others []ring.NodeID) {
	for _, m := range v.Ring.Writers(t.Placement, t.ID) {
		if id := v.Ring.Member(m).ID; id != self {
			others = append(others, id)
		}
	}
	return others
}
