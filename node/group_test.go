package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestPartsStopInReverse, each only after its successor has ended.
func TestPartsStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		var ended []string
		for _, name := range []string{"a", "b", "c"} {
			g.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // draining
				ended = append(ended, name)
				return ctx.Err()
			})
		}
		if err := g.stop(); err != nil {
			t.Errorf("a cancelled part is no failure: %v", err)
		}
		if !slices.Equal(ended, []string{"c", "b", "a"}) {
			t.Errorf("ended in the order %v", ended)
		}
	})
}

func TestAFailureEndsTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		ctx := g.until(t.Context())
		g.start("steady", func(ctx context.Context) error { <-ctx.Done(); return nil })
		g.start("broken", func(context.Context) error { return errors.New("no disk") })
		g.wait(t.Context())
		<-ctx.Done() // whatever was still starting is told
		if err := g.stop(); err == nil || !strings.Contains(err.Error(), "broken: no disk") {
			t.Errorf("stop: %v", err)
		}
	})
}

// TestJobsBackOff: failures are counted and pauses double up to a bound; work is
// followed by the next step at once.
func TestJobsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics(prometheus.NewRegistry())
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		var at []time.Duration
		j := job{name: "j", every: time.Second, step: func(ctx context.Context) (bool, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("a step without a deadline")
			}
			at = append(at, time.Since(begin))
			switch n := len(at); {
			case n <= 3:
				return false, errors.New("not now")
			case n == 4:
				return false, nil // there was work
			case n == 6:
				cancel()
			}
			return true, nil
		}}
		if err := runJob(ctx, j, m, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 7 * time.Second, 8 * time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("steps at %v, want %v", at, want)
		}
		if got := testutil.ToFloat64(m.jobFailures.WithLabelValues("j")); got != 3 {
			t.Errorf("%g failures counted", got)
		}
		if backoff(time.Second, 1000) != backoffMax {
			t.Error("the pause has no bound")
		}
	})
}
