package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/event"
)

// Event is one event. ID and Time are set by the client if they are not given.
type Event struct {
	Stream string          `json:"stream,omitempty"`
	ID     string          `json:"id,omitempty"`
	Time   string          `json:"time,omitempty"` // RFC 3339
	Key    string          `json:"key,omitempty"`
	Type   string          `json:"type,omitempty"`
	Data   json.RawMessage `json:"data"`
}

// Appended is what became of an event.
type Appended struct {
	ID       string `json:"id"`
	Time     string `json:"time"`
	Acks     int    `json:"acks"`
	Replicas int    `json:"replicas"`
}

// stream makes the path of a stream's resource; the name goes into the query,
// where no proxy normalises it.
func streamPath(rest, stream string) (path string, query url.Values) {
	return "/v1/stream" + rest, url.Values{"stream": {stream}}
}

// Append stores one event. Level is one, two, three, quorum, all, a number, or
// empty for quorum.
func (c *Client) Append(ctx context.Context, stream string, ev Event, level string) (Appended, error) {
	if err := c.identify(&ev); err != nil {
		return Appended{}, err
	}
	ev.Stream = ""
	body, err := marshal(ev)
	if err != nil {
		return Appended{}, err
	}
	path, query := streamPath("/events", stream)
	setLevel(query, "w", level)
	resp, err := c.do(ctx, &request{method: http.MethodPost, path: path, query: query, body: body, header: contentType("application/json")})
	if err != nil {
		return Appended{}, err
	}
	var a Appended
	return a, decode(resp, &a)
}

// identify gives an event an id, so that it can be sent again.
func (c *Client) identify(ev *Event) error {
	if ev.ID != "" || ev.Key != "" {
		return nil
	}
	at := c.cfg.Now()
	if ev.Time != "" {
		var err error
		if at, err = event.ParseTime(ev.Time); err != nil {
			return fmt.Errorf("client: time %w", err)
		}
	}
	ev.ID = c.NewID(at).String()
	return nil
}

// Summary is the answer to a batch.
type Summary struct {
	Accepted int `json:"accepted"`
	Failed   int `json:"failed"`
	Errors   []struct {
		Line  int      `json:"line"`
		Error *Problem `json:"error"`
	} `json:"errors"`
}

// AppendBatch stores events, each with its stream, in one request and returns how
// many were accepted. An error says what was wrong with the first that was not.
func (c *Client) AppendBatch(ctx context.Context, events []Event, level string) (accepted int, err error) {
	var body bytes.Buffer
	for i := range events {
		if err := c.identify(&events[i]); err != nil {
			return 0, err
		}
		line, err := marshal(events[i])
		if err != nil {
			return 0, err
		}
		body.Write(line)
	}
	query := url.Values{}
	setLevel(query, "w", level)
	resp, err := c.do(ctx, &request{method: http.MethodPost, path: "/v1/events", query: query, body: body.Bytes(), header: contentType("application/x-ndjson")})
	if err != nil {
		return 0, err
	}
	var s Summary
	if err := decode(resp, &s); err != nil {
		return 0, err
	}
	return s.Accepted, nil
}

// marshal writes an event as one line, its data untouched.
func marshal(ev Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(ev); err != nil {
		return nil, fmt.Errorf("client: encode the event: %w", err)
	}
	return b.Bytes(), nil
}

// ReadOptions say which events to read, and from how many replicas.
type ReadOptions struct {
	From, To string // RFC 3339 or Unix milliseconds; from inclusive, to exclusive
	After    string // an id, exclusive
	Limit    int    // of all events; 0: no limit
	Desc     bool
	Level    string
}

// pageEvents is how many events a page asks for.
const pageEvents = 1000

// Page is one answer to a read.
type Page struct {
	Events []Event `json:"events"`
	Next   *string `json:"next"`
}

// Events reads a stream, page after page, in order.
func (c *Client) Events(ctx context.Context, stream string, o ReadOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		cursor, left := "", o.Limit
		for {
			n := pageEvents
			if o.Limit > 0 {
				n = min(n, left)
			}
			page, err := c.Page(ctx, stream, o, n, cursor)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, ev := range page.Events {
				if !yield(ev, nil) {
					return
				}
			}
			left -= len(page.Events)
			if page.Next == nil || (o.Limit > 0 && left <= 0) {
				return
			}
			cursor = *page.Next
		}
	}
}

// Page reads one page of a stream, after a cursor that an earlier one gave.
func (c *Client) Page(ctx context.Context, stream string, o ReadOptions, limit int, cursor string) (Page, error) {
	path, query := streamPath("/events", stream)
	set(query, "from", o.From)
	set(query, "to", o.To)
	set(query, "after", o.After)
	set(query, "cursor", cursor)
	set(query, "limit", strconv.Itoa(limit))
	setLevel(query, "r", o.Level)
	if o.Desc {
		query.Set("order", "desc")
	}
	resp, err := c.do(ctx, &request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Page{}, err
	}
	var p Page
	return p, decode(resp, &p)
}

// Event reads one event.
func (c *Client) Event(ctx context.Context, stream, id, level string) (Event, error) {
	path, query := streamPath("/events/"+url.PathEscape(id), stream)
	setLevel(query, "r", level)
	resp, err := c.do(ctx, &request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Event{}, err
	}
	var ev Event
	return ev, decode(resp, &ev)
}

// DeleteStream deletes a stream, or its events before a time if one is given.
func (c *Client) DeleteStream(ctx context.Context, stream, before, level string) error {
	path, query := streamPath("", stream)
	set(query, "before", before)
	setLevel(query, "w", level)
	return c.delete(ctx, path, query)
}

// DeleteEvent deletes one event.
func (c *Client) DeleteEvent(ctx context.Context, stream, id, level string) error {
	path, query := streamPath("/events/"+url.PathEscape(id), stream)
	setLevel(query, "w", level)
	return c.delete(ctx, path, query)
}

// delete fixes its timestamp first, so that a repeated delete cannot hide what
// was written between the attempts.
func (c *Client) delete(ctx context.Context, path string, query url.Values) error {
	header := map[string]string{"Dunlin-Timestamp": strconv.FormatInt(int64(c.timestamp()), 10)}
	resp, err := c.do(ctx, &request{method: http.MethodDelete, path: path, query: query, header: header})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// Streams lists the names of streams, a page at a time, in token order; next is
// empty after the last page.
func (c *Client) Streams(ctx context.Context, limit int, cursor string) (names []string, next string, err error) {
	query := url.Values{}
	set(query, "limit", strconv.Itoa(limit))
	set(query, "cursor", cursor)
	resp, err := c.do(ctx, &request{method: http.MethodGet, path: "/v1/streams", query: query})
	if err != nil {
		return nil, "", err
	}
	var page struct {
		Streams []string `json:"streams"`
		Next    *string  `json:"next"`
	}
	if err := decode(resp, &page); err != nil {
		return nil, "", err
	}
	if page.Next != nil {
		next = *page.Next
	}
	return page.Streams, next, nil
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setLevel(query url.Values, name, level string) { set(query, name, level) }

func contentType(t string) map[string]string { return map[string]string{"Content-Type": t} }

// FormatTime writes a time as events carry it.
func FormatTime(t time.Time) string { return string(event.AppendTime(nil, t)) }
