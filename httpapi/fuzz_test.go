package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
)

// FuzzQuery: whatever a query string holds is either read as url.ParseQuery reads
// it, or refused as the request's fault.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "w=one", "w=one&w=two", "from=2026-01-01T00:00:00Z&to=5&limit=10", "%zz", "a;b", "limit=-1&timeout=1h", "=", "&&&", "cursor=%00&order=desc"} {
		f.Add(seed)
	}
	known := []string{"w", "from", "to", "limit", "timeout", "cursor", "order"}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, known...)
		var input *problem.InputError
		if err != nil {
			if !errors.As(err, &input) || problem.Of(err).Status != http.StatusBadRequest {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		values, err := url.ParseQuery(raw)
		if err != nil || len(values) != len(q) {
			t.Fatalf("%q: read as %v", raw, q)
		}
		for name, v := range values {
			if len(v) != 1 || q[name] != v[0] {
				t.Fatalf("%q: %s is %q", raw, name, q[name])
			}
		}
		if _, err := q.limit(1, 10); err != nil && !errors.As(err, &input) {
			t.Fatal(err)
		}
		if d, err := q.duration("timeout", time.Hour); err == nil && (d < 0 || d > time.Hour) {
			t.Fatalf("timeout %s", d)
		}
		if at, given, err := q.time("from"); err == nil && given && event.CheckTime(at) != nil {
			t.Fatalf("from %s", at)
		}
	})
}

// raggedReader returns a text in pieces of changing size.
type raggedReader struct {
	text []byte
	size int
}

func (r *raggedReader) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	r.size = r.size%7 + 1
	n := copy(p[:min(len(p), r.size)], r.text)
	r.text = r.text[n:]
	return n, nil
}

// FuzzBulk: any body is answered with a summary that counts each line that is not
// blank once, and stores exactly those that event.Scan takes.
func FuzzBulk(f *testing.F) {
	for _, seed := range []string{"", "{}\n", `{"data":1}` + "\n" + `{"data":2}`, "\xff\n{\"data\":{}}\r\n\n", `{"stream":"x","data":1}`,
		`{"key":"k","time":1,"data":[]}` + "\n" + `{"key":"k","time":1,"data":[]}` + "\n"} {
		f.Add([]byte(seed), uint8(3))
	}
	null := newNullStore(f)
	front := newAPIOn(f, null, newFakeStore(f), func(c *Config) { c.Bulk.BatchLines = 3; c.Bulk.ChunkBytes = 16; c.EventBytes = 200; c.Bulk.Linger = 1 })
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		lines := 0
		for _, line := range bytes.Split(body, []byte("\n")) {
			if len(bytes.Trim(line, " \t\r")) > 0 {
				lines++
			}
		}
		front.t = t
		before := null.rows.Load()
		req, err := http.NewRequest("POST", "http://localhost/v1/stream/events?stream=x", io.NopCloser(&raggedReader{body, int(size)}))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", ingest.MediaType)
		w := &keptAnswer{nullAnswer: nullAnswer{header: http.Header{}}}
		front.api.ServeHTTP(w, req)
		var v summary
		if err := json.Unmarshal(w.body.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", w.body.Bytes(), err)
		}
		if v.Accepted+v.Failed != lines || int64(v.Accepted) != null.rows.Load()-before {
			t.Fatalf("%d lines, answer %+v", lines, v)
		}
		if (w.status == 200) != (v.Failed == 0) || w.status != 200 && w.status != 422 {
			t.Fatalf("status %d of %+v", w.status, v)
		}
		if n := front.metric("dunlin_httpapi_bulk_batches_in_flight"); n != 0 {
			t.Fatalf("%v places were not given back", n)
		}
	})
}

// keptAnswer keeps what is written.
type keptAnswer struct {
	nullAnswer
	body bytes.Buffer
}

func (a *keptAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
