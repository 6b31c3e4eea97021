package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func any8(Kind) bool { return true }

// encode builds a frame of items, as senders do.
func encode(h Header, items []Item) []byte {
	b := make([]byte, HeaderSize)
	for _, it := range items {
		b = AppendItem(b, it.Kind, it.ID, it.Arg, len(it.Payload))
		b = append(b, it.Payload...)
	}
	h.Items = len(items)
	PutHeader(b, h)
	return b
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Item {
			return Item{
				Kind:    Kind(rapid.Uint8().Draw(t, "kind")),
				ID:      rapid.Uint32().Draw(t, "id"),
				Arg:     rapid.Uint32().Draw(t, "arg"),
				Payload: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload"),
			}
		}), 0, 20).Draw(t, "items")
		h := Header{
			Items: len(items), Queued: rapid.Uint32().Draw(t, "queued"), Clock: rapid.Int64().Draw(t, "clock"),
			Physical: rapid.Int64().Draw(t, "physical"), Version: rapid.Uint64().Draw(t, "version"),
		}
		frame := encode(h, items)
		got, decoded, err := Decode(frame, any8, nil)
		if err != nil || got != h {
			t.Fatalf("header %+v, error %v; want %+v", got, err, h)
		}
		if !slices.EqualFunc(items, decoded, func(a, b Item) bool {
			return a.Kind == b.Kind && a.ID == b.ID && a.Arg == b.Arg && bytes.Equal(a.Payload, b.Payload)
		}) {
			t.Fatalf("items %v, want %v", decoded, items)
		}
		// Every shorter frame, and one with a byte more, is refused.
		cut := rapid.IntRange(0, len(frame)-1).Draw(t, "cut")
		if _, _, err := Decode(frame[:cut], any8, nil); !errors.Is(err, errShort) {
			t.Fatalf("%d of %d bytes: error %v", cut, len(frame), err)
		}
		if _, _, err := Decode(append(frame, 0), any8, nil); !errors.Is(err, errTrailing) {
			t.Fatalf("a byte more: error %v", err)
		}
	})
}

func TestFrameRefusesKindsOfTheOtherDirection(t *testing.T) {
	frame := encode(Header{}, []Item{{Kind: KindAcks}})
	if _, _, err := Decode(frame, Kind.IsRequest, nil); err == nil {
		t.Fatal("acks were accepted as a request")
	}
	frame = encode(Header{}, []Item{{Kind: KindApply}})
	if _, _, err := Decode(frame, Kind.IsAnswer, nil); err == nil {
		t.Fatal("a group was accepted as an answer")
	}
}

func TestFrameRefusesUnknownFormatAndFlags(t *testing.T) {
	for i, value := range []byte{frameFormat + 1, 1} {
		frame := encode(Header{}, nil)
		frame[i] = value
		if _, _, err := Decode(frame, any8, nil); !errors.Is(err, errFormat) {
			t.Fatalf("byte %d = %d: error %v", i, value, err)
		}
	}
}

func TestAckIDs(t *testing.T) {
	it := Item{Kind: KindAcks, Arg: 2, Payload: []byte{0, 0, 0, 7, 1, 2, 3, 4}}
	ids, err := it.AppendAckIDs(nil)
	if err != nil || !slices.Equal(ids, []uint32{7, 0x01020304}) {
		t.Fatalf("ids %v, error %v", ids, err)
	}
	for _, arg := range []uint32{0, 1, 3, 1 << 30, 1<<30 + 2} {
		it.Arg = arg
		if _, err := it.AppendAckIDs(nil); err == nil {
			t.Fatalf("%d acks in %d bytes were accepted", arg, len(it.Payload))
		}
	}
}

// FuzzFrame: whatever comes, decoding does not panic, allocates no more items
// than the bytes can hold, and what it accepts encodes to the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode(Header{Version: 3}, nil))
	f.Add(encode(Header{Clock: -1, Queued: 9}, []Item{{Kind: KindApply, ID: 1, Arg: 2, Payload: []byte("group")}, {Kind: KindAcks}}))
	f.Add(append(encode(Header{}, []Item{{Kind: KindRead}}), 0))
	liar := encode(Header{}, []Item{{Kind: KindRead, Payload: []byte("short")}})
	liar[HeaderSize+9] = 0xff
	f.Add(liar)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, items, err := Decode(b, any8, nil)
		if cap(items) > 2*len(b)/ItemSize+8 {
			t.Fatalf("%d items allocated for %d bytes", cap(items), len(b))
		}
		if err != nil {
			return
		}
		if again := encode(h, items); !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, which encodes as %x", b, again)
		}
	})
}

func TestQueueKeepsItemsAndBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const target = 4 << 10
		q := Queue{Pool: new(BufferPool), Target: target}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var sent, got []Item
		var acked, gotAcks []uint32
		take := func() {
			f, ok := q.Take(0)
			if !ok {
				return
			}
			PutHeader(*f.Buf, Header{Items: f.Items})
			_, items, err := Decode(*f.Buf, any8, nil)
			if err != nil {
				t.Fatalf("frame of the queue: %v", err)
			}
			size := 0
			for _, it := range items {
				if it.Kind == KindAcks {
					gotAcks, _ = it.AppendAckIDs(gotAcks)
					continue
				}
				size += ItemSize + len(it.Payload)
				got = append(got, Item{ID: it.ID, Payload: bytes.Clone(it.Payload)})
			}
			if HeaderSize+size > target && len(items) > 2 {
				t.Fatalf("%d items in a frame of %d bytes", len(items), size)
			}
			q.Pool.Put(f.Buf)
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 200).Draw(t, "steps")
		for i, step := range steps {
			switch {
			case step < 6:
				payload := make([]byte, rng.IntN(700)+step/5*rng.IntN(9000))
				for j := range payload {
					payload[j] = byte(i)
				}
				f := q.Room(0, len(payload))
				*f.Buf = append(AppendItem(*f.Buf, KindApply, uint32(i), 0, len(payload)), payload...)
				sent = append(sent, Item{ID: uint32(i), Payload: payload})
			case step < 8:
				q.Ack(uint32(i))
				acked = append(acked, uint32(i))
			default:
				take()
			}
		}
		for !q.Empty() {
			take()
		}
		if q.Bytes() != 0 {
			t.Fatalf("%d bytes in an empty queue", q.Bytes())
		}
		if !slices.Equal(acked, gotAcks) {
			t.Fatalf("acks %v, want %v", gotAcks, acked)
		}
		if !slices.EqualFunc(sent, got, func(a, b Item) bool { return a.ID == b.ID && bytes.Equal(a.Payload, b.Payload) }) {
			t.Fatalf("%d items came out, %d went in, or in another order", len(got), len(sent))
		}
	})
}

func TestQueueSplitsFramesAtTheItemLimit(t *testing.T) {
	q := Queue{Pool: new(BufferPool), Target: 64 << 20}
	for i := range itemsMax + 10 {
		f := q.Room(0, 0)
		*f.Buf = AppendItem(*f.Buf, KindVerdict, uint32(i), 0, 0)
	}
	q.Ack(1)
	f, _ := q.Take(0)
	if f.Items > itemsMax {
		t.Fatalf("%d items do not fit a u16", f.Items)
	}
	PutHeader(*f.Buf, Header{Items: f.Items})
	if _, _, err := Decode(*f.Buf, any8, nil); err != nil {
		t.Fatal(err)
	}
	if q.Empty() {
		t.Fatal("nothing is left for a second frame")
	}
}

func TestBufferPoolTiers(t *testing.T) {
	var p BufferPool
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 65536, 1 << maxTier, 1<<maxTier + 1, 3 << 20} {
		b := p.Get(n)
		if len(*b) != n {
			t.Fatalf("Get(%d) has %d bytes", n, len(*b))
		}
		p.Put(b)
		if again := p.Get(n); len(*again) != n {
			t.Fatalf("Get(%d) after Put has %d bytes", n, len(*again))
		}
	}
	odd := make([]byte, 1000)
	p.Put(&odd)
	if b := p.Get(1024); cap(*b) != 1024 {
		t.Fatalf("a buffer of capacity %d was handed out for 1024", cap(*b))
	}
}

func BenchmarkAppendItem(b *testing.B) {
	g := &Group{Version: 1, Born: 2, Count: 1, Entries: make([]byte, 280)}
	buf := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		if len(buf) > 60<<10 {
			buf = buf[:0]
		}
		buf = AppendGroup(AppendItem(buf, KindApply, 7, 1000, GroupSize(g)), g)
	}
}

func BenchmarkDecode(b *testing.B) {
	g := &Group{Version: 1, Born: 2, Count: 1, Entries: make([]byte, 280)}
	var items []Item
	for range 200 {
		items = append(items, Item{Kind: KindApply, Payload: AppendGroup(nil, g)})
	}
	frame := encode(Header{}, items)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if _, items, err = Decode(frame, Kind.IsRequest, items); err != nil {
			b.Fatal(err)
		}
		for i := range items {
			if _, err := DecodeGroup(items[i].Payload); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/item")
}
