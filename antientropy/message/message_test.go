package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

var (
	id    = token.RangeID(700)
	leaf  = record.Leaf{Range: id, Table: 3, Space: record.SpaceWindows, Window: 1 << 31}
	shape = record.Shape{Table: 3, Window: 1}
	// Two keys of the leaf.
	low  = shape.AppendPartitionPrefix(nil, 1<<31, id.First(), []byte("p"))
	high = shape.AppendPartitionPrefix(nil, 1<<31, id.Last(), []byte("p"))

	head = LeafHead{Epoch: Epoch{1, 2}, Target: Target{3, id}, Session: 4, Leaf: leaf, Filling: true}
	part = SpanHead{LeafHead: head, After: low, Through: high}
	some = tree.Chosen{Level: 2, Buckets: []uint32{0, 5, 63}}
)

// messages are one of each kind: its bytes, what it was, and how it is read.
func messages() map[string]struct {
	body   []byte
	want   any
	decode func([]byte) (any, error)
} {
	all := map[string]struct {
		body   []byte
		want   any
		decode func([]byte) (any, error)
	}{}
	add := func(name string, body []byte, want any, decode func([]byte) (any, error)) {
		all[name] = struct {
			body   []byte
			want   any
			decode func([]byte) (any, error)
		}{body, want, decode}
	}
	roots := RootsRequest{Epoch: Epoch{1, 2}, Targets: []Target{{0, 0}, {1, 1023}}, Roots: []uint64{7, 1 << 63}, Points: []int64{0, 1 << 40}}
	add("roots", roots.Encode(), roots, func(b []byte) (any, error) { return DecodeRootsRequest(b) })
	like := []Likeness{Alike, Different, Unsettled, Elsewhere}
	add("likenesses", EncodeLikenesses(like), like, func(b []byte) (any, error) { return DecodeLikenesses(b) })
	ask := LeavesRequest{Epoch: Epoch{1, 2}, Target: Target{3, id}, Point: 9, Filling: true, After: &leaf}
	add("leaves", ask.Encode(), ask, func(b []byte) (any, error) { return DecodeLeavesRequest(b) })
	list := LeavesAnswer{Point: 7, More: true, Leaves: []record.LeafState{
		{Leaf: leaf.Heads()},
		{Leaf: leaf, Clean: true, LeafContent: record.LeafContent{Sum: record.Digest{1, 15: 2}, Keys: 300}},
	}}
	add("leaves answer", list.Encode(), list, func(b []byte) (any, error) { return DecodeLeavesAnswer(b) })
	buckets := BucketsRequest{LeafHead: head, Chosen: some}
	add("buckets", buckets.Encode(), buckets, func(b []byte) (any, error) { return DecodeBucketsRequest(b) })
	sums := BucketsAnswer{Reading: true, Keys: 9, Sums: []uint64{1, 2, 1 << 63}}
	add("buckets answer", sums.Encode(), sums, func(b []byte) (any, error) { return DecodeBucketsAnswer(b) })
	keys := KeysRequest{SpanHead: part, Chosen: some}
	add("keys", keys.Encode(), keys, func(b []byte) (any, error) { return DecodeKeysRequest(b) })
	digests := KeysAnswer{Through: high, Keys: []KeyDigest{{1, 2}, {3, 4}}}
	add("keys answer", digests.Encode(), digests, func(b []byte) (any, error) { return DecodeKeysAnswer(b) })
	rows := RowsRequest{SpanHead: part, Hashes: []uint64{1, 1 << 63}}
	add("rows", rows.Encode(), rows, func(b []byte) (any, error) { return DecodeRowsRequest(b) })
	entries := RowsAnswer{Through: low, Rows: record.AppendEntry(nil, low, []byte("v"))}
	add("rows answer", entries.Encode(), entries, func(b []byte) (any, error) { return DecodeRowsAnswer(b) })
	pulled := PullAnswer{Through: low, Rows: 300, Bytes: 1 << 40}
	add("pull answer", pulled.Encode(), pulled, func(b []byte) (any, error) { return DecodePullAnswer(b) })
	state := PurgeState{Epoch: Epoch{1, 2}, Floor: 3, Fence: 2, Hold: 9, Targets: []Target{{0, 1}}, Levels: []hlc.Timestamp{1}}
	add("purge", state.Encode(), state, func(b []byte) (any, error) { return DecodePurgeState(b) })
	return all
}

// TestRoundTrip: messages come back as they were; none is read if it is cut short,
// longer, or of another version.
func TestRoundTrip(t *testing.T) {
	for name, m := range messages() {
		got, err := m.decode(m.body)
		if err != nil || !reflect.DeepEqual(got, m.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, m.want)
		}
		for n := range m.body {
			if name == "rows answer" && n > len(low)+1 {
				break // its rows are the rest, whatever that is
			}
			if _, err := m.decode(m.body[:n]); err == nil {
				t.Errorf("%s: the first %d bytes are read", name, n)
			}
		}
		if _, err := m.decode(append(m.body[:len(m.body):len(m.body)], 0)); err == nil && name != "rows answer" {
			t.Errorf("%s: a byte too many is read", name)
		}
		m.body[0]++
		if _, err := m.decode(m.body); err == nil {
			t.Errorf("%s: another version is read", name)
		}
	}
}

// TestWhatMakesNoSense is refused.
func TestWhatMakesNoSense(t *testing.T) {
	other := part
	other.Through = shape.AppendHeadKey(nil, id.First(), []byte("p"))
	if _, err := DecodeRowsRequest((&RowsRequest{SpanHead: other}).Encode()); err == nil {
		t.Error("a span that ends in another leaf is read")
	}
	far := head
	far.Target.ID++
	if _, err := DecodeBucketsRequest((&BucketsRequest{LeafHead: far}).Encode()); err == nil {
		t.Error("a leaf of another range is read")
	}
	for _, c := range []tree.Chosen{
		{Level: tree.Levels, Buckets: []uint32{0}}, {Level: 9}, {Level: 1, Buckets: []uint32{8}}, {Level: 1, Buckets: []uint32{3, 3}},
	} {
		if _, err := DecodeBucketsRequest((&BucketsRequest{LeafHead: head, Chosen: c}).Encode()); err == nil {
			t.Errorf("%+v is read", c)
		}
	}
	twice := LeavesAnswer{Leaves: []record.LeafState{{Leaf: leaf}, {Leaf: leaf}}}
	if _, err := DecodeLeavesAnswer(twice.Encode()); err == nil {
		t.Error("a leaf that comes twice is read")
	}
}

func TestChosenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := tree.Chosen{Level: rapid.IntRange(0, tree.Levels-1).Draw(t, "level")}
		for b := range uint32(1) << (tree.Bits * c.Level) {
			if rapid.IntRange(0, 3).Draw(t, "has") == 0 {
				c.Buckets = append(c.Buckets, b)
			}
			if len(c.Buckets) > 50 {
				break
			}
		}
		m := BucketsRequest{LeafHead: head, Chosen: c}
		got, err := DecodeBucketsRequest(m.Encode())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	})
}

// FuzzDecode: no bytes crash a decoder, and what is read has bytes of its own that
// read alike.
func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.body)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again := func(m interface{ Encode() []byte }, err error, decode func([]byte) (any, error)) {
			if err != nil {
				return
			}
			if _, err := decode(m.Encode()); err != nil {
				t.Errorf("%+v was read, and cannot be: %v", m, err)
			}
		}
		roots, err := DecodeRootsRequest(b)
		again(&roots, err, func(b []byte) (any, error) { return DecodeRootsRequest(b) })
		ask, err := DecodeLeavesRequest(b)
		again(&ask, err, func(b []byte) (any, error) { return DecodeLeavesRequest(b) })
		list, err := DecodeLeavesAnswer(b)
		again(&list, err, func(b []byte) (any, error) { return DecodeLeavesAnswer(b) })
		buckets, err := DecodeBucketsRequest(b)
		again(&buckets, err, func(b []byte) (any, error) { return DecodeBucketsRequest(b) })
		sums, err := DecodeBucketsAnswer(b)
		again(&sums, err, func(b []byte) (any, error) { return DecodeBucketsAnswer(b) })
		keys, err := DecodeKeysRequest(b)
		again(&keys, err, func(b []byte) (any, error) { return DecodeKeysRequest(b) })
		digests, err := DecodeKeysAnswer(b)
		again(&digests, err, func(b []byte) (any, error) { return DecodeKeysAnswer(b) })
		rows, err := DecodeRowsRequest(b)
		again(&rows, err, func(b []byte) (any, error) { return DecodeRowsRequest(b) })
		entries, err := DecodeRowsAnswer(b)
		again(&entries, err, func(b []byte) (any, error) { return DecodeRowsAnswer(b) })
		pulled, err := DecodePullAnswer(b)
		again(&pulled, err, func(b []byte) (any, error) { return DecodePullAnswer(b) })
		if like, err := DecodeLikenesses(b); err == nil && len(like) > len(b) {
			t.Errorf("%d likenesses of %d bytes", len(like), len(b))
		}
	})
}

// TestPeerIsNotBelieved: rows that were not asked for, of other leaves or
// unreadable, are refused whole.
func TestPeerIsNotBelieved(t *testing.T) {
	key := func(table uint32, number byte) []byte {
		shape := record.Shape{Table: table, Clustering: []record.Component{{Kind: record.Blob}}}
		suffix, err := shape.AppendSuffix(nil, []byte{number})
		if err != nil {
			t.Fatal(err)
		}
		k, err := shape.AppendRowKey(nil, 7, []byte("p"), suffix)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	row := record.Row{Liveness: record.Liveness{Timestamp: 1}}
	value := row.Append(nil)
	asked, elsewhere := key(3, 1), key(4, 1)
	leaf, _ := record.LeafOf(asked)
	wanted := map[uint64]struct{}{tree.KeyHash(asked): {}, tree.KeyHash(elsewhere): {}}
	good := record.AppendEntry(nil, asked, value)
	answer := RowsAnswer{Rows: good}
	if groups, err := answer.Groups(leaf, wanted); err != nil || len(groups) != 1 || groups[0].Count != 1 {
		t.Errorf("%v %v", groups, err)
	}
	for name, rows := range map[string][]byte{
		"a row that was not asked for": record.AppendEntry(nil, key(3, 2), value),
		"a row of another leaf":        record.AppendEntry(nil, elsewhere, value),
		"an unreadable row":            record.AppendEntry(nil, asked, []byte{9}),
		"no key":                       record.AppendEntry(nil, nil, value),
		"half an entry":                good[:len(good)-1],
	} {
		answer := RowsAnswer{Rows: append(bytes.Clone(good), rows...)}
		if _, err := answer.Groups(leaf, wanted); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
