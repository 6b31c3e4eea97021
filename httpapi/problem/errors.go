package problem

import (
	"strconv"
	"strings"
)

// InputError is a request refused because of one of its parts.
type InputError struct{ Field, Reason string }

// BadInput makes an InputError: the field, and what is wrong with it.
func BadInput(field, reason string) *InputError { return &InputError{field, reason} }

func (e *InputError) Error() string { return e.Field + " " + e.Reason }

// LevelError is a level that does not fit, with the parameter that it was given in.
type LevelError struct {
	Field string
	Err   error
}

func (e *LevelError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *LevelError) Unwrap() error { return e.Err }

// TooLargeError is a part of a request that has more bytes than are accepted.
type TooLargeError struct {
	Field string
	Limit int
}

func (e *TooLargeError) Error() string {
	return "the " + e.Field + " has more than " + strconv.Itoa(e.Limit) + " bytes"
}

// MediaTypeError is a header that names a type or coding that is not understood.
type MediaTypeError struct{ Header, Value, Want string }

func (e *MediaTypeError) Error() string {
	if e.Value == "" {
		return e.Header + " is missing: give " + e.Want
	}
	return e.Header + " is " + Quoted(e.Value) + ": give " + e.Want
}

// NotFoundError is about something that is not there.
type NotFoundError struct{ Detail string }

func (e *NotFoundError) Error() string { return e.Detail }

// NotImplementedError is about what a later version will do.
type NotImplementedError struct{ Detail string }

func (e *NotImplementedError) Error() string { return e.Detail }

// BusyError: this node has as many of something in flight as it takes.
type BusyError struct {
	Count int
	What  string
}

func (e *BusyError) Error() string {
	return "this node has " + strconv.Itoa(e.Count) + " " + e.What + " in flight, which is the most"
}

// ForbiddenError is a request that came from, or is addressed to, a wrong place.
type ForbiddenError struct {
	Header string // that says so
	Reason string
}

func (e *ForbiddenError) Error() string { return e.Header + " " + e.Reason }

// Printable shortens what came from outside for a message.
func Printable(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Quoted is Printable in quotes.
func Quoted(s string) string { return strconv.Quote(Printable(s)) }
