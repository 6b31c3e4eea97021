package httpapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/httpapi/ingest"
)

const (
	ndjson       = "Content-Type: application/x-ndjson"
	acceptNDJSON = "Accept: application/x-ndjson"
)

func TestBulkForms(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	body := `{"stream":"a","time":1000,"data":1}` + "\n" +
		"\r\n" +
		`{"stream":"b","time":2000,"data":2}` + "\r\n" +
		`{"stream":"b","data":}` + "\n" +
		`{"data":4}` + "\n" +
		"  \n" +
		`{"stream":"a","key":"k","data":5}` + "\n" +
		`{"stream":"a","time":3000,"data":6}`
	v := f.want(f.do("POST /v1/events", body, ndjson), 422)
	if v["accepted"] != 3.0 || v["failed"] != 3.0 {
		t.Errorf("%v", v)
	}
	var lines []any
	for _, e := range v["errors"].([]any) {
		lines = append(lines, e.(map[string]any)["line"])
	}
	if fmt.Sprint(lines) != "[4 5 7]" {
		t.Errorf("errors of lines %v", lines)
	}
	r := f.do("POST /v1/events", body, ndjson, acceptNDJSON)
	f.want(r, 200)
	var got []string
	for line := range strings.Lines(r.body) {
		var a struct {
			Line   int
			ID     string
			Status string
			Error  struct{ Field string }
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, fmt.Sprint(a.Line, a.Status, a.ID != "", a.Error.Field))
	}
	if want := []string{"1oktrue", "3oktrue", "4errorfalse", "5errorfalsestream", "7errorfalsekey", "8oktrue"}; !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	if r.Trailer.Get(headerClock) == "" {
		t.Error("no clock after the answers")
	}
	r = f.do("POST /v1/events?ack=errors", body, ndjson)
	f.want(r, 200)
	var kinds []string
	for line := range strings.Lines(r.body) {
		kinds = append(kinds, line[:min(len(line), 12)])
	}
	if len(kinds) < 4 || !strings.HasSuffix(r.body, "{\"through\":8}\n") || strings.Contains(r.body, `"ok"`) {
		t.Errorf("%s", r.body)
	}
	if a, b := f.read("streams/a/events"), f.read("streams/b/events"); numbers(a) != "1,1,1,6,6,6" || numbers(b) != "2,2,2" {
		t.Errorf("stored %q %q", a, b)
	}
	if got := f.metric("dunlin_httpapi_bulk_lines_total", "stored"); got != 9 {
		t.Errorf("%v lines counted as stored", got)
	}
}

func TestBulkStatusRule(t *testing.T) {
	good := `{"time":1000,"data":1}` + "\n"
	for _, c := range []struct {
		name, body string
		rowError   error
		commit     error
		status     int
	}{
		{"empty", "", nil, nil, 200},
		{"blank lines", "\n\n", nil, nil, 200},
		{"all stored", good + good, nil, nil, 200},
		{"a bad line", good + "x\n" + good, nil, nil, 422},
		{"only bad lines", "x\n", nil, nil, 422},
		{"a line too long", good + `"` + strings.Repeat("x", 2<<20) + "\n" + good, nil, nil, 422},
		{"timeout", good + "x\n", &coordinator.TimeoutError{Need: 2, Write: true}, nil, 504},
		{"unavailable", good + "x\n", &coordinator.UnavailableError{Need: 2}, nil, 503},
		{"overloaded replicas", good, &coordinator.OverloadedError{}, nil, 503},
		{"overloaded here", good, nil, &coordinator.OverloadedError{Local: true}, 429},
	} {
		store := newFakeStore(t)
		store.rowError = func(int) error { return c.rowError }
		store.commit = func(int) error { return c.commit }
		f := start(t, store, func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
		r := f.do("POST /v1/streams/s/events", c.body, ndjson)
		v := f.want(r, c.status)
		if (r.StatusCode == 429 || c.name == "overloaded replicas") && r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", c.name)
		}
		if c.status == 200 && v["failed"] != 0.0 || v["errors"] == nil {
			t.Errorf("%s: %s", c.name, r.body)
		}
	}
}

func TestBulkKeepsLineOrderOfEqualTimes(t *testing.T) {
	f := start(t, newFakeStore(t), func(c *Config) { c.Bulk.BatchLines = 7; c.Bulk.ChunkBytes = 100 })
	var body strings.Builder
	for i := range 500 {
		fmt.Fprintf(&body, `{"time":"2026-01-01T00:00:00Z","data":%d}`+"\n", i)
	}
	f.want(f.do("POST /v1/streams/s/events", body.String(), ndjson), 200)
	got := f.read("streams/s/events?limit=1000")
	for i, line := range got {
		if !strings.HasSuffix(line, fmt.Sprintf(" %d", i)) {
			t.Fatalf("event %d is %s", i, line)
		}
	}
	if len(got) != 500 {
		t.Errorf("%d events", len(got))
	}
}

func TestBulkBatchesWhatIsThere(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	line := `{"data":"` + strings.Repeat("x", 250) + `"}` + "\n"
	f.want(f.do("POST /v1/streams/s/events", strings.Repeat(line, 100), ndjson), 200)
	if len(store.commits) > 2 {
		t.Errorf("a request of 100 lines was written in batches of %v", store.commits)
	}
}

// TestBulkAnswersAtOnce: what `tail -f | dunlin event append` sends is stored and
// answered while the body stays open.
func TestBulkAnswersAtOnce(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	for _, query := range []string{"", "?ack=errors"} {
		body, send := io.Pipe()
		req, err := http.NewRequest("POST", f.url+"/v1/streams/s/events"+query, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", ingest.MediaType)
		req.Header.Set("Accept", ingest.MediaType)
		go fmt.Fprint(send, `{"data":0}`+"\n")
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewScanner(resp.Body)
		for i := range 2 {
			if i > 0 {
				fmt.Fprintf(send, `{"data":%d}`+"\n", i)
			}
			want := fmt.Sprintf(`{"line":%d,`, i+1)
			if query != "" {
				want = fmt.Sprintf(`{"through":%d}`, i+1)
			}
			if !answers.Scan() || !strings.HasPrefix(answers.Text(), want) {
				t.Fatalf("%s: answer %q (%v), want %s", query, answers.Text(), answers.Err(), want)
			}
		}
		send.Close()
		for answers.Scan() {
		}
		resp.Body.Close()
	}
}

func TestBulkWaitsWhileOverloaded(t *testing.T) {
	store := newFakeStore(t)
	var busy atomic.Bool
	busy.Store(true)
	store.commit = func(int) error {
		if busy.Load() {
			return &coordinator.OverloadedError{Local: true}
		}
		return nil
	}
	f := start(t, store, nil)
	sent := &countingReader{r: strings.NewReader(strings.Repeat(`{"data":"`+strings.Repeat("x", 1000)+`"}`+"\n", 20_000)), calm: make(chan struct{})}
	done := make(chan *http.Response, 1)
	go func() {
		resp, err := f.client.Post(f.url+"/v1/streams/s/events", ingest.MediaType, sent)
		if err != nil {
			t.Error(err)
		}
		done <- resp
	}()
	<-sent.calm
	if n := sent.n.Load(); n > 12<<20 {
		t.Errorf("%d bytes were taken while nothing could be stored", n)
	}
	busy.Store(false)
	resp := <-done
	defer resp.Body.Close()
	var v summary
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != 200 || v.Accepted != 20_000 {
		t.Errorf("%d %+v %v", resp.StatusCode, v, err)
	}
	if f.metric("dunlin_httpapi_bulk_pauses_total") == 0 {
		t.Error("no pause was counted")
	}
}

func TestBulkSummaryGivesUp(t *testing.T) {
	store := newFakeStore(t)
	store.rowError = func(int) error { return &coordinator.UnavailableError{Need: 2, Alive: 1} }
	f := start(t, store, nil)
	body := &countingReader{r: &generator{n: 1 << 30, line: []byte(`{"data":1}` + "\n")}, calm: make(chan struct{})}
	resp, err := f.client.Post(f.url+"/v1/streams/s/events", ingest.MediaType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v summary
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 503 || v.Error == nil || v.Error.Status != 503 || v.Failed < 8*512 || v.Failed > 16*512 || len(v.Errors) != 100 {
		t.Errorf("%d: %d failed, %d errors, %+v", resp.StatusCode, v.Failed, len(v.Errors), v.Error)
	}
}

// countingReader counts what is read of it, and says when nothing was for a while.
type countingReader struct {
	r    io.Reader
	n    atomic.Int64
	calm chan struct{}
	once atomic.Bool
	idle *time.Timer
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.idle == nil {
		c.idle = time.AfterFunc(300*time.Millisecond, func() {
			if c.once.CompareAndSwap(false, true) {
				close(c.calm)
			}
		})
	} else {
		c.idle.Reset(300 * time.Millisecond)
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != nil && c.once.CompareAndSwap(false, true) {
		close(c.calm)
	}
	return n, err
}

func TestBulkStoresWholeLinesOfABrokenBody(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/streams/s/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n"+
		"{\"data\":1}\n{\"data\":2}\n{\"data\":3")
	conn.(*net.TCPConn).CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v summary
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 400 || v.Accepted != 2 || v.Error == nil || v.Error.Field != "body" {
		t.Errorf("%d %+v", resp.StatusCode, v)
	}
	conn.Close()
	if got := f.read("streams/s/events"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestBulkCompressed(t *testing.T) {
	var body strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&body, `{"data":%d}`+"\n", i)
	}
	pack := map[string]func(w io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			zw, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return zw
		},
	}
	for name, packer := range pack {
		f := start(t, newFakeStore(t), nil)
		var packed bytes.Buffer
		w := packer(&packed)
		io.WriteString(w, body.String())
		w.Close()
		v := f.want(f.do("POST /v1/streams/s/events", packed.String(), ndjson, "Content-Encoding: "+name), 200)
		if v["accepted"] != 5000.0 {
			t.Errorf("%s: %v", name, v)
		}
		v = f.want(f.do("POST /v1/streams/s/events", packed.String()[:packed.Len()-20], ndjson, "Content-Encoding: "+name), 400)
		if v["error"] == nil {
			t.Errorf("%s, cut: %v", name, v)
		}
	}
}

func TestBulkRequestsAreBounded(t *testing.T) {
	store := newFakeStore(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	store.wait = func() { entered <- struct{}{}; <-leave }
	f := start(t, store, func(c *Config) { c.Bulk.Requests = 2; c.ZstdBodies = 1 })
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := string(zw.EncodeAll([]byte(`{"data":1}`), nil))
	send := func() reply { return f.do("POST /v1/streams/s/events", packed, ndjson, "Content-Encoding: zstd") }
	done := make(chan reply, 2)
	go func() { done <- send() }()
	<-entered
	if r := send(); !strings.Contains(r.body, "zstd bodies") {
		t.Errorf("a second zstd body: %s", r.body)
	}
	go func() { done <- f.do("POST /v1/streams/s/events", `{"data":1}`, ndjson) }()
	<-entered
	r := f.do("POST /v1/streams/s/events", `{"data":1}`, ndjson)
	f.want(r, 429)
	if !strings.Contains(r.body, "bulk requests") || r.Header.Get("Retry-After") == "" {
		t.Errorf("a third bulk request: %s", r.body)
	}
	close(leave)
	f.want(<-done, 200)
	f.want(<-done, 200)
	store.wait = nil
	r = send()
	for range 1000 { // a slot is given back just after the answer has left
		if r.StatusCode != http.StatusTooManyRequests {
			break
		}
		r = send()
	}
	f.want(r, 200)
}

func TestZstdWindowIsBounded(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat(" ", 1<<20) + "\n"
	for range 80 {
		io.WriteString(w, line)
	}
	w.Close()
	v := f.want(f.do("POST /v1/streams/s/events", packed.String(), ndjson, "Content-Encoding: zstd"), 400)
	if !strings.Contains(fmt.Sprint(v["error"]), "window") {
		t.Errorf("%v", v)
	}
}

// generator makes n lines of NDJSON as they are read.
type generator struct {
	n, at int
	rest  []byte
	line  []byte
	every int
	watch func()
}

func (g *generator) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(g.rest) == 0 {
			if g.at == g.n {
				break
			}
			if g.at++; g.every > 0 && g.at%g.every == 0 {
				g.watch()
			}
			g.rest = g.line
		}
		c := copy(p[n:], g.rest)
		n, g.rest = n+c, g.rest[c:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestBulkMemoryIsConstant sends 200,000 lines, 70 MB, over a connection.
func TestBulkMemoryIsConstant(t *testing.T) {
	var peak, base uint64
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	f := newAPIOn(t, newNullStore(t), newFakeStore(t), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serve(l)
	f.client = &http.Client{Transport: &http.Transport{}}
	for _, lines := range []int{2000, 200_000} {
		g := &generator{n: lines, line: []byte(`{"data":"` + strings.Repeat("x", 340) + `"}` + "\n"), every: lines / 20}
		g.watch = func() { peak = max(peak, heap()) }
		peak = 0
		req, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/v1/streams/s/events", g)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", ingest.MediaType)
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var v summary
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || v.Accepted != lines {
			t.Fatalf("%+v %v", v, err)
		}
		resp.Body.Close()
		if base == 0 {
			base = peak
		}
	}
	if peak > base+4<<20 {
		t.Errorf("the heap grew from %d KiB (2,000 lines) to %d KiB (200,000 lines)", base>>10, peak>>10)
	}
	t.Logf("peak heap: 2,000 lines %d KiB, 200,000 lines %d KiB", base>>10, peak>>10)
}

func TestBulkOverHTTP2(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	f.client = &http.Client{Transport: &http.Transport{Protocols: protocols}}
	r := f.do("POST /v1/streams/s/events", strings.Repeat(`{"data":1}`+"\n", 3000), ndjson, acceptNDJSON)
	f.want(r, 200)
	if r.Proto != "HTTP/2.0" || strings.Count(r.body, `"status":"ok"`) != 3000 {
		t.Errorf("%s, %d answers", r.Proto, strings.Count(r.body, "\n"))
	}
	f.want(f.do("POST /v1/streams/s/events", strings.Repeat(`{"data":1}`+"\n", 3000), ndjson), 200)
}

func TestStopEndsOpenBulkRequests(t *testing.T) {
	f := start(t, newFakeStore(t), func(c *Config) { c.Bulk.DropTimeout = 10 * time.Millisecond })
	body, send := io.Pipe()
	req, err := http.NewRequest("POST", f.url+"/v1/streams/s/events", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", ingest.MediaType)
	req.Header.Set("Accept", ingest.MediaType)
	go fmt.Fprint(send, `{"data":0}`+"\n")
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(resp.Body)
	if !answers.Scan() {
		t.Fatal(answers.Err())
	}
	f.stop()
	if !answers.Scan() || !strings.Contains(answers.Text(), `"status":503`) || !strings.HasPrefix(answers.Text(), `{"status":"error"`) {
		t.Errorf("%q %v", answers.Text(), answers.Err())
	}
	if err := <-f.stopped; err != nil {
		t.Error(err)
	}
	close(f.stopped)
	send.Close()
	resp.Body.Close()
}
