package ring

import (
	"math/rand/v2"

	"github.com/dunlindb/dunlin/token"
)

// refineTries is how many exchanges the refiner tries, per range.
const refineTries = 24

// refine evens out a proposal: first every member owns its quota of ranges, then
// owners are exchanged while that brings the replica counts closer to each
// member's share. The search is seeded by the version, so that every node that
// computes the same change finds the same table.
func refine(members []Member, proposal []uint16, p Placement, version uint64) []uint16 {
	s := newSearch(members, proposal, p)
	random := rand.New(rand.NewPCG(version, uint64(len(members))))
	s.fillQuotas(random)
	s.recount()
	for range refineTries * len(s.owners) {
		if s.cost() < 1 {
			break
		}
		a, b := random.IntN(len(s.owners)), random.IntN(len(s.owners))
		if s.owners[a] != s.owners[b] {
			s.tryExchange(a, b)
		}
	}
	return s.owners
}

// search is the state of one refinement.
type search struct {
	owners  []uint16
	walk    *walker
	quota   []int     // ranges that each member should own
	share   []float64 // replicas that each member should hold
	sets    [][]uint16
	reach   []int // per range: how many owners its walk looked at
	counts  []int // replicas held, by member
	back    int   // the longest walk
	scratch []uint16
}

func newSearch(members []Member, proposal []uint16, p Placement) *search {
	s := &search{
		owners: append([]uint16(nil), proposal...),
		quota:  make([]int, len(members)), share: make([]float64, len(members)),
		sets: make([][]uint16, len(proposal)), reach: make([]int, len(proposal)),
		counts: make([]int, len(members)),
	}
	s.walk = newWalker(members, s.owners, p)
	weights := zoneWeights(members, p)
	total, given := 0.0, 0
	for _, w := range weights {
		total += w
	}
	for i, w := range weights {
		s.share[i] = w / total * float64(s.walk.need*len(proposal))
		s.quota[i] = int(w / total * float64(len(proposal)))
		given += s.quota[i]
	}
	for i := 0; given < len(proposal); i, given = (i+1)%len(members), given+1 {
		s.quota[i]++
	}
	return s
}

// zoneWeights is each member's fair share of the data. Where a replica goes to
// every zone, a zone's members share its part, however few they are; with more
// zones than replicas, or without zones, all members weigh the same.
func zoneWeights(members []Member, p Placement) []float64 {
	weights := make([]float64, len(members))
	for i := range weights {
		weights[i] = 1
	}
	if p.Strategy == SimpleStrategy {
		return weights
	}
	type zone struct{ dc, name string }
	inZone, zonesOf := map[zone]int{}, map[string]int{}
	for _, m := range members {
		z := zone{m.Datacenter, m.Zone}
		if inZone[z] == 0 {
			zonesOf[m.Datacenter]++
		}
		inZone[z]++
	}
	for i, m := range members {
		if factor := p.Factors[m.Datacenter]; factor == zonesOf[m.Datacenter] {
			weights[i] = 1 / float64(inZone[zone{m.Datacenter, m.Zone}])
		}
	}
	return weights
}

// fillQuotas moves ranges from members above their quota to those below.
func (s *search) fillQuotas(random *rand.Rand) {
	have := make([]int, len(s.quota))
	for _, o := range s.owners {
		have[o]++
	}
	under := 0
	for _, rng := range random.Perm(len(s.owners)) {
		owner := s.owners[rng]
		if have[owner] <= s.quota[owner] {
			continue
		}
		for under < len(have) && have[under] >= s.quota[under] {
			under++
		}
		if under == len(have) {
			return
		}
		have[owner]--
		have[under]++
		s.owners[rng] = uint16(under)
	}
}

// recount walks every range.
func (s *search) recount() {
	clear(s.counts)
	for rng := range s.sets {
		s.sets[rng], s.reach[rng] = s.walk.replicas(rng, s.sets[rng][:0])
		s.back = max(s.back, s.reach[rng])
		for _, m := range s.sets[rng] {
			s.counts[m]++
		}
	}
}

// cost is the mean squared distance of the replica counts from their shares.
func (s *search) cost() float64 {
	sum := 0.0
	for i, n := range s.counts {
		d := float64(n) - s.share[i]
		sum += d * d
	}
	return sum / float64(len(s.counts))
}

// tryExchange exchanges the owners of two ranges and keeps it if the cost falls.
func (s *search) tryExchange(a, b int) {
	before := s.cost()
	s.exchange(a, b)
	if s.cost() >= before {
		s.exchange(a, b)
	}
}

func (s *search) exchange(a, b int) {
	s.owners[a], s.owners[b] = s.owners[b], s.owners[a]
	s.rewalk(a)
	s.rewalk(b)
}

// rewalk updates the ranges whose walk may come past a range.
func (s *search) rewalk(rng int) {
	for d := 0; d < min(s.back, token.Ranges); d++ {
		r := (rng - d + token.Ranges) % token.Ranges
		var reach int
		s.scratch, reach = s.walk.replicas(r, s.scratch[:0])
		for _, m := range s.sets[r] {
			s.counts[m]--
		}
		for _, m := range s.scratch {
			s.counts[m]++
		}
		s.sets[r] = append(s.sets[r][:0], s.scratch...)
		s.reach[r] = reach
		s.back = max(s.back, reach)
	}
}
