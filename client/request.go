package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	dialTimeout = 2 * time.Second
	// avoidFor is how long a node that could not be reached is passed over, while
	// others can be.
	avoidFor = time.Second
	// answerMax bounds an answer: a page ends at 4 MiB, a value at what the
	// cluster's configuration says.
	answerMax = 128 << 20
)

// node is one node of the cluster, as this client sees it.
type node struct {
	url   string
	avoid atomic.Int64 // Unix nanoseconds until which others are preferred
}

// shun prefers other nodes for a while.
func (n *node) shun() { n.avoid.Store(time.Now().Add(avoidFor).UnixNano()) }

// pick is the next node of the round, of those that were reachable lately.
func (c *Client) pick() *node {
	now := time.Now().UnixNano()
	for range c.nodes {
		if n := c.nodes[int(c.next.Add(1)%uint32(len(c.nodes)))]; n.avoid.Load() <= now {
			return n
		}
	}
	return c.nodes[int(c.next.Add(1)%uint32(len(c.nodes)))]
}

// request is what an attempt sends; the body is repeated for each.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         []byte
}

// answer is an answer that was read whole.
type answer struct {
	header http.Header
	body   []byte
}

// decode reads a JSON answer.
func (a *answer) decode(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("client: read the answer: %w", err)
	}
	return nil
}

// do tries a request until a node has served it, or refused it for good. The
// nodes are asked in turn; there is a pause after each round of them.
func (c *Client) do(ctx context.Context, r *request) (*answer, error) {
	var last error
	pause, asked := c.cfg.PauseMin, time.Duration(0)
	for attempt := range c.cfg.Attempts {
		if attempt > 0 && attempt%len(c.nodes) == 0 {
			if err := c.sleep(ctx, max(pause, asked)); err != nil {
				return nil, errors.Join(err, last)
			}
			pause, asked = min(2*pause, c.cfg.PauseMax), 0
		}
		a, err := c.once(ctx, r)
		if err == nil {
			return a, nil
		}
		last = err
		if asks := retryAfter(err); asks > 0 && (asked == 0 || asks < asked) {
			asked = asks // the first node that is ready again will do
		}
		if ctx.Err() != nil || (final(err) && !c.forgetClock(err)) {
			break
		}
	}
	return nil, last
}

// forgetClock drops a clock value that a node refuses as too far ahead: it came
// from a node whose clock is wrong, and would fail every request from now on. It
// reports whether the request may be tried again without it.
func (c *Client) forgetClock(err error) bool {
	var p *Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Field {
	case "Dunlin-Clock":
		return c.clock.Swap(0) != 0
	case "Dunlin-Timestamp":
		c.clock.Store(0)
		c.stamp.Store(0)
	}
	return false
}

// once sends a request to one node and reads its answer. Statuses from 400 on
// become a *Problem.
func (c *Client) once(ctx context.Context, r *request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	n := c.pick()
	req, err := c.newRequest(ctx, n, r, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	resp, err := c.send(n, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMax+1))
	if err == nil && len(body) > answerMax {
		err = fmt.Errorf("it is longer than %d bytes", answerMax)
	}
	if err != nil {
		return nil, fmt.Errorf("client: read the answer of %s: %w", n.url, err)
	}
	if resp.StatusCode >= 400 {
		return nil, newProblem(resp.StatusCode, resp.Header, body)
	}
	return &answer{header: resp.Header, body: body}, nil
}

// newRequest makes the request for one node.
func (c *Client) newRequest(ctx context.Context, n *node, r *request, body io.Reader) (*http.Request, error) {
	target := n.url + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if clock := c.clock.Load(); clock > 0 {
		req.Header.Set("Dunlin-Clock", strconv.FormatInt(clock, 10))
	}
	return req, nil
}

// send sends a request and notes what its answer's head tells.
func (c *Client) send(n *node, req *http.Request) (*http.Response, error) {
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			n.shun()
		}
		return nil, fmt.Errorf("client: %w", err)
	}
	n.avoid.Store(0)
	c.observe(resp.Header)
	return resp, nil
}

// sleep pauses for three quarters to five quarters of d, so that clients that
// were refused together do not come back together.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	d = d*3/4 + time.Duration(c.spread.Int64N(int64(d)/2+1))
	c.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
