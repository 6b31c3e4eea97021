package quorum

import (
	"testing"

	"github.com/dunlindb/dunlin/transport"
)

// TestJoint: while a range changes owners, a majority of now is not enough without one
// of the target, nor the other way round. Of a, b and c, a goes and d comes.
func TestJoint(t *testing.T) {
	const a, both, d = Now, Now | Then, Then
	for _, tc := range []struct {
		name string
		acks []Sides
		want Outcome
	}{
		{"those that stay", []Sides{both, both}, Reached},
		{"a majority of now alone", []Sides{a, both}, Open},
		{"a majority of the target alone", []Sides{d, both}, Open},
		{"one of each and one of both", []Sides{a, d, both}, Reached},
		{"one of each", []Sides{a, d}, Open},
	} {
		j := NewJoint(2, 3)
		j.Changing(2, 3)
		for _, of := range tc.acks {
			j.Add(transport.OK, of)
		}
		if got := j.Outcome(); got != tc.want {
			t.Errorf("%s: %v, not %v", tc.name, got, tc.want)
		}
	}
	j := NewJoint(2, 3)
	j.Changing(2, 3)
	for _, of := range []Sides{both, both} {
		j.Add(transport.Failed, of)
	}
	if got := j.Outcome(); got != Impossible {
		t.Errorf("two of three have failed: %v", got)
	}
}
