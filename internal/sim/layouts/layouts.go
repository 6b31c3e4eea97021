// Package layouts watches the layouts that nodes of a simulated cluster serve by.
//
// Invariants that it checks: a version of the catalog says the same on all nodes; a
// version is followed by the next one alone, so that they form one chain; no range
// ever has fewer replicas than its keyspace wants, or one twice.
//
// A Watch belongs to one goroutine; it starts none.
package layouts

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"slices"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Watch remembers what was seen.
type Watch struct {
	versions map[schema.Identity]uint64 // fingerprints, without what is not of the version
	changes  map[uint64]bool
	last     map[ring.NodeID]*schema.View // of each node
	faults   []string
}

// Faults are what was wrong, in sentences.
func (w *Watch) Faults() []string { return w.faults }

// Changes is how many changes were seen on their way.
func (w *Watch) Changes() int { return len(w.changes) }

// See looks at the view of a node.
func (w *Watch) See(node ring.NodeID, v *schema.View) {
	if w.versions == nil {
		w.versions, w.changes, w.last = map[schema.Identity]uint64{}, map[uint64]bool{}, map[ring.NodeID]*schema.View{}
	}
	if w.last[node] == v {
		return // views do not change
	}
	w.last[node] = v
	if c := v.Ring.Change(); c != nil {
		w.changes[c.ID] = true
	}
	at := schema.Identity{Cluster: v.Cluster, Generation: v.Generation, Version: v.Version}
	print := fingerprint(v)
	was, known := w.versions[at]
	switch {
	case !known:
		w.versions[at] = print
		w.check(v)
	case was != print:
		w.faults = append(w.faults, fmt.Sprintf("node %s serves by another version %d of generation %d than others", node, v.Version, v.Generation))
	}
}

// check looks at the replicas of every range.
func (w *Watch) check(v *schema.View) {
	for _, t := range v.Tables() {
		for id := range token.RangeID(token.Ranges) {
			for _, side := range []struct {
				replicas []uint16
				factor   int
			}{
				{v.Ring.Now(t.Placement, id), v.Ring.Factor(t.Placement)},
				{v.Ring.Target(t.Placement, id), v.Ring.FactorThen(t.Placement)},
			} {
				if distinct := slices.Compact(slices.Sorted(slices.Values(side.replicas))); len(distinct) != side.factor {
					w.faults = append(w.faults, fmt.Sprintf("version %d: range %d of %s has the replicas %v, and wants %d", v.Version, id, t.FullName(), side.replicas, side.factor))
					return
				}
			}
		}
	}
}

// fingerprint sums up who holds what.
func fingerprint(v *schema.View) uint64 {
	h := fnv.New64a()
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		h.Write(m.ID[:])
		h.Write([]byte(string(m.State) + "/" + m.Zone))
	}
	number(h, v.Ring.MaxChangedAt())
	for p := range v.Ring.Placements() {
		for id := range token.RangeID(token.Ranges) {
			for _, list := range [][]uint16{v.Ring.Now(p, id), v.Ring.Target(p, id), v.Ring.Replicas(p, id)} {
				for _, m := range list {
					number(h, uint64(m))
				}
			}
		}
	}
	return h.Sum64()
}

func number(h hash.Hash, n uint64) {
	_, _ = h.Write(binary.AppendUvarint(nil, n)) // it never fails
}
