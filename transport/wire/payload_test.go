package wire

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, label)
}

// drawBound is nil, empty or not.
func drawBound(t *rapid.T, label string) []byte {
	if rapid.Bool().Draw(t, label+" open") {
		return nil
	}
	return append([]byte{}, drawBytes(t, label)...)
}

func drawPosition(t *rapid.T) *Position {
	if rapid.Bool().Draw(t, "no position") {
		return nil
	}
	return &Position{
		Token:     token.Token(rapid.Int64().Draw(t, "token")),
		Partition: append([]byte{}, drawBytes(t, "partition")...), Suffix: append([]byte{}, drawBytes(t, "suffix")...),
	}
}

// refusesEveryCut checks that no proper prefix of a payload decodes, nor the
// payload with a byte more, unless its last part goes to the end.
func refusesEveryCut(t *rapid.T, b []byte, decode func([]byte) error) {
	for n := range b {
		if decode(b[:n]) == nil {
			t.Fatalf("the first %d of %d bytes were accepted", n, len(b))
		}
	}
	if decode(append(b[:len(b):len(b)], 0)) == nil {
		t.Fatal("a byte more was accepted")
	}
}

func TestReadRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := ReadRequest{
			Version: rapid.Uint64().Draw(t, "version"), Table: rapid.Uint32().Draw(t, "table"),
			Partition: append([]byte{}, drawBytes(t, "partition")...),
			Start:     drawBound(t, "start"), End: drawBound(t, "end"),
			Reverse: rapid.Bool().Draw(t, "reverse"), Digest: rapid.Bool().Draw(t, "digest"),
			MaxRows: rapid.IntRange(0, 1<<31-1).Draw(t, "rows"), MaxBytes: rapid.IntRange(0, 1<<31-1).Draw(t, "bytes"),
			Now: rapid.Int64().Draw(t, "now"),
		}
		b := AppendReadRequest(nil, &q)
		if len(b) != ReadRequestSize(&q) {
			t.Fatalf("%d bytes, size says %d", len(b), ReadRequestSize(&q))
		}
		var got ReadRequest
		if err := DecodeReadRequest(b, &got); err != nil || !reflect.DeepEqual(got, q) {
			t.Fatalf("got %+v, error %v; want %+v", got, err, q)
		}
		refusesEveryCut(t, b, func(b []byte) error { return DecodeReadRequest(b, new(ReadRequest)) })
	})
}

func TestScanRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := ScanRequest{
			Version: rapid.Uint64().Draw(t, "version"), Table: rapid.Uint32().Draw(t, "table"),
			Range: token.RangeID(rapid.IntRange(0, token.Ranges-1).Draw(t, "range")), After: drawPosition(t),
			PartitionsOnly: rapid.Bool().Draw(t, "partitions"),
			MaxRows:        rapid.IntRange(0, 1<<31-1).Draw(t, "rows"), MaxBytes: rapid.IntRange(0, 1<<31-1).Draw(t, "bytes"),
			Now: rapid.Int64().Draw(t, "now"),
		}
		b := AppendScanRequest(nil, &q)
		if len(b) != ScanRequestSize(&q) {
			t.Fatalf("%d bytes, size says %d", len(b), ScanRequestSize(&q))
		}
		var got ScanRequest
		if err := DecodeScanRequest(b, &got); err != nil || !reflect.DeepEqual(got, q) {
			t.Fatalf("got %+v, error %v; want %+v", got, err, q)
		}
		refusesEveryCut(t, b, func(b []byte) error { return DecodeScanRequest(b, new(ScanRequest)) })
	})
}

func TestAnswersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := ReadAnswer{
			Head: append([]byte{}, drawBytes(t, "head")...), Rows: append([]byte{}, drawBytes(t, "rows")...),
			Live: rapid.IntRange(0, 1<<31-1).Draw(t, "live"), More: rapid.Bool().Draw(t, "more"),
		}
		if rapid.Bool().Draw(t, "digest") {
			copy(a.Digest[:], drawBytes(t, "digest bytes"))
		}
		var got ReadAnswer
		if err := DecodeReadAnswer(AppendReadAnswer(nil, &a), &got); err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("got %+v, error %v; want %+v", got, err, a)
		}
		s := ScanAnswer{
			Partitions: a.Head, Rows: a.Rows, Live: a.Live, More: a.More, Next: drawPosition(t),
		}
		var gotScan ScanAnswer
		if err := DecodeScanAnswer(AppendScanAnswer(nil, &s), &gotScan); err != nil || !reflect.DeepEqual(gotScan, s) {
			t.Fatalf("got %+v, error %v; want %+v", gotScan, err, s)
		}
	})
}

func TestGroupRoundTrip(t *testing.T) {
	for _, g := range []Group{
		{Version: 1 << 60, Born: -5, Count: 2, Entries: []byte("four")},
		{Count: 1, Owner: ring.NodeID{1, 15: 2}, Entries: []byte("four")},
	} {
		b := AppendGroup(nil, &g)
		if len(b) != GroupSize(&g) {
			t.Fatalf("%d bytes, size says %d", len(b), GroupSize(&g))
		}
		if got, err := DecodeGroup(b); err != nil || !reflect.DeepEqual(got, g) {
			t.Fatalf("got %+v, error %v; want %+v", got, err, g)
		}
	}
	nobody := AppendGroup(nil, &Group{Count: 1, Owner: ring.NodeID{1}, Entries: []byte("four")})
	clear(nobody[groupHeaderSize:][:16])
	if _, err := DecodeGroup(nobody); err == nil {
		t.Error("a group held for nobody was accepted")
	}
	for _, bad := range []Group{{Entries: []byte("no count")}, {Count: 3, Entries: []byte("four")}, {Count: 1 << 31, Entries: []byte("many")}} {
		if _, err := DecodeGroup(AppendGroup(nil, &bad)); err == nil {
			t.Errorf("group of %d entries in %d bytes was accepted", bad.Count, len(bad.Entries))
		}
	}
}

func TestVerdicts(t *testing.T) {
	for code := OK; code < codes; code++ {
		v := Verdict{Code: code, Detail: "because", Version: 7}
		got, err := DecodeVerdict(uint32(code), AppendVerdict(nil, v))
		travels := code != OK && code != Timeout && code != Unreachable
		if travels != (err == nil) || travels && got != v {
			t.Errorf("%v: got %+v, error %v", code, got, err)
		}
		if (v.Err() == nil) != (code == OK) {
			t.Errorf("%v: Err is %v", code, v.Err())
		}
		if want := code == Timeout || code == Expired; errors.Is(v.Err(), context.DeadlineExceeded) != want {
			t.Errorf("%v: is DeadlineExceeded: %v", code, !want)
		}
		var e *Error
		if code != OK && (!errors.As(v.Err(), &e) || e.Verdict != v || !strings.Contains(e.Error(), code.String()+": because")) {
			t.Errorf("%v: error %v does not carry the verdict", code, v.Err())
		}
	}
	if _, err := DecodeVerdict(uint32(Failed), AppendVerdict(nil, Verdict{Detail: strings.Repeat("x", DetailMax+1)})); err == nil {
		t.Error("a detail over the bound was accepted")
	}
	if got := Code(200).String(); got != "code_200" {
		t.Errorf("unknown code is %q", got)
	}
}

func TestControlRoundTrip(t *testing.T) {
	b := AppendControlRequest(nil, []byte("hello"), "prepare", []byte("body"))
	hello, kind, body, err := DecodeControlRequest(b)
	if err != nil || string(hello) != "hello" || kind != "prepare" || string(body) != "body" {
		t.Fatalf("%q %q %q, error %v", hello, kind, body, err)
	}
	if _, _, _, err := DecodeControlRequest(AppendControlRequest(nil, nil, "", nil)); err == nil {
		t.Fatal("a call without a kind was accepted")
	}
	hello, body, failure, err := DecodeControlAnswer(AppendControlAnswer(nil, []byte("hello"), []byte("body"), nil))
	if err != nil || string(hello) != "hello" || string(body) != "body" || failure != nil {
		t.Fatalf("%q %q %v, error %v", hello, body, failure, err)
	}
	_, _, failure, err = DecodeControlAnswer(AppendControlAnswer(nil, nil, nil, &ControlError{Kind: "sealed", Text: "it is sealed"}))
	if err != nil || failure == nil || *failure != (ControlError{Kind: "sealed", Text: "it is sealed"}) {
		t.Fatalf("failure %v, error %v", failure, err)
	}
}

func TestHello(t *testing.T) {
	h := Hello{
		Cluster: uuid.UUID{1}, ClusterName: "test", Generation: 2, Node: uuid.UUID{3}, Store: uuid.UUID{4}, Boot: 5,
		Ceiling: hlc.Timestamp(1 << 50), Version: 6, Protocol: Protocol, Features: 1 << 63, Limits: Limits{Slots: 7, RequestBytes: 8, AnswerBytes: 9},
	}
	b, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHello(b); err != nil || got != h {
		t.Fatalf("got %+v, error %v; want %+v", got, err, h)
	}
	later := bytes.Replace(b, []byte("{"), []byte(`{"added_later":[1],`), 1)
	if got, err := DecodeHello(later); err != nil || got != h {
		t.Fatalf("a later version's hello: %+v, error %v", got, err)
	}
	other := h
	other.Protocol++
	stranger, nobody := h, h
	stranger.Cluster, nobody.Node = uuid.UUID{9}, uuid.UUID{}
	for _, bad := range []Hello{other, nobody} {
		b, _ := bad.Encode()
		if _, err := DecodeHello(b); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if _, err := DecodeHello(bytes.Repeat([]byte(" "), HelloMax+1)); err == nil {
		t.Error("a hello over the bound was accepted")
	}
	if h.SameCluster(stranger) == nil || h.SameCluster(h) != nil || h.SameCluster(Hello{}) != nil || (Hello{}).SameCluster(h) != nil {
		t.Error("clusters are told apart wrongly")
	}
	h.ClusterName = strings.Repeat("x", HelloMax)
	if _, err := h.Encode(); err == nil {
		t.Error("a hello over the bound was encoded")
	}
}

// FuzzPayload: no decoder panics, and what it accepts encodes to the same bytes.
func FuzzPayload(f *testing.F) {
	f.Add(uint8(KindApply), AppendGroup(nil, &Group{Count: 1, Entries: []byte("entry")}))
	f.Add(uint8(KindRead), AppendReadRequest(nil, &ReadRequest{Partition: []byte("p"), Start: []byte{}, MaxRows: 3}))
	f.Add(uint8(KindScan), AppendScanRequest(nil, &ScanRequest{After: &Position{Token: 5}}))
	f.Add(uint8(KindReadAnswer), AppendReadAnswer(nil, &ReadAnswer{Head: []byte("h"), Digest: [16]byte{1}}))
	f.Add(uint8(KindScanAnswer), AppendScanAnswer(nil, &ScanAnswer{Rows: []byte("r"), Next: &Position{}}))
	f.Add(uint8(KindScanAnswer), []byte("\x00\xff000\x00\x00\x00\x00"))              // a count beyond an int32
	f.Add(uint8(KindReadAnswer), append([]byte{flagHasDigest}, make([]byte, 24)...)) // no digest, said twice
	f.Add(uint8(KindVerdict), AppendVerdict(nil, Verdict{Detail: "d"}))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var again []byte
		var err error
		switch Kind(kind) {
		case KindApply:
			var g Group
			g, err = DecodeGroup(b)
			again = AppendGroup(nil, &g)
		case KindRead:
			var q ReadRequest
			err = DecodeReadRequest(b, &q)
			again = AppendReadRequest(nil, &q)
		case KindScan:
			var q ScanRequest
			err = DecodeScanRequest(b, &q)
			again = AppendScanRequest(nil, &q)
		case KindReadAnswer:
			var a ReadAnswer
			err = DecodeReadAnswer(b, &a)
			again = AppendReadAnswer(nil, &a)
		case KindScanAnswer:
			var a ScanAnswer
			err = DecodeScanAnswer(b, &a)
			again = AppendScanAnswer(nil, &a)
		case KindVerdict:
			var v Verdict
			v, err = DecodeVerdict(uint32(Failed), b)
			again = AppendVerdict(nil, v)
		default:
			_, _, _, _ = DecodeControlRequest(b)
			_, _, _, _ = DecodeControlAnswer(b)
			_, _ = DecodeHello(b)
			return
		}
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("kind %d: accepted %x, which encodes as %x", kind, b, again)
		}
	})
}
