package bench

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a target whose operations take a fixed time, except during a stall.
type fake struct {
	takes      time.Duration
	stallFrom  time.Time
	stallUntil time.Time
	fail       error

	mu     sync.Mutex // guards counts
	events int
}

var errRefused = errors.New("refused")

func (f *fake) pause(ctx context.Context) error {
	takes := f.takes
	if now := time.Now(); !now.Before(f.stallFrom) && now.Before(f.stallUntil) {
		takes = time.Until(f.stallUntil)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
		return f.fail
	}
}

func (f *fake) Append(ctx context.Context, _ string, data [][]byte) (int, error) {
	if err := f.pause(ctx); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events += len(data)
	return len(data), nil
}

func (f *fake) Read(ctx context.Context, _ string, limit int) (int, error) {
	return limit, f.pause(ctx)
}

func (f *fake) Kind(err error) string { return err.Error() }

// TestStallIsChargedToEveryOperationItHeldUp: a stall of 1 s in 10 s of load must
// show at p99, with and without a rate. Counting from the moment of sending
// would see one slow operation in a thousand.
func TestStallIsChargedToEveryOperationItHeldUp(t *testing.T) {
	for _, rate := range []float64{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Clients, cfg.Duration, cfg.Rate = 1, 10*time.Second, rate
			target := &fake{takes: 5 * time.Millisecond, stallFrom: time.Now().Add(4 * time.Second), stallUntil: time.Now().Add(5 * time.Second)}
			res, err := Run(t.Context(), cfg, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if p99 := res.Writes.Latency.P99; p99 < 500 {
				t.Errorf("rate %g: p99 is %.1f ms; a stall of 1000 ms is hidden", rate, p99)
			}
			if p50 := res.Writes.Latency.P50; p50 > 10 {
				t.Errorf("rate %g: p50 is %.1f ms", rate, p50)
			}
		})
	}
}

func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Clients, cfg.Duration, cfg.Rate, cfg.Batch, cfg.Mode = 8, 10*time.Second, 200, 10, Mixed
		target := &fake{takes: time.Millisecond}
		var heard int64
		res, err := Run(t.Context(), cfg, target, func(_ time.Duration, n int64) { heard = n })
		if err != nil {
			t.Fatal(err)
		}
		if total := res.Writes.Operations + res.Reads.Operations; total < 1990 || total > 2001 {
			t.Errorf("%d operations, asked for 2000", total)
		}
		if res.Writes.Events != int64(target.events) || res.Writes.Events != 10*res.Writes.Operations {
			t.Errorf("counted %d events in %d writes, the target has %d", res.Writes.Events, res.Writes.Operations, target.events)
		}
		if heard == 0 {
			t.Error("no progress was reported")
		}
	})
}

func TestErrorsAreCountedByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Clients, cfg.Duration = 2, time.Second
		res, err := Run(t.Context(), cfg, &fake{takes: 10 * time.Millisecond, fail: errRefused}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Errors["refused"] != res.Writes.Failed || res.Writes.Failed < 190 || res.Writes.Events != 0 {
			t.Errorf("errors %v, failed %d, events %d", res.Errors, res.Writes.Failed, res.Writes.Events)
		}
		var text bytes.Buffer
		if err := res.Print(&text); err != nil || !strings.Contains(text.String(), "× refused") {
			t.Errorf("report: %v\n%s", err, text.String())
		}
	})
}

func TestBadConfigurations(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Mode = "delete" }, func(c *Config) { c.Clients = 0 }, func(c *Config) { c.Batch = 0 },
		func(c *Config) { c.Duration = 0 }, func(c *Config) { c.Rate = -1 }, func(c *Config) { c.ValueSize = 1 },
		func(c *Config) { c.Streams = 0 }, func(c *Config) { c.ReadLimit = 0 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := Run(t.Context(), cfg, &fake{}, nil); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}
