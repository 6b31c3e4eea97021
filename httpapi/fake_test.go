package httpapi

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// fakeStore is a Coordinator that keeps real fragments of rows in memory, merged
// as replicas merge them, and fails when it is told to.
type fakeStore struct {
	view  *schema.View
	clock *hlc.Clock
	now   func() time.Time

	newWrite func() error      // why no write can begin
	commit   func(n int) error // of the whole write; n counts commits
	rowError func(i int) error // of single rows
	wait     func()            // before a commit
	read     func() error      // of reads

	mu      sync.Mutex // guards the fields below
	rows    map[string][]byte
	commits []int // rows of each commit
}

var testAddresses = ring.Addresses{Internode: "a:1", Gossip: "a:2", HTTP: "a:3", Admin: "a:4"}

func testView(t testing.TB, floor uint32) *schema.View {
	t.Helper()
	s := schema.Builtin(3, "dc1")
	s.Tables[0].Floor = floor
	layout := ring.Bootstrap(ring.Member{ID: uuid.UUID{15: 1}, Zone: "z1", Datacenter: "dc1", Addresses: testAddresses, Voter: true}, 1)
	for i := byte(2); i <= 3; i++ {
		member := ring.Member{ID: uuid.UUID{15: i}, Zone: "z1", Datacenter: "dc1", Addresses: testAddresses, Voter: true}
		next, err := layout.Join(uint64(i), []ring.Member{member}, s.Placements())
		if err != nil {
			t.Fatal(err)
		}
		layout = next
	}
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{1}, Generation: 1, Version: 3, Sealed: true}, &layout, &s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newFakeStore(t testing.TB) *fakeStore {
	f := &fakeStore{view: testView(t, 0), now: time.Now, rows: map[string][]byte{}}
	f.clock = hlc.New(func() time.Time { return f.now() }, 0, 5*time.Second)
	f.clock.Raise(1 << 62)
	return f
}

func (f *fakeStore) Clock() hlc.Timestamp { return f.clock.Last() }

func (f *fakeStore) NewWrite(_ context.Context, opts coordinator.WriteOptions) (rows.Write, error) {
	if f.newWrite != nil {
		if err := f.newWrite(); err != nil {
			return nil, err
		}
	}
	if err := f.clock.CheckClient(opts.Timestamp); err != nil {
		return nil, &coordinator.SkewedError{Client: true, Field: "timestamp", Err: err}
	}
	born, err := f.clock.NowAbove(opts.Session)
	if err != nil {
		return nil, &coordinator.SkewedError{Client: true, Field: "session", Err: err}
	}
	w := &fakeWrite{f: f, opts: opts, timestamp: born, born: born}
	if opts.Timestamp != 0 {
		w.timestamp = opts.Timestamp
	}
	return w, nil
}

type fakeWrite struct {
	f               *fakeStore
	opts            coordinator.WriteOptions
	timestamp, born hlc.Timestamp
	entries         [][2][]byte
	results         []coordinator.GroupResult
}

func (w *fakeWrite) View() *schema.View                     { return w.f.view }
func (w *fakeWrite) Stamp() (timestamp, born hlc.Timestamp) { return w.timestamp, w.born }
func (w *fakeWrite) Release()                               { w.f = nil }

func (w *fakeWrite) Row(i int) *coordinator.GroupResult { return &w.results[i] }

func (w *fakeWrite) Add(t *schema.TableView, tok token.Token, key, value []byte) (int, error) {
	k, err := record.ParseKey(key)
	if err != nil {
		return 0, err
	}
	if k.Space == record.SpaceWindows && k.Window < t.Floor {
		return 0, &coordinator.RetiredError{Table: t.FullName(), Floor: t.Shape.WindowStart(t.Floor)}
	}
	if k.Table != t.ID || k.Token != tok || tok != token.Of(k.Partition) {
		panic("the key is not of this table and token")
	}
	w.entries = append(w.entries, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
	return len(w.entries) - 1, nil
}

func (w *fakeWrite) Commit(context.Context) (rows.Outcome, error) {
	f := w.f
	if f.wait != nil {
		f.wait()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits = append(f.commits, len(w.entries))
	if f.commit != nil {
		if err := f.commit(len(f.commits)); err != nil {
			return nil, err
		}
	}
	w.results = make([]coordinator.GroupResult, len(w.entries))
	for i, e := range w.entries {
		w.results[i] = coordinator.GroupResult{Acks: 2, Replicas: 3}
		if w.opts.Receipt {
			w.results[i].Receipt = &coordinator.Receipt{Version: 3, Timestamp: w.timestamp, Latency: time.Millisecond,
				Replicas: []coordinator.ReplicaReceipt{{Node: uuid.UUID{15: 1}, Outcome: "ok"}}}
		}
		if f.rowError != nil {
			if w.results[i].Err = f.rowError(i); w.results[i].Err != nil {
				continue
			}
		}
		f.store(e[0], e[1])
	}
	return w, nil
}

// store merges a fragment, as a replica does.
func (f *fakeStore) store(key, value []byte) {
	k, err := record.ParseKey(key)
	if err != nil {
		panic(err)
	}
	var m record.Merger
	m.Reset(k.Space)
	if old, ok := f.rows[string(key)]; ok {
		m.Add(old)
	}
	m.Add(value)
	f.rows[string(key)] = m.Finish(nil)
}

func (f *fakeStore) rowsOf(table uint32, partition []byte) (head record.Head, rows []coordinator.Row) {
	for key, value := range f.rows {
		k, err := record.ParseKey([]byte(key))
		if err != nil {
			panic(err)
		}
		if k.Table != table || !bytes.Equal(k.Partition, partition) {
			continue
		}
		if k.Space == record.SpaceHeads {
			if err := record.DecodeHead(value, &head); err != nil {
				panic(err)
			}
			continue
		}
		row := coordinator.Row{Suffix: k.Suffix}
		if err := record.DecodeRow(value, &row.Row); err != nil {
			panic(err)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b coordinator.Row) int { return bytes.Compare(a.Suffix, b.Suffix) })
	rows = slices.DeleteFunc(rows, func(r coordinator.Row) bool {
		return !r.Row.LiveAt(head.ShadowAt(r.Suffix), f.now().Unix())
	})
	for i := range rows {
		rows[i].Row.Visible(head.ShadowAt(rows[i].Suffix), f.now().Unix())
	}
	return head, rows
}

func (f *fakeStore) Read(_ context.Context, req *coordinator.ReadRequest) (*coordinator.ReadResult, error) {
	if f.read != nil {
		if err := f.read(); err != nil {
			return nil, err
		}
	}
	if err := f.clock.CheckClient(req.Options.Session); err != nil {
		return nil, &coordinator.SkewedError{Client: true, Field: "session", Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, rows := f.rowsOf(req.Table.ID, req.Partition)
	rows = slices.DeleteFunc(rows, func(r coordinator.Row) bool {
		return req.Start != nil && bytes.Compare(r.Suffix, req.Start) < 0 || req.End != nil && bytes.Compare(r.Suffix, req.End) >= 0
	})
	if req.Reverse {
		slices.Reverse(rows)
	}
	result := &coordinator.ReadResult{Clock: f.Clock()}
	size := 0
	for i := range rows {
		if len(result.Rows) >= req.MaxRows || size >= req.MaxBytes {
			result.More = true
			break
		}
		result.Rows = append(result.Rows, rows[i])
		for _, c := range rows[i].Row.Cells {
			size += len(c.Value)
		}
	}
	if req.Options.Receipt {
		result.Receipt = &coordinator.Receipt{Version: 3, Replicas: []coordinator.ReplicaReceipt{{Node: uuid.UUID{15: 2}, Outcome: "ok"}}}
	}
	return result, nil
}

func (f *fakeStore) Scan(_ context.Context, req *coordinator.ScanRequest) (*coordinator.ScanResult, error) {
	if f.read != nil {
		if err := f.read(); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	names := map[string]bool{}
	for key := range f.rows {
		k, err := record.ParseKey([]byte(key))
		if err != nil {
			return nil, err
		}
		if k.Table == req.Table.ID && k.Space != record.SpaceHeads {
			if _, rows := f.rowsOf(k.Table, k.Partition); len(rows) > 0 {
				names[string(k.Partition)] = true
			}
		}
	}
	var all [][]byte
	for n := range names {
		all = append(all, []byte(n))
	}
	slices.SortFunc(all, func(a, b []byte) int {
		return int(min(1, max(-1, int64(token.Of(a)>>1)-int64(token.Of(b)>>1))))
	})
	result := &coordinator.ScanResult{}
	if req.Cursor != "" {
		c, err := coordinator.ParseCursor(req.Cursor)
		if err != nil {
			return nil, err
		}
		for len(all) > 0 && token.Of(all[0]) <= c.Token {
			all = all[1:]
		}
	}
	if len(all) > req.MaxRows {
		all = all[:req.MaxRows]
		last := all[len(all)-1]
		result.Next = coordinator.Cursor{Table: req.Table.ID, Token: token.Of(last), Partition: last}.String()
	}
	result.Partitions = all
	return result, nil
}
