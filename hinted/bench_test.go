package hinted

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport"
)

// BenchmarkKeep keeps groups of ten rows for a dead target, until they are written.
func BenchmarkKeep(b *testing.B) {
	w := openWorld(b, vfs.NewMem(), DefaultConfig())
	w.setDead(true, 2)
	w.run()
	g := groupOf(b, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	b.SetBytes(int64(len(g.Entries)))
	b.ReportAllocs()
	for b.Loop() {
		for w.h.buffer.size(Plain) > w.cfg.BufferBytes/2 {
			w.hold(node(3), groupOf(b, 1, 1)) // it is written after what is buffered
		}
		w.h.Keep(node(2), g)
	}
	b.StopTimer()
	w.close()
}

// BenchmarkReplay replays groups of ten rows to a target that answers at once.
func BenchmarkReplay(b *testing.B) {
	cfg := DefaultConfig()
	cfg.ReplayRate = 1 << 40
	w := openWorld(b, vfs.NewMem(), cfg)
	w.setDead(true, 2)
	w.run()
	w.h.env.Apply = func(_ ring.NodeID, _ *transport.Group, _ time.Time, sink transport.Sink, tag uint32) {
		sink.Done(tag, transport.Verdict{})
	}
	g := groupOf(b, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	b.SetBytes(int64(len(g.Entries)))
	for range b.N {
		for w.h.buffer.size(Plain) > w.cfg.BufferBytes/2 {
			w.hold(node(3), groupOf(b, 1, 1))
		}
		w.h.Keep(node(2), g)
	}
	w.hold(node(3), groupOf(b, 1, 1))
	b.ReportAllocs()
	b.ResetTimer()
	w.setDead(false, 2)
	w.h.Wake()
	w.drain()
	b.StopTimer()
	w.close()
}

// TestMetricsAreClean: names and help texts keep to the rules, and every failure of a
// registration is an error.
func TestMetricsAreClean(t *testing.T) {
	w := openWorld(t, vfs.NewMem(), testConfig())
	defer w.close()
	families, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "dunlin_hinted_") || f.GetType() == dto.MetricType_UNTYPED {
			t.Errorf("%s is an odd metric", f.GetName())
		}
	}
	var twice prometheus.AlreadyRegisteredError
	if _, err := New(w.cfg, w.h.env); !errors.As(err, &twice) {
		t.Errorf("registered twice: %v", err)
	}
}

// TestConfig: what makes no sense is refused, all of it at once.
func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{BackoffMin: 2, BackoffMax: 1}.Validate()
	if err == nil {
		t.Fatal("nothing was accepted")
	}
	for _, name := range []string{"TargetBytes", "TotalBytes", "MaxAge", "CountedBytes", "SegmentBytes", "BufferBytes", "SyncInterval",
		"ReplayRate", "ReplayBytes", "ReplayTimeout", "Poll", "BackoffMax", "Attempts"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %v", name, err)
		}
	}
	if _, err := New(DefaultConfig(), Env{}); err == nil {
		t.Error("an empty Env was accepted")
	}
}
