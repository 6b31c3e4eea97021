package sim

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/event"
)

// toy is a small Dynamo with the HTTP contract of the real node: three replicas
// of each key, last write wins, a log on disk. It is what the simulator is
// tested on, with bugs to find.
type toy struct {
	env   Env
	bugs  toyBugs
	log   vfs.File
	turns chan struct{} // one writer of the log at a time
	http  http.Client

	mu   sync.Mutex
	rows map[string][]toyCell // a register has one cell, a stream many
	last int64
	ids  *event.IDs
}

type toyBugs struct {
	noSync    bool // acknowledges what is not on disk
	ackEarly  bool // acknowledges at one replica
	noQuorum  bool // answers reads from one replica
	byArrival bool // the last to arrive wins, not the newest
	noSession bool // ignores Dunlin-Clock
	phantom   bool // refuses and writes nevertheless
}

type toyCell struct {
	Key     string
	Value   string
	Deleted bool
	TS      int64
	Event   string // its id, for a stream's
}

func launchToy(bugs toyBugs) Launch {
	return func(env Env) (Node, error) {
		t := &toy{env: env, bugs: bugs, turns: make(chan struct{}, 1), rows: make(map[string][]toyCell), ids: event.NewIDs(env.Rand.Uint32())}
		t.http.Transport = &http.Transport{
			DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return env.Host.Dial(ctx, address) },
			MaxIdleConnsPerHost: 4,
		}
		return t, t.open()
	}
}

// open reads the logs of earlier boots and begins a new one.
func (t *toy) open() error {
	names, err := t.env.FS.List("/")
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := t.env.FS.Open("/" + name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var c toyCell
			if json.Unmarshal(lines.Bytes(), &c) == nil {
				t.merge(c)
			}
		}
		_ = f.Close()
	}
	t.log, err = t.env.FS.Create(fmt.Sprintf("/log%06d", len(names)), "")
	if err != nil {
		return err
	}
	dir, err := t.env.FS.OpenDir("/")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (t *toy) Run(ctx context.Context) error {
	var servers sync.WaitGroup
	var all []*http.Server
	for port, handler := range map[int]http.HandlerFunc{httpPort: t.front, internodePort: t.replica, adminPort: func(http.ResponseWriter, *http.Request) {}} {
		l, err := t.env.Host.Listen(netip.AddrPortFrom(t.env.Host.Address(), uint16(port)).String())
		if err != nil {
			return err
		}
		s := &http.Server{Handler: handler}
		all = append(all, s)
		servers.Go(func() { _ = s.Serve(l) })
	}
	<-ctx.Done()
	for _, s := range all {
		_ = s.Close()
	}
	servers.Wait()
	t.http.CloseIdleConnections()
	return nil
}

func (t *toy) merge(c toyCell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, c.TS)
	cells := t.rows[c.Key]
	i := slices.IndexFunc(cells, func(o toyCell) bool { return o.Event == c.Event })
	switch {
	case i < 0:
		t.rows[c.Key] = append(cells, c)
	case t.bugs.byArrival || toyOrder(c, cells[i]) > 0:
		cells[i] = c
	}
}

func toyOrder(a, b toyCell) int {
	if c := cmp.Compare(a.TS, b.TS); c != 0 {
		return c
	}
	if a.Deleted != b.Deleted {
		return map[bool]int{true: 1, false: -1}[a.Deleted]
	}
	return strings.Compare(a.Value, b.Value)
}

// replica serves the other nodes: POST a cell, GET a key's cells.
func (t *toy) replica(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		t.mu.Lock()
		b, _ := json.Marshal(t.rows[r.URL.Query().Get("key")])
		t.mu.Unlock()
		_, _ = w.Write(b)
		return
	}
	line, _ := io.ReadAll(r.Body)
	var c toyCell
	if err := json.Unmarshal(line, &c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t.turns <- struct{}{}
	_, err := t.log.Write(append(line, '\n'))
	if err == nil && !t.bugs.noSync {
		err = t.log.Sync()
	}
	<-t.turns
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	t.merge(c)
}

func (t *toy) replicas(key string) []string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	var out []string
	for i := range 3 {
		out = append(out, fmt.Sprintf("http://10.0.0.%d:%d/", 1+(h.Sum32()+uint32(i))%5, internodePort))
	}
	return out
}

// ask sends a request to all replicas and returns the first need answers.
func (t *toy) ask(ctx context.Context, method, key string, body []byte, need int) [][]byte {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	time.AfterFunc(3*time.Second, cancel)
	answers := make(chan []byte, 3)
	for _, url := range t.replicas(key) {
		go func() {
			req, _ := http.NewRequestWithContext(context.WithoutCancel(ctx), method, url+"?key="+key, bytes.NewReader(body))
			bounded, stop := context.WithTimeout(req.Context(), 3*time.Second)
			defer stop()
			resp, err := t.http.Do(req.WithContext(bounded))
			if err != nil || resp.StatusCode != http.StatusOK {
				answers <- nil
				return
			}
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil {
				b = nil
			} else if b == nil {
				b = []byte{}
			}
			answers <- b
		}()
	}
	var got [][]byte
	for range 3 {
		if a := <-answers; a != nil {
			got = append(got, a)
		}
		if len(got) == need {
			return got
		}
	}
	return nil
}

// front serves clients.
func (t *toy) front(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	key := parts[len(parts)-1]
	stream := parts[2] == "streams"
	if stream {
		key = parts[3]
	}
	level := map[string]int{"one": 1, "quorum": 2, "all": 3}
	w.Header().Set("Content-Type", "application/problem+json")
	if r.Method == http.MethodGet {
		need := level[r.URL.Query().Get("r")]
		if t.bugs.noQuorum {
			need = 1
		}
		t.answer(w, stream, t.ask(r.Context(), http.MethodGet, key, nil, need))
		return
	}
	c := toyCell{Key: key, Deleted: r.Method == http.MethodDelete, TS: t.stamp(r)}
	body, _ := io.ReadAll(r.Body)
	c.Value = string(body)
	if stream {
		var body struct{ Data string }
		_ = json.Unmarshal([]byte(c.Value), &body)
		c.Value, c.Event = body.Data, t.ids.Next(time.UnixMicro(c.TS)).String()
	}
	need := level[r.URL.Query().Get("w")]
	if t.bugs.ackEarly {
		need = 1
	}
	line, _ := json.Marshal(c)
	if t.ask(r.Context(), http.MethodPost, key, line, need) == nil {
		http.Error(w, "too few replicas", http.StatusServiceUnavailable)
		return
	}
	if t.bugs.phantom && c.TS%97 == 0 {
		http.Error(w, "refused, it says", http.StatusBadRequest)
		return
	}
	t.headers(w, c.TS)
	w.WriteHeader(http.StatusOK)
}

// stamp takes the client's timestamp, or makes one above its session.
func (t *toy) stamp(r *http.Request) int64 {
	if ts, err := strconv.ParseInt(r.Header.Get("Dunlin-Timestamp"), 10, 64); err == nil {
		return ts
	}
	session, _ := strconv.ParseInt(r.Header.Get("Dunlin-Clock"), 10, 64)
	if t.bugs.noSession {
		session = 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last+1, session+1, t.env.Clock().UnixMicro())
	if t.bugs.noSession {
		t.last = t.env.Clock().UnixMicro()
	}
	return t.last
}

func (t *toy) headers(w http.ResponseWriter, ts int64) {
	w.Header().Set("Dunlin-Timestamp", strconv.FormatInt(ts, 10))
	w.Header().Set("Dunlin-Clock", strconv.FormatInt(ts, 10))
}

func (t *toy) answer(w http.ResponseWriter, stream bool, answers [][]byte) {
	if answers == nil {
		http.Error(w, "too few replicas", http.StatusServiceUnavailable)
		return
	}
	cells := make(map[string]toyCell)
	for _, a := range answers {
		var some []toyCell
		_ = json.Unmarshal(a, &some)
		for _, c := range some {
			if old, ok := cells[c.Event]; !ok || toyOrder(c, old) > 0 {
				cells[c.Event] = c
			}
		}
	}
	if stream {
		_, _ = w.Write(toyPage(cells))
		return
	}
	c, ok := cells[""]
	if !ok || c.Deleted {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	t.headers(w, c.TS)
	_, _ = io.WriteString(w, c.Value)
}

func toyPage(cells map[string]toyCell) []byte {
	var sorted []toyCell
	for _, c := range cells {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b toyCell) int {
		x, _ := event.ParseID(a.Event)
		y, _ := event.ParseID(b.Event)
		return x.Compare(y)
	})
	events := []map[string]any{}
	for _, c := range sorted {
		events = append(events, map[string]any{"id": c.Event, "time": time.UnixMicro(c.TS), "data": c.Value})
	}
	b, _ := json.Marshal(map[string]any{"events": events, "next": nil})
	return b
}
