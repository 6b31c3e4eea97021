//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/client"
)

// journal remembers what clients tried to write, and what of it was acknowledged.
type journal struct {
	mu      sync.Mutex                   // guards the fields below
	streams map[string]map[string]*entry // by stream and id
	acked   int
	failed  int     // attempts that ended with an error, which faults allow
	wrong   []error // what nothing allows
}

// entry is one event.
type entry struct {
	data  string
	acked bool
}

func newJournal() *journal { return &journal{streams: map[string]map[string]*entry{}} }

// append writes an event under an id of its own and notes the outcome.
func (j *journal) append(ctx context.Context, c *client.Client, stream, data, level string) (id string, err error) {
	id = c.NewID(time.Now()).String()
	e := &entry{data: data}
	j.mu.Lock()
	if j.streams[stream] == nil {
		j.streams[stream] = map[string]*entry{}
	}
	j.streams[stream][id] = e
	j.mu.Unlock()
	_, err = c.Append(ctx, stream, client.Event{ID: id, Data: json.RawMessage(data)}, level)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.failed++
		return id, err
	}
	e.acked = true
	j.acked++
	return id, nil
}

// readBack reads an acknowledged event at quorum. That no quorum answers is
// allowed; that one answers something else is not.
func (j *journal) readBack(ctx context.Context, c *client.Client, stream, id, data string) {
	ev, err := c.Event(ctx, stream, id, "quorum")
	var p *client.Problem
	switch {
	case err == nil && string(ev.Data) != data:
		err = fmt.Errorf("event %s of %s reads as %s, written as %s", id, stream, ev.Data, data)
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		err = fmt.Errorf("event %s of %s was acknowledged at quorum and is not found at quorum", id, stream)
	default:
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wrong = append(j.wrong, err)
}

// counts returns how many writes were acknowledged and how many failed.
func (j *journal) counts() (acked, failed int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acked, j.failed
}

// names returns the streams, in order.
func (j *journal) names() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for name := range j.streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// lack reads a stream and counts the acknowledged events that are not in it. The
// error is of the reading, or says what the stream holds that nobody wrote.
func (j *journal) lack(ctx context.Context, c *client.Client, stream, level string) (lack int, err error) {
	found := map[string]string{}
	for ev, err := range c.Events(ctx, stream, client.ReadOptions{Level: level}) {
		if err != nil {
			return 0, fmt.Errorf("read %s at r=%s: %w", stream, level, err)
		}
		found[ev.ID] = string(ev.Data)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, e := range j.streams[stream] {
		data, there := found[id]
		if there && data != e.data {
			return 0, fmt.Errorf("event %s of %s reads as %s, written as %s", id, stream, data, e.data)
		}
		if e.acked && !there {
			lack++
		}
		delete(found, id)
	}
	for id := range found {
		return 0, fmt.Errorf("event %s of %s was never written", id, stream)
	}
	return lack, nil
}

// lackAll reads all streams through one client.
func (j *journal) lackAll(ctx context.Context, c *client.Client, level string) (lack int, err error) {
	for _, stream := range j.names() {
		n, err := j.lack(ctx, c, stream, level)
		if err != nil {
			return lack, err
		}
		lack += n
	}
	return lack, nil
}

// check wants every acknowledged event of some streams through one client.
func (j *journal) check(t *testing.T, c *client.Client, through, level string, streams ...string) {
	t.Helper()
	for _, stream := range streams {
		lack, err := j.lack(t.Context(), c, stream, level)
		if err != nil {
			t.Errorf("through %s: %v", through, err)
		}
		if lack > 0 {
			t.Errorf("through %s at r=%s: %d acknowledged events of %s are missing", through, level, lack, stream)
		}
	}
}
