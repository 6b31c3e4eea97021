package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
)

// problemType is what problems' types begin with; the rest names the kind.
const problemType = "urn:dunlin:problem:"

// problem is an error as clients see it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	Field          string `json:"field,omitempty"`            // what of the request is wrong
	Limit          int    `json:"limit,omitempty"`            // bytes that would be accepted
	Need           *int   `json:"need,omitempty"`             // replicas that the level needs
	Alive          *int   `json:"alive,omitempty"`            // replicas that can be asked
	Got            *int   `json:"got,omitempty"`              // replicas that answered
	MayHaveApplied bool   `json:"may_have_applied,omitempty"` // the write may be stored, or yet be
	RetryAfter     int    `json:"retry_after,omitempty"`      // seconds
}

// titles are the kinds of problems.
var titles = map[string]string{
	"bad-input":          "The request is not valid",
	"not-found":          "There is no such thing",
	"method-not-allowed": "The method is not allowed here",
	"too-large":          "The request is too large",
	"media-type":         "The media type is not supported",
	"forbidden":          "The request is not from an allowed place",
	"not-implemented":    "Not implemented yet",
	"overloaded":         "Too much work at a time",
	"unavailable":        "Too few replicas are alive",
	"timeout":            "Too few replicas answered in time",
	"skewed":             "This node's clock cannot be trusted",
	"not-serving":        "This node is not serving now",
	"canceled":           "The request was given up",
	"internal":           "Something is wrong with this node",
}

func newProblem(kind string, status int, detail string) problem {
	detail = strings.TrimPrefix(detail, "coordinator: ") // clients need not know our packages
	return problem{Type: problemType + kind, Title: titles[kind], Status: status, Detail: detail}
}

// inputError is a request refused because of one of its parts.
type inputError struct{ Field, Reason string }

func badInput(field, reason string) *inputError { return &inputError{field, reason} }

func (e *inputError) Error() string { return e.Field + " " + e.Reason }

// levelError is a level that does not fit, with the parameter that it was given in.
type levelError struct {
	Field string
	Err   error
}

func (e *levelError) Error() string { return e.Err.Error() }
func (e *levelError) Unwrap() error { return e.Err }

type tooLargeError struct {
	Field string
	Limit int
}

func (e *tooLargeError) Error() string {
	return "the " + e.Field + " has more than " + strconv.Itoa(e.Limit) + " bytes"
}

type mediaTypeError struct{ Header, Value, Want string }

func (e *mediaTypeError) Error() string {
	if e.Value == "" {
		return e.Header + " is missing: give " + e.Want
	}
	return e.Header + " is " + quoted(e.Value) + ": give " + e.Want
}

type notFoundError struct{ Detail string }

func (e *notFoundError) Error() string { return e.Detail }

type notImplementedError struct{ Detail string }

func (e *notImplementedError) Error() string { return e.Detail }

// busyError: this node has too many requests in flight.
type busyError struct{ Requests int }

func (e *busyError) Error() string {
	return "this node has " + strconv.Itoa(e.Requests) + " requests in flight"
}

// problemOf maps every error to what the client is told.
func problemOf(err error) problem {
	if p, ok := requestProblem(err); ok {
		return p
	}
	if p, ok := clusterProblem(err); ok {
		return p
	}
	return newProblem("internal", http.StatusInternalServerError, "an unexpected error was logged by this node")
}

// requestProblem maps the faults of requests.
func requestProblem(err error) (problem, bool) {
	var (
		input    *inputError
		field    *event.FieldError
		level    *levelError
		factor   *coordinator.LevelError
		cursor   *coordinator.CursorError
		retired  *coordinator.RetiredError
		large    *tooLargeError
		row      *coordinator.TooLargeError
		media    *mediaTypeError
		missing  *notFoundError
		reserved *notImplementedError
		guard    *GuardError
		skew     *coordinator.SkewedError
	)
	bad := func(field, detail string) (problem, bool) {
		p := newProblem("bad-input", http.StatusBadRequest, detail)
		p.Field = field
		return p, true
	}
	tooLarge := func(field string, limit int) (problem, bool) {
		p := newProblem("too-large", http.StatusRequestEntityTooLarge, err.Error())
		p.Field, p.Limit = field, limit
		return p, true
	}
	switch {
	case errors.As(err, &input):
		return bad(input.Field, err.Error())
	case errors.As(err, &field):
		return bad(printable(field.Field), printable(err.Error()))
	case errors.As(err, &level):
		return bad(level.Field, level.Err.Error())
	case errors.As(err, &factor):
		return bad("level", factor.Error())
	case errors.As(err, &cursor):
		return bad("cursor", cursor.Error())
	case errors.As(err, &retired):
		return bad("time", retired.Error())
	case errors.As(err, &skew) && skew.Client:
		header := headerTimestamp
		if skew.Field == "session" {
			header = headerClock
		}
		return bad(header, skew.Error())
	case errors.As(err, &large):
		return tooLarge(large.Field, large.Limit)
	case errors.As(err, &row):
		return tooLarge("row", row.Max)
	case errors.As(err, &media):
		p := newProblem("media-type", http.StatusUnsupportedMediaType, err.Error())
		p.Field = media.Header
		return p, true
	case errors.As(err, &missing):
		return newProblem("not-found", http.StatusNotFound, err.Error()), true
	case errors.As(err, &reserved):
		return newProblem("not-implemented", http.StatusNotImplemented, err.Error()), true
	case errors.As(err, &guard):
		p := newProblem("forbidden", http.StatusForbidden, err.Error())
		p.Field = guard.Header
		return p, true
	}
	return problem{}, false
}

// retrySoon is the pause before another try that overloaded nodes ask for when
// they name none.
const retrySoon = time.Second

// clusterProblem maps what went wrong beyond the request.
func clusterProblem(err error) (problem, bool) {
	var (
		busy        *busyError
		overloaded  *coordinator.OverloadedError
		unavailable *coordinator.UnavailableError
		timeout     *coordinator.TimeoutError
		skew        *coordinator.SkewedError
		unsealable  *coordinator.UnsealableError
		unknown     *coordinator.UnknownTableError
	)
	later := func(kind string, status int, pause time.Duration) (problem, bool) {
		p := newProblem(kind, status, err.Error())
		p.RetryAfter = max(1, int(math.Ceil(pause.Seconds())))
		return p, true
	}
	switch {
	case errors.As(err, &busy):
		return later("overloaded", http.StatusTooManyRequests, retrySoon)
	case errors.As(err, &overloaded) && overloaded.Local:
		return later("overloaded", http.StatusTooManyRequests, overloaded.RetryAfter)
	case errors.As(err, &overloaded):
		return later("overloaded", http.StatusServiceUnavailable, overloaded.RetryAfter)
	case errors.As(err, &unavailable):
		p := newProblem("unavailable", http.StatusServiceUnavailable, err.Error())
		p.Need, p.Alive = &unavailable.Need, &unavailable.Alive
		return p, true
	case errors.As(err, &timeout):
		p := newProblem("timeout", http.StatusGatewayTimeout, err.Error())
		p.Need, p.Got, p.MayHaveApplied = &timeout.Need, &timeout.Got, timeout.Write
		return p, true
	case errors.As(err, &skew):
		return newProblem("skewed", http.StatusServiceUnavailable, err.Error()), true
	case errors.As(err, &unsealable), errors.As(err, &unknown), errors.Is(err, coordinator.ErrNoCatalog),
		errors.Is(err, coordinator.ErrStopping), errors.Is(err, hlc.ErrCeiling):
		return later("not-serving", http.StatusServiceUnavailable, retrySoon)
	case isCanceled(err):
		return newProblem("canceled", http.StatusServiceUnavailable, err.Error()), true
	}
	return problem{}, false
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// writeProblem is the problem of a failed write: replicas may have applied it even
// though it failed.
func writeProblem(err error) problem {
	p := problemOf(err)
	var (
		unavailable *coordinator.UnavailableError
		overloaded  *coordinator.OverloadedError
	)
	switch {
	case errors.As(err, &unavailable):
		p.MayHaveApplied = unavailable.Sent
	case errors.As(err, &overloaded):
		p.MayHaveApplied = !overloaded.Local
	case isCanceled(err):
		p.MayHaveApplied = true
	}
	return p
}

// fail answers a request with a problem, unless its answer has begun.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p = writeProblem(err)
	}
	if p.Status == http.StatusInternalServerError {
		a.env.Logger.Error("request failed", "route", r.Pattern, "error", err)
	}
	out, ok := w.(*answer)
	if !ok {
		out = a.newAnswer(w)
	}
	if out.status != 0 {
		return // the connection is what failed, or the client has half an answer
	}
	out.problem(p)
}

// problem writes a problem as the whole answer.
func (w *answer) problem(p problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	w.WriteHeader(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		return // no field of a problem can fail
	}
	w.Write(append(body, '\n'))
}
