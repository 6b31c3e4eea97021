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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster stands for the network and its nodes, in virtual time.
type cluster func(*http.Request) (*http.Response, error)

func (f cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return f(r)
}

// virtual makes a client of two nodes, a and b, that f answers for.
func virtual(t *testing.T, f cluster) *Client {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Nodes = []string{"http://a", "http://b"}
	cfg.HTTP = &http.Client{Transport: f}
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, value)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

const problemJSON = "Content-Type: application/problem+json"

// TestRetryAfterIsHonoured: nodes that ask for pauses are given the shortest of
// them, and not before every node was asked.
func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			switch len(at) {
			case 1:
				return reply(429, `{"title":"busy"}`, problemJSON, "Retry-After: 20"), nil
			case 2:
				return reply(503, `{"title":"busy"}`, problemJSON, "Retry-After: 10"), nil
			}
			return reply(200, `value`), nil
		})
		if _, err := c.Get(t.Context(), "b", "k", ""); err != nil {
			t.Fatal(err)
		}
		if len(at) != 3 || at[1] != 0 || at[2] < 7*time.Second || at[2] > 13*time.Second {
			t.Errorf("attempts at %v", at)
		}
	})
}

// TestHangingNodesAreLeft: a node that accepts requests and never answers costs
// one attempt's time, and is passed over for a while.
func TestHangingNodesAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, hung := time.Now(), 0
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "a" {
				hung++
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return reply(200, "value"), nil
		})
		for range 4 {
			if _, err := c.Get(t.Context(), "b", "k", ""); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); hung != 1 || took != c.cfg.Timeout {
			t.Errorf("%d attempts hung, for %s in all", hung, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c = virtual(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start = time.Now()
		if _, err := c.Get(ctx, "b", "k", ""); Kind(err) != "timeout" || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// TestAttemptsEnd: a cluster that stays down is given up with its last error.
func TestAttemptsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := virtual(t, func(*http.Request) (*http.Response, error) {
			calls++
			return reply(503, `{"title":"Unavailable","need":2,"alive":1,"may_have_applied":true}`, problemJSON), nil
		})
		_, err := c.Event(t.Context(), "s", "id", "")
		var p *Problem
		if !errors.As(err, &p) || p.Need != 2 || p.Alive != 1 || !p.MayHaveApplied || calls != c.cfg.Attempts {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

// halfBody breaks after some bytes.
type halfBody struct{ rest string }

func (b *halfBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (*halfBody) Close() error { return nil }

func TestHalfAnswersAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := virtual(t, func(*http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &halfBody{`{"events":[{"id":"1",`}}, nil
			}
			return reply(200, `{"events":[{"id":"1","data": {"a": 1}}],"next":null}`), nil
		})
		page, err := c.Page(t.Context(), "s", ReadOptions{}, 10, "")
		if err != nil || len(page.Events) != 1 || string(page.Events[0].Data) != `{"a": 1}` || calls != 2 {
			t.Errorf("%+v %v after %d calls", page, err, calls)
		}
	})
}

// TestWrongClocksAreForgotten: a node far ahead told its clock; the others refuse
// it, and the client gets along without.
func TestWrongClocksAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wrong = "88888888888888888"
		ahead := true
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			switch {
			case ahead:
				return reply(200, "v", "Dunlin-Clock: "+wrong), nil
			case len(r.Header.Get("Dunlin-Timestamp")) == len(wrong):
				return reply(400, `{"field":"Dunlin-Timestamp"}`, problemJSON), nil
			case r.Header.Get("Dunlin-Clock") == wrong:
				return reply(400, `{"field":"Dunlin-Clock"}`, problemJSON), nil
			}
			return reply(200, "v"), nil
		})
		get := func() error { _, err := c.Get(t.Context(), "b", "k", ""); return err }
		put := func() error { return c.Put(t.Context(), "b", "k", Value{}, 0, "") }
		if err := get(); err != nil {
			t.Fatal(err)
		}
		ahead = false
		if err := get(); err != nil {
			t.Errorf("a read with a wrong clock: %v", err)
		}
		ahead = true
		_ = get()
		ahead = false
		if err := put(); err == nil {
			t.Error("a write with a wrong timestamp was accepted")
		}
		if err := put(); err != nil {
			t.Errorf("the write after it: %v", err)
		}
	})
}

// TestTimestampsOfWritesIncrease, whatever the clock does, when no node answers.
func TestTimestampsOfWritesIncrease(t *testing.T) {
	c := virtual(t, nil)
	now := time.Unix(1_700_000_000, 0)
	c.cfg.Now = func() time.Time { return now }
	last := c.timestamp()
	for range 3 {
		now = now.Add(-time.Second)
		if ts := c.timestamp(); ts <= last {
			t.Fatalf("%d after %d", ts, last)
		}
	}
}

// TestBatches: data goes out byte for byte but for line breaks; what a node says
// of single lines comes back.
func TestBatches(t *testing.T) {
	var sent []string
	status, body, kind := 200, `{"accepted":2,"failed":0,"errors":[]}`, "application/json"
	c := virtual(t, func(r *http.Request) (*http.Response, error) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		sent = append(sent, string(text))
		return reply(status, body, "Content-Type: "+kind), nil
	})
	batch := func() []Event {
		return []Event{
			{Stream: "a\n", Key: "k", Time: "2026-01-02T03:04:05Z", Data: json.RawMessage("{\"x\": 1,\r\n \"y\":\"<&\u2028\\n\"}")},
			{Stream: "b", ID: "a3c5b800-e787-11f0-8080-808080808080", Type: "t", Data: json.RawMessage("2")},
		}
	}
	if n, err := c.AppendBatch(t.Context(), batch(), "all"); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	want := `{"stream":"a\n","time":"2026-01-02T03:04:05Z","key":"k","data":{"x": 1,   "y":"<&` + "\u2028" + `\n"}}` + "\n" +
		`{"stream":"b","id":"a3c5b800-e787-11f0-8080-808080808080","type":"t","data":2}` + "\n"
	if sent[0] != want {
		t.Errorf("sent %q\nwant %q", sent[0], want)
	}
	status, body = 422, `{"accepted":1,"failed":1,"errors":[{"line":2,"error":{"status":400,"detail":"no"}}]}`
	var bad *BatchError
	if n, err := c.AppendBatch(t.Context(), batch(), ""); n != 1 || !errors.As(err, &bad) || bad.Index != 1 || bad.Problem.Status != 400 {
		t.Errorf("%d %v", n, err)
	}
	status, body = 413, `<html>proxy</html>`
	var p *Problem
	if n, err := c.AppendBatch(t.Context(), batch(), ""); n != 0 || !errors.As(err, &p) || p.Status != 413 || p.Detail != body {
		t.Errorf("%d %v", n, err)
	}
	for _, data := range []string{"", "{", "1\n2"} {
		if _, err := c.Append(t.Context(), "s", Event{Data: json.RawMessage(data)}, ""); err == nil || errors.As(err, &p) {
			t.Errorf("data %q: %v", data, err)
		}
	}
}

func TestNamesInPaths(t *testing.T) {
	var paths []string
	c := virtual(t, func(r *http.Request) (*http.Response, error) {
		paths = append(paths, r.URL.EscapedPath()+"?"+r.URL.RawQuery)
		return reply(200, "{}"), nil
	})
	_, _ = c.Get(t.Context(), "..", "a/b ?é", "")
	_ = c.DeleteStream(t.Context(), "../x&y", "", "two")
	want := []string{"/v1/kv/%2E%2E/a%2Fb%20%3F%C3%A9?", "/v1/stream?stream=..%2Fx%26y&w=two"}
	if len(paths) != 2 || paths[0] != want[0] || paths[1] != want[1] {
		t.Errorf("%q", paths)
	}
}

// stream answers a load: it gives each line's number to decide, whose answer it
// sends when there is one.
func stream(r *http.Request, decide func(n int, line string) string) *http.Response {
	pr, pw := io.Pipe()
	go func() {
		lines := bufio.NewScanner(r.Body)
		for n := 1; lines.Scan(); n++ {
			if text := decide(n, lines.Text()); text != "" {
				if _, err := io.WriteString(pw, text+"\n"); err != nil {
					return
				}
			}
		}
		pw.CloseWithError(lines.Err())
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &pipeBody{pr, r.Body}}
}

// pipeBody closes the request's body with the answer's, as a connection does.
type pipeBody struct {
	*io.PipeReader
	request io.Closer
}

func (b *pipeBody) Close() error { return errors.Join(b.PipeReader.Close(), b.request.Close()) }

func through(n int) string { return fmt.Sprintf(`{"through":%d}`, n) }

// TestLoadLeavesSilentNodes: one node takes lines and decides none.
func TestLoadLeavesSilentNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			return stream(r, func(n int, _ string) string {
				if r.URL.Host == "a" && n > 50 {
					<-r.Context().Done()
					return ""
				}
				return through(n)
			}), nil
		})
		c.next.Store(1) // a comes first
		res, err := c.Load(t.Context(), source(100), LoadOptions{})
		if err != nil || res.Accepted != 100 {
			t.Fatalf("%+v %v", res, err)
		}
		if took := time.Since(start); took < c.cfg.Stall || took > 2*c.cfg.Stall {
			t.Errorf("it took %s", took)
		}
	})
}

// TestLoadRetriesWhileTheSourceWaits: a line that is refused for now is sent
// again soon, though the source has not ended; a quiet source is no stall.
func TestLoadRetriesWhileTheSourceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stored := map[string]time.Duration{}
		attempts := map[string]int{}
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			return stream(r, func(n int, line string) string {
				if attempts[line]++; line == "line 2" && attempts[line] < 3 {
					return fmt.Sprintf(`{"line":%d,"status":"error","error":{"status":503,"retry_after":2}}`+"\n"+through(n), n)
				}
				stored[line] = time.Since(start)
				return through(n)
			}), nil
		})
		i := 0
		res, err := c.Load(t.Context(), func() ([]byte, error) {
			switch i++; {
			case i == 4:
				time.Sleep(time.Hour)
			case i > 4:
				return nil, io.EOF
			}
			return fmt.Appendf(nil, "line %d", i), nil
		}, LoadOptions{Stream: "s"})
		if err != nil || res.Accepted != 4 || res.Failed != 0 {
			t.Fatalf("%+v %v", res, err)
		}
		if at := stored["line 2"]; at < 3*time.Second || at > 10*time.Second {
			t.Errorf("line 2 was stored after %s", at)
		}
		if attempts["line 2"] != 3 || attempts["line 4"] != 1 || stored["line 4"] != time.Hour {
			t.Errorf("attempts %v, stored %v", attempts, stored)
		}
	})
}

// TestLoadIsBounded: a node that refuses everything for now is not sent more than
// a window of lines, and the load ends with what it said.
func TestLoadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			return stream(r, func(n int, _ string) string {
				return fmt.Sprintf(`{"line":%d,"status":"error","error":{"status":429,"detail":"busy"}}`+"\n"+through(n), n)
			}), nil
		})
		asked := 0
		_, err := c.Load(t.Context(), func() ([]byte, error) {
			asked++
			return make([]byte, 100), nil
		}, LoadOptions{})
		var p *Problem
		if !errors.As(err, &p) || p.Status != 429 {
			t.Errorf("%v", err)
		}
		synctest.Wait() // a call of the source may be in progress
		if asked > windowLines+2048 {
			t.Errorf("%d lines were taken from the source", asked)
		}
	})
}

// TestLoadStopsWithItsContext, when the source gives no more.
func TestLoadStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := virtual(t, func(r *http.Request) (*http.Response, error) {
			return stream(r, func(n int, _ string) string { return through(n) }), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sent := false
		res, err := c.Load(ctx, func() ([]byte, error) {
			if !sent {
				sent = true
				return []byte("x"), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, LoadOptions{})
		if !errors.Is(err, context.DeadlineExceeded) || res.Accepted != 1 {
			t.Errorf("%+v %v", res, err)
		}
	})
}
