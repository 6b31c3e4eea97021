package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// open makes a client of test servers, with pauses that cost no time.
func open(t *testing.T, servers ...*httptest.Server) *Client {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Nodes = nil
	for _, s := range servers {
		cfg.Nodes = append(cfg.Nodes, s.URL)
	}
	cfg.PauseMin, cfg.PauseMax = time.Microsecond, time.Millisecond
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func problemAnswer(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"title":"T","status":%d,"detail":"d","need":2,"alive":1}`, status)
}

// TestAnotherNodeIsTried: a refused connection, then 503, then success; every
// attempt brings the same id.
func TestAnotherNodeIsTried(t *testing.T) {
	var mu sync.Mutex
	var ids []string
	calls := 0
	flaky := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var ev Event
		if err := json.NewDecoder(r.Body).Decode(&ev); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, ev.ID)
		if calls++; calls < 3 {
			problemAnswer(w, http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":%q,"acks":2,"replicas":3}`, ev.ID)
	})
	dead := httptest.NewServer(nil)
	dead.Close()
	a, err := open(t, dead, flaky).Append(t.Context(), "s", Event{Data: json.RawMessage(`{"x":1}`)}, "quorum")
	if err != nil || a.Acks != 2 {
		t.Fatalf("%+v %v", a, err)
	}
	if len(ids) != 3 || ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("ids of the attempts: %v", ids)
	}
}

func TestRefusalsAreNotRetried(t *testing.T) {
	calls := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		problemAnswer(w, http.StatusBadRequest)
	})
	_, err := open(t, s).Append(t.Context(), "s", Event{Data: json.RawMessage(`1`)}, "")
	var p *Problem
	if !errors.As(err, &p) || p.Status != 400 || p.Need != 2 || p.Retryable() || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	if Kind(err) != "400 t" || Kind(context.DeadlineExceeded) != "timeout" || Kind(io.EOF) != "no connection" {
		t.Errorf("kinds: %q", Kind(err))
	}
}

// TestClockGoesRound: the largest clock seen is sent back, and a key's write is
// stamped above it, the same for each attempt.
func TestClockGoesRound(t *testing.T) {
	future := time.Now().Add(time.Hour).UnixMicro()
	var stamps []string
	var sent string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Dunlin-Clock", strconv.FormatInt(future, 10))
		if r.Method == http.MethodPut {
			sent = r.Header.Get("Dunlin-Clock")
			if stamps = append(stamps, r.Header.Get("Dunlin-Timestamp")); len(stamps) < 2 {
				problemAnswer(w, http.StatusTooManyRequests)
				return
			}
		}
		w.Header().Set("Dunlin-Timestamp", "7")
		fmt.Fprint(w, "value")
	})
	c := open(t, s)
	if v, err := c.Get(t.Context(), "b/1", "k", ""); err != nil || string(v.Data) != "value" || v.Timestamp != 7 {
		t.Fatalf("%+v %v", v, err)
	}
	if err := c.Put(t.Context(), "b/1", "k", Value{Data: []byte("v")}, time.Hour, "all"); err != nil {
		t.Fatal(err)
	}
	if sent != strconv.FormatInt(future, 10) || len(stamps) != 2 || stamps[0] != stamps[1] || stamps[0] != strconv.FormatInt(future+1, 10) {
		t.Errorf("clock sent %s, timestamps %v, clock seen %d", sent, stamps, future)
	}
}

func TestEventsPages(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		at, _ := strconv.Atoi(q.Get("cursor"))
		limit, _ := strconv.Atoi(q.Get("limit"))
		page := Page{Events: []Event{}}
		for ; at < 7 && len(page.Events) < min(limit, 3); at++ {
			page.Events = append(page.Events, Event{ID: strconv.Itoa(at), Data: json.RawMessage(`{"a": 1}`)})
		}
		if at < 7 {
			next := strconv.Itoa(at)
			page.Next = &next
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	for _, limit := range []int{0, 1, 3, 5, 100} {
		var got []string
		for ev, err := range open(t, s).Events(t.Context(), "a/b", ReadOptions{Limit: limit}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ev.ID)
		}
		want := []string{"0", "1", "2", "3", "4", "5", "6"}
		if limit > 0 {
			want = want[:min(limit, 7)]
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

// ingest is a server that reads bulk lines and answers as ack=errors does. cut
// says after how many lines it breaks the connection, by the number of the request.
type ingest struct {
	cut func(request int) int

	mu       sync.Mutex
	requests int
	stored   []string // lines that were acknowledged, in order
	refuse   map[string]int
}

func (in *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	in.requests++
	cut := in.cut(in.requests)
	in.mu.Unlock()
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(r.Body)
	for n := 1; lines.Scan(); n++ {
		if n > cut {
			panic(http.ErrAbortHandler)
		}
		in.mu.Lock()
		if status := in.refuse[lines.Text()]; status > 0 {
			if status >= 500 {
				delete(in.refuse, lines.Text()) // next time it works
			}
			fmt.Fprintf(w, `{"line":%d,"status":"error","error":{"status":%d,"detail":"no"}}`+"\n", n, status)
		} else {
			in.stored = append(in.stored, lines.Text())
		}
		in.mu.Unlock()
		fmt.Fprintf(w, `{"through":%d}`+"\n", n)
		_ = http.NewResponseController(w).Flush()
	}
}

// seen is how many requests came and which lines were stored.
func (in *ingest) seen() (requests int, stored []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.requests, slices.Clone(in.stored)
}

func source(n int) func() ([]byte, error) {
	i := 0
	return func() ([]byte, error) {
		if i++; i > n {
			return nil, io.EOF
		}
		return fmt.Appendf(nil, "line %d", i), nil
	}
}

// TestLoadSurvivesBrokenConnections: two nodes that cut connections at awkward
// moments; every line is acknowledged, none is reported twice, what a node
// refused for now is sent again and what it refused for good is reported.
func TestLoadSurvivesBrokenConnections(t *testing.T) {
	in := &ingest{
		cut:    func(request int) int { return 7 * request },
		refuse: map[string]int{"line 5": 400, "line 9": 503, "line 100": 504, "line 60": 413},
	}
	a, b := httptest.NewServer(in), httptest.NewServer(in)
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	progress := 0
	res, err := open(t, a, b).Load(t.Context(), source(200), LoadOptions{Progress: func(accepted, failed int) { progress = accepted + failed }})
	if err != nil {
		t.Fatal(err)
	}
	if res.Accepted != 198 || res.Failed != 2 || len(res.Errors) != 2 || res.Errors[0].Line != 5 || res.Errors[1].Line != 60 {
		t.Errorf("%+v", res)
	}
	requests, stored := in.seen()
	seen := map[string]bool{}
	for _, l := range stored {
		seen[l] = true
	}
	for i := 1; i <= 200; i++ {
		if l := fmt.Sprintf("line %d", i); !seen[l] && i != 5 && i != 60 {
			t.Errorf("%s was never stored", l)
		}
	}
	if requests < 3 || progress != 200 {
		t.Errorf("%d requests, progress %d", requests, progress)
	}
}

func TestLoadGivesUpWithoutProgress(t *testing.T) {
	in := &ingest{cut: func(int) int { return 0 }}
	s := httptest.NewServer(in)
	t.Cleanup(s.Close)
	if _, err := open(t, s).Load(t.Context(), source(10), LoadOptions{}); err == nil {
		t.Error("no error")
	}
	if requests, _ := in.seen(); requests != DefaultConfig().Attempts {
		t.Errorf("%d attempts", requests)
	}
}

func TestLoadReportsTheSourcesError(t *testing.T) {
	in := &ingest{cut: func(int) int { return 1000 }}
	s := httptest.NewServer(in)
	t.Cleanup(s.Close)
	broken := errors.New("disk on fire")
	n := 0
	res, err := open(t, s).Load(t.Context(), func() ([]byte, error) {
		if n++; n > 3 {
			return nil, broken
		}
		return []byte("x"), nil
	}, LoadOptions{})
	if !errors.Is(err, broken) || res.Accepted != 3 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, nodes := range [][]string{nil, {"127.0.0.1:7480"}, {"http://a/path"}, {"ftp://a"}} {
		cfg := DefaultConfig()
		cfg.Nodes, cfg.Rand = nodes, rand.New(rand.NewPCG(1, 2))
		if _, err := New(cfg); err == nil {
			t.Errorf("accepted %v", nodes)
		}
	}
	if _, err := NewAdmin("127.0.0.1"); err == nil {
		t.Error("an admin port without a scheme was accepted")
	}
}
