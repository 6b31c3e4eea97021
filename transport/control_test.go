package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

func TestControl(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		b.handler.control = func(ctx context.Context, from Hello, kind string, body []byte) ([]byte, error) {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Second {
				x.Errorf("deadline %v", d)
			}
			switch kind {
			case "echo":
				return fmt.Appendf(nil, "%s %d %s", from.Node, from.Boot, body), nil
			case "typed":
				return nil, fmt.Errorf("wrapped: %w", &ControlError{Kind: "sealed", Text: "the layout is sealed"})
			case "plain":
				return nil, errors.New("no idea")
			case "huge":
				return make([]byte, x.cfg.ControlBytes+1), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		call := func(kind string, body []byte) ([]byte, error) {
			return a.Control(within(x.T, time.Second), address(2), kind, body)
		}
		want := id(1).String() + " 1 body"
		if got, err := call("echo", []byte("body")); err != nil || string(got) != want {
			x.Errorf("%q, error %v", got, err)
		}
		if got, err := a.ControlTo(within(x.T, time.Second), id(2), "echo", []byte("body")); err != nil || string(got) != want {
			x.Errorf("%q, error %v", got, err)
		}
		large := strings.Repeat("x", 3<<20)
		if got, err := call("echo", []byte(large)); err != nil || len(got) < len(large) {
			x.Errorf("%d bytes, error %v", len(got), err)
		}
		for kind, want := range map[string]ControlError{
			"typed": {Kind: "sealed", Text: "the layout is sealed"},
			"plain": {Kind: "failed", Text: "no idea"},
			"huge":  {Kind: "failed", Text: fmt.Sprintf("the answer has %d bytes, at most %d", x.cfg.ControlBytes+1, x.cfg.ControlBytes)},
		} {
			var got *ControlError
			if _, err := call(kind, nil); !errors.As(err, &got) || *got != want {
				x.Errorf("%s: error %v", kind, err)
			}
		}
		began := time.Now()
		if _, err := call("hang", nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			x.Errorf("error %v after %v", err, time.Since(began))
		}
		if _, err := call("", nil); err == nil {
			x.Error("a call without a kind was made")
		}
		if _, err := call("echo", make([]byte, x.cfg.ControlBytes+1)); err == nil {
			x.Error("a call over the bound was made")
		}
	})
}

func TestControlWithoutAnAnswer(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, _ := x.pair()
		code := func(err error) Code {
			var e *Error
			if !errors.As(err, &e) {
				x.Fatalf("error %v has no verdict", err)
			}
			return e.Verdict.Code
		}
		began := time.Now()
		_, err := a.Control(within(x.T, time.Minute), "10.0.0.8:7481", "echo", nil)
		if code(err) != Unreachable || time.Since(began) > time.Second {
			x.Errorf("nobody there: %v after %v", err, time.Since(began))
		}
		_, err = a.ControlTo(within(x.T, time.Minute), id(8), "echo", nil)
		if code(err) != Unreachable {
			x.Errorf("no peer: %v", err)
		}
		x.network.block()
		began = time.Now()
		_, err = a.Control(within(x.T, 3*time.Second), address(2), "echo", nil)
		if code(err) != Timeout || time.Since(began) != 3*time.Second {
			x.Errorf("cut off: %v after %v", err, time.Since(began))
		}
	})
}

func TestControlChecksIdentity(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.add(1), x.add(2)
		calls := 0
		b.handler.control = func(context.Context, Hello, string, []byte) ([]byte, error) {
			calls++
			return nil, nil
		}
		x.run(a)
		x.run(b)
		a.SetPeers([]Peer{{id(3), address(2)}}) // 3 is said to live where 2 does
		if _, err := a.ControlTo(within(x.T, time.Second), id(3), "prepare", nil); err == nil || !strings.Contains(err.Error(), "answers, not") {
			x.Errorf("another node answered: %v", err)
		}
		a.says.Store(&Hello{Node: id(1)}) // a node that wants to join has no cluster
		if _, err := a.Control(within(x.T, time.Second), address(2), "join", nil); err != nil {
			x.Errorf("a joiner was refused: %v", err)
		}
		calls = 0
		a.says.Store(&Hello{Node: id(1), Cluster: uuid.UUID{8}})
		if _, err := a.Control(within(x.T, time.Second), address(2), "join", nil); err == nil || calls != 0 {
			x.Errorf("another cluster's call: error %v, handled %d times", err, calls)
		}
		h, err := a.Probe(within(x.T, time.Second), address(2))
		if err != nil || h.Node != id(2) || h.Cluster != testCluster || h.Limits != x.cfg.limits() {
			x.Errorf("probe: %+v, error %v", h, err)
		}
	})
}

func TestControlCallsAreBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.cfg.ControlCalls = 2
		a, b := x.pair()
		b.handler.control = func(ctx context.Context, _ Hello, _ string, _ []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return nil, nil
		}
		failures := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := a.Control(within(x.T, time.Minute), address(2), "slow", nil)
				failures <- err
			}()
		}
		synctest.Wait()
		var e *Error
		if err := <-failures; !errors.As(err, &e) || e.Verdict.Code != Overloaded {
			x.Errorf("the third call: %v", err)
		}
		for range 2 {
			if err := <-failures; err != nil {
				x.Error(err)
			}
		}
	})
}
