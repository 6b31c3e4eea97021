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
