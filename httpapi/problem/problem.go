package problem

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// TypePrefix is what problems' types begin with; the rest names the kind.
const TypePrefix = "urn:dunlin:problem:"

// Problem is an error as clients see it (RFC 9457).
type Problem struct {
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

// kinds are the problems that there are, with their titles.
var kinds = map[string]string{
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
	"skewed":             "This node takes no writes",
	"not-serving":        "This node is not serving now",
	"canceled":           "The request was given up",
	"internal":           "Something is wrong with this node",
}

// New makes a problem of a kind, the last part of its type.
func New(kind string, status int, detail string) Problem {
	detail = strings.TrimPrefix(detail, "coordinator: ") // clients need not know our packages
	return Problem{Type: TypePrefix + kind, Title: kinds[kind], Status: status, Detail: detail}
}

// Kinds returns the last parts of all problems' types.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// Retriable reports whether the request may succeed when it is tried again.
func (p *Problem) Retriable() bool {
	return p.Status >= http.StatusInternalServerError || p.Status == http.StatusTooManyRequests
}
