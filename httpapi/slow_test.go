package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/httpapi/ingest"
)

// pipeListener hands out the server's ends of pipes, which hold nothing: what is
// not read is not written.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	l.conns <- server
	return client, nil
}

// inBubble runs a test of a served front door in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, f *front, l *pipeListener)) {
	synctest.Test(t, func(t *testing.T) {
		f := newAPI(t, newFakeStore(t), nil)
		l := newPipeListener()
		f.client = &http.Client{Transport: &http.Transport{DialContext: l.dial}}
		f.url = "http://127.0.0.1"
		f.serve(l)
		test(t, f, l)
	})
}

func TestClientsThatDoNotReadTheirAnswersAreCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *front, l *pipeListener) {
		conn, err := l.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		// A client that sends everything before it reads: it never does.
		fmt.Fprintf(conn, "POST /v1/streams/s/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"+
			"Accept: application/x-ndjson\r\nContent-Length: 1000000000\r\n\r\n")
		line := []byte(`{"data":"` + strings.Repeat("x", 1000) + `"}` + "\n")
		sent := 0
		for ; sent < 100_000; sent++ {
			if _, err = conn.Write(line); err != nil {
				break
			}
		}
		if err == nil {
			t.Fatalf("%d lines were taken without an answer being read", sent)
		}
		if waited := time.Since(start); waited < 10*time.Second || waited > 30*time.Second {
			t.Errorf("cut off after %s", waited)
		}
		if sent > 10_000 {
			t.Errorf("%d lines were read on while answers were not", sent)
		}
		conn.Close()
		synctest.Wait()
		if got := f.metric("dunlin_httpapi_bulk_cut_offs_total"); got != 1 {
			t.Errorf("%v cut-offs counted", got)
		}
		if !strings.Contains(f.log.String(), "did not read the answers") {
			t.Errorf("log: %s", f.log)
		}
		if n := f.metric("dunlin_httpapi_bulk_batches_in_flight"); n != 0 {
			t.Errorf("%v batches were never given back", n)
		}
	})
}

func TestClientsThatDoNotReadAPageAreCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *front, l *pipeListener) {
		f.want(f.do("PUT /v1/kv/b/k", strings.Repeat("x", 1<<20)), 200)
		conn, err := l.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /v1/kv/b/k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		start := time.Now()
		time.Sleep(11 * time.Second)
		n, err := io.Copy(io.Discard, conn)
		if n > 200<<10 || err != nil {
			t.Errorf("%d bytes after %s: %v", n, time.Since(start), err)
		}
	})
}

func TestBulkReportsProgressEachSecond(t *testing.T) {
	inBubble(t, func(t *testing.T, f *front, l *pipeListener) {
		body, send := io.Pipe()
		req, err := http.NewRequest("POST", f.url+"/v1/streams/s/events?ack=errors", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", ingest.MediaType)
		go func() {
			for range 50 { // for five seconds
				fmt.Fprint(send, strings.Repeat(`{"data":1}`+"\n", 100))
				time.Sleep(100 * time.Millisecond)
			}
			send.Close()
		}()
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) < 5 || len(lines) > 9 || lines[0] != `{"through":100}` || lines[len(lines)-1] != `{"through":5000}` {
			t.Errorf("%q", lines)
		}
	})
}

func TestSlowBodiesOfSinglesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, f *front, l *pipeListener) {
		conn, err := l.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /v1/kv/b/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nabc")
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 400" {
			t.Errorf("%q %v", answer, err)
		}
	})
}
