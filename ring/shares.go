package ring

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dunlindb/dunlin/token"
)

// shares is how many replicas each member should hold under a placement, all
// ranges taken together. They are as even as the rule of zones allows: with no more
// zones than replicas every zone holds all ranges at least once, however few its
// members are; with more zones none holds a range twice.
func shares(members []Member, p Placement) []float64 {
	share := make([]float64, len(members))
	if p.Strategy == SimpleStrategy {
		for i := range share {
			share[i] = float64(min(p.Factor(), len(members))*token.Ranges) / float64(len(members))
		}
		return share
	}
	for dc, factor := range p.Factors {
		zones := map[string][]int{}
		for i, m := range members {
			if m.Datacenter == dc {
				zones[m.Zone] = append(zones[m.Zone], i)
			}
		}
		fillZones(share, slices.SortedFunc(maps.Values(zones), func(a, b []int) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a[0], b[0]))
		}), factor)
	}
	return share
}

// fillZones gives one datacenter's members, by zone and smaller zones first, their
// shares. Zones whose even share breaks the rule hold exactly all ranges once, and
// the rest is even among the others.
func fillZones(share []float64, zones [][]int, factor int) {
	nodes := 0
	for _, z := range zones {
		nodes += len(z)
	}
	left := float64(min(factor, nodes) * token.Ranges)
	few := len(zones) <= factor // smallest zones get too little, else largest too much
	for len(zones) > 0 {
		zone, rest := zones[len(zones)-1], zones[:len(zones)-1]
		if few {
			zone, rest = zones[0], zones[1:]
		}
		even := left / float64(nodes)
		if all := even * float64(len(zone)); (few && all < token.Ranges) || (!few && all > token.Ranges) {
			for _, i := range zone {
				share[i] = float64(token.Ranges) / float64(len(zone))
			}
			left -= token.Ranges
			nodes -= len(zone)
			zones = rest
			continue
		}
		for _, z := range zones {
			for _, i := range z {
				share[i] = even
			}
		}
		return
	}
}

// quotas is how many ranges each member should own: in proportion to its share, in
// whole numbers. What is left over by rounding goes to those who own more already,
// so that it moves nothing.
func quotas(share []float64, owns []int) []int {
	total := 0.0
	for _, s := range share {
		total += s
	}
	quota := make([]int, len(share))
	left := token.Ranges
	var order []int
	for i, s := range share {
		quota[i] = int(s / total * token.Ranges)
		left -= quota[i]
		if s > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(owns[b]-quota[b], owns[a]-quota[a]) })
	for i := 0; left > 0; i, left = i+1, left-1 {
		quota[order[i%len(order)]]++
	}
	return quota
}
