package hinted

import (
	"math"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/ring"
)

// TargetStatus says what is kept for one node.
type TargetStatus struct {
	Target         ring.NodeID
	Plain, Counted QueueStatus
}

// QueueStatus says what is kept of one class.
type QueueStatus struct {
	Hints, Rows, Bytes int64
	Oldest             time.Time     // when the oldest was kept, as far as segments tell; zero if there is none
	Replaying          bool          // at present
	Replayed           int64         // hints since the start of this node
	Rate               float64       // bytes a second, over about the last ten seconds of replay
	Remaining          time.Duration // at that rate; 0: not known
	Damaged            int64         // of the hints: in segments that cannot be read
	LastError          string        // why the last replay stopped, if it had to
}

// Status lists the targets for which hints are kept, or were since the start, by id.
func (h *Handoff) Status() []TargetStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []TargetStatus
	for _, q := range h.order {
		at := slices.IndexFunc(all, func(s TargetStatus) bool { return s.Target == q.id.target })
		if at < 0 {
			at = len(all)
			all = append(all, TargetStatus{Target: q.id.target})
		}
		if q.id.class == Plain {
			all[at].Plain = q.status()
		} else {
			all[at].Counted = q.status()
		}
	}
	slices.SortFunc(all, func(a, b TargetStatus) int { return slices.Compare(a.Target[:], b.Target[:]) })
	return all
}

// status is the queue's part of Status. Handoff.mu is held.
func (q *queue) status() QueueStatus {
	s := QueueStatus{
		Hints: q.hints, Rows: q.rows, Bytes: q.bytes,
		Replaying: q.running, Replayed: q.progress.hints, Rate: q.progress.rate,
	}
	if oldest, ok := q.oldest(); ok {
		s.Oldest = oldest
	}
	if s.Rate > 0 {
		s.Remaining = time.Duration(float64(s.Bytes) / s.Rate * float64(time.Second))
	}
	for _, seg := range q.segments {
		if seg.damaged {
			s.Damaged += seg.hints
		}
	}
	if q.progress.err != nil {
		s.LastError = q.progress.err.Error()
	}
	return s
}

// oldest is when the oldest hint was kept, as far as segments tell.
func (q *queue) oldest() (time.Time, bool) {
	if len(q.segments) == 0 || q.segments[0].oldest == 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(q.segments[0].oldest), true
}

// progress is how a queue's replays go.
type progress struct {
	hints int64     // replayed since the start
	rate  float64   // bytes a second; 0: not known
	begun time.Time // the present replay
	last  time.Time // the last chunk was done
	err   error     // that stopped the last replay
}

// rateSpan is how far back the rate looks.
const rateSpan = 10 * time.Second

func (p *progress) begin(now time.Time) { p.begun, p.last, p.err = now, now, nil }

func (p *progress) end() { p.rate = 0 }

// add counts a chunk. The rate is the mean since the replay began at first, and
// later one that forgets exponentially.
func (p *progress) add(done tally, now time.Time) {
	p.hints += done.hints
	took := now.Sub(p.last).Seconds()
	if took <= 0 {
		return
	}
	weight := max(took/now.Sub(p.begun).Seconds(), 1-math.Exp(-took/rateSpan.Seconds()))
	p.rate += weight * (float64(done.bytes)/took - p.rate)
	p.last = now
}
