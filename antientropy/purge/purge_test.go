package purge

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// TestFence: it stays below every floor, those of members never heard of included,
// and below what others hold for this node.
func TestFence(t *testing.T) {
	for _, c := range []struct {
		name    string
		own     hlc.Timestamp
		members []member
		want    hlc.Timestamp
	}{
		{"alone", 100, nil, 100},
		{"others are further", 100, []member{{floor: 120}, {floor: 130}}, 100},
		{"a clock behind, or a counted hint", 100, []member{{floor: 120}, {floor: 7}}, 7},
		{"a clock ahead", 1000, []member{{floor: 120}}, 120},
		{"never heard of", 100, []member{{floor: 120}, {}}, 0},
		{"a hint for this node", 100, []member{{floor: 120, hold: 50}}, 49},
		{"a young hint for this node", 100, []member{{floor: 120, hold: 500}}, 100},
	} {
		members := map[ring.NodeID]*member{}
		for i := range c.members {
			members[ring.NodeID{byte(i + 1)}] = &c.members[i]
		}
		if got := fence(c.own, members); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

// TestPointsRoundTrip, and what another version wrote is no point.
func TestPointsRoundTrip(t *testing.T) {
	var p points
	p.at[0], p.at[1023] = 7, 1<<40
	b := p.encode()
	if again := decodePoints(b); *again != p {
		t.Errorf("%v", again)
	}
	for _, bad := range [][]byte{nil, b[1:], append([]byte{9}, b[1:]...)} {
		if got := decodePoints(bad); *got != (points{}) {
			t.Errorf("%d bytes are read", len(bad))
		}
	}
}

// TestConfigValidates names what makes no sense.
func TestConfigValidates(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Every = 0 }, func(c *Config) { c.Pace = 0 }, func(c *Config) { c.Skew = 0 },
		func(c *Config) { c.Lag = c.Skew - time.Second },
	} {
		c := DefaultConfig()
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if _, err := New(DefaultConfig(), Env{}); err == nil {
		t.Error("an empty Env is accepted")
	}
}

// TestMetricsAreClean: names and help are as promlint wants them.
func TestMetricsAreClean(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg)
	m.blocked.WithLabelValues("n").Set(1)
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
