package record

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/token"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer("·", "", " ", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestComparableVectors are the examples of Cassandra's description of OSS41.
func TestComparableVectors(t *testing.T) {
	for _, tc := range []struct {
		kinds  []Kind
		values []string
		want   string
	}{
		{[]Kind{Smallint, Float}, []string{"0001", "3F800000"}, "40·8001·40·BF800000·38"},
		{[]Kind{Smallint}, []string{"FFFF"}, "40·7FFF·38"},
		{[]Kind{Float}, []string{"BF800000"}, "40·407FFFFF·38"},
		{[]Kind{Double}, []string{"FFF0000000000000"}, "40·000FFFFFFFFFFFFF·38"},
		{[]Kind{Blob, Smallint}, []string{"22", "0000"}, "40·2200·40·8000·38"},
		{[]Kind{Blob}, []string{"2200"}, "40·2200FE·38"},
		{[]Kind{Blob}, []string{"22000033"}, "40·2200FEFF3300·38"},
		{[]Kind{Blob}, []string{"220011"}, "40·2200FF1100·38"},
		{[]Kind{Blob}, []string{"220000"}, "40·2200FEFE·38"},
		{[]Kind{Int}, []string{"00000001"}, "40·80000001·38"},
		{[]Kind{Int}, []string{"7FFFFFFF"}, "40·FFFFFFFF·38"},
		{[]Kind{Tinyint}, []string{"00"}, "40·80·38"},
		{[]Kind{Bigint}, []string{"8000000000000000"}, "40·0000000000000000·38"},
		{[]Kind{Float}, []string{"80000000"}, "40·7FFFFFFF·38"},
		{[]Kind{Double}, []string{"3FF0000000000000"}, "40·BFF0000000000000·38"},
		{[]Kind{Double}, []string{"7FF8000000000000"}, "40·FFF8000000000000·38"},
		{[]Kind{UUID}, []string{"cc520882950744fb8fc9b349ecdee658"}, "40·4cc52088295074fb8fc9b349ecdee658·38"},
		{[]Kind{UUID}, []string{"2a92d750d8dc11e6a2decf8ecd4cf053"}, "40·11e6d8dc2a92d750a2decf8ecd4cf053·38"},
	} {
		var s Shape
		var values [][]byte
		for i, k := range tc.kinds {
			s.Clustering = append(s.Clustering, Component{Kind: k})
			values = append(values, unhex(t, tc.values[i]))
		}
		got, err := s.AppendSuffix(nil, values...)
		if err != nil || !bytes.Equal(got, unhex(t, tc.want)) {
			t.Errorf("%v %v: %x (%v), want %s", tc.kinds, tc.values, got, err, tc.want)
		}
	}
}

func genValue(t *rapid.T, k Kind, label string) []byte {
	switch k {
	case Text, ASCII:
		return []byte(rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a', 'b'}), 0, 4, -1).Draw(t, label))
	case Blob:
		return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff}), 0, 5).Draw(t, label)
	case Boolean:
		return []byte{rapid.SampledFrom([]byte{0, 1}).Draw(t, label)}
	case Inet:
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, label+"n")
		return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label)
	case TimeUUID:
		u := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}), 16, 16).Draw(t, label)
		u[6], u[8] = u[6]&0x0f|0x10, u[8]&0x3f|0x80
		return u
	default:
		return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}), kinds[k].size, kinds[k].size).Draw(t, label)
	}
}

// compareValues orders two values as CQL does, written independently of the encoding.
func compareValues(k Kind, a, b []byte) int {
	signed := func(v []byte) int64 {
		n := int64(int8(v[0]))
		for _, x := range v[1:] {
			n = n<<8 | int64(x)
		}
		return n
	}
	switch k {
	case Tinyint, Smallint, Int, Bigint, Timestamp:
		return cmp.Compare(signed(a), signed(b))
	case Float:
		return compareFloats(float64(math.Float32frombits(binary.BigEndian.Uint32(a))), float64(math.Float32frombits(binary.BigEndian.Uint32(b))), signed(a), signed(b))
	case Double:
		return compareFloats(math.Float64frombits(binary.BigEndian.Uint64(a)), math.Float64frombits(binary.BigEndian.Uint64(b)), signed(a), signed(b))
	case UUID:
		if d := cmp.Compare(a[6]>>4, b[6]>>4); d != 0 {
			return d
		}
		if a[6]>>4 == 1 {
			if d := cmp.Compare(uuidTicks(a), uuidTicks(b)); d != 0 {
				return d
			}
			return bytes.Compare(a[8:], b[8:])
		}
		return bytes.Compare(a, b)
	case TimeUUID:
		if d := cmp.Compare(uuidTicks(a), uuidTicks(b)); d != 0 {
			return d
		}
		for i := 8; i < 16; i++ {
			if d := cmp.Compare(int8(a[i]), int8(b[i])); d != 0 {
				return d
			}
		}
		return 0
	default:
		return bytes.Compare(a, b)
	}
}

// compareFloats is Java's Double.compare, and of NaNs the order of their bits.
func compareFloats(a, b float64, abits, bbits int64) int {
	if !math.IsNaN(a) && !math.IsNaN(b) && a != b {
		return cmp.Compare(a, b)
	}
	if abits < 0 && bbits < 0 {
		return cmp.Compare(bbits, abits)
	}
	return cmp.Compare(abits, bbits) // -0 below 0, NaN above all
}

// TestByteOrderIsCQLOrder for every kind, ASC and DESC, alone and as the first
// of two columns; and every suffix decodes to what went in.
func TestByteOrderIsCQLOrder(t *testing.T) {
	ordered := []Kind{Text, ASCII, Blob, Boolean, Tinyint, Smallint, Int, Bigint, Float, Double, Timestamp, Date, Time, UUID, TimeUUID, Inet}
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{Clustering: []Component{
			{Kind: rapid.SampledFrom(ordered).Draw(t, "first"), Desc: rapid.Bool().Draw(t, "desc1")},
			{Kind: rapid.SampledFrom(ordered).Draw(t, "second"), Desc: rapid.Bool().Draw(t, "desc2")},
		}}
		var rows [2][][]byte
		var suffixes [2][]byte
		for i := range rows {
			for j, c := range s.Clustering {
				rows[i] = append(rows[i], genValue(t, c.Kind, string(rune('a'+2*i+j))))
			}
			var err error
			if suffixes[i], err = s.AppendSuffix(nil, rows[i]...); err != nil {
				t.Fatal(err)
			}
			back, err := s.DecodeSuffix(suffixes[i])
			if err != nil || !bytes.Equal(back[0], rows[i][0]) || !bytes.Equal(back[1], rows[i][1]) {
				t.Fatalf("%v: %x came back as %x (%v)", s.Clustering, rows[i], back, err)
			}
		}
		want := 0
		for j, c := range s.Clustering {
			if want == 0 {
				want = compareValues(c.Kind, rows[0][j], rows[1][j])
				if c.Desc {
					want = -want
				}
			}
		}
		if got := bytes.Compare(suffixes[0], suffixes[1]); got != want {
			t.Fatalf("%v: %x against %x: bytes say %d, CQL %d", s.Clustering, rows[0], rows[1], got, want)
		}
		if want != 0 && (bytes.HasPrefix(suffixes[0], suffixes[1]) || bytes.HasPrefix(suffixes[1], suffixes[0])) {
			t.Fatalf("one suffix is a prefix of the other: %x %x", suffixes[0], suffixes[1])
		}
		prefix, err := s.AppendSuffix(nil, rows[0][0])
		if err != nil {
			t.Fatal(err)
		}
		inside := bytes.Compare(AppendBoundBelow(bytes.Clone(prefix)), suffixes[1]) <= 0 && bytes.Compare(suffixes[1], AppendBoundAbove(bytes.Clone(prefix))) < 0
		if inside != (compareValues(s.Clustering[0].Kind, rows[0][0], rows[1][0]) == 0) {
			t.Fatalf("bounds of the prefix %x and the suffix %x: inside %v", prefix, suffixes[1], inside)
		}
	})
}

func TestKeysRoundTripAndSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{Table: rapid.Uint32().Draw(t, "table"), Clustering: []Component{{Kind: Timestamp}}}
		if rapid.Bool().Draw(t, "windowed") {
			s.Window = 7 * 24 * time.Hour
		}
		pk := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "pk")
		ms := rapid.Int64Range(0, secondsMax*1000-1).Draw(t, "ms")
		suffix, err := s.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(ms)))
		if err != nil {
			t.Fatal(err)
		}
		tok := token.Of(pk)
		key, err := s.AppendRowKey(nil, tok, pk, suffix)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParseKey(key)
		if err != nil || k.Table != s.Table || k.Space != s.Space() || k.Token != tok || !bytes.Equal(k.Partition, pk) || !bytes.Equal(k.Suffix, suffix) {
			t.Fatalf("parsed %+v (%v)", k, err)
		}
		if got, ok := KeyToken(key); !ok || got != tok {
			t.Fatalf("KeyToken = %d, %v", got, ok)
		}
		if got, ok := KeyTable(key); !ok || got != s.Table {
			t.Fatalf("KeyTable = %d, %v", got, ok)
		}
		if got, ok := KeySpace(key); !ok || got != s.Space() {
			t.Fatalf("KeySpace = %d, %v", got, ok)
		}
		if got, ok := KeyWindow(key); ok != (s.Window > 0) || got != k.Window {
			t.Fatalf("KeyWindow = %d, %v", got, ok)
		}
		if prefix := s.AppendPartitionPrefix(nil, k.Window, tok, pk); !bytes.Equal(append(prefix, suffix...), key) {
			t.Fatalf("the key %x does not begin with its partition's %x", key, prefix)
		}
		for n := range len(key) - len(suffix) {
			if cut, err := ParseKey(key[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("the first %d bytes of %x parse as %+v", n, key, cut)
			}
		}
		if s.Window > 0 {
			at := time.UnixMilli(ms)
			if at.Before(s.WindowStart(k.Window)) || !at.Before(s.WindowEnd(k.Window)) {
				t.Fatalf("%s is outside window %d", at, k.Window)
			}
		}
		head := s.AppendHeadKey(nil, tok, pk)
		h, err := ParseKey(head)
		if err != nil || h.Space != SpaceHeads || !bytes.Equal(h.Partition, pk) {
			t.Fatalf("head parsed %+v (%v)", h, err)
		}
	})
}

func TestWindowsRefuseOtherTimes(t *testing.T) {
	s := Shape{Window: time.Hour, Clustering: []Component{{Kind: Timestamp}}}
	for _, at := range []time.Time{time.UnixMilli(-1), time.Unix(secondsMax, 0)} {
		suffix, err := s.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AppendRowKey(nil, 0, nil, suffix); err == nil {
			t.Errorf("%s was accepted", at)
		}
	}
}

func TestValuesAreChecked(t *testing.T) {
	for _, tc := range []struct {
		kind  Kind
		value []byte
	}{
		{Int, []byte{1}}, {Text, []byte{0xff}}, {ASCII, []byte{0x80}}, {Inet, []byte{1}},
		{Boolean, []byte{2}}, {Boolean, nil}, {Double, make([]byte, 7)}, {Timestamp, nil}, {UUID, make([]byte, 15)},
		{TimeUUID, make([]byte, 16)}, {Kind(0), nil}, {Kind(200), nil},
	} {
		s := Shape{Clustering: []Component{{Kind: tc.kind}}}
		if _, err := s.AppendSuffix(nil, tc.value); err == nil {
			t.Errorf("%s: %x was accepted", tc.kind, tc.value)
		}
	}
}

func TestKindsAreNamedAsInCQL(t *testing.T) {
	for k := Kind(1); k.Known(); k++ {
		text, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Kind
		if err := back.UnmarshalText(text); err != nil || back != k {
			t.Errorf("%s came back as %s (%v)", text, back, err)
		}
	}
	var k Kind
	for _, bad := range []string{"", "Text", "varint", "kind(3)"} {
		if err := k.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was accepted as %s", bad, k)
		}
	}
	if _, err := Kind(200).MarshalText(); err == nil {
		t.Error("an unknown kind was written")
	}
}

// TestSuffixesHaveOneForm: bytes that no value encodes to are refused, since
// the same row would have two keys.
func TestSuffixesHaveOneForm(t *testing.T) {
	blob, desc, uuid := Component{Kind: Blob}, Component{Kind: Blob, Desc: true}, Component{Kind: TimeUUID}
	for _, tc := range []struct {
		component Component
		suffix    string
	}{
		{blob, "40·00FF00·38"},       // a zero at the end must be 00 FE
		{blob, "40·2200FF00FF11·38"}, // zeros side by side are one run
		{blob, "40·22"},              // no end
		{blob, "40·2200"},            // no terminator
		{blob, "40·2200·3838"},       // bytes after it
		{blob, "38"},                 // no value
		{blob, "3F·38"},              // clustering columns have no null
		{desc, "40·FF00FF·38"},
		{uuid, "40·21e6d8dc2a92d7502222cf8ecd4cf053·38"}, // version 2
		{Component{Kind: Boolean}, "40·02·38"},
		{Component{Kind: Int}, "40·800000·38"},
		{Component{Kind: Text}, "40·C000·38"}, // not UTF-8
	} {
		s := Shape{Clustering: []Component{tc.component}}
		if got, err := s.DecodeSuffix(unhex(t, tc.suffix)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v %s: decoded to %x (%v)", tc.component, tc.suffix, got, err)
		}
	}
}

// TestKeysArePrefixFree: no key of a table is a prefix of another one's, heads
// and rows together.
func TestKeysArePrefixFree(t *testing.T) {
	short := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x38, 0x40}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{Table: 1, Clustering: []Component{{Kind: Blob, Desc: rapid.Bool().Draw(t, "desc")}, {Kind: Blob}}}
		var keys [2][]byte
		for i := range keys {
			pk := short.Draw(t, "pk")
			if rapid.Bool().Draw(t, "head") {
				keys[i] = s.AppendHeadKey(nil, 7, pk)
				continue
			}
			suffix, err := s.AppendSuffix(nil, short.Draw(t, "first"), short.Draw(t, "second"))
			if err != nil {
				t.Fatal(err)
			}
			if keys[i], err = s.AppendRowKey(nil, 7, pk, suffix); err != nil {
				t.Fatal(err)
			}
		}
		if bytes.HasPrefix(keys[0], keys[1]) && !bytes.Equal(keys[0], keys[1]) {
			t.Fatalf("%x is a prefix of %x", keys[1], keys[0])
		}
	})
}

func TestLongPartitionKeysAreRefused(t *testing.T) {
	s := Shape{Table: 1}
	if _, err := s.AppendRowKey(nil, 0, make([]byte, PartitionMax+1), nil); err == nil {
		t.Error("a partition key longer than its length field was accepted")
	}
	if _, err := s.AppendRowKey(nil, 0, make([]byte, PartitionMax), nil); err != nil {
		t.Error(err)
	}
}

// TestWindowBoundsHoldTheSlice: every row between two bounds lies in a window
// between the bounds' windows.
func TestWindowBoundsHoldTheSlice(t *testing.T) {
	ms := rapid.Int64Range(0, 40*24*3600*1000)
	rapid.Check(t, func(t *rapid.T) {
		s := Shape{Window: 7 * 24 * time.Hour, Clustering: []Component{{Kind: Timestamp, Desc: rapid.Bool().Draw(t, "desc")}, {Kind: Int}}}
		suffix := func(label string) []byte {
			b, err := s.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(ms.Draw(t, label))))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		var start, end []byte
		if rapid.Bool().Draw(t, "hasStart") {
			start = AppendBoundBelow(suffix("start"))
		}
		if rapid.Bool().Draw(t, "hasEnd") {
			end = AppendBoundAbove(suffix("end"))
		}
		row := AppendBoundBelow(suffix("row"))
		if bytes.Compare(row, start) < 0 || end != nil && bytes.Compare(row, end) >= 0 {
			return
		}
		first, last := s.WindowBounds(start, end)
		if w, err := s.WindowOf(row); err != nil || w < first || w > last {
			t.Fatalf("a row of window %d lies in the slice, but the bounds say %d to %d (%v)", w, first, last, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	s := Shape{Table: 1, Window: time.Hour, Clustering: []Component{{Kind: Blob}, {Kind: Text, Desc: true}, {Kind: TimeUUID}}}
	f.Add(s.AppendHeadKey(nil, 5, []byte("pk")))
	f.Add(s.AppendPartitionPrefix(nil, 7, 5, []byte("pk")))
	f.Add(unhex(f, "40·00FF00·40·FFFF·40·11e6d8dc2a92d750a2decf8ecd4cf053·38"))
	f.Add(unhex(f, "40·2200FEFF1100·40·FF01·40·11e6d8dc2a92d750a2decf8ecd4cf053·38"))
	f.Add(AppendCompositeKey(nil, []byte("bucket"), []byte("key")))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKey(b)
		if err == nil {
			if tok, ok := KeyToken(b); !ok || tok != k.Token {
				t.Errorf("KeyToken %d, %v; ParseKey %d", tok, ok, k.Token)
			}
		}
		if values, err := s.DecodeSuffix(b); err == nil {
			if again, err := s.AppendSuffix(nil, values...); err != nil || !bytes.Equal(again, b) {
				t.Errorf("suffix %x is not canonical: %x (%v)", b, again, err)
			}
		}
		for rest := b; len(rest) > 0; {
			var err error
			if _, _, rest, err = NextEntry(rest); err != nil {
				break
			}
		}
		if parts, err := DecodeCompositeKey(b); err == nil && !bytes.Equal(AppendCompositeKey(nil, parts...), b) {
			t.Errorf("composite %x does not come back", b)
		}
	})
}
