package transport

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/transport/rpc"
	"github.com/dunlindb/dunlin/transport/wire"
)

// frameOf builds a frame of items.
func frameOf(h wire.Header, items ...wire.Item) []byte {
	b := make([]byte, wire.HeaderSize)
	for _, it := range items {
		b = append(wire.AppendItem(b, it.Kind, it.ID, it.Arg, len(it.Payload)), it.Payload...)
	}
	h.Items = len(items)
	wire.PutHeader(b, h)
	return b
}

// fakePeer is a server that speaks Exchange by a test's script.
type fakePeer struct {
	x      *fixture
	server *grpc.Server
	asked  chan wire.Item   // what a node asks
	answer chan []wire.Item // what it is answered
}

func (x *fixture) fakePeer(n byte) *fakePeer {
	f := &fakePeer{x: x, asked: make(chan wire.Item, 1<<16), answer: make(chan []wire.Item)}
	f.server = grpc.NewServer(grpc.ForceServerCodecV2(rpc.Codec{Pool: new(wire.BufferPool)}))
	desc := rpc.ExchangeStream(func(_ any, s grpc.ServerStream) error { return f.serve(s, n) })
	f.server.RegisterService(&grpc.ServiceDesc{ServiceName: rpc.ServiceName, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc}}, nil)
	l := x.network.listen(address(n))
	go f.server.Serve(l)
	return f
}

func (f *fakePeer) serve(s grpc.ServerStream, n byte) error {
	var m message
	if err := s.RecvMsg(&m); err != nil {
		return err
	}
	h := Hello{Cluster: testCluster, Node: id(n), Protocol: wire.Protocol, Limits: DefaultConfig().limits()}
	b, _ := h.Encode()
	if err := s.SendMsg(&message{Buf: &b}); err != nil {
		return err
	}
	go func() {
		for {
			var m message
			if s.RecvMsg(&m) != nil {
				return
			}
			_, items, err := wire.Decode(*m.Buf, wire.Kind.IsRequest, nil)
			if err != nil {
				f.x.Errorf("frame of a node: %v", err)
			}
			for _, it := range items {
				f.asked <- it
			}
		}
	}()
	for {
		select {
		case items := <-f.answer:
			b := frameOf(wire.Header{}, items...)
			if err := s.SendMsg(&message{Buf: &b}); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func acks(ids ...uint32) wire.Item {
	it := wire.Item{Kind: wire.KindAcks, Arg: uint32(len(ids))}
	for _, id := range ids {
		it.Payload = append(it.Payload, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	}
	return it
}

func verdict(id uint32, code Code) wire.Item {
	return wire.Item{Kind: wire.KindVerdict, ID: id, Arg: uint32(code), Payload: make([]byte, 8)}
}

// with runs a node against a fake peer 2.
func (x *fixture) with(f func(a *node, p *fakePeer)) {
	a, p := x.add(1), x.fakePeer(2)
	x.run(a)
	a.SetPeers([]Peer{{id(2), address(2)}})
	synctest.Wait()
	x.expectConnected(a, 2, true)
	f(a, p)
	a.stop(x.T)
	p.server.Stop()
	time.Sleep(time.Minute)
}

func TestAnswersInAnyOrderAndTwice(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.with(func(a *node, p *fakePeer) {
			rng := rand.New(rand.NewPCG(1, 2))
			sink := newOutcomes(x.T)
			var past []uint32
			repeated := 0
			for range 20 {
				for i := range 100 {
					a.Apply(id(2), group("row"), in(time.Minute), sink, uint32(i))
				}
				var ids []uint32
				for range 100 {
					ids = append(ids, (<-p.asked).ID)
				}
				rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				again := append(append([]uint32{}, ids[:30]...), past...)
				repeated += len(again)
				p.answer <- []wire.Item{acks(ids[:60]...), acks(again...)}
				for _, id := range ids[60:] {
					p.answer <- []wire.Item{verdict(id, OK+1), verdict(id, Failed), acks(id)}
					repeated += 2
				}
				synctest.Wait()
				if len(sink.heard) != 100 {
					x.Fatalf("%d of 100 have heard", len(sink.heard))
				}
				count := map[Code]int{}
				for _, h := range sink.heard {
					count[h.verdict.Code]++
				}
				if count[OK] != 60 || count[StaleCatalog] != 40 {
					x.Fatalf("verdicts %v", count)
				}
				clear(sink.heard)
				past = ids // the slots are used again next; their ids must not be
			}
			x.expectValue(a, "unknown_answers_total", float64(repeated))
		})
	})
}

func TestBrokenAnswersEndTheStream(t *testing.T) {
	broken := map[string]wire.Item{
		"an answer of the wrong kind":  {Kind: wire.KindReadAnswer, Payload: make([]byte, 9)},
		"a code that cannot travel":    verdict(0, Timeout),
		"OK as a verdict":              verdict(0, OK),
		"a verdict that is cut short":  {Kind: wire.KindVerdict, Arg: uint32(Failed)},
		"acks that are miscounted":     {Kind: wire.KindAcks, Arg: 2, Payload: make([]byte, 4)},
		"a request instead of answers": {Kind: wire.KindApply},
	}
	for name, it := range broken {
		t.Run(name, func(t *testing.T) {
			cluster(t, func(x *fixture) {
				x.with(func(a *node, p *fakePeer) {
					sink := newOutcomes(x.T)
					a.Apply(id(2), group("row"), in(time.Minute), sink, 1)
					if it.Kind != wire.KindAcks {
						it.ID = (<-p.asked).ID
					}
					p.answer <- []wire.Item{it}
					sink.expect(1, Unreachable, 0)
					x.expectValue(a, "refused_frames_total", 1)
					time.Sleep(2 * x.cfg.BackoffMax)
					x.expectConnected(a, 2, true) // it tries again
				})
			})
		})
	}
}

func TestABrokenReadAnswerFailsTheRead(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.with(func(a *node, p *fakePeer) {
			go func() {
				it := <-p.asked
				p.answer <- []wire.Item{{Kind: wire.KindReadAnswer, ID: it.ID, Payload: []byte{0xff, 1, 2}}}
			}()
			if answer, err := a.Read(within(x.T, time.Second), id(2), new(ReadRequest)); err == nil || answer.Verdict.Code != Failed {
				x.Errorf("%+v, %v", answer, err)
			}
		})
	})
}

// stranger is a client that sends what it likes to a node.
type stranger struct {
	x  *fixture
	cc *grpc.ClientConn
	s  grpc.ClientStream
}

// stranger opens a stream to node 2 and says hello, unless it is nil.
func (x *fixture) stranger(hello []byte) *stranger {
	x.Helper()
	cc, err := grpc.NewClient("passthrough:///"+address(2), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(x.network.dial), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.Codec{Pool: new(wire.BufferPool)})))
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { cc.Close() })
	desc := rpc.ExchangeStream(nil)
	s, err := cc.NewStream(context.Background(), &desc, rpc.ExchangeMethod)
	if err != nil {
		x.Fatal(err)
	}
	st := &stranger{x: x, cc: cc, s: s}
	if hello != nil {
		st.send(hello)
	}
	return st
}

func (s *stranger) send(b []byte) {
	b = bytes.Clone(b)
	if err := s.s.SendMsg(&message{Buf: &b}); err != nil {
		s.x.Fatal(err)
	}
}

// receive returns the next message, or how the stream ended.
func (s *stranger) receive() ([]byte, error) {
	var m message
	if err := s.s.RecvMsg(&m); err != nil {
		return nil, err
	}
	return *m.Buf, nil
}

func (s *stranger) expectEnd(code codes.Code, text string) {
	s.x.Helper()
	for {
		_, err := s.receive()
		if err == nil {
			continue
		}
		if status.Code(err) != code || !strings.Contains(err.Error(), text) {
			s.x.Errorf("the stream ended with %v, want %v %q", err, code, text)
		}
		return
	}
}

func goodHello() []byte {
	h := Hello{Cluster: testCluster, Node: id(1), Protocol: wire.Protocol, Limits: DefaultConfig().limits()}
	b, _ := h.Encode()
	return b
}

func TestBadHellosAreRefused(t *testing.T) {
	cluster(t, func(x *fixture) {
		b := x.add(2)
		x.run(b)
		for text, hello := range map[string][]byte{
			"cannot be read":      []byte("{nonsense"),
			"names no node":       []byte(`{"protocol":1}`),
			"protocol version":    []byte(`{"protocol":99}`),
			"impossible limits":   []byte(`{"protocol":1,"node":"` + id(1).String() + `"}`),
			"at most 4096":        bytes.Repeat([]byte(" "), 5000),
			"belongs to cluster":  bytes.Replace(goodHello(), []byte(testCluster.String()), []byte(id(77).String()), 1),
			"is this node":        bytes.Replace(goodHello(), []byte(id(1).String()), []byte(id(2).String()), 1),
			"hello cannot be":     {0, 1, 2, 3},
			"hello cannot be rea": {},
		} {
			s := x.stranger(hello)
			s.expectEnd(codes.PermissionDenied, text)
			s.cc.Close()
		}
		silent := x.stranger(nil)
		began := time.Now()
		silent.expectEnd(codes.PermissionDenied, "no hello within")
		if d := time.Since(began); d != x.cfg.HelloTimeout {
			x.Errorf("silence was refused after %v", d)
		}
		silent.cc.Close()
		x.expectValue(b, "refused_hellos_total", 10)
	})
}

func TestBadFramesEndTheStream(t *testing.T) {
	apply := func(id uint32) wire.Item {
		return wire.Item{Kind: wire.KindApply, ID: id, Arg: 1e6, Payload: wire.AppendGroup(nil, group("row"))}
	}
	cases := map[string]struct {
		frame []byte
		text  string
	}{
		"noise":             {[]byte("no frame at all, but long enough to have a header"), "unknown format"},
		"empty":             {nil, "cut short"},
		"trailing junk":     {append(frameOf(wire.Header{}, apply(1)), 0), "after its last item"},
		"an answer":         {frameOf(wire.Header{}, acks(1)), "cannot come this way"},
		"a slot too high":   {frameOf(wire.Header{}, apply(8192)), "slot 8192 of 8192"},
		"a slot twice":      {frameOf(wire.Header{}, apply(1), apply(1<<16+1)), "slot 1 is in use"},
		"a group cut short": {frameOf(wire.Header{}, wire.Item{Kind: wire.KindApply, Arg: 1e6}), "layout"},
		"a read with leftovers": {frameOf(wire.Header{}, wire.Item{
			Kind: wire.KindRead, Arg: 1e6, Payload: append(wire.AppendReadRequest(nil, new(ReadRequest)), 0),
		}), "layout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster(t, func(x *fixture) {
				b := x.add(2)
				b.handler.apply = new(holder).apply
				x.run(b)
				s := x.stranger(goodHello())
				if _, err := s.receive(); err != nil {
					x.Fatal(err)
				}
				s.send(c.frame)
				s.expectEnd(codes.InvalidArgument, c.text)
				s.cc.Close()
				x.expectValue(b, "refused_frames_total", 1)
			})
		})
	}
}

func TestExpiredWorkIsDropped(t *testing.T) {
	cluster(t, func(x *fixture) {
		b := x.add(2)
		hold := new(holder)
		b.handler.apply = hold.apply
		x.run(b)
		s := x.stranger(goodHello())
		if _, err := s.receive(); err != nil {
			x.Fatal(err)
		}
		row := wire.AppendGroup(nil, group("row"))
		// The frame waited 3 ms at the sender: one budget is used up, one is not.
		s.send(frameOf(wire.Header{Queued: 3000},
			wire.Item{Kind: wire.KindApply, ID: 1, Arg: 3000, Payload: row},
			wire.Item{Kind: wire.KindApply, ID: 2, Arg: 5000, Payload: row}))
		frame, err := s.receive()
		if err != nil {
			x.Fatal(err)
		}
		_, items, err := wire.Decode(frame, wire.Kind.IsAnswer, nil)
		if err != nil || len(items) != 1 || items[0].ID != 1 || Code(items[0].Arg) != Expired {
			x.Errorf("answers %+v, error %v", items, err)
		}
		synctest.Wait() // the answer may overtake the second request
		held := hold.take()
		if len(held) != 1 || !held[0].deadline.Equal(held[0].at.Add(2*time.Millisecond)) {
			x.Errorf("the handler has %+v", held)
		}
		x.expectValue(b, "expired_requests_total", 1)
		s.cc.Close()
	})
}

// TestOversizeMessagesAreRefused: gRPC refuses by the length, before it reads.
func TestOversizeMessagesAreRefused(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.cfg.AnswerBytes, x.cfg.ControlBytes = 1<<20, 1<<20
		b := x.add(2)
		x.run(b)
		s := x.stranger(goodHello())
		if _, err := s.receive(); err != nil {
			x.Fatal(err)
		}
		s.send(make([]byte, 3<<20))
		s.expectEnd(codes.ResourceExhausted, "larger than max")
		s.cc.Close()
	})
}

// TestGarbageConnections: what does not speak HTTP/2, or only its first words,
// is closed and counted, while the node serves its peers.
func TestGarbageConnections(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		for _, garbage := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", strings.Repeat("\xff", 300)} {
			c, err := x.network.dial(context.Background(), address(2))
			if err != nil {
				x.Fatal(err)
			}
			c.Write([]byte(garbage))
			if n, err := c.Read(make([]byte, 1)); err == nil {
				x.Errorf("%d bytes answer garbage", n)
			}
			c.Close()
		}
		x.expectValue(b, "refused_connections_total", 3)
		after, err := x.network.dial(context.Background(), address(2))
		if err != nil {
			x.Fatal(err)
		}
		after.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("junk", 100)))
		buf := make([]byte, 4096)
		for err == nil {
			_, err = after.Read(buf) // until it is closed
		}
		after.Close()
		sink := newOutcomes(x.T)
		sink.began = time.Now()
		a.Apply(id(2), group("row"), in(time.Second), sink, 1)
		sink.expect(1, OK, 0)
	})
}

// TestPinnedFramesAreBounded: a peer whose small requests each hold a large
// frame is refused before that fills the memory.
func TestPinnedFramesAreBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		b := x.add(2)
		hold := new(holder)
		b.handler.apply = func(s served) {
			if len(s.group.Entries) < 10 {
				hold.apply(s) // stays; the large one is answered at once
			} else {
				s.done(Verdict{})
			}
		}
		x.run(b)
		s := x.stranger(goodHello())
		if _, err := s.receive(); err != nil {
			x.Fatal(err)
		}
		large := wire.AppendGroup(nil, group(strings.Repeat("x", 1<<20)))
		small := wire.AppendGroup(nil, group("row"))
		for i := range uint32(20) {
			s.send(frameOf(wire.Header{}, wire.Item{Kind: wire.KindApply, ID: 2 * i, Arg: 1e9, Payload: large},
				wire.Item{Kind: wire.KindApply, ID: 2*i + 1, Arg: 1e9, Payload: small}))
		}
		synctest.Wait()
		held := hold.take()
		if len(held) != 15 {
			x.Errorf("%d frames of 1 MiB are pinned, at most 16 MiB may be", len(held))
		} else {
			x.expectValue(b, "shed_requests_total", 10)
			for _, h := range held {
				h.done(Verdict{})
			}
		}
		if n := held[0].sink.(*session).pinned.Load(); n != 0 {
			x.Errorf("%d bytes stay pinned", n)
		}
		s.cc.Close()
	})
}

// FuzzFrames feeds whatever comes to both ends of a session's decoding.
func FuzzFrames(f *testing.F) {
	f.Add(frameOf(wire.Header{}, wire.Item{Kind: wire.KindApply, ID: 1, Arg: 1e6, Payload: wire.AppendGroup(nil, group("row"))}))
	f.Add(frameOf(wire.Header{Queued: 9}, wire.Item{Kind: wire.KindRead, ID: 2, Arg: 1e6, Payload: wire.AppendReadRequest(nil, new(ReadRequest))}))
	f.Add(frameOf(wire.Header{}, acks(1<<16, 1<<16+1), verdict(1<<16+2, Failed)))
	f.Add(frameOf(wire.Header{}, wire.Item{Kind: wire.KindReadAnswer, ID: 1 << 16, Payload: make([]byte, 9)}))
	x := &fixture{network: newNetwork(), cfg: DefaultConfig()}
	m := x.add(1)
	t, err := New(x.cfg, m.env)
	if err != nil {
		f.Fatal(err)
	}
	m.handler.read = func(context.Context, ring.NodeID, *ReadRequest) ReadAnswer { return ReadAnswer{} }
	m.handler.scan = func(context.Context, ring.NodeID, *ScanRequest) ScanAnswer { return ScanAnswer{} }
	f.Fuzz(func(test *testing.T, b []byte) {
		s := t.newSession(context.Background())
		s.from.Limits = t.cfg.limits()
		if h, items, err := wire.Decode(b, wire.Kind.IsRequest, nil); err == nil {
			own := bytes.Clone(b)
			fr := wire.NewReceived(&own, t.pool, &s.pinned)
			_ = s.dispatch(fr, h, items)
		}
		t.running.Wait()
		s.end()
		if s.queue.Bytes() != 0 {
			test.Fatal("a queue that ended holds bytes")
		}
		p := newPeer(t, Peer{ID: id(2)})
		p.admitted(s.from)
		sink := newOutcomes(test)
		for i := range 3 {
			p.enter(wire.KindApply, 3, in(time.Minute), owner{sink: sink, tag: uint32(i)}, func(b []byte) []byte { return append(b, 1, 2, 3) })
		}
		d := answerDecoder{peer: p}
		_ = d.handle(b)
		p.disconnected(errAnswerKind)
		if len(sink.heard) != 3 {
			test.Fatalf("%d of 3 have heard", len(sink.heard))
		}
	})
}
