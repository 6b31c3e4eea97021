package ring

import (
	"math/rand/v2"
	"testing"
)

// TestMovedByJoin: one more node moves hardly more than what it gets, in clusters of
// all usual sizes. The figures are in docs/results.md: -run MovedByJoin -v.
func TestMovedByJoin(t *testing.T) {
	const most = 1.05
	placements := []Placement{simple(3)}
	for _, nodes := range []int{3, 5, 10} {
		random := rand.New(rand.NewPCG(4, uint64(nodes)))
		before := joined(t, random, nodes, placements[0])
		version := uint64(nodes + 1)
		after := carry(t, before, &version, Plan{Kind: "join", Join: []Member{newMember(random, "z")}}, placements)
		rb, err := New(&before, 1, placements)
		if err != nil {
			t.Fatal(err)
		}
		ra, err := New(&after, 2, placements)
		if err != nil {
			t.Fatal(err)
		}
		moved := 0
		for _, m := range Diff(rb, ra) {
			moved += len(m.Gained)
		}
		least := atLeast(before, after, placements[0])
		ratio := float64(moved) / least
		t.Logf("%d to %d nodes: %d replicas of ranges move, %.1f at least: %.3f; balance %.3f", nodes, nodes+1, moved, least, ratio, worst(t, after, placements[0]))
		if ratio > most {
			t.Errorf("%d to %d nodes: %.3f of the least is moved", nodes, nodes+1, ratio)
		}
	}
}
