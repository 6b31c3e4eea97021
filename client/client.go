package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
)

// Config is how a Client behaves.
type Config struct {
	// Nodes are base URLs, such as http://127.0.0.1:7480.
	Nodes []string
	// Attempts is how often a request is tried in all.
	Attempts int
	// PauseMin and PauseMax bound the pauses between attempts, which double.
	PauseMin, PauseMax time.Duration
	// HTTP sends the requests; nil is a client with keep-alive connections.
	HTTP *http.Client
	// Rand seeds ids and spreads retries. It is used by New alone.
	Rand *rand.Rand
	// Now is the clock for events that name no time; nil is time.Now.
	Now func() time.Time
}

// DefaultConfig is a client of the local node.
func DefaultConfig() Config {
	return Config{
		Nodes: []string{"http://127.0.0.1:7480"}, Attempts: 8,
		PauseMin: 50 * time.Millisecond, PauseMax: 2 * time.Second,
	}
}

// Client talks to a cluster.
type Client struct {
	cfg   Config
	nodes []string
	next  atomic.Uint32
	clock atomic.Int64 // the largest Dunlin-Clock seen
	ids   *event.IDs
}

// New checks the configuration. It connects to nothing.
func New(cfg Config) (*Client, error) {
	if len(cfg.Nodes) == 0 {
		return nil, errors.New("client: no nodes: give at least one URL such as http://127.0.0.1:7480")
	}
	if cfg.Attempts < 1 || cfg.PauseMin <= 0 || cfg.PauseMax < cfg.PauseMin || cfg.Rand == nil {
		return nil, errors.New("client: attempts, pauses and a source of randomness are needed")
	}
	if cfg.HTTP == nil {
		transport := &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second}
		cfg.HTTP = &http.Client{Transport: transport}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{cfg: cfg, ids: event.NewIDs(cfg.Rand.Uint32())}
	for _, n := range cfg.Nodes {
		u, err := url.Parse(n)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") {
			return nil, fmt.Errorf("client: %q is no node: give a URL such as http://127.0.0.1:7480", n)
		}
		c.nodes = append(c.nodes, strings.TrimSuffix(n, "/"))
	}
	c.next.Store(cfg.Rand.Uint32())
	return c, nil
}

// NewID makes the id of a new event.
func (c *Client) NewID(t time.Time) event.ID { return c.ids.Next(t) }

// Problem is an error that a node answered (RFC 9457).
type Problem struct {
	Type           string `json:"type"`
	Title          string `json:"title"`
	Status         int    `json:"status"`
	Detail         string `json:"detail"`
	Field          string `json:"field,omitempty"`
	Need           int    `json:"need,omitempty"`
	Alive          int    `json:"alive,omitempty"`
	Got            int    `json:"got,omitempty"`
	MayHaveApplied bool   `json:"may_have_applied,omitempty"`
}

// Error says what the node said.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("%d %s", p.Status, p.Title)
	}
	return fmt.Sprintf("%s (%d)", p.Detail, p.Status)
}

// Retryable reports whether another attempt may succeed.
func (p *Problem) Retryable() bool {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Kind names an error in few words, for counting.
func Kind(err error) string {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return fmt.Sprintf("%d %s", p.Status, strings.ToLower(p.Title))
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "no connection"
}

// request is what an attempt sends; the body is repeated for each.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         []byte
}

// do tries a request until a node has served or refused it for good.
func (c *Client) do(ctx context.Context, r *request) (*http.Response, error) {
	var last error
	pause := c.cfg.PauseMin
	for attempt := range c.cfg.Attempts {
		if attempt > 0 {
			if attempt%len(c.nodes) == 0 { // every node was asked: wait before the next round
				if err := sleep(ctx, pause); err != nil {
					return nil, errors.Join(last, err)
				}
				pause = min(2*pause, c.cfg.PauseMax)
			}
		}
		resp, err := c.once(ctx, c.node(), r)
		if err == nil {
			return resp, nil
		}
		last = err
		var p *Problem
		if ctx.Err() != nil || (errors.As(err, &p) && !p.Retryable()) {
			break
		}
	}
	return nil, last
}

// node is the next node of the round.
func (c *Client) node() string {
	return c.nodes[int(c.next.Add(1))%len(c.nodes)]
}

// once sends a request to one node. Statuses from 400 on become a *Problem.
func (c *Client) once(ctx context.Context, node string, r *request) (*http.Response, error) {
	target := node + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if clock := c.clock.Load(); clock > 0 {
		req.Header.Set("Dunlin-Clock", strconv.FormatInt(clock, 10))
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.observe(resp.Header)
	if resp.StatusCode >= 400 {
		return nil, readProblem(resp)
	}
	return resp, nil
}

// observe keeps the largest clock value that any node has told.
func (c *Client) observe(h http.Header) {
	clock, err := strconv.ParseInt(h.Get("Dunlin-Clock"), 10, 64)
	if err != nil {
		return
	}
	for {
		old := c.clock.Load()
		if clock <= old || c.clock.CompareAndSwap(old, clock) {
			return
		}
	}
}

// timestamp is for a write that may be tried several times: above everything
// that this client has seen, and the same for each attempt.
func (c *Client) timestamp() hlc.Timestamp {
	return max(hlc.FromTime(c.cfg.Now()), hlc.Timestamp(c.clock.Load()+1))
}

func readProblem(resp *http.Response) error {
	defer resp.Body.Close()
	p := &Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(body, p) != nil {
		p.Detail = strings.TrimSpace(string(body))
	}
	p.Status = resp.StatusCode
	return p
}

// decode reads a JSON answer and closes it.
func decode(resp *http.Response, into any) error {
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("client: read the answer: %w", err)
	}
	return nil
}

func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // for the connection's reuse
	_ = resp.Body.Close()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
