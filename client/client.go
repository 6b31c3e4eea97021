package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
)

// Config is how a Client behaves.
type Config struct {
	// Nodes are base URLs, such as http://127.0.0.1:7480.
	Nodes []string
	// Attempts is how often a request is tried in all; of Load, how often in a row
	// without progress.
	Attempts int
	// Timeout bounds one attempt, so that a node that hangs is left for another. It
	// should exceed the nodes' own deadlines.
	Timeout time.Duration
	// Stall bounds how long Load waits for news of lines that it has sent.
	Stall time.Duration
	// PauseMin and PauseMax bound the pauses between rounds of attempts, which
	// double; a node's Retry-After may ask for longer ones.
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
		Timeout: 15 * time.Second, Stall: 30 * time.Second,
		PauseMin: 50 * time.Millisecond, PauseMax: 2 * time.Second,
	}
}

func (c *Config) validate() error {
	switch {
	case len(c.Nodes) == 0:
		return errors.New("client: no nodes: give at least one URL such as http://127.0.0.1:7480")
	case c.Attempts < 1:
		return fmt.Errorf("client: %d attempts: give at least 1", c.Attempts)
	case c.Timeout <= 0 || c.Stall <= 0:
		return errors.New("client: Timeout and Stall must be above 0")
	case c.PauseMin <= 0 || c.PauseMax < c.PauseMin:
		return errors.New("client: PauseMin must be above 0, and PauseMax not below it")
	case c.Rand == nil:
		return errors.New("client: a source of randomness is needed")
	}
	return nil
}

// Client talks to a cluster.
type Client struct {
	cfg   Config
	nodes []*node
	next  atomic.Uint32
	clock atomic.Int64 // the largest Dunlin-Clock seen
	stamp atomic.Int64 // the last timestamp given to a write
	ids   *event.IDs

	mu     sync.Mutex // guards spread
	spread *rand.Rand
}

// New checks the configuration. It connects to nothing.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.HTTP == nil {
		dialer := &net.Dialer{Timeout: dialTimeout}
		cfg.HTTP = &http.Client{Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second,
		}}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{
		cfg: cfg, ids: event.NewIDs(cfg.Rand.Uint32()),
		spread: rand.New(rand.NewPCG(cfg.Rand.Uint64(), cfg.Rand.Uint64())),
	}
	for _, n := range cfg.Nodes {
		u, err := url.Parse(n)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") {
			return nil, fmt.Errorf("client: %q is no node: give a URL such as http://127.0.0.1:7480", n)
		}
		c.nodes = append(c.nodes, &node{url: strings.TrimSuffix(n, "/")})
	}
	c.next.Store(cfg.Rand.Uint32())
	return c, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.cfg.HTTP.CloseIdleConnections() }

// NewID makes the id of a new event.
func (c *Client) NewID(t time.Time) event.ID { return c.ids.Next(t) }

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
// that this client has seen or stamped, and the same for each attempt.
func (c *Client) timestamp() hlc.Timestamp {
	for {
		last := c.stamp.Load()
		ts := max(int64(hlc.FromTime(c.cfg.Now())), c.clock.Load()+1, last+1)
		if c.stamp.CompareAndSwap(last, ts) {
			return hlc.Timestamp(ts)
		}
	}
}
