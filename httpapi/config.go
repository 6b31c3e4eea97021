package httpapi

import (
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/httpapi/ingest"
)

// Config holds the front door's bounds.
type Config struct {
	// Hosts are the names and addresses, without ports, that requests may be
	// addressed to, beside localhost. An unspecified address (0.0.0.0, ::) among
	// them stands for every address.
	Hosts []string
	// Origins are the web origins, "https://host[:port]", whose pages may write;
	// by default only pages that this node itself served may.
	Origins []string

	EventBytes int // the JSON of one event
	ValueBytes int // one value
	KeyBytes   int // a stream's name, a bucket, a key
	// MaxFuture is how far ahead an event's own time may lie.
	MaxFuture time.Duration
	// WriteTimeout is the coordinator's: how long a batch of bulk lines may take.
	// TimeoutMax bounds the timeout that a request may ask for.
	WriteTimeout, TimeoutMax time.Duration

	Requests int // requests in flight, of which a whole bulk body is one
	Bulk     ingest.Config
	// ZstdBodies is how many bodies with Content-Encoding: zstd may be in flight; each
	// may ask for 8 MiB of memory.
	ZstdBodies int

	// AnswerTimeout is how long a client may leave a piece of its answer unread; for
	// bulk, Bulk has its own.
	AnswerTimeout time.Duration
	// HeaderTimeout bounds the time to send a request's header, BodyTimeout that
	// of a body that is not bulk, IdleTimeout the pause between two requests.
	HeaderTimeout, BodyTimeout, IdleTimeout time.Duration
	// StopTimeout bounds the wait for requests in flight when Run is stopped.
	StopTimeout time.Duration
}

// DefaultConfig returns bounds that fit a node with default memory. Hosts is for
// the caller to fill in.
func DefaultConfig() Config {
	return Config{
		EventBytes:    1 << 20,
		ValueBytes:    1 << 20,
		KeyBytes:      1 << 10,
		MaxFuture:     time.Hour,
		WriteTimeout:  5 * time.Second,
		TimeoutMax:    10 * time.Minute,
		Requests:      4096,
		Bulk:          ingest.DefaultConfig(),
		ZstdBodies:    8,
		AnswerTimeout: 10 * time.Second,
		HeaderTimeout: 10 * time.Second,
		BodyTimeout:   time.Minute,
		IdleTimeout:   2 * time.Minute,
		StopTimeout:   15 * time.Second,
	}
}

// keyBytesMax is the longest key of which two fit a partition key.
const keyBytesMax = 32 << 10

// Validate reports every bound that makes no sense.
func (c Config) Validate() error {
	var errs []error
	count := func(name string, value, most int) {
		if value < 1 || value > most {
			errs = append(errs, fmt.Errorf("httpapi: %s is %d: give 1 to %d", name, value, most))
		}
	}
	length := func(name string, value time.Duration) {
		if value <= 0 || value > 24*time.Hour {
			errs = append(errs, fmt.Errorf("httpapi: %s is %s: give more than 0 and at most 24h", name, value))
		}
	}
	const bytesMax = 64 << 20
	count("EventBytes", c.EventBytes, bytesMax)
	count("ValueBytes", c.ValueBytes, bytesMax)
	count("KeyBytes", c.KeyBytes, keyBytesMax-16)
	count("Requests", c.Requests, 1<<20)
	count("ZstdBodies", c.ZstdBodies, 1<<10)
	length("WriteTimeout", c.WriteTimeout)
	length("TimeoutMax", c.TimeoutMax)
	length("AnswerTimeout", c.AnswerTimeout)
	length("HeaderTimeout", c.HeaderTimeout)
	length("BodyTimeout", c.BodyTimeout)
	length("IdleTimeout", c.IdleTimeout)
	length("StopTimeout", c.StopTimeout)
	if c.MaxFuture < 0 {
		errs = append(errs, fmt.Errorf("httpapi: MaxFuture is %s: give 0 or more", c.MaxFuture))
	}
	if len(c.Hosts) == 0 {
		errs = append(errs, errors.New("httpapi: Hosts is empty: name at least the address that is listened on"))
	}
	return errors.Join(append(errs, c.Bulk.Validate())...)
}
