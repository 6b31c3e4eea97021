package antientropy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Scope is what Hurry makes urgent. Zero values mean all.
type Scope struct {
	Peer   ring.NodeID
	Table  uint32 // the whole keyspace of it is compared
	Ranges []token.RangeID
}

// Hurry has ranges compared at once, without waiting for settling or for their
// turn, until they were verified: after a peer has come back, after hints were
// dropped, or when somebody asks for it.
func (a *AntiEntropy) Hurry(s Scope) {
	a.mu.Lock()
	a.hurried = append(a.hurried, s)
	if len(a.hurried) > token.Ranges { // nobody steps: all is urgent
		a.hurried = []Scope{{}}
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (s *schedule) hurry(v *schema.View, scope Scope) {
	table := v.Table(scope.Table)
	for _, p := range s.order {
		if scope.Peer != (ring.NodeID{}) && scope.Peer != p.id {
			continue
		}
		for _, t := range p.targets {
			if scope.Table != 0 && (table == nil || table.Placement != t.Placement) ||
				scope.Ranges != nil && !slices.Contains(scope.Ranges, t.ID) {
				continue
			}
			p.urgent[t] = struct{}{}
			p.due, p.after, p.failures = time.Time{}, time.Time{}, 0
		}
	}
	s.hash.left = token.Ranges // a new pass, at once
}

// rootsMax bounds the roots in one message. With one keyspace that is all of them.
const rootsMax = 4096

// compareRoots compares the roots of all ranges shared with a peer.
func (a *AntiEntropy) compareRoots(ctx context.Context, v *schema.View, p *peer) error {
	began, err := a.moment(p.id)
	if err != nil {
		return err
	}
	m := message.RootsRequest{Epoch: share.Epoch(v)}
	for i, t := range p.targets {
		l, err := a.look(ctx, v, t.ID)
		if err != nil {
			return err
		}
		point := a.purge.Point(share.Keyspace(v, t.Placement), t.ID)
		if root := l.roots[t.Placement]; a.awaits(v, t) {
			// later
		} else if root.settled && root.oldest > point && !a.env.Replica.InQuarantine(t.ID) {
			m.Targets, m.Roots, m.Points = append(m.Targets, t), append(m.Roots, root.sum), append(m.Points, point)
		} else {
			p.deferOrQueue(t, a.cfg.Deferrals)
		}
		if len(m.Targets) == rootsMax || i == len(p.targets)-1 {
			if err := a.askRoots(ctx, v, p, &m, began); err != nil {
				return err
			}
			m.Targets, m.Roots, m.Points = m.Targets[:0], m.Roots[:0], m.Points[:0]
		}
	}
	return nil
}

func (a *AntiEntropy) askRoots(ctx context.Context, v *schema.View, p *peer, m *message.RootsRequest, began moment) error {
	if len(m.Targets) == 0 {
		return nil
	}
	body, err := a.ask(ctx, p.id, message.Roots, m.Encode())
	if err != nil {
		return err
	}
	answer, err := message.DecodeLikenesses(body)
	if err != nil || len(answer) != len(m.Targets) {
		return fmt.Errorf("%w: %d answers to %d roots", message.ErrMessage, len(answer), len(m.Targets))
	}
	a.well(p)
	for i, t := range m.Targets {
		switch answer[i] {
		case message.Alike:
			a.metrics.compared.Inc()
			a.verified(v, p, t, began)
		case message.Different:
			p.enqueue(t)
		case message.Unsettled:
			p.deferOrQueue(t, a.cfg.Deferrals)
		}
	}
	return nil
}

// awaits reports whether a target is about to be filled here in bulk.
func (a *AntiEntropy) awaits(v *schema.View, t message.Target) bool {
	return a.env.Awaits != nil && a.env.Awaits(v, share.Keyspace(v, t.Placement), t.ID)
}

// deferOrQueue puts a target off for a round, unless it is urgent or was put off
// often enough.
func (p *peer) deferOrQueue(t message.Target, most int) {
	_, urgent := p.urgent[t]
	if p.deferred[t]++; !urgent && p.deferred[t] <= most {
		return
	}
	p.enqueue(t)
}

func (p *peer) enqueue(t message.Target) {
	delete(p.deferred, t)
	_, urgent := p.urgent[t]
	at := slices.Index(p.queue, t)
	switch {
	case urgent && at >= 0:
		copy(p.queue[1:at+1], p.queue[:at])
		p.queue[0] = t
	case urgent:
		p.queue = slices.Insert(p.queue, 0, t)
	case at < 0:
		p.queue = append(p.queue, t)
	}
}

// verified records that a target was equal, or made equal, since a moment.
func (a *AntiEntropy) verified(v *schema.View, p *peer, t message.Target, since moment) {
	delete(p.deferred, t)
	delete(p.urgent, t)
	a.credit(v, t, p.id, since)
}
