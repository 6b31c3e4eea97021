package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/internal/sim/network"
)

// opTimeout is how long a client waits for an answer.
const opTimeout = 8 * time.Second

// client speaks the HTTP contract over the simulated network, from a host of
// its own. It keeps a session: the largest clock value that it was told.
type client struct {
	nodes    []netip.Addr
	http     http.Client
	session  int64
	sessions int // how often the session was forgotten
}

// forget begins a new session, as a client does whose clock value is refused:
// it came from a node whose clock was far ahead.
func (c *client) forget() { c.session, c.sessions = 0, c.sessions+1 }

func newClient(host *network.Host, nodes []netip.Addr) *client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return host.Dial(ctx, address)
		},
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
	return &client{nodes: nodes, http: http.Client{Transport: transport}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is what came back, as far as it is needed.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// result tells what an answer says about a write. A 4xx status is surely
// without effect, and so is a request that reached nobody; whatever else is not
// a success may have happened in part.
func (a answer) result() Result {
	switch {
	case a.err == nil && a.status < 300:
		return OK
	case a.err == nil && a.status >= 400 && a.status < 500:
		return Refused
	case errors.Is(a.err, syscall.ECONNREFUSED):
		return Refused
	}
	return Unknown
}

func (a answer) detail() string {
	if a.err != nil {
		return a.err.Error()
	}
	if a.status >= 300 {
		return fmt.Sprintf("%d %.300s", a.status, a.body)
	}
	return ""
}

// request is one HTTP request.
type request struct {
	node        int
	method      string
	path        string
	query       url.Values
	contentType string
	timestamp   int64
	body        []byte
}

func (c *client) do(ctx context.Context, r request) answer {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	u := url.URL{Scheme: "http", Host: netip.AddrPortFrom(c.nodes[r.node], httpPort).String(), Path: r.path, RawQuery: r.query.Encode()}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return answer{err: err}
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.timestamp != 0 {
		req.Header.Set("Dunlin-Timestamp", strconv.FormatInt(r.timestamp, 10))
	}
	if c.session != 0 {
		req.Header.Set("Dunlin-Clock", strconv.FormatInt(c.session, 10))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if clock, e := strconv.ParseInt(resp.Header.Get("Dunlin-Clock"), 10, 64); e == nil && err == nil {
		c.session = max(c.session, clock)
	}
	if resp.StatusCode == http.StatusBadRequest {
		c.forget()
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

// write runs a put, delete or append: o says what, and takes the outcome.
func (c *client) write(ctx context.Context, o *Op) {
	r := request{node: o.Node, query: url.Values{"w": {o.Level}}, timestamp: o.Timestamp}
	if o.Sloppy {
		r.query.Set("sloppy", "true")
	}
	if o.TTL > 0 {
		r.query.Set("ttl", o.TTL.String())
	}
	switch o.Kind {
	case Put:
		r.method, r.path, r.contentType, r.body = http.MethodPut, "/v1/kv/sim/"+o.Key, "text/plain", []byte(o.Value)
	case Delete:
		r.method, r.path = http.MethodDelete, "/v1/kv/sim/"+o.Key
	case Clear:
		r.method, r.path = http.MethodDelete, "/v1/streams/"+o.Key
	default:
		body, err := json.Marshal(map[string]any{"type": "sim", "data": o.Value})
		if err != nil {
			o.Problem = err.Error()
			return
		}
		r.method, r.path, r.contentType, r.body = http.MethodPost, "/v1/streams/"+o.Key+"/events", "application/json", body
	}
	a := c.do(ctx, r)
	o.Result, o.Detail = a.result(), a.detail()
	ts := timestampOf(a)
	switch {
	case o.Stamped:
		o.Timestamp = ts // 0 when the answer was lost
	case ts != 0 && ts != o.Timestamp:
		o.Problem = fmt.Sprintf("asked for timestamp %d, got %d", o.Timestamp, ts)
	}
	if o.Result == OK && ts == 0 {
		o.Problem = "acknowledged without Dunlin-Timestamp"
	}
}

func timestampOf(a answer) int64 {
	if a.header == nil {
		return 0
	}
	ts, err := strconv.ParseInt(a.header.Get("Dunlin-Timestamp"), 10, 64)
	if err != nil {
		return 0
	}
	return ts
}

// read runs a get or list.
func (c *client) read(ctx context.Context, o *Op) {
	if o.Kind == List {
		c.list(ctx, o)
		return
	}
	a := c.do(ctx, request{node: o.Node, method: http.MethodGet, path: "/v1/kv/sim/" + o.Key, query: url.Values{"r": {o.Level}}})
	o.Detail = a.detail()
	switch {
	case a.err == nil && a.status == http.StatusOK:
		o.Result, o.Present, o.Value, o.Timestamp = OK, true, string(a.body), timestampOf(a)
		if o.Timestamp == 0 {
			o.Problem = "a value without Dunlin-Timestamp"
		}
	case a.err == nil && a.status == http.StatusNotFound && strings.Contains(a.header.Get("Content-Type"), "problem+json"):
		o.Result = OK
	default:
		o.Result = Unknown
	}
}

// page is a page of events.
type page struct {
	Events []struct {
		ID   string `json:"id"`
		Data string `json:"data"`
	} `json:"events"`
	Next *string `json:"next"`
}

// list reads a whole stream, page by page.
func (c *client) list(ctx context.Context, o *Op) {
	query := url.Values{"r": {o.Level}, "limit": {"50"}}
	var last event.ID
	for {
		a := c.do(ctx, request{node: o.Node, method: http.MethodGet, path: "/v1/streams/" + o.Key + "/events", query: query})
		if a.err != nil || a.status != http.StatusOK {
			o.Result, o.Detail = Unknown, a.detail()
			return
		}
		var p page
		if err := json.Unmarshal(a.body, &p); err != nil {
			o.Problem = "undecodable page: " + err.Error()
			return
		}
		for _, e := range p.Events {
			id, err := event.ParseID(e.ID)
			if err != nil || (len(o.Values) > 0 && id.Compare(last) <= 0) {
				o.Problem = fmt.Sprintf("event %s comes after %s: %v", e.ID, last, err)
			}
			last = id
			o.Values = append(o.Values, e.Data)
		}
		if p.Next == nil {
			o.Result = OK
			return
		}
		query.Set("cursor", *p.Next)
	}
}

// ready reports whether a node serves.
func (c *client) ready(ctx context.Context, node int) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	at := netip.AddrPortFrom(c.nodes[node], adminPort).String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
