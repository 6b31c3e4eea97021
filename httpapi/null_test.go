package httpapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// nullStore is a Coordinator that copies rows, as the coordinator does, and
// forgets them.
type nullStore struct {
	view  *schema.View
	clock atomic.Int64
	rows  atomic.Int64
	free  chan *nullWrite
	ok    coordinator.GroupResult
}

func newNullStore(t testing.TB) *nullStore {
	return &nullStore{view: testView(t, 0), free: make(chan *nullWrite, 64)}
}

func (s *nullStore) Clock() hlc.Timestamp { return hlc.Timestamp(s.clock.Load()) }

func (s *nullStore) NewWrite(context.Context, coordinator.WriteOptions) (rows.Write, error) {
	var w *nullWrite
	select {
	case w = <-s.free:
	default:
		w = &nullWrite{s: s}
	}
	w.n, w.entries = 0, w.entries[:0]
	w.at = hlc.Timestamp(s.clock.Add(1))
	return w, nil
}

func (s *nullStore) Read(context.Context, *coordinator.ReadRequest) (*coordinator.ReadResult, error) {
	return &coordinator.ReadResult{}, nil
}

func (s *nullStore) Scan(context.Context, *coordinator.ScanRequest) (*coordinator.ScanResult, error) {
	return &coordinator.ScanResult{}, nil
}

type nullWrite struct {
	s       *nullStore
	at      hlc.Timestamp
	n       int
	entries []byte
}

func (w *nullWrite) View() *schema.View                     { return w.s.view }
func (w *nullWrite) Stamp() (timestamp, born hlc.Timestamp) { return w.at, w.at }

func (w *nullWrite) Add(_ *schema.TableView, _ token.Token, key, value []byte) (int, error) {
	w.entries = record.AppendEntry(w.entries, key, value)
	w.n++
	return w.n - 1, nil
}

func (w *nullWrite) Commit(context.Context) (rows.Outcome, error) {
	w.s.rows.Add(int64(w.n))
	return w, nil
}

func (w *nullWrite) Row(int) *coordinator.GroupResult { return &w.s.ok }

func (w *nullWrite) Release() {
	select {
	case w.s.free <- w:
	default:
	}
}

// nullAnswer is a ResponseWriter without a connection.
type nullAnswer struct {
	header http.Header
	status int
	bytes  int
}

func (a *nullAnswer) Header() http.Header         { return a.header }
func (a *nullAnswer) WriteHeader(status int)      { a.status = status }
func (a *nullAnswer) Write(p []byte) (int, error) { a.bytes += len(p); return len(p), nil }
func (a *nullAnswer) Flush()                      {}

// benchmarkBulk measures the ingest path per event without connection and
// coordinator: split, scan, id, row, batch, answer.
func benchmarkBulk(b *testing.B, query, accept string, streams int) {
	null := newNullStore(b)
	f := newAPIOn(b, null, newFakeStore(b), nil)
	const lines = 10_000
	var body bytes.Buffer
	for i := range lines {
		body.WriteString(`{"stream":"sensors/`)
		body.WriteString(strings.Repeat("0", 3))
		body.WriteByte('a' + byte(i%streams))
		body.WriteString(`","time":"2026-01-02T03:04:05.678Z","type":"reading","data":{"v":"`)
		body.WriteString(strings.Repeat("x", 180))
		body.WriteString("\"}}\n")
	}
	b.ReportAllocs()
	b.SetBytes(int64(body.Len()) / lines)
	b.ResetTimer()
	for n := 0; n < b.N; n += lines {
		text := body.Bytes()
		if left := b.N - n; left < lines {
			text = text[:len(text)/lines*left]
		}
		req, err := http.NewRequest("POST", "http://localhost/v1/events"+query, io.NopCloser(bytes.NewReader(text)))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", ingest.MediaType)
		req.Header.Set("Accept", accept)
		w := &nullAnswer{header: http.Header{}}
		f.api.ServeHTTP(w, req)
		if w.status != 200 {
			b.Fatalf("status %d", w.status)
		}
	}
	b.StopTimer()
	if got := null.rows.Load(); got < int64(b.N) {
		b.Fatalf("%d rows of %d events", got, b.N)
	}
}

func BenchmarkBulkSummary(b *testing.B) { benchmarkBulk(b, "", "", 26) }
func BenchmarkBulkErrors(b *testing.B)  { benchmarkBulk(b, "?ack=errors", "", 26) }
func BenchmarkBulkLines(b *testing.B)   { benchmarkBulk(b, "", ingest.MediaType, 26) }

// BenchmarkSingle measures one event a request, again without a connection.
func BenchmarkSingle(b *testing.B) {
	null := newNullStore(b)
	f := newAPIOn(b, null, newFakeStore(b), nil)
	body := []byte(`{"type":"reading","data":{"v":"` + strings.Repeat("x", 180) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequest("POST", "http://localhost/v1/streams/s/events?w=quorum", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", typeJSON)
		w := &nullAnswer{header: http.Header{}}
		f.api.ServeHTTP(w, req)
		if w.status != 201 {
			b.Fatalf("status %d", w.status)
		}
	}
}
