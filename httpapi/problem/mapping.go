package problem

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/hlc"
)

// Of maps every error to what the client is told.
func Of(err error) Problem {
	if p, ok := requestProblem(err); ok {
		return p
	}
	if p, ok := clusterProblem(err); ok {
		return p
	}
	return New("internal", http.StatusInternalServerError, "an unexpected error was logged by this node")
}

// requestProblem maps the faults of requests.
func requestProblem(err error) (Problem, bool) {
	var (
		input    *InputError
		field    *event.FieldError
		level    *LevelError
		factor   *coordinator.LevelError
		cursor   *coordinator.CursorError
		retired  *coordinator.RetiredError
		large    *TooLargeError
		row      *coordinator.TooLargeError
		media    *MediaTypeError
		missing  *NotFoundError
		reserved *NotImplementedError
		guard    *ForbiddenError
		skew     *coordinator.SkewedError
	)
	bad := func(field, detail string) (Problem, bool) {
		p := New("bad-input", http.StatusBadRequest, detail)
		p.Field = field
		return p, true
	}
	tooLarge := func(field string, limit int) (Problem, bool) {
		p := New("too-large", http.StatusRequestEntityTooLarge, err.Error())
		p.Field, p.Limit = field, limit
		return p, true
	}
	switch {
	case errors.As(err, &input):
		return bad(input.Field, err.Error())
	case errors.As(err, &field):
		return bad(Printable(field.Field), Printable(err.Error()))
	case errors.As(err, &level):
		return bad(level.Field, level.Err.Error())
	case errors.As(err, &factor):
		return bad("level", factor.Error())
	case errors.As(err, &cursor):
		return bad("cursor", cursor.Error())
	case errors.As(err, &retired):
		return bad("time", retired.Error())
	case errors.As(err, &skew) && skew.Client:
		header := "Dunlin-Timestamp"
		if skew.Field == "session" {
			header = "Dunlin-Clock"
		}
		return bad(header, skew.Error())
	case errors.As(err, &large):
		return tooLarge(large.Field, large.Limit)
	case errors.As(err, &row):
		return tooLarge("row", row.Max)
	case errors.As(err, &media):
		p := New("media-type", http.StatusUnsupportedMediaType, err.Error())
		p.Field = media.Header
		return p, true
	case errors.As(err, &missing):
		return New("not-found", http.StatusNotFound, err.Error()), true
	case errors.As(err, &reserved):
		return New("not-implemented", http.StatusNotImplemented, err.Error()), true
	case errors.As(err, &guard):
		status := http.StatusForbidden
		if guard.Header == "Host" {
			status = http.StatusMisdirectedRequest
		}
		p := New("forbidden", status, err.Error())
		p.Field = guard.Header
		return p, true
	}
	return Problem{}, false
}

// retrySoon is the pause before another try that overloaded nodes ask for when
// they name none.
const retrySoon = time.Second

// clusterProblem maps what went wrong beyond the request.
func clusterProblem(err error) (Problem, bool) {
	var (
		busy        *BusyError
		overloaded  *coordinator.OverloadedError
		unavailable *coordinator.UnavailableError
		timeout     *coordinator.TimeoutError
		skew        *coordinator.SkewedError
		unsealable  *coordinator.UnsealableError
		unknown     *coordinator.UnknownTableError
	)
	later := func(kind string, status int, pause time.Duration) (Problem, bool) {
		p := New(kind, status, err.Error())
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
		p := New("unavailable", http.StatusServiceUnavailable, err.Error())
		p.Need, p.Alive = &unavailable.Need, &unavailable.Alive
		return p, true
	case errors.As(err, &timeout):
		p := New("timeout", http.StatusGatewayTimeout, err.Error())
		p.Need, p.Got, p.MayHaveApplied = &timeout.Need, &timeout.Got, timeout.Write
		return p, true
	case errors.As(err, &skew):
		return New("skewed", http.StatusServiceUnavailable, err.Error()), true
	case errors.As(err, &unsealable), errors.As(err, &unknown), errors.Is(err, coordinator.ErrNoCatalog),
		errors.Is(err, coordinator.ErrStopping), errors.Is(err, hlc.ErrCeiling):
		return later("not-serving", http.StatusServiceUnavailable, retrySoon)
	case isCanceled(err):
		return New("canceled", http.StatusServiceUnavailable, err.Error()), true
	}
	return Problem{}, false
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// OfWrite is the problem of a failed write: replicas may have applied it even
// though it failed.
func OfWrite(err error) Problem {
	p := Of(err)
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
