package quorum

import "testing"

func TestEquals(t *testing.T) {
	e := NewEquals(2, 3)
	e.Has()
	e.Lacks(1, 2, true)
	e.Lacks(2, 1, false)
	if e.Enough() || e.Decided() {
		t.Fatal("one of two is enough")
	}
	e.Hear(2, true) // has all groups, but answered less than the page
	e.Hear(1, true)
	if e.Enough() || e.Decided() || e.Equal() != 1 {
		t.Fatalf("half of what a replica lacks makes %d equal", e.Equal())
	}
	e.Hear(1, true)
	if !e.Enough() || !e.Decided() || e.Equal() != 2 {
		t.Fatalf("%d equal of 2", e.Equal())
	}
}

// TestEqualsFail: a failed group is decided, and never enough.
func TestEqualsFail(t *testing.T) {
	e := NewEquals(2, 2)
	e.Has()
	e.Lacks(1, 2, true)
	e.Hear(1, false)
	e.Hear(1, true)
	if e.Enough() || !e.Decided() || e.Equal() != 1 {
		t.Errorf("enough %v, decided %v, %d equal", e.Enough(), e.Decided(), e.Equal())
	}
}
