package keep

import (
	"errors"
	"testing"
)

func TestOne(t *testing.T) {
	var o One[int]
	made := 0
	open := func() (int, error) { made++; return made, nil }
	get := func(want int) {
		t.Helper()
		if got, err := o.Get(open); got != want || err != nil {
			t.Fatalf("got %d, %v, want %d", got, err, want)
		}
	}
	bad := errors.New("no")
	if _, err := o.Get(func() (int, error) { return 0, bad }); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	get(1)
	get(1)
	if !o.Forget(1) || o.Forget(1) {
		t.Error("what is forgotten must be handed out once")
	}
	get(2)
	if o.Forget(1) {
		t.Error("an older one was forgotten again")
	}
	get(2)
	if v, ok := o.Close(); v != 2 || !ok {
		t.Errorf("closed with %d, %v", v, ok)
	}
	if _, ok := o.Close(); ok || o.Forget(2) {
		t.Error("handed out twice")
	}
	if _, err := o.Get(open); !errors.Is(err, ErrClosed) || made != 2 {
		t.Errorf("opened after the end: %v", err)
	}
}
