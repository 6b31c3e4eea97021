package membership

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"
)

// rejoinParallel bounds how many peers are tried at once.
const rejoinParallel = 8

// attempt is when a peer that is not alive is tried next.
type attempt struct {
	next  time.Time
	pause time.Duration
}

// schedule decides which peers to try when. It is a value without clock or I/O.
type schedule struct {
	min, max time.Duration
	rand     *rand.Rand
	attempts map[uuid.UUID]*attempt
}

// newSchedule seeds the jitter with the node's own UUID: it differs from node
// to node, which is all that it is for, and is the same in every run of a
// simulation.
func newSchedule(self uuid.UUID, minPause, maxPause time.Duration) *schedule {
	seed := rand.NewPCG(binary.BigEndian.Uint64(self[:8]), binary.BigEndian.Uint64(self[8:]))
	return &schedule{min: minPause, max: maxPause, rand: rand.New(seed), attempts: make(map[uuid.UUID]*attempt)}
}

// due returns the peers to try now, at most limit, and plans their next
// attempts. Peers that are alive, or no longer peers, start afresh when they are
// needed again.
func (s *schedule) due(now time.Time, peers []Peer, alive func(uuid.UUID) bool, limit int) []Peer {
	wanted := make(map[uuid.UUID]*attempt, len(s.attempts))
	var out []Peer
	for _, p := range peers {
		if alive(p.ID) {
			continue
		}
		a := s.attempts[p.ID]
		if a == nil {
			a = &attempt{next: now, pause: s.min}
		}
		wanted[p.ID] = a
		if len(out) == limit || a.next.After(now) {
			continue
		}
		// Full pauses would make nodes that started together meet for ever.
		jittered := a.pause/2 + time.Duration(s.rand.Int64N(int64(a.pause)))
		a.next, a.pause = now.Add(jittered), min(2*a.pause, s.max)
		out = append(out, p)
	}
	s.attempts = wanted
	return out
}

// wait returns how long until an attempt is due.
func (s *schedule) wait(now time.Time) time.Duration {
	pause := s.max
	for _, a := range s.attempts {
		pause = min(pause, a.next.Sub(now))
	}
	return max(pause, s.min/2)
}

// rejoin tries to reach the peers that are not alive, until ctx ends.
func (m *Membership) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	plan := newSchedule(m.env.Self, m.cfg.RejoinMin, m.cfg.RejoinMax)
	alive := func(id uuid.UUID) bool { return id == m.env.Self || m.table.status(id).Alive }
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.peersSet:
		case <-timer.C:
		}
		m.mu.Lock()
		peers := m.peers
		m.mu.Unlock()
		m.try(ctx, list, plan.due(time.Now(), peers, alive, rejoinParallel))
		timer.Reset(plan.wait(time.Now()))
	}
}

// try attempts to join several peers side by side and waits for the outcomes.
func (m *Membership) try(ctx context.Context, list *memberlist.Memberlist, peers []Peer) {
	var attempts sync.WaitGroup
	for _, p := range peers {
		attempts.Go(func() {
			result := "ok"
			if err := m.join(ctx, list, p); err != nil {
				result = "failed"
				m.env.Logger.Debug("peer not reached by gossip", "peer", p.ID, "address", p.Address, "error", err)
			}
			m.metrics.joins.WithLabelValues(result).Inc()
		})
	}
	attempts.Wait()
}

func (m *Membership) join(ctx context.Context, list *memberlist.Memberlist, p Peer) error {
	addrs, err := resolve(ctx, p.Address)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if _, err = list.Join([]string{p.ID.String() + "/" + addr.String()}); err == nil {
			return nil
		}
	}
	return err
}
