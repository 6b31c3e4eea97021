package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
)

// The headers that carry clock values, in microseconds.
const (
	headerClock     = "Dunlin-Clock"
	headerTimestamp = "Dunlin-Timestamp"
	headerReceipt   = "Dunlin-Receipt"
	headerNext      = "Dunlin-Next"
)

// query holds a request's parameters: known ones, none twice.
type query map[string]string

// parseQuery reads a query string in which only known parameters may occur. The
// error is an *problem.InputError.
func parseQuery(raw string, known ...string) (query, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problem.BadInput("query", "is not well-formed: "+err.Error())
	}
	q := make(query, len(values))
	for name, v := range values {
		if !slices.Contains(known, name) {
			return nil, problem.BadInput(problem.Printable(name), "is no parameter of this request; known are "+strings.Join(known, ", "))
		}
		if len(v) > 1 {
			return nil, problem.BadInput(name, "is given more than once")
		}
		q[name] = v[0]
	}
	return q, nil
}

// request is a request's parameters with those that every route has.
type request struct {
	query
	stream  []byte // of routes that have one
	timeout time.Duration
	session hlc.Timestamp
	receipt bool
}

// request reads the parameters and headers of a route that knows the given
// parameters beside timeout.
func (a *API) request(r *http.Request, known ...string) (request, error) {
	var q request
	known = append(known, "timeout")
	inQuery := streamInQuery(r.Pattern)
	if inQuery {
		known = append(known, "stream")
	}
	var err error
	if q.query, err = parseQuery(r.URL.RawQuery, known...); err != nil {
		return q, err
	}
	if q.timeout, err = q.duration("timeout", a.cfg.TimeoutMax); err != nil {
		return q, err
	}
	if q.session, err = clockHeader(r.Header, headerClock); err != nil {
		return q, err
	}
	switch q.query["receipt"] {
	case "", "0":
	case "1":
		q.receipt = true
	default:
		return q, problem.BadInput("receipt", "is "+problem.Quoted(q.query["receipt"])+": give 1 or 0")
	}
	stream := r.PathValue("stream")
	if inQuery {
		stream = q.query["stream"]
	}
	if inQuery || stream != "" {
		q.stream = []byte(stream)
		err = a.limits.CheckName("stream", q.stream)
	}
	return q, err
}

// streamInQuery reports whether a route takes its stream from the query.
func streamInQuery(pattern string) bool {
	_, path, _ := strings.Cut(pattern, " ")
	return path == "/v1/stream" || strings.HasPrefix(path, "/v1/stream/")
}

// duration reads a length of time, 0 if it is not given.
func (q query) duration(name string, most time.Duration) (time.Duration, error) {
	text, given := q[name]
	if !given {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		return 0, problem.BadInput(name, fmt.Sprintf("is %s: give a length of time such as 500ms or 5s, at most %s", problem.Quoted(text), most))
	}
	return d, nil
}

// level reads a consistency level, quorum if it is not given.
func (q query) level(name string) (coordinator.Level, error) {
	l, err := coordinator.ParseLevel(q[name])
	if err != nil {
		return l, &problem.LevelError{Field: name, Err: err}
	}
	return l, nil
}

// limit reads a number of rows.
func (q query) limit(unset, most int) (int, error) {
	text, given := q["limit"]
	if !given {
		return unset, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, problem.BadInput("limit", fmt.Sprintf("is %s: give 1 to %d", problem.Quoted(text), most))
	}
	return n, nil
}

// time reads a time.
func (q query) time(name string) (t time.Time, given bool, err error) {
	text, given := q[name]
	if !given {
		return t, false, nil
	}
	if t, err = event.ParseTime(text); err != nil {
		return t, true, problem.BadInput(name, err.Error())
	}
	return t, true, nil
}

// clockHeader reads a clock value from a header, 0 if it is not given.
func clockHeader(h http.Header, name string) (hlc.Timestamp, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || n < 1 || len(values) > 1 {
		return 0, problem.BadInput(name, "must be one number of microseconds since 1970, as answers carry it")
	}
	return hlc.Timestamp(n), nil
}

// writeOptions reads what a write may ask for.
func (q *request) writeOptions(h http.Header) (coordinator.WriteOptions, error) {
	level, err := q.level("w")
	if err != nil {
		return coordinator.WriteOptions{}, err
	}
	opts := coordinator.WriteOptions{Level: level, Timeout: q.timeout, Session: q.session, Receipt: q.receipt}
	switch q.query["sloppy"] {
	case "", "false":
	case "true":
		opts.Sloppy = true
	default:
		return opts, problem.BadInput("sloppy", "is "+problem.Quoted(q.query["sloppy"])+": give true or false")
	}
	opts.Timestamp, err = clockHeader(h, headerTimestamp)
	return opts, err
}

// readOptions reads what a read may ask for.
func (q *request) readOptions() (coordinator.ReadOptions, error) {
	level, err := q.level("r")
	if err == nil && level == coordinator.Any {
		err = problem.BadInput("r", `is "any", which is for writes: a hint cannot be read; give one, two, three, quorum, all or a number`)
	}
	return coordinator.ReadOptions{Level: level, Timeout: q.timeout, Session: q.session, Receipt: q.receipt}, err
}

// typeJSON is the media type of one event, and of most answers.
const typeJSON = "application/json"

// contentType returns a request's media type, which must be JSON or NDJSON: other
// types need no preflight in a browser, or do not say what they are.
func contentType(h http.Header) (string, error) {
	value := h.Get("Content-Type")
	media, parameters, _ := strings.Cut(value, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch strings.ToLower(strings.ReplaceAll(strings.TrimSpace(parameters), `"`, "")) {
	case "", "charset=utf-8":
		if media == typeJSON || media == ingest.MediaType {
			return media, nil
		}
	}
	return "", &problem.MediaTypeError{Header: "Content-Type", Value: value, Want: typeJSON + " or " + ingest.MediaType}
}

// accepts reports whether a request's Accept header names a media type.
func accepts(h http.Header, media string) bool {
	for _, value := range h.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			name, parameters, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), media) && strings.ReplaceAll(parameters, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}
