package node

import (
	"context"
	"log/slog"
	"time"
)

// job is background work: one bounded step at a time, under the one runner.
type job struct {
	name string
	// every is the pause after an idle step; a step that found work is
	// followed by the next one at once.
	every time.Duration
	// wake, if set, ends that pause early.
	wake <-chan struct{}
	// throttle, if set, is a shorter pause that the step asks for: it has work left.
	throttle func() time.Duration
	// step does one bounded piece of work. idle says that nothing is left for now.
	step func(ctx context.Context) (idle bool, err error)
}

// backoffMax bounds the pause after repeated failures of a job.
const backoffMax = time.Minute

// stepDeadline bounds one step, so that a job cannot hang its runner.
const stepDeadline = time.Minute

// runJob runs a job until ctx ends. A failing step is logged, counted, and
// retried with a pause that doubles up to backoffMax.
func runJob(ctx context.Context, j job, m *metrics, log *slog.Logger) error {
	failures := 0
	for ctx.Err() == nil {
		pause := j.every
		idle, err := runStep(ctx, j)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			m.jobFailures.WithLabelValues(j.name).Inc()
			log.Warn("background step failed", "job", j.name, "failures", failures, "error", err)
			pause = backoff(j.every, failures)
		default:
			failures = 0
			m.jobSteps.WithLabelValues(j.name).Inc()
			switch {
			case !idle:
				pause = 0
			case j.throttle != nil && j.throttle() > 0:
				pause = min(pause, j.throttle())
			}
		}
		if !wait(ctx, pause, j.wake) {
			return nil
		}
	}
	return nil
}

func runStep(ctx context.Context, j job) (idle bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepDeadline)
	defer cancel()
	return j.step(ctx)
}

// backoff is the pause after so many failures in a row.
func backoff(base time.Duration, failures int) time.Duration {
	pause := max(base, 100*time.Millisecond)
	for range min(failures-1, 16) {
		pause = min(2*pause, backoffMax)
	}
	return pause
}

// wait pauses, at most until wake receives; it reports false when ctx ended first.
func wait(ctx context.Context, pause time.Duration, wake <-chan struct{}) bool {
	if pause <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-wake:
		return true
	}
}
