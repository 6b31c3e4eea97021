package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/seat"
	"github.com/dunlindb/dunlin/transport/slot"
	"github.com/dunlindb/dunlin/transport/wire"
)

// session is the serving end of one Exchange stream. It is the Sink of the
// groups that arrive on it.
type session struct {
	t    *Transport
	from Hello
	ctx  context.Context // ends with the stream
	wake chan struct{}   // the queue has become non-empty
	seat *seat.Seat      // without it the session ends

	pinned atomic.Int64 // bytes of frames that hold unanswered groups

	mu    sync.Mutex // guards queue, work, open, ended
	queue wire.Queue
	work  []work // by slot index of the peer
	open  int
	ended bool // answers are dropped
}

// pinnedFactor times Config.QueueBytes bounds the frames that a peer's unanswered
// groups hold in memory.
const pinnedFactor = 4

// work is a request that this node owes an answer; frame is nil if it owes none.
type work struct {
	frame *wire.Received
	id    uint32
}

// Verdicts on requests that the handler does not see.
var (
	verdictExpired  = Verdict{Code: Expired, Detail: "the budget was used up on the way"}
	verdictBytes    = Verdict{Code: Overloaded, Detail: "too many bytes of requests are unanswered"}
	verdictReads    = Verdict{Code: Overloaded, Detail: "too many reads are waiting"}
	verdictUnread   = Verdict{Code: Overloaded, Detail: "too many answers have not been fetched"}
	verdictStopping = Verdict{Code: Overloaded, Detail: "the node is stopping"}
)

func (t *Transport) newSession(ctx context.Context) *session {
	return &session{
		t: t, ctx: ctx,
		wake:  make(chan struct{}, 1),
		queue: wire.Queue{Pool: t.pool, Target: t.cfg.FrameBytes},
	}
}

// serveExchange serves one stream: it greets, receives on a goroutine of its
// own, and sends on gRPC's.
func (t *Transport) serveExchange(stream grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	s := t.newSession(ctx)
	round := t.seats.Round()
	if err := s.greet(stream); err != nil {
		return err
	}
	s.seat = t.seats.Take(s.from.Node, round)
	defer t.seats.Leave(s.from.Node, s.seat)
	defer s.end()
	t.seen(s.from.Node, s.from.Version)
	received := make(chan error, 1)
	t.running.Go(func() { received <- s.receive(stream) })
	return s.send(stream, received)
}

// greet waits for the peer's hello, admits it and answers.
func (s *session) greet(stream grpc.ServerStream) error {
	type greeting struct {
		hello Hello
		err   error
	}
	greeted := make(chan greeting, 1)
	s.t.running.Go(func() {
		h, err := s.t.receiveHello(stream)
		greeted <- greeting{h, err}
	})
	timer := time.NewTimer(s.t.cfg.HelloTimeout)
	defer timer.Stop()
	var g greeting
	select {
	case g = <-greeted:
	case <-timer.C:
		g.err = fmt.Errorf("no hello within %v", s.t.cfg.HelloTimeout)
	case <-s.t.stopping:
		return status.Error(codes.Unavailable, verdictStopping.Detail)
	}
	ours := s.t.ownHello()
	if wanted := g.hello.Wanted; g.err == nil && wanted != s.t.env.Self && wanted != (ring.NodeID{}) {
		return s.mistaken(stream, ours, g.hello)
	}
	if g.err == nil {
		g.err = s.t.admit(ours, g.hello)
	}
	if g.err != nil {
		s.t.metrics.refusedHellos.WithLabelValues("listener").Inc()
		s.t.complain(&s.t.quiet.hellos, "hello of a peer refused", "peer", g.hello.Node, "error", g.err)
		return status.Error(codes.PermissionDenied, "not admitted there: "+g.err.Error())
	}
	s.from = g.hello
	s.t.heard(g.hello.Node, g.hello.Addresses.Internode, g.hello.Boot)
	if p := s.t.peer(g.hello.Node); p != nil {
		poke(p.back)
	}
	return s.t.sendHello(stream, ours)
}

// mistaken answers the hello of a peer that looks for another node here. The stream
// that it may have to this node goes on.
func (s *session) mistaken(stream stream, ours, theirs Hello) error {
	s.t.meet(ours, theirs)
	if err := s.t.sendHello(stream, ours); err != nil {
		return err
	}
	return status.Errorf(codes.NotFound, "node %s is not here", theirs.Wanted)
}

// receive takes requests in until the stream ends. It never waits for work.
func (s *session) receive(stream stream) error {
	version := s.from.Version
	var items []wire.Item
	for {
		var m message
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		s.t.metrics.receivedBytes.Add(float64(len(*m.Buf)))
		if err := s.seat.Why(); err != nil { // send may not have come to it
			s.t.pool.Put(m.Buf)
			return err
		}
		f := wire.NewReceived(m.Buf, s.t.pool, &s.pinned)
		var h wire.Header
		var err error
		h, items, err = wire.Decode(f.Bytes(), wire.Kind.IsRequest, items)
		if err == nil {
			s.t.observe(s.from.Node, h, &version)
			err = s.dispatch(f, h, items)
		}
		f.Release()
		if err != nil {
			s.t.metrics.refusedFrames.Inc()
			s.t.complain(&s.t.quiet.frames, "frame of a peer refused", "peer", s.from.Node, "error", err)
			return status.Error(codes.InvalidArgument, "frame refused: "+err.Error())
		}
	}
}

// dispatch hands the requests of a frame to the handler and the readers, or
// answers them at once.
func (s *session) dispatch(f *wire.Received, h wire.Header, items []wire.Item) error {
	if err := s.owe(f, items); err != nil {
		return err
	}
	now := time.Now()
	// A frame stays as long as one group in it: bound what that can pin.
	full := s.pinned.Load() > pinnedFactor*int64(s.t.cfg.QueueBytes)
	for i := range items {
		it := &items[i]
		left := time.Duration(int64(it.Arg)-int64(h.Queued)) * time.Microsecond
		switch {
		case left <= 0:
			s.t.metrics.expired.Inc()
			s.answer(it.ID, verdictExpired)
		case s.t.isStopping():
			s.shed(it.ID, "stopping", verdictStopping)
		case full:
			s.shed(it.ID, "bytes", verdictBytes)
		case it.Kind == wire.KindApply:
			g, err := wire.DecodeGroup(it.Payload)
			if err != nil {
				return err
			}
			s.t.env.Handler.Apply(s.from.Node, g, now.Add(left), s, it.ID)
		default:
			q, err := wire.DecodeQuery(it.Kind, it.Payload)
			if err != nil {
				return err
			}
			s.query(query{session: s, id: it.ID, request: q, deadline: now.Add(left)})
		}
	}
	return nil
}

// owe enters the requests of a frame into the table. A peer that overruns its
// slots, or asks twice under one id, is broken.
func (s *session) owe(f *wire.Received, items []wire.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range items {
		id := items[i].ID
		index := slot.Index(id)
		if index >= s.t.cfg.Slots {
			return fmt.Errorf("slot %d of %d", index, s.t.cfg.Slots)
		}
		for index >= len(s.work) {
			s.work = append(s.work, work{})
		}
		if s.work[index].frame != nil {
			return fmt.Errorf("slot %d is in use", index)
		}
		f.Hold()
		s.work[index] = work{frame: f, id: id}
		s.open++
	}
	return nil
}

// query passes a read or scan to the readers unless a bound is reached.
func (s *session) query(q query) {
	s.mu.Lock()
	unread := s.queue.Bytes()
	s.mu.Unlock()
	if unread > s.t.cfg.AnswerBytes {
		s.shed(q.id, "answers", verdictUnread)
	} else if !s.t.readers.submit(q) {
		s.shed(q.id, "reads", verdictReads)
	}
}

// shed answers a request that a bound does not let in.
func (s *session) shed(id uint32, bound string, v Verdict) {
	s.t.metrics.shed.WithLabelValues(bound).Inc()
	s.answer(id, v)
}

// Done answers a group: session is its Sink.
func (s *session) Done(tag uint32, v Verdict) { s.answer(tag, v) }

// answer settles a request with a verdict alone.
func (s *session) answer(id uint32, v Verdict) {
	if v.Code > Failed {
		v.Code = Failed // Timeout and Unreachable are the asker's to say
	}
	if len(v.Detail) > wire.DetailMax {
		v.Detail = v.Detail[:wire.DetailMax]
	}
	s.settle(id, func(q *wire.Queue) {
		if v.Code == OK {
			q.Ack(id)
			return
		}
		size := 8 + len(v.Detail)
		f := q.Room(s.t.now(), size)
		*f.Buf = wire.AppendVerdict(wire.AppendItem(*f.Buf, wire.KindVerdict, id, uint32(v.Code), size), v)
	})
}

// answerWith settles a request with the payload of an answer.
func (s *session) answerWith(id uint32, kind wire.Kind, payload []byte) {
	if limit := min(s.t.cfg.AnswerBytes, int(s.from.Limits.AnswerBytes)); len(payload) > limit {
		s.answer(id, Verdict{Code: Failed, Detail: fmt.Sprintf("the answer has %d bytes, at most %d; ask for less", len(payload), limit)})
		return
	}
	s.settle(id, func(q *wire.Queue) {
		f := q.Room(s.t.now(), len(payload))
		*f.Buf = append(wire.AppendItem(*f.Buf, kind, id, 0, len(payload)), payload...)
	})
}

// settle frees a request's place, queues its answer and wakes the sender. A
// second answer to one request is dropped.
func (s *session) settle(id uint32, enqueue func(*wire.Queue)) {
	s.mu.Lock()
	index := slot.Index(id)
	if index >= len(s.work) || s.work[index].id != id || s.work[index].frame == nil {
		s.mu.Unlock()
		return
	}
	f := s.work[index].frame
	s.work[index].frame = nil
	s.open--
	wake := s.queue.Empty()
	if !s.ended {
		enqueue(&s.queue)
	}
	s.mu.Unlock()
	f.Release()
	if wake {
		poke(s.wake)
	}
}

// send drains the queue until the receiver has ended, the session loses its seat,
// or this node stops and everything owed is sent.
func (s *session) send(stream stream, received <-chan error) error {
	stopping := s.t.stopping
	for {
		select {
		case <-s.wake:
		case err := <-received:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-s.seat.Lost():
			return s.seat.Why()
		case <-stopping:
			stopping = nil
		}
		for {
			runtime.Gosched()
			s.mu.Lock()
			f, ok := s.queue.Take(s.t.now())
			settled := s.open == 0
			s.mu.Unlock()
			if !ok {
				if settled && stopping == nil {
					return nil
				}
				break
			}
			s.t.metrics.answerItems.Observe(float64(f.Items))
			if err := s.t.sendFrame(stream, f); err != nil {
				return err
			}
		}
	}
}

// end drops what is queued and whatever is answered later.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.queue.Clear()
	s.mu.Unlock()
}
