package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/wire"
)

// stream is what both ends of Exchange have in common.
type stream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// run keeps the peer connected until ctx ends, pausing between attempts.
func (p *peer) run(ctx context.Context) {
	defer func() {
		if cc, open := p.calls.Close(); open {
			cc.close()
		}
	}()
	failures := 0
	for ctx.Err() == nil {
		if p.attempts.Load() > 0 {
			p.t.metrics.reconnects.Inc()
		}
		began, place := p.t.now(), p.place()
		admitted, err := p.connect(ctx, place)
		p.problem.Store(&err)
		p.attempts.Add(1)
		if ctx.Err() != nil {
			return
		}
		if time.Duration(p.t.now()-began) > 2*p.t.cfg.BackoffMax {
			failures = 0
		}
		select {
		case <-p.back: // it was there before; only who comes back now is dialled at once
		default:
		}
		p.t.complain(&p.quiet, "connection to peer ended", "peer", p.ID, "address", place, "error", err)
		if !admitted {
			p.elsewhere()
		}
		select {
		case <-ctx.Done():
		case <-time.After(p.t.backoff(failures)):
		case <-p.back:
		}
		failures++
	}
}

// backoff is the pause after a number of failures: doubling, between the
// configured bounds, spread by a quarter to either side.
func (t *Transport) backoff(failures int) time.Duration {
	pause := t.cfg.BackoffMax
	if failures < 20 {
		pause = min(pause, t.cfg.BackoffMin<<failures)
	}
	t.randMu.Lock()
	defer t.randMu.Unlock()
	return time.Duration(float64(pause) * (0.75 + 0.5*t.env.Rand.Float64()))
}

// connect dials, exchanges hellos, and serves the stream until it ends; the
// error says why it did. admitted: it was the peer, and let us in.
func (p *peer) connect(parent context.Context, place string) (admitted bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	timer := time.AfterFunc(p.t.cfg.DialTimeout, func() {
		cancel(fmt.Errorf("no hello within %v", p.t.cfg.DialTimeout))
	})
	defer timer.Stop()

	cc, err := p.t.connect(place)
	if err != nil {
		return false, err
	}
	defer cc.close()
	desc := exchangeStream(nil)
	s, err := cc.NewStream(ctx, &desc, exchangeMethod)
	if err != nil {
		return false, endOf(ctx, err)
	}
	theirs, err := p.greet(s, place)
	if err != nil {
		return false, endOf(ctx, err)
	}
	if !timer.Stop() {
		return false, endOf(ctx, context.Canceled)
	}
	return true, p.serve(ctx, cancel, s, theirs)
}

// greet says hello, and admits the node that answers. If that is another one, at
// least it is known now where that one is.
func (p *peer) greet(s stream, place string) (Hello, error) {
	ours := p.t.ownHello()
	ours.Wanted = p.ID
	if err := p.t.sendHello(s, ours); err != nil && !errors.Is(err, io.EOF) {
		return Hello{}, err
	}
	theirs, err := p.t.receiveHello(s)
	if err != nil {
		return Hello{}, err
	}
	if theirs.Node != p.ID && theirs.Node != p.t.env.Self {
		p.t.meet(ours, theirs)
		err = fmt.Errorf("node %s answers at %s, not %s", theirs.Node, place, p.ID)
	} else {
		err = p.t.admit(ours, theirs)
	}
	if err != nil {
		p.t.metrics.refusedHellos.WithLabelValues("dialler").Inc()
		return Hello{}, fmt.Errorf("not admitted here: %w", err)
	}
	return theirs, nil
}

// serve runs the sender and, on this goroutine, the receiver of an open stream.
func (p *peer) serve(ctx context.Context, cancel context.CancelCauseFunc, s stream, theirs Hello) error {
	p.admitted(theirs)
	p.t.seen(p.ID, theirs.Version)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if err := p.send(ctx, s); err != nil {
			cancel(err)
		}
	}()
	err := endOf(ctx, p.receive(s, theirs.Version))
	cancel(err)
	<-sent
	p.disconnected(err)
	return err
}

// send drains the queue until ctx ends. Yielding before each drain lets the
// other runnable callers add to the frame: without it batches collapse to a few
// requests whatever the load.
func (p *peer) send(ctx context.Context, s stream) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		for {
			runtime.Gosched()
			p.mu.Lock()
			f, ok := p.queue.Take(p.t.now())
			p.mu.Unlock()
			if !ok {
				break
			}
			p.t.metrics.requestItems.Observe(float64(f.Items))
			if err := p.t.sendFrame(s, f); err != nil {
				return err
			}
		}
	}
}

// receive handles answers until the stream ends.
func (p *peer) receive(s stream, version uint64) error {
	d := answerDecoder{peer: p, version: version}
	for {
		var m message
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		p.t.metrics.receivedBytes.Add(float64(len(*m.buf)))
		err := d.handle(*m.buf)
		p.t.pool.Put(m.buf)
		if err != nil {
			p.t.metrics.refusedFrames.Inc()
			return fmt.Errorf("frame of %s refused: %w", p.ID, err)
		}
	}
}

// answerDecoder turns frames of answers into outcomes; it keeps its buffers.
type answerDecoder struct {
	peer     *peer
	version  uint64 // catalog version last heard
	items    []wire.Item
	ids      []uint32
	outcomes []outcome
}

// handle concludes the requests that a frame answers. What was decoded before
// an error is concluded all the same.
func (d *answerDecoder) handle(frame []byte) error {
	h, items, err := wire.Decode(frame, wire.Kind.IsAnswer, d.items)
	d.items = items
	if err != nil {
		return err
	}
	d.peer.t.observe(d.peer.ID, h, &d.version)
	for i := range items {
		if err = d.item(&items[i]); err != nil {
			break
		}
	}
	d.peer.conclude(d.outcomes)
	d.outcomes = d.outcomes[:0]
	return err
}

// item adds the outcomes of one item.
func (d *answerDecoder) item(it *wire.Item) (err error) {
	d.ids = append(d.ids[:0], it.ID)
	switch it.Kind {
	case wire.KindAcks:
		if d.ids, err = it.AppendAckIDs(d.ids[:0]); err != nil {
			return err
		}
		d.outcomes, err = d.peer.answered(d.ids, wire.KindApply, Verdict{}, nil, d.outcomes)
	case wire.KindVerdict:
		var v Verdict
		if v, err = wire.DecodeVerdict(it.Arg, it.Payload); err == nil {
			d.outcomes, err = d.peer.answered(d.ids, 0, v, nil, d.outcomes)
		}
	case wire.KindReadAnswer, wire.KindScanAnswer:
		want := wire.KindRead
		if it.Kind == wire.KindScanAnswer {
			want = wire.KindScan
		}
		// The caller owns its answer, while the frame goes back to the pool.
		own := append(make([]byte, 0, len(it.Payload)), it.Payload...)
		d.outcomes, err = d.peer.answered(d.ids, want, Verdict{}, own, d.outcomes)
	}
	return err
}

// sendFrame completes the header and gives the frame to gRPC.
func (t *Transport) sendFrame(s stream, f wire.Frame) error {
	wire.PutHeader(*f.Buf, wire.Header{
		Items:    f.Items,
		Queued:   uint32(min(max((t.now()-f.Opened)/1000, 0), int64(maxBudget/time.Microsecond))),
		Clock:    int64(t.env.Clock.Last()),
		Physical: t.env.Clock.Physical().UnixMicro(),
		Version:  t.env.CatalogVersion(),
	})
	t.metrics.sentBytes.Add(float64(len(*f.Buf)))
	return s.SendMsg(&message{buf: f.Buf})
}

// observe takes in what a frame's header says of its sender. version is the
// catalog version last heard on that stream.
func (t *Transport) observe(from ring.NodeID, h wire.Header, version *uint64) {
	err := t.env.Clock.Observe(hlc.Timestamp(h.Clock))
	if err != nil {
		t.metrics.skewedFrames.Inc()
		t.complain(&t.quiet.skew, "peer's clock is too far ahead; not merged", "peer", from, "error", err)
	}
	if p := t.peer(from); p != nil {
		p.clockIsSkewed.Store(err != nil)
		p.clockOffset.Store((h.Physical - t.env.Clock.Physical().UnixMicro()) * 1000)
	}
	if h.Version != *version {
		*version = h.Version
		t.seen(from, h.Version)
	}
}

// seen passes a peer's catalog version on.
func (t *Transport) seen(from ring.NodeID, version uint64) {
	if t.env.OnPeerVersion != nil {
		t.env.OnPeerVersion(from, version)
	}
}

// RefusedError is why a peer did not admit this node's hello.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// endOf explains the end of a stream: the reason for which ctx was cancelled,
// if it was, or what gRPC says.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the peer ended the stream")
	}
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		if s.Code() == codes.PermissionDenied {
			return &RefusedError{Reason: s.Message()}
		}
		return errors.New(s.Message())
	}
	return err
}

var _ stream = grpc.ClientStream(nil)
