package replica

import (
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsLint(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.refusedReads.WithLabelValues("failed").Inc()
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := newMetrics(registry); err == nil {
		t.Error("metrics can be registered twice")
	}
}

func TestConfigValidates(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, cfg := range map[string]Config{
		"nothing":  {},
		"timeout":  {CatchUps: 1, MaxRows: 1, MaxBytes: 1},
		"no bytes": {CatchUps: 1, CatchUpTimeout: 1, MaxRows: 1},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(DefaultConfig(), Env{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}); err == nil {
		t.Error("an empty Env is accepted")
	}
}
