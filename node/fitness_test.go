package node

import (
	"testing"
	"time"
)

func TestSkewNeedsMostPeersAndTwo(t *testing.T) {
	const max = 5 * time.Second
	far, near := 6*time.Second, 4*time.Second
	for _, tc := range []struct {
		name    string
		offsets []time.Duration
		want    bool
	}{
		{"alone", nil, false},
		{"one peer cannot tell whose clock is wrong", []time.Duration{far}, false},
		{"both peers", []time.Duration{far, -far}, true},
		{"one of two", []time.Duration{far, near}, false},
		{"two of four", []time.Duration{far, far, near, near}, false},
		{"three of four, ahead or behind", []time.Duration{far, -far, far, near}, true},
		{"at the bound", []time.Duration{max, max, -max}, false},
	} {
		if got := skewedFrom(tc.offsets, max) != nil; got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// TestJumpsAreConfirmedByMost: peers that are nearer to where a clock has jumped
// than to where it was confirm the jump.
func TestJumpsAreConfirmedByMost(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		jump    time.Duration
		offsets []time.Duration
		want    bool
	}{
		{60 * s, nil, false},
		{60 * s, []time.Duration{0, 1 * s}, false},
		{60 * s, []time.Duration{59 * s, 61 * s, 0}, true},
		{60 * s, []time.Duration{59 * s, 0}, false},
		{-60 * s, []time.Duration{-50 * s}, true},
		{-60 * s, []time.Duration{50 * s, 60 * s}, false},
		{60 * s, []time.Duration{3600 * s, 3600 * s}, true},
	} {
		if got := confirmed(c.jump, c.offsets); got != c.want {
			t.Errorf("jump of %s, offsets %v: %v", c.jump, c.offsets, got)
		}
	}
}
