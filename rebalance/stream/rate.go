package stream

import (
	"context"
	"sync"
	"time"
)

// bucket lets so many bytes a second through. What was taken is paid for
// afterwards: the next one waits until the debt is worked off.
type bucket struct {
	perSecond float64

	mu   sync.Mutex // guards the fields below
	free time.Time  // when nothing will be owed
}

func newBucket(bytesPerSecond int) *bucket { return &bucket{perSecond: float64(bytesPerSecond)} }

// take notes bytes.
func (b *bucket) take(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); b.free.Before(now) {
		b.free = now
	}
	b.free = b.free.Add(time.Duration(float64(bytes) / b.perSecond * float64(time.Second)))
}

// wait returns when nothing is owed, or when ctx ends, and how long it took.
func (b *bucket) wait(ctx context.Context) (took time.Duration, err error) {
	for begun := time.Now(); ; {
		b.mu.Lock()
		left := time.Until(b.free)
		b.mu.Unlock()
		if left <= 0 {
			return time.Since(begun), ctx.Err()
		}
		if err := pause(ctx, left); err != nil {
			return time.Since(begun), err
		}
	}
}

// pause waits for some time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
