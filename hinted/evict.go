package hinted

import "time"

// drop is a segment that is to go, and why.
type drop struct {
	q   *queue
	s   *segment
	why reason
}

// pick finds the oldest segments of plain hints that are over a bound of age or
// bytes, or damaged, oldest first within a queue. It changes nothing.
func pick(cfg *Config, now time.Time, queues []*queue) []drop {
	var drops []drop
	gone := make([]int, len(queues)) // segments picked, by queue
	total := int64(0)
	horizon := now.Add(-cfg.MaxAge).UnixMicro()
	for i, q := range queues {
		if q.id.class != Plain {
			continue
		}
		left := q.bytes
		for _, s := range q.segments {
			why := over(s, left, horizon, cfg)
			if why == "" {
				break
			}
			drops = append(drops, drop{q, s, why})
			left -= s.bytes
			gone[i]++
		}
		total += left
	}
	for total > cfg.TotalBytes {
		oldest := -1
		for i, q := range queues {
			if q.id.class != Plain || gone[i] == len(q.segments) {
				continue
			}
			if oldest < 0 || q.segments[gone[i]].oldest < queues[oldest].segments[gone[oldest]].oldest {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		s := queues[oldest].segments[gone[oldest]]
		drops = append(drops, drop{queues[oldest], s, totalBytes})
		total -= s.bytes
		gone[oldest]++
	}
	return drops
}

// over says why the oldest segment of a queue with that many bytes has to go;
// empty: it may stay.
func over(s *segment, bytes, horizon int64, cfg *Config) reason {
	switch {
	case s.damaged:
		return corrupt
	case s.newest <= horizon:
		return tooOld
	case bytes > cfg.TargetBytes:
		return targetBytes
	}
	return ""
}

// evict drops the plain hints that are over a bound.
func (h *Handoff) evict(now time.Time) error {
	h.mu.Lock()
	drops := pick(&h.cfg, now, h.order)
	for _, d := range drops {
		h.dropSegment(d)
	}
	h.mu.Unlock()
	return h.eraseAll(drops)
}

// abandon drops all plain hints of a queue whose target is no member any more.
func (h *Handoff) abandon(q *queue) error {
	var drops []drop
	h.mu.Lock()
	for _, s := range q.segments {
		drops = append(drops, drop{q, s, moved})
	}
	for _, d := range drops {
		h.dropSegment(d)
	}
	h.mu.Unlock()
	return h.eraseAll(drops)
}

// dropSegment takes a segment out of its queue and counts its hints as lost. h.mu
// is held.
func (h *Handoff) dropSegment(d drop) {
	h.lose(d.q.id.target, d.why, h.remove(d.q, d.s), &d.s.marks)
}

func (h *Handoff) eraseAll(drops []drop) error {
	for _, d := range drops {
		if err := h.erase(d.q.id, d.s); err != nil {
			return err
		}
	}
	return nil
}
