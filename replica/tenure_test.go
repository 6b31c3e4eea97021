package replica

import (
	"testing"

	"github.com/dunlindb/dunlin/ring"
)

// TestTenureGoesOn: which tenures continue in a later view, and what they are then.
func TestTenureGoesOn(t *testing.T) {
	flipped := &ring.Change{ID: 7, Phase: ring.Flipped}
	streaming := &ring.Change{ID: 7, Phase: ring.Streaming}
	later := &ring.Change{ID: 9, Phase: ring.Streaming}
	for _, tc := range []struct {
		name        string
		before      tenure
		change      *ring.Change
		now, target bool
		goesOn      bool
		next        tenure
	}{
		{"nothing held", 0, nil, false, false, false, 0},
		{"settled, and goes on so", settled, nil, true, true, true, settled},
		{"becomes pending", 0, streaming, false, true, false, 7},
		{"is pending still", 7, streaming, false, true, true, 7},
		{"is pending, reads come", 7, flipped, false, true, true, 7},
		{"the change has finished", 7, nil, true, true, true, settled},
		{"the change has finished, another began", 7, later, true, true, true, settled},
		{"the change was aborted, another makes it pending", 7, later, false, true, false, 9},
		{"displaced, may be aborted", settled, streaming, true, false, true, settled},
		{"displaced, for good", settled, flipped, true, false, true, -7},
		{"displaced, still", -7, flipped, true, false, true, -7},
		{"was displaced, and is pending again", -7, later, false, true, false, 9},
		{"was displaced, and holds it again", -7, nil, true, true, false, settled},
		{"was displaced", -7, nil, false, false, false, 0},
		{"was displaced without hearing of it, and is pending again", settled, later, false, true, false, 9},
	} {
		change := uint64(0)
		if tc.change != nil {
			change = tc.change.ID
		}
		if got := tc.before.goesOn(change, tc.now); got != tc.goesOn {
			t.Errorf("%s: goes on %v", tc.name, got)
		}
		if got := nextTenure(tc.change, tc.now, tc.target); got != tc.next {
			t.Errorf("%s: next %d", tc.name, got)
		}
	}
	var some tenures
	some[3], some[5] = settled, -8
	again, err := decodeTenures(some.encode())
	if err != nil || again != some {
		t.Errorf("decoded %v: %v", again, err)
	}
	if _, err := decodeTenures([]byte{1}); err == nil {
		t.Error("a short record is read")
	}
}
