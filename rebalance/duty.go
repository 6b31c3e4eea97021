package rebalance

import (
	"slices"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// duty is what has to be so before reads may ask the replicas of the target: a range
// was verified by a node with a peer.
type duty struct {
	keyspace  string
	placement int
	id        token.RangeID
	peer      ring.NodeID
	keeps     bool // the node has held the range before
}

// transfer is a range that changes owners in a keyspace, by member.
type transfer struct {
	keyspace     string
	placement    int
	id           token.RangeID
	gained, lost []uint16 // lost: those that are waited for
	rest         []uint16 // replicas of now that stay, and are waited for
}

// transfers lists the ranges that change, of keyspaces that have tables.
func transfers(v *schema.View) (all []transfer) {
	seen := map[string]bool{}
	for _, t := range v.Tables() {
		if seen[t.Keyspace] {
			continue
		}
		seen[t.Keyspace] = true
		for id := range token.RangeID(token.Ranges) {
			if !v.Ring.Changes(t.Placement, id) {
				continue
			}
			x := transfer{keyspace: t.Keyspace, placement: t.Placement, id: id}
			now, target := v.Ring.Now(t.Placement, id), v.Ring.Target(t.Placement, id)
			for _, m := range target {
				if !slices.Contains(now, m) {
					x.gained = append(x.gained, m)
				}
			}
			for _, m := range now {
				switch {
				case !v.Ring.Change().WaitsFor(v.Ring.Member(m)):
				case slices.Contains(target, m):
					x.rest = append(x.rest, m)
				default:
					x.lost = append(x.lost, m)
				}
			}
			all = append(all, x)
		}
	}
	return all
}

// outgoing are the members that must know of a phase before the next, and that ranges
// come from: those that lose the range; or all that have it, if more come: then some
// displace nobody, or one that is lost, and what that one had must be found elsewhere.
func (x *transfer) outgoing() []uint16 {
	if len(x.lost) > 0 && len(x.lost) >= len(x.gained) {
		return x.lost
	}
	return slices.Concat(x.lost, x.rest)
}

// duties are those of a member.
func (x *transfer) duties(v *schema.View, me uint16) (all []duty) {
	gains := slices.Contains(x.gained, me)
	keeps := len(x.gained) == 0 && slices.Contains(x.rest, me)
	if !gains && !keeps {
		return nil
	}
	sources := x.outgoing()
	if keeps {
		sources = x.lost
	}
	for _, m := range sources {
		if m != me {
			all = append(all, duty{x.keyspace, x.placement, x.id, v.Ring.Member(m).ID, keeps})
		}
	}
	return all
}
