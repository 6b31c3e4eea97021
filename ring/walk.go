package ring

import (
	"fmt"
	"maps"
	"slices"
)

// The strategies, by Cassandra's names.
const (
	SimpleStrategy          = "SimpleStrategy"
	NetworkTopologyStrategy = "NetworkTopologyStrategy"
)

// FactorMax is the largest replication factor.
const FactorMax = 15

// Placement says how many replicas a keyspace has, and where. Factors maps a
// datacenter to its replication factor; SimpleStrategy has one, under "".
type Placement struct {
	Strategy string         `json:"strategy"`
	Factors  map[string]int `json:"factors"`
}

// Validate reports a placement that cannot be.
func (p Placement) Validate() error {
	if p.Strategy != SimpleStrategy && p.Strategy != NetworkTopologyStrategy {
		return fmt.Errorf("ring: strategy is %q: give %s or %s", p.Strategy, SimpleStrategy, NetworkTopologyStrategy)
	}
	if len(p.Factors) == 0 || (p.Strategy == SimpleStrategy && len(p.Factors) > 1) {
		return fmt.Errorf("ring: %s with %d replication factors", p.Strategy, len(p.Factors))
	}
	for dc, n := range p.Factors {
		if n < 1 || n > FactorMax {
			return fmt.Errorf("ring: replication factor %d for %q: give 1 to %d", n, dc, FactorMax)
		}
	}
	return nil
}

// Factor is the number of replicas over all datacenters.
func (p Placement) Factor() int {
	n := 0
	for _, f := range p.Factors {
		n += f
	}
	return n
}

// Equal reports whether two placements put replicas in the same places.
func (p Placement) Equal(o Placement) bool {
	return p.Strategy == o.Strategy && maps.Equal(p.Factors, o.Factors)
}

// walker finds the replicas of ranges: Cassandra's SimpleStrategy and
// NetworkTopologyStrategy (with its rule of acceptable rack repeats), walking the
// owners of the following ranges. It is reused for all ranges of a table.
type walker struct {
	members []Member
	owners  []uint16
	simple  bool
	dcs     []dcRule // of NetworkTopologyStrategy, sorted by name
	dcOf    []int    // member → index into dcs, -1: not placed
	zoneOf  []int    // member → number of its zone
	need    int      // replicas to find, over all
	taken   []bool   // member is in the set under construction
	zones   []bool   // zone is in the set under construction
	left    []int    // per datacenter: replicas still to find
	repeats []int    // per datacenter: zones that may still repeat
}

// dcRule is what one datacenter contributes to every range.
type dcRule struct {
	replicas int // min(factor, nodes)
	repeats  int // replicas that must share a zone with another
}

// newWalker counts as nodes only the members that are in, by index; the owners are
// among them.
func newWalker(members []Member, owners []uint16, p Placement, in func(int) bool) *walker {
	w := &walker{members: members, owners: owners, simple: p.Strategy == SimpleStrategy, taken: make([]bool, len(members))}
	if w.simple {
		for i := range members {
			if in(i) && w.need < p.Factor() {
				w.need++
			}
		}
		return w
	}
	zoneNumber := map[[2]string]int{}
	w.dcOf, w.zoneOf = make([]int, len(members)), make([]int, len(members))
	names := slices.Sorted(maps.Keys(p.Factors))
	nodes, zones := make([]int, len(names)), make([]int, len(names))
	for i, m := range members {
		if w.dcOf[i] = slices.Index(names, m.Datacenter); !in(i) {
			w.dcOf[i] = -1
			continue
		}
		zone := [2]string{m.Datacenter, m.Zone}
		n, known := zoneNumber[zone]
		if !known {
			n = len(zoneNumber)
			zoneNumber[zone] = n
		}
		w.zoneOf[i] = n
		if dc := w.dcOf[i]; dc >= 0 {
			nodes[dc]++
			if !known {
				zones[dc]++
			}
		}
	}
	for i, name := range names {
		rule := dcRule{replicas: min(p.Factors[name], nodes[i]), repeats: p.Factors[name] - zones[i]}
		w.dcs = append(w.dcs, rule)
		w.need += rule.replicas
	}
	w.zones = make([]bool, len(zoneNumber))
	w.left, w.repeats = make([]int, len(names)), make([]int, len(names))
	return w
}

// replicas appends the members that hold a range, in walk order, and returns
// how many owners it looked at.
func (w *walker) replicas(rng int, dst []uint16) (found []uint16, looked int) {
	start := len(dst)
	for i, dc := range w.dcs {
		w.left[i], w.repeats[i] = dc.replicas, dc.repeats
	}
	for at := rng; looked < len(w.owners) && len(dst)-start < w.need; looked++ {
		owner := w.owners[at]
		if at++; at == len(w.owners) {
			at = 0
		}
		if !w.taken[owner] && w.accept(owner) {
			w.taken[owner] = true
			dst = append(dst, owner)
		}
	}
	for _, m := range dst[start:] {
		w.taken[m] = false
		if !w.simple {
			w.zones[w.zoneOf[m]] = false
		}
	}
	return dst, looked
}

// accept applies the rule of zones to the next owner of the walk.
func (w *walker) accept(owner uint16) bool {
	if w.simple {
		return true
	}
	dc := w.dcOf[owner]
	if dc < 0 || w.left[dc] == 0 {
		return false
	}
	zone := w.zoneOf[owner]
	if w.zones[zone] {
		if w.repeats[dc] <= 0 {
			return false
		}
		w.repeats[dc]--
	}
	w.zones[zone] = true
	w.left[dc]--
	return true
}
