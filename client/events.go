package client

import (
	"context"
	"encoding/json"
	"errors"
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
	body, err := appendEvent(nil, &ev)
	if err != nil {
		return Appended{}, err
	}
	path, query := streamPath("/events", stream)
	setLevel(query, "w", level)
	answer, err := c.do(ctx, &request{method: http.MethodPost, path: path, query: query, body: body, header: contentType("application/json")})
	if err != nil {
		return Appended{}, err
	}
	var a Appended
	return a, answer.decode(&a)
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

// summary is the answer to a batch.
type summary struct {
	Accepted int `json:"accepted"`
	Errors   []struct {
		Line  int      `json:"line"`
		Error *Problem `json:"error"`
	} `json:"errors"`
	Error *Problem `json:"error"` // why the rest was not read
}

// BatchError is what was wrong with the first event that was not accepted.
type BatchError struct {
	Index   int // in the batch
	Problem *Problem
}

// Error names the event by its place in the batch.
func (e *BatchError) Error() string { return fmt.Sprintf("event %d: %s", e.Index, e.Problem) }

// Unwrap returns the problem.
func (e *BatchError) Unwrap() error { return e.Problem }

// AppendBatch stores events, each with its stream, in one request and returns how
// many were accepted. Events that name neither id nor key are given ids in place,
// so that the batch can be sent again as it is. The error is a *BatchError if
// some events were not accepted.
func (c *Client) AppendBatch(ctx context.Context, events []Event, level string) (accepted int, err error) {
	var body []byte
	for i := range events {
		if err := c.identify(&events[i]); err != nil {
			return 0, err
		}
		from := len(body)
		if body, err = appendEvent(body, &events[i]); err != nil {
			return 0, err
		}
		for j := from; j < len(body); j++ {
			if body[j] == '\n' || body[j] == '\r' { // between the tokens of data; strings have none
				body[j] = ' '
			}
		}
		body = append(body, '\n')
	}
	query := url.Values{}
	setLevel(query, "w", level)
	answer, err := c.do(ctx, &request{method: http.MethodPost, path: "/v1/events", query: query, body: body, header: contentType("application/x-ndjson")})
	var p *Problem
	switch {
	case err == nil:
		var s summary
		return len(events), answer.decode(&s)
	case errors.As(err, &p) && p.body != nil:
		return readSummary(p, err)
	}
	return 0, err
}

// readSummary reads the summary of a batch that was not accepted whole.
func readSummary(p *Problem, err error) (int, error) {
	var s summary
	if json.Unmarshal(p.body, &s) != nil {
		return 0, err
	}
	switch {
	case len(s.Errors) > 0 && s.Errors[0].Error != nil:
		return s.Accepted, &BatchError{Index: s.Errors[0].Line - 1, Problem: s.Errors[0].Error}
	case s.Error != nil:
		return s.Accepted, s.Error
	}
	return s.Accepted, err
}

// appendEvent appends an event's JSON, its data byte for byte.
func appendEvent(dst []byte, ev *Event) ([]byte, error) {
	if !json.Valid(ev.Data) {
		return nil, errors.New("client: the event's data is not valid JSON")
	}
	dst = append(dst, '{')
	for _, f := range [...]struct{ name, value string }{
		{"stream", ev.Stream}, {"id", ev.ID}, {"time", ev.Time}, {"key", ev.Key}, {"type", ev.Type},
	} {
		if f.value != "" {
			dst = append(event.AppendString(append(append(append(dst, '"'), f.name...), `":`...), []byte(f.value)), ',')
		}
	}
	return append(append(append(dst, `"data":`...), ev.Data...), '}'), nil
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
	answer, err := c.do(ctx, &request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Page{}, err
	}
	var p Page
	return p, answer.decode(&p)
}

// Event reads one event.
func (c *Client) Event(ctx context.Context, stream, id, level string) (Event, error) {
	path, query := streamPath("/events/"+url.PathEscape(id), stream)
	setLevel(query, "r", level)
	answer, err := c.do(ctx, &request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Event{}, err
	}
	var ev Event
	return ev, answer.decode(&ev)
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
	_, err := c.do(ctx, &request{method: http.MethodDelete, path: path, query: query, header: c.stamped()})
	return err
}

// Streams lists the names of streams, a page at a time, in token order; next is
// empty after the last page.
func (c *Client) Streams(ctx context.Context, limit int, cursor string) (names []string, next string, err error) {
	query := url.Values{}
	set(query, "limit", strconv.Itoa(limit))
	set(query, "cursor", cursor)
	answer, err := c.do(ctx, &request{method: http.MethodGet, path: "/v1/streams", query: query})
	if err != nil {
		return nil, "", err
	}
	var page struct {
		Streams []string `json:"streams"`
		Next    *string  `json:"next"`
	}
	if err := answer.decode(&page); err != nil {
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
