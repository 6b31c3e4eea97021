package hinted

import (
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// queue is what is kept of one class for one target. Handoff.mu guards it, except
// where said otherwise.
type queue struct {
	id       queueID
	segments []*segment // oldest first
	tally               // of the segments
	lastSeq  uint64     // the last one given; belongs to the writer
	progress progress

	running   bool      // a goroutine replays it
	alive     bool      // its target was, when last looked at
	notBefore time.Time // the next replay begins
	pause     time.Duration
	attempts  map[uint64]int // by sequence: how often a hint of the head failed; belongs to the replay
	quiet     quiet
}

// active is the segment that is being filled; nil if there is none.
func (q *queue) active() *segment {
	if n := len(q.segments); n > 0 && !q.segments[n-1].sealed {
		return q.segments[n-1]
	}
	return nil
}

// head is the oldest segment that can be read; nil if there is none.
func (q *queue) head() *segment {
	for _, s := range q.segments {
		if !s.damaged {
			return s
		}
	}
	return nil
}

// take counts hints out of a segment. h.mu is held.
func (h *Handoff) take(q *queue, s *segment, t tally) {
	s.sub(t)
	q.sub(t)
	h.stored[q.id.class].sub(t)
}

// remove takes a segment out of its queue; what was left in it is returned. h.mu
// is held.
func (h *Handoff) remove(q *queue, s *segment) (left tally) {
	for i := range q.segments {
		if q.segments[i] == s {
			q.segments = append(q.segments[:i:i], q.segments[i+1:]...)
			left = s.tally
			h.take(q, s, left)
			s.gone = true
			h.shrunk()
			return left
		}
	}
	return tally{}
}

// erase deletes a segment that was removed: the summary last, so that a crash in
// between leaves nothing that no summary tells of.
func (h *Handoff) erase(id queueID, s *segment) error {
	if err := h.store.Delete(id.key(s.first), id.key(s.last+1)); err != nil {
		return err
	}
	key := id.summaryKey(s.first)
	return h.store.Delete(key, append(key[:len(key):len(key)], 0))
}

// prune forgets empty queues of nodes that are no members. h.mu is held.
func (h *Handoff) prune(member func(ring.NodeID) bool) {
	kept := h.order[:0]
	for _, q := range h.order {
		if len(q.segments) == 0 && !q.running && !member(q.id.target) {
			delete(h.queues, q.id)
			continue
		}
		kept = append(kept, q)
	}
	clear(h.order[len(kept):])
	h.order = kept
}
