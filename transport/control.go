package transport

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/wire"
)

// A control call is a unary call: agreement on the catalog and joining, each on a
// connection of its own, so that it works before two nodes know each other;
// anti-entropy, on a connection that is kept for each peer. Nothing on the hot
// stream can hold it up, and it holds up nothing there.

const (
	// kindHello is answered by transport itself.
	kindHello = "hello"
	// kindFailed is the kind of a handler's error that is no *ControlError.
	kindFailed = "failed"
)

// Control makes a control call to whoever listens at an address. ctx should
// have a deadline; without one Config.CallTimeout is used. An error of the
// peer's handler is a *ControlError; that no answer came is an *Error.
func (t *Transport) Control(ctx context.Context, address, kind string, body []byte) ([]byte, error) {
	_, answer, err := t.control(ctx, address, kind, body)
	return answer, err
}

// ControlTo makes a control call to a peer, on a connection that is kept for such
// calls, and refuses the answer of any other node.
func (t *Transport) ControlTo(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error) {
	p := t.peer(to)
	if p == nil || p.local {
		return nil, Verdict{Code: Unreachable, Detail: fmt.Sprintf("node %s is not a peer", to)}.Err()
	}
	place := p.place()
	cc, err := p.calls.Get(func() (*connection, error) { return t.connect(place) })
	if err != nil {
		return nil, fmt.Errorf("transport: control %s at %s: %w", kind, place, err)
	}
	_, answer, err := t.call(ctx, cc, place, kind, body, to)
	if failed := (*Error)(nil); errors.As(err, &failed) && p.calls.Forget(cc) {
		cc.close()
	}
	return answer, err
}

// Probe asks whoever listens at an address for its hello.
func (t *Transport) Probe(ctx context.Context, address string) (Hello, error) {
	h, _, err := t.control(ctx, address, kindHello, nil)
	return h, err
}

// control makes the call on a connection of its own.
func (t *Transport) control(ctx context.Context, address, kind string, body []byte) (Hello, []byte, error) {
	cc, err := t.connect(address)
	if err != nil {
		return Hello{}, nil, fmt.Errorf("transport: control %s at %s: %w", kind, address, err)
	}
	defer cc.close()
	return t.call(ctx, cc, address, kind, body, ring.NodeID{})
}

// call makes the call; want is who must answer, unless zero.
func (t *Transport) call(ctx context.Context, cc *connection, address, kind string, body []byte, want ring.NodeID) (Hello, []byte, error) {
	if kind == "" || len(kind) > wire.ControlKindMax || len(body) > t.cfg.ControlBytes {
		return Hello{}, nil, fmt.Errorf("transport: control call of kind %q with %d bytes: a kind has 1 to %d bytes, a body at most %d",
			kind, len(body), wire.ControlKindMax, t.cfg.ControlBytes)
	}
	ours := t.ownHello()
	hello, err := ours.Encode()
	if err != nil {
		return Hello{}, nil, err
	}
	ctx, cancel := t.withDeadline(ctx)
	defer cancel()
	in := wire.AppendControlRequest(make([]byte, 0, 8+len(hello)+len(kind)+len(body)), hello, kind, body)
	var out message
	if err := cc.Invoke(ctx, controlMethod, &message{buf: &in}, &out); err != nil {
		return Hello{}, nil, fmt.Errorf("transport: control %s at %s: %w", kind, address, controlFailure(err))
	}
	defer t.pool.Put(out.buf)
	theirs, answer, err := decodeControlAnswer(*out.buf)
	if theirs.Node != (ring.NodeID{}) {
		t.meet(ours, theirs)
		if want != (ring.NodeID{}) && theirs.Node != want {
			err = Verdict{Code: Unreachable, Detail: fmt.Sprintf("node %s answers, not %s", theirs.Node, want)}.Err()
		} else if mismatch := ours.SameCluster(theirs); mismatch != nil && kind != kindHello {
			err = mismatch
		}
	}
	if err != nil {
		return theirs, nil, fmt.Errorf("transport: control %s at %s: %w", kind, address, err)
	}
	return theirs, answer, nil
}

// controlFailure turns what gRPC says into a verdict.
func controlFailure(err error) error {
	s := status.Convert(err)
	v := Verdict{Code: Failed, Detail: s.Message()}
	switch s.Code() {
	case codes.DeadlineExceeded:
		v.Code = Timeout
	case codes.Unavailable:
		v.Code = Unreachable
	case codes.ResourceExhausted:
		v.Code = Overloaded
	case codes.Canceled:
		return context.Canceled
	}
	return v.Err()
}

// decodeControlAnswer returns a copy of the body, or the handler's error.
func decodeControlAnswer(b []byte) (Hello, []byte, error) {
	hello, body, failure, err := wire.DecodeControlAnswer(b)
	if err != nil {
		return Hello{}, nil, err
	}
	h, err := wire.DecodeHello(hello)
	if err != nil {
		return Hello{}, nil, err
	}
	if failure != nil {
		return h, nil, failure
	}
	return h, append([]byte(nil), body...), nil
}

// serveControl answers one control call on gRPC's goroutine.
func (t *Transport) serveControl(ctx context.Context, in *message) (*message, error) {
	defer t.pool.Put(in.buf)
	select {
	case t.controls <- struct{}{}:
		defer func() { <-t.controls }()
	default:
		t.metrics.shed.WithLabelValues("control").Inc()
		return nil, status.Error(codes.ResourceExhausted, "too many control calls at once")
	}
	hello, kind, body, err := wire.DecodeControlRequest(*in.buf)
	if err == nil && len(body) > t.cfg.ControlBytes {
		err = fmt.Errorf("the body has %d bytes, at most %d", len(body), t.cfg.ControlBytes)
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	theirs, err := wire.DecodeHello(hello)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ours := t.ownHello()
	if hello, err = ours.Encode(); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	t.meet(ours, theirs)
	if kind == kindHello {
		out := wire.AppendControlAnswer(nil, hello, nil, nil)
		return &message{buf: &out}, nil
	}
	if err := ours.SameCluster(theirs); err != nil {
		t.metrics.refusedHellos.WithLabelValues("listener").Inc()
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	ctx, cancel := t.withDeadline(ctx)
	defer cancel()
	// The handler may keep its body.
	answer, err := t.env.Handler.Control(ctx, theirs, kind, append([]byte(nil), body...))
	if err == nil && len(answer) > t.cfg.ControlBytes {
		err = fmt.Errorf("the answer has %d bytes, at most %d", len(answer), t.cfg.ControlBytes)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, status.FromContextError(err).Err()
	}
	out := wire.AppendControlAnswer(nil, hello, answer, asControlError(err))
	return &message{buf: &out}, nil
}

// asControlError keeps a handler's *ControlError, and wraps any other error.
func asControlError(err error) *ControlError {
	if err == nil {
		return nil
	}
	var typed *ControlError
	if errors.As(err, &typed) {
		return typed
	}
	return &ControlError{Kind: kindFailed, Text: err.Error()}
}

// withDeadline bounds a context that has no deadline.
func (t *Transport) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, t.cfg.CallTimeout)
}
