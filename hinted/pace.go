package hinted

import (
	"context"
	"sync"
	"time"
)

// paceBurst is what may go at once after a rest.
const paceBurst = 50 * time.Millisecond

// pace spreads bytes over time.
type pace struct {
	rate int64 // bytes a second

	mu   sync.Mutex // guards next
	next time.Time  // when what was let through is paid for
}

func newPace(rate int64) *pace { return &pace{rate: rate} }

// reserve takes a turn for n bytes at or after now, and returns how long to wait
// for it.
func (p *pace) reserve(now time.Time, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if floor := now.Add(-paceBurst); p.next.Before(floor) {
		p.next = floor
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return max(wait, 0)
}

// wait returns when n bytes may go; it reports false when ctx ended first.
func (p *pace) wait(ctx context.Context, n int) bool {
	return sleep(ctx, p.reserve(time.Now(), n))
}

// sleep waits; it reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
