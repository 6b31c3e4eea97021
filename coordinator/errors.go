package coordinator

import (
	"errors"

	"github.com/dunlindb/dunlin/coordinator/admission"
	"github.com/dunlindb/dunlin/coordinator/cursor"
	"github.com/dunlindb/dunlin/coordinator/quorum"
)

// ErrNoCatalog means that this node does not belong to a cluster yet.
var ErrNoCatalog = errors.New("coordinator: this node has no catalog yet: it has not joined a cluster")

// ErrStopping means that this node is shutting down; another one may serve.
var ErrStopping = admission.ErrStopping

// The errors of levels and quorums that are not reached, of requests that are refused
// before anything is written, and of cursors.
type (
	UnavailableError  = quorum.UnavailableError
	TimeoutError      = quorum.TimeoutError
	OverloadedError   = quorum.OverloadedError
	LevelError        = quorum.LevelError
	UnknownTableError = quorum.UnknownTableError
	SkewedError       = admission.SkewedError
	UnsealableError   = admission.UnsealableError
	TooLargeError     = admission.TooLargeError
	RetiredError      = admission.RetiredError
	CursorError       = cursor.Error
)
