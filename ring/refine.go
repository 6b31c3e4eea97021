package ring

import (
	"math/rand/v2"
	"slices"

	"github.com/dunlindb/dunlin/token"
)

const (
	// refineTries is how many exchanges the refiner tries.
	refineTries = 32 * token.Ranges
	// tolerance is the imbalance that is traded for moving less, as a part of the
	// mean share.
	tolerance = 0.02
	// twicePenalty is what collateral costs more where it is not a range's only new
	// replica.
	twicePenalty = 20
	// unit is one replica in the search's arithmetic, which is in whole numbers so
	// that it comes out alike on every machine.
	unit = 256
)

// refine makes the owner table after a join out of the one before and the
// library's proposal. Members beyond len(before's) are new; owners has an owner for
// each range among the old. First every member gets its quota of ranges, by moves
// towards those that are short of theirs: those that the proposal agrees with, then
// others. Then moved ranges are exchanged for others as long as that brings replica
// counts closer to the shares or moves fewer replicas. A random search, seeded, so
// that the same change gives the same table everywhere.
func refine(members []Member, old int, owners, proposal []uint16, p Placement, seed uint64) []uint16 {
	random := rand.New(rand.NewPCG(seed, uint64(len(members))))
	share := shares(members, p)
	s := &search{
		before: owners, owners: slices.Clone(owners), old: old, share: make([]int, len(members)), owns: make([]int, len(members)),
	}
	for i, v := range share {
		s.share[i] = int(v * unit)
	}
	for _, o := range owners {
		s.owns[o]++
	}
	s.quota = quotas(share, s.owns)
	s.setsBefore = replicaSets(newWalker(members[:old], owners, p))
	s.fill(proposal, random)
	s.start(newWalker(members, s.owners, p))
	for range refineTries {
		if s.cost <= len(s.share)*unit*unit {
			break // within a replica of the shares, on average, and nothing moved aside
		}
		s.try(random)
	}
	return s.owners
}

// search is the state of a refinement.
type search struct {
	before, owners []uint16
	old            int
	setsBefore     [][]uint16 // replicas of each range before the change
	share          []int      // replicas that each member should hold, in units
	quota          []int      // ranges that each member should own
	owns           []int      // ranges that each member owns
	moved          []int      // ranges whose owner changed

	walk       *walker
	sets       [][]uint16
	reach      []int // how many owners a range's walk looked at
	back       int   // the largest reach
	held       []int // replicas of each member
	cost       int
	collateral int // what one replica costs that a member gains who is not new
	scratch    []uint16
}

// replicaSets walks all ranges.
func replicaSets(w *walker) [][]uint16 {
	sets := make([][]uint16, token.Ranges)
	for rng := range sets {
		sets[rng], _ = w.replicas(rng, nil)
	}
	return sets
}

// fill moves ranges from members that own more than their quota to those that own
// less, first where the proposal has the range with one that is short.
func (s *search) fill(proposal []uint16, random *rand.Rand) {
	order := random.Perm(len(s.owners))
	for _, rng := range order {
		if to := proposal[rng]; s.owns[to] < s.quota[to] {
			s.give(rng, to)
		}
	}
	to := uint16(0)
	for _, rng := range order {
		for int(to) < len(s.owns) && s.owns[to] >= s.quota[to] {
			to++
		}
		if int(to) == len(s.owns) {
			break
		}
		s.give(rng, to)
	}
}

// give moves a range, if its owner can spare it.
func (s *search) give(rng int, to uint16) {
	from := s.owners[rng]
	if s.owns[from] <= s.quota[from] {
		return
	}
	s.owns[from]--
	s.owns[to]++
	s.owners[rng] = to
	s.moved = append(s.moved, rng)
}

// start walks all ranges and adds up the cost.
func (s *search) start(w *walker) {
	s.walk = w
	s.sets, s.reach = make([][]uint16, len(s.owners)), make([]int, len(s.owners))
	s.held = make([]int, len(s.share))
	total := 0
	for _, share := range s.share {
		s.cost += share * share
		total += share
	}
	s.collateral = int(2 * tolerance * unit * float64(total/len(s.share)))
	for rng := range s.sets {
		s.sets[rng], s.reach[rng] = w.replicas(rng, nil)
		s.back = max(s.back, s.reach[rng])
		s.count(rng, 1)
	}
}

// count adds a range's replicas to the cost, or takes them out with -1. The cost is
// the squared distance of all members from their shares, the collateral, and much
// more for collateral where a range gains another replica too: quorums before and
// after the change would overlap less.
func (s *search) count(rng, sign int) {
	gained, aside := 0, 0
	for _, m := range s.sets[rng] {
		distance := s.held[m]*unit - s.share[m]
		s.cost += 2*sign*unit*distance + unit*unit
		s.held[m] += sign
		if int(m) >= s.old {
			gained++
		} else if !slices.Contains(s.setsBefore[rng], m) {
			gained++
			aside++
		}
	}
	s.cost += sign * aside * s.collateral
	if gained > 1 {
		s.cost += sign * aside * twicePenalty * s.collateral
	}
}

// try gives a moved range back and takes another of the same owner for it, or
// exchanges it with another moved range, and keeps that if the cost falls.
func (s *search) try(random *rand.Rand) {
	if len(s.moved) == 0 {
		return
	}
	i := random.IntN(len(s.moved))
	a := s.moved[i]
	for range 8 {
		b := random.IntN(len(s.owners))
		mine, other := s.owners[a], s.owners[b]
		stays := other == s.before[b]
		if mine == other || (stays && other != s.before[a]) {
			continue
		}
		cost := s.cost
		s.exchange(a, b)
		switch {
		case s.cost >= cost:
			s.exchange(a, b)
		case stays:
			s.moved[i] = b
		}
		return
	}
}

func (s *search) exchange(a, b int) {
	s.owners[a], s.owners[b] = s.owners[b], s.owners[a]
	s.rewalk(a)
	s.rewalk(b)
}

// rewalk updates the ranges whose walk comes past a range.
func (s *search) rewalk(rng int) {
	for distance := range s.back {
		r := (rng - distance + len(s.owners)) % len(s.owners)
		if s.reach[r] <= distance {
			continue
		}
		s.scratch, s.reach[r] = s.walk.replicas(r, s.scratch[:0])
		s.back = max(s.back, s.reach[r])
		if slices.Equal(s.scratch, s.sets[r]) {
			continue
		}
		s.count(r, -1)
		s.sets[r] = append(s.sets[r][:0], s.scratch...)
		s.count(r, 1)
	}
}
