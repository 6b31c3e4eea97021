package antientropy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/hlc"
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
			if scope.Table != 0 && (table == nil || table.Placement != t.placement) ||
				scope.Ranges != nil && !slices.Contains(scope.Ranges, t.id) {
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
	began, err := a.env.Clock.Now()
	if err != nil {
		return err
	}
	m := rootsRequest{epoch: epochOf(v)}
	for i, t := range p.targets {
		l, err := a.look(ctx, v, t.id)
		if err != nil {
			return err
		}
		if root := l.roots[t.placement]; root.settled {
			m.targets, m.roots = append(m.targets, t), append(m.roots, root.sum)
		} else {
			p.deferOrQueue(t, a.cfg.Deferrals)
		}
		if len(m.targets) == rootsMax || i == len(p.targets)-1 {
			if err := a.askRoots(ctx, v, p, &m, began); err != nil {
				return err
			}
			m.targets, m.roots = m.targets[:0], m.roots[:0]
		}
	}
	return nil
}

func (a *AntiEntropy) askRoots(ctx context.Context, v *schema.View, p *peer, m *rootsRequest, began hlc.Timestamp) error {
	if len(m.targets) == 0 {
		return nil
	}
	body, err := a.call(ctx, p.id, kindRoots, m.encode())
	if err != nil {
		return err
	}
	answer, err := decodeLikenesses(body)
	if err != nil || len(answer) != len(m.targets) {
		return fmt.Errorf("%w: %d answers to %d roots", errMessage, len(answer), len(m.targets))
	}
	p.failures = 0
	for i, t := range m.targets {
		switch answer[i] {
		case alike:
			a.metrics.compared.Inc()
			a.verified(v, p, t, began)
		case different:
			p.enqueue(t)
		case unsettled:
			p.deferOrQueue(t, a.cfg.Deferrals)
		}
	}
	return nil
}

// deferOrQueue puts a target off for a round, unless it is urgent or was put off
// often enough.
func (p *peer) deferOrQueue(t target, most int) {
	_, urgent := p.urgent[t]
	if p.deferred[t]++; !urgent && p.deferred[t] <= most {
		return
	}
	p.enqueue(t)
}

func (p *peer) enqueue(t target) {
	delete(p.deferred, t)
	if !slices.Contains(p.queue, t) {
		p.queue = append(p.queue, t)
	}
}

// verified records that a target was equal, or made equal, since a moment.
func (a *AntiEntropy) verified(v *schema.View, p *peer, t target, since hlc.Timestamp) {
	delete(p.deferred, t)
	delete(p.urgent, t)
	a.credit(v, t, p.id, since)
}
