package stream

import (
	"errors"
	"fmt"

	"github.com/dunlindb/dunlin/transport"
)

// What callers decide on. Those that a source refuses with come back from the peer
// as they were.
var (
	// ErrMessage: a message cannot be read.
	ErrMessage = errors.New("stream: a message cannot be read")
	// ErrDamaged: a page is not what its checksum says.
	ErrDamaged = errors.New("stream: a page was damaged on its way")
	// ErrPage: a page says what it must not.
	ErrPage = errors.New("stream: a page is wrong")
	// ErrStale: the two nodes do not serve by the same catalog version.
	ErrStale = errors.New("stream: the nodes serve by different catalog versions")
	// ErrMoved: the source is no replica of the range, or the other node is not to be.
	ErrMoved = errors.New("stream: the range is elsewhere")
	// ErrUnreadable: something of the range cannot be read at the source.
	ErrUnreadable = errors.New("stream: the source cannot read the range")
	// ErrOverloaded: the source, or this node's store, has too much to do.
	ErrOverloaded = errors.New("stream: overloaded")
	// ErrFenced: a page was stored too late, after a fence was raised.
	ErrFenced = errors.New("stream: a page is older than the fence")
	// ErrFilling: the target is being filled already.
	ErrFilling = errors.New("stream: the target is being filled")
)

// refusals are the kinds of transport.ControlError that errors travel as.
var refusals = []struct {
	err  error
	kind string
}{
	{ErrMessage, "bad_message"}, {ErrStale, "stale_catalog"}, {ErrMoved, "moved"}, {ErrUnreadable, "unreadable"}, {ErrOverloaded, "busy"},
}

// reasonFailed is the kind of any other error.
const reasonFailed = "failed"

// refused turns a source's error into one that crosses to the peer.
func refused(err error) *transport.ControlError {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return &transport.ControlError{Kind: r.kind, Text: err.Error()}
		}
	}
	return &transport.ControlError{Kind: reasonFailed, Text: err.Error()}
}

// told turns a peer's refusal back into the error that it was.
func told(err error) error {
	var control *transport.ControlError
	if !errors.As(err, &control) {
		return err
	}
	for _, r := range refusals {
		if control.Kind == r.kind {
			return fmt.Errorf("%w: %w", r.err, err)
		}
	}
	return err
}

// passes reports whether the same page may be had a moment later.
func passes(err error) bool {
	return errors.Is(err, ErrOverloaded) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrFenced)
}
