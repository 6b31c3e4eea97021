package admission

import (
	"errors"
	"testing"

	"github.com/dunlindb/dunlin/coordinator/quorum"
)

func TestAdmissionBounds(t *testing.T) {
	a := New(Config{InFlightBytes: 100, StragglerBytes: 50, Reads: 2})
	overloaded := func(err error) {
		t.Helper()
		var over *quorum.OverloadedError
		if !errors.As(err, &over) || !over.Local || over.RetryAfter <= 0 {
			t.Fatalf("error %v, want a local *quorum.OverloadedError", err)
		}
	}
	admitted := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admitted(a.BeginWrite(1000)) // alone, whatever its size
	overloaded(a.BeginWrite(1))
	a.AnswerWrite(1000)
	overloaded(a.BeginWrite(1)) // its stragglers are over the bound
	a.EndWrite(1000)
	admitted(a.BeginWrite(60))
	admitted(a.BeginWrite(40))
	overloaded(a.BeginWrite(1))
	admitted(a.BeginRead())
	admitted(a.BeginRead())
	overloaded(a.BeginRead())
	a.EndRead()
	admitted(a.BeginRead())
	if inFlight, straggling, reads := a.Load(); inFlight != 100 || straggling != 0 || reads != 2 {
		t.Fatalf("load %d, %d, %d", inFlight, straggling, reads)
	}
}

func TestAdmissionDrains(t *testing.T) {
	a := New(Config{InFlightBytes: 100, StragglerBytes: 100, Reads: 10})
	drained := func() bool {
		select {
		case <-a.Drained():
			return true
		default:
			return false
		}
	}
	if err := errors.Join(a.BeginWrite(10), a.BeginRead()); err != nil {
		t.Fatal(err)
	}
	a.BeginTask()
	a.Stop()
	a.Stop()
	if !errors.Is(a.BeginWrite(1), ErrStopping) || !errors.Is(a.BeginRead(), ErrStopping) {
		t.Fatal("work is admitted after stop")
	}
	a.AnswerWrite(10)
	a.EndRead()
	a.EndTask()
	if drained() {
		t.Fatal("drained while a write waits for stragglers")
	}
	a.EndWrite(10)
	if !drained() {
		t.Fatal("not drained after the last has ended")
	}
	idle := New(Config{InFlightBytes: 100, StragglerBytes: 100, Reads: 10})
	idle.Stop()
	<-idle.Drained()
}
