package antientropy

import (
	"slices"
	"testing"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/token"
)

// TestUrgentGoesFirst: what somebody waits for overtakes what was found to differ
// before, although it is among that itself.
func TestUrgentGoesFirst(t *testing.T) {
	target := func(id int) message.Target { return message.Target{ID: token.RangeID(id)} }
	p := &peer{urgent: map[message.Target]struct{}{}, deferred: map[message.Target]int{}}
	for id := range 4 {
		p.enqueue(target(id))
	}
	for _, id := range []int{2, 3, 5} {
		p.urgent[target(id)] = struct{}{}
		p.enqueue(target(id))
	}
	p.enqueue(target(0))
	if want := []message.Target{target(5), target(3), target(2), target(0), target(1)}; !slices.Equal(p.queue, want) {
		t.Errorf("the queue is %v, not %v", p.queue, want)
	}
}
