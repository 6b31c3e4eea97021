package ring

import (
	"slices"
	"sync"
)

// searches are the last ones and what they found. A search is repeated by whoever
// checks what it proposes: after a dry run, before a vote, and at every ballot anew.
var searches memory

type memory struct {
	mu   sync.Mutex // guards the fields below
	past [4]struct {
		of    refinement
		found []uint16
	}
	next int // which of past is the oldest
}

// refined is what refine makes of a refinement. The caller may keep the table and
// must not change what the refinement refers to.
func (m *memory) refined(r refinement) []uint16 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.past {
		if p := &m.past[i]; p.found != nil && p.of.equal(&r) {
			return slices.Clone(p.found)
		}
	}
	found := refine(r)
	m.past[m.next].of, m.past[m.next].found = r, slices.Clone(found)
	m.next = (m.next + 1) % len(m.past)
	return found
}

func (r *refinement) equal(o *refinement) bool {
	return r.seed == o.seed && r.old == o.old && r.single == o.single && r.placement.Equal(o.placement) &&
		slices.Equal(r.members, o.members) && slices.Equal(r.owners, o.owners) && slices.Equal(r.proposal, o.proposal) &&
		slices.EqualFunc(r.before, o.before, slices.Equal)
}
