package antientropy

import (
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// wait tells the work of steps from waiting for the answers of peers.
type wait struct {
	all    time.Duration // that the present step has waited
	counts time.Duration // how much of that peers may have worked

	until time.Time     // the peers that are as slow as the last slow one rest
	slow  time.Duration // how slow that was
}

// waited notes how long a peer took to answer. How much of that it has worked is not known:
// at most a piece, so that more is a slow link, or work for others.
func (s *schedule) waited(to ring.NodeID, d, piece time.Duration) {
	s.wait.all += d
	s.wait.counts += min(d, piece)
	if p := s.peers[to]; p != nil {
		p.slow = d
	}
	if until := time.Now().Add(d); until.After(s.wait.until) {
		s.wait.until, s.wait.slow = until, d
	}
}

// took is the work of a step, here and at peers.
func (w *wait) took(began time.Time) time.Duration { return time.Since(began) - w.all + w.counts }

// rests reports whether a peer is left alone as long as others have something to do: slow
// peers have no more than half of the time, so that a fast one does not wait for them.
func (w *wait) rests(p *peer, now time.Time) bool { return now.Before(w.until) && 2*p.slow >= w.slow }
