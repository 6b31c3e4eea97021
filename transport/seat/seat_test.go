package seat

import (
	"errors"
	"testing"
)

func (s *Seat) expect(t *testing.T, why error) {
	t.Helper()
	if got := s.Why(); !errors.Is(got, why) || why == nil && got != nil {
		t.Errorf("lost because of %v, not %v", got, why)
	}
	select {
	case <-s.Lost():
		if why == nil {
			t.Error("it is lost")
		}
	default:
		if why != nil {
			t.Error("it is not lost")
		}
	}
}

// TestSeats: one for each key; who is unwanted loses it, or does not get it.
func TestSeats(t *testing.T) {
	var table Table[int]
	first := table.Take(1, table.Round())
	first.expect(t, nil)
	second := table.Take(1, table.Round())
	first.expect(t, ErrTaken)
	table.Leave(1, first) // it is another's by now
	other := table.Take(2, table.Round())

	round := table.Round()
	table.Keep(func(k int) bool { return k != 1 })
	second.expect(t, ErrUnwanted)
	other.expect(t, nil)
	table.Take(1, round).expect(t, ErrUnwanted) // let in before
	table.Take(2, round).expect(t, nil)
	other.expect(t, ErrTaken)

	again := table.Take(1, table.Round()) // let in since
	again.expect(t, nil)
	table.Leave(1, again)
	table.Keep(func(int) bool { return false })
	again.expect(t, nil)
}
