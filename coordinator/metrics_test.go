package coordinator

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
)

func TestMetricsLint(t *testing.T) {
	cl := newCluster(t, 1, 1, nil)
	c := cl.nodes[0].coordinator
	_ = c.metrics.failed(opScan, ErrStopping)
	c.metrics.retries.WithLabelValues("read").Inc()
	c.metrics.hedges.WithLabelValues("read", "slow").Inc()
	problems, err := testutil.GatherAndLint(cl.nodes[0].metrics)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestKindsOfErrors(t *testing.T) {
	for want, err := range map[string]error{
		"unavailable":     &UnavailableError{},
		"timeout":         &TimeoutError{},
		"overloaded":      &OverloadedError{},
		"overloaded_here": &OverloadedError{Local: true},
		"skewed":          &SkewedError{Err: errors.New("ahead")},
		"client":          &CursorError{},
		"unsealable":      &UnsealableError{Err: context.Canceled},
		"clock_ceiling":   fmt.Errorf("stamp: %w", hlc.ErrCeiling),
		"not_serving":     ErrNoCatalog,
		"canceled":        context.Canceled,
		"other":           errors.New("something"),
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v is counted as %q, want %q", err, got, want)
		}
		if err.Error() == "" {
			t.Errorf("%T says nothing", err)
		}
	}
}

func TestConfigValidates(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty Config is accepted")
	}
	if _, err := New(DefaultConfig(), Env{}); err == nil {
		t.Error("an empty Env is accepted")
	}
}
