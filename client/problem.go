package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is an error that a node answered (RFC 9457).
type Problem struct {
	Type           string `json:"type"`
	Title          string `json:"title"`
	Status         int    `json:"status"`
	Detail         string `json:"detail"`
	Field          string `json:"field,omitempty"` // what of the request is wrong
	Limit          int    `json:"limit,omitempty"` // bytes that would be accepted
	Need           int    `json:"need,omitempty"`  // replicas that the level needs
	Alive          int    `json:"alive,omitempty"` // replicas that could be asked
	Got            int    `json:"got,omitempty"`   // replicas that answered
	MayHaveApplied bool   `json:"may_have_applied,omitempty"`
	RetryAfter     int    `json:"retry_after,omitempty"` // seconds

	body []byte // the answer, when it is no problem in JSON
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

// detailMax bounds what is shown of an answer that is no problem.
const detailMax = 500

// newProblem reads the answer of a failed request.
func newProblem(status int, h http.Header, body []byte) *Problem {
	p := &Problem{}
	if !strings.HasPrefix(h.Get("Content-Type"), "application/problem+json") || json.Unmarshal(body, p) != nil {
		text := strings.ToValidUTF8(string(body[:min(len(body), detailMax)]), "\uFFFD")
		p = &Problem{Detail: strings.TrimSpace(text), body: body}
	}
	p.Status = status
	if p.Title == "" {
		p.Title = http.StatusText(status)
	}
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds > 0 {
		p.RetryAfter = seconds
	}
	return p
}

// retryAfterMax bounds the pause that a node may ask for.
const retryAfterMax = 30 * time.Second

// retryAfter is the pause that an error asks for; 0 if none.
func retryAfter(err error) time.Duration {
	var p *Problem
	if !errors.As(err, &p) {
		return 0
	}
	return min(time.Duration(min(p.RetryAfter, 3600))*time.Second, retryAfterMax)
}

// final reports an error that no other attempt can change.
func final(err error) bool {
	var p *Problem
	return errors.As(err, &p) && !p.Retryable()
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
