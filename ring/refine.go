package ring

import (
	"math"
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

// refinement is what refine works on. Indexes are into members, the first old of
// which are not new.
type refinement struct {
	members   []Member
	old       int
	owners    []uint16   // before; nobody: its owner leaves
	before    [][]uint16 // replicas of each range before, nobody for those that leave
	proposal  []uint16   // of the library
	placement Placement
	seed      uint64
	single    bool // no range may gain more than one replica, if that can be
}

// nobody is no member.
const nobody = math.MaxUint16

// refine makes the owner table after a change out of the one before and the
// library's proposal. First every member gets its quota of ranges: those that nobody
// owns any more go to members that are short of theirs, and ranges of others to new
// ones, where the proposal agrees or else anywhere. Then moved ranges are exchanged
// for others as long as that brings replica counts closer to the shares or moves
// fewer replicas. A random search, seeded, so that the same change gives the same
// table everywhere.
func refine(r refinement) []uint16 {
	random := rand.New(rand.NewPCG(r.seed, uint64(len(r.members))))
	share := shares(r.members, r.placement)
	s := &search{
		before: r.owners, owners: slices.Clone(r.owners), old: r.old, share: make([]int, len(r.members)), owns: make([]int, len(r.members)),
		setsBefore: r.before,
	}
	for i, v := range share {
		s.share[i] = int(v * unit)
	}
	for _, o := range r.owners {
		if o != nobody {
			s.owns[o]++
		}
	}
	s.quota = quotas(share, s.owns)
	s.fill(r.proposal, random)
	s.start(newWalker(r.members, s.owners, r.placement, func(int) bool { return true }))
	for range refineTries {
		if s.cost <= len(s.share)*unit*unit {
			break // within a replica of the shares, on average, and nothing moved aside
		}
		s.try(random)
	}
	if r.single {
		s.separate()
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
	if from != nobody {
		if s.owns[from] <= s.quota[from] {
			return
		}
		s.owns[from]--
	}
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
	for distance, r := 0, rng; distance < s.back; distance, r = distance+1, s.previous(r) {
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

// previous is the range before one, on the circle.
func (s *search) previous(rng int) int {
	if rng == 0 {
		return len(s.owners) - 1
	}
	return rng - 1
}

// gained counts the replicas that a range gains.
func (s *search) gained(rng int) (n int) {
	for _, m := range s.sets[rng] {
		if !slices.Contains(s.setsBefore[rng], m) {
			n++
		}
	}
	return n
}

// excess is how many replicas ranges gain beyond one each, among those whose walk
// comes past a range.
func (s *search) excess(rng int) (n int) {
	for distance, r := 0, rng; distance < s.back; distance, r = distance+1, s.previous(r) {
		if s.reach[r] > distance {
			n += max(0, s.gained(r)-1)
		}
	}
	return n
}

// separatePasses bounds how often all ranges are looked at.
const separatePasses = 6

// separate gives ranges to other owners where a range would gain more than one
// replica, as far as that helps; it costs some evenness.
func (s *search) separate() {
	for range separatePasses {
		left := 0
		for rng := range s.sets {
			for distance := 0; s.gained(rng) > 1 && distance < s.reach[rng]; distance++ {
				if at := (rng + distance) % len(s.owners); s.owners[at] != s.before[at] {
					s.reassign(at)
				}
			}
			left += max(0, s.gained(rng)-1)
		}
		if left == 0 {
			return
		}
	}
}

// reassign gives a range to whom it leaves the least excess with: the owner of before
// if that is as good as any.
func (s *search) reassign(rng int) {
	best, least := s.owners[rng], s.excess(rng)
	options := make([]uint16, 0, len(s.share)+1)
	if s.before[rng] != nobody {
		options = append(options, s.before[rng])
	}
	for m := range s.share {
		options = append(options, uint16(m))
	}
	for _, m := range options {
		s.owners[rng] = m
		s.rewalk(rng)
		if n := s.excess(rng); n < least {
			best, least = m, n
		}
		if least == 0 {
			break
		}
	}
	s.owners[rng] = best
	s.rewalk(rng)
}
