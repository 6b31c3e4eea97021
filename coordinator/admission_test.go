package coordinator

import (
	"errors"
	"testing"
)

func TestAdmissionBounds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.InFlightBytes, cfg.StragglerBytes, cfg.Reads = 100, 50, 2
	a := newAdmission(cfg)
	overloaded := func(err error) {
		t.Helper()
		var over *OverloadedError
		if !errors.As(err, &over) || !over.Local || over.RetryAfter <= 0 {
			t.Fatalf("error %v, want a local *OverloadedError", err)
		}
	}
	admitted := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admitted(a.beginWrite(1000)) // alone, whatever its size
	overloaded(a.beginWrite(1))
	a.answerWrite(1000)
	overloaded(a.beginWrite(1)) // its stragglers are over the bound
	a.endWrite(1000)
	admitted(a.beginWrite(60))
	admitted(a.beginWrite(40))
	overloaded(a.beginWrite(1))
	admitted(a.beginRead())
	admitted(a.beginRead())
	overloaded(a.beginRead())
	a.endRead()
	admitted(a.beginRead())
	if inFlight, straggling, reads := a.load(); inFlight != 100 || straggling != 0 || reads != 2 {
		t.Fatalf("load %d, %d, %d", inFlight, straggling, reads)
	}
}

func TestAdmissionDrains(t *testing.T) {
	a := newAdmission(DefaultConfig())
	drained := func() bool {
		select {
		case <-a.drained:
			return true
		default:
			return false
		}
	}
	if err := errors.Join(a.beginWrite(10), a.beginRead()); err != nil {
		t.Fatal(err)
	}
	a.beginTask()
	a.stop()
	a.stop()
	if !errors.Is(a.beginWrite(1), ErrStopping) || !errors.Is(a.beginRead(), ErrStopping) {
		t.Fatal("work is admitted after stop")
	}
	a.answerWrite(10)
	a.endRead()
	a.endTask()
	if drained() {
		t.Fatal("drained while a write waits for stragglers")
	}
	a.endWrite(10)
	if !drained() {
		t.Fatal("not drained after the last has ended")
	}
	idle := newAdmission(DefaultConfig())
	idle.stop()
	<-idle.drained
}
